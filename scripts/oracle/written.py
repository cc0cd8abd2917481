#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quantize --search compat of a trained checkpoint against compressed-tensors, and FP8 in blocks with scales of E8M0 against
transformers, and NVFP4 under a factor against ModelOpt where it is installed: the same bytes, tensor by tensor.

usage: written.py SCRUPLE MODEL        (a BF16 checkpoint; torch, safetensors, compressed-tensors, transformers; nvidia-modelopt)
"""
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import torch
from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
from compressed_tensors.compressors.mxfp8.base import MXFP8QuantizationCompressor
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from folders import tensors
from transformers.integrations.finegrained_fp8 import Fp8Quantize

try:
    from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor
except ImportError:
    NVFP4QTensor = None

scruple, source = sys.argv[1:3]
failures = 0
FP4 = dict(num_bits=4, type="float", symmetric=True)
MX = dict(type="float", symmetric=True, strategy="group", group_size=32, scale_dtype=torch.uint8)


def integers(bits, symmetric, group):
    return PackedQuantizationCompressor, dict(num_bits=bits, type="int", symmetric=symmetric, strategy="group" if group else "channel", group_size=group)


KINDS = {
    "int4-g32": integers(4, True, 32), "int4-g128-asym": integers(4, False, 128), "int4-channel": integers(4, True, None),
    "int8-g64": integers(8, True, 64), "int8-channel-asym": integers(8, False, None), "int8-g16-asym": integers(8, False, 16),
    "mxfp4-packed": (MXFP4PackedCompressor, dict(num_bits=4, **MX)), "mxfp8": (MXFP8QuantizationCompressor, dict(num_bits=8, **MX)),
    "nvfp4-packed": (NVFP4PackedCompressor, dict(strategy="tensor_group", group_size=16, scale_dtype=torch.float8_e4m3fn, **FP4)),
}


def flat(t):
    return t.flatten().clone().view(torch.uint8)


def partner(module):
    """What shares its global scale: gate and up."""
    if module.endswith("gate_proj"):
        return module[:-9] + "up_proj"
    return module[:-7] + "gate_proj" if module.endswith("up_proj") else module


def theirs(compressor, args, original, module):
    w = original[module + ".weight"]
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))
    blocks = w.unflatten(-1, (-1, args["group_size"] or w.shape[-1]))
    state = {"weight": w}
    if args["strategy"] == "tensor_group":  # the smaller of both, as llm-compressor has it
        state["weight_global_scale"] = min(generate_gparam(x.amin(), x.amax()) for x in (w, original[partner(module) + ".weight"]))
    scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), scheme.weights, global_scale=state.get("weight_global_scale"))
    state["weight_scale"] = scale
    if not args["symmetric"]:
        state["weight_zero_point"] = zero
    return compressor.compress(state, scheme)


def compare(kind, suffix, whose, make):
    """Our tensors of that type beside make(module)'s, of whole modules."""
    global failures
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([scruple, "quantize", source, "-o", folder, "--type", kind, "--search", "compat", "-q"], check=True, stdout=subprocess.DEVNULL)
        ours = tensors(folder)
    modules = sorted(n[:-len(suffix)] for n in ours if n.endswith(suffix))
    wrong = n = 0
    for module in modules:
        for name, expected in make(module).items():
            got = ours[f"{module}.{name}"]
            n += 1
            same = got.dtype == expected.dtype and got.shape == expected.shape and torch.equal(flat(got), flat(expected))
            wrong += not same
    failures += wrong > 0 or not n
    print(f"{'FAILED' if wrong or not n else 'ok    '} {kind}: {n} tensors of {len(modules)} weights are {whose}"
          + (f", {wrong} are not" if wrong else ""))


def transformers_blocks(side):
    """Its scale is 1 / (448 / amax), which only a power of two forgives; blocks at an edge it does not quantize."""
    config = SimpleNamespace(weight_block_size=[side, side], scale_fmt="ue8m0")
    quantize = Fp8Quantize(SimpleNamespace(quantization_config=config))

    def of(module):
        made = quantize.convert({"weight": original[module + ".weight"]})
        return made if len(made) == 2 else {}

    return of


def modelopt(module):
    """Gate and up share the larger factor, as ModelOpt's export has it."""
    w = original[module + ".weight"]
    factor = max(NVFP4QTensor.get_weights_scaling_factor_2(x) for x in (w, original[partner(module) + ".weight"]))
    codes, scale, _ = NVFP4QTensor.quantize(w.clone(), 16, weights_scaling_factor_2=factor)
    return {"weight": codes._quantized_data, "weight_scale": scale, "weight_scale_2": factor}


original = tensors(source)
for kind, (compressor, args) in KINDS.items():
    compare(kind, ".weight_scale", "compressed-tensors'", lambda module: theirs(compressor, args, original, module))
for kind, side in (("fp8-block-e8m0", 128), ("fp8-block32-e8m0", 32)):
    compare(kind, ".weight_scale_inv", "transformers'", transformers_blocks(side))
if NVFP4QTensor:
    compare("nvfp4-modelopt", ".weight_scale_2", "ModelOpt's", modelopt)
else:
    print("skipped: ModelOpt is not installed")
print(f"{'failed' if failures else 'passed'}: {failures} failures")
sys.exit(failures > 0)
