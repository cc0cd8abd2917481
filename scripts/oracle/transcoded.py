#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Transcoding, seen by the tools whose forms they are.   usage: transcoded.py SCRUPLE MODEL

MODEL (trained, in BF16) is quantized into each form on the left, and that converted into the forms on its right. Both sides are decoded by other
people's code (compressed-tensors, transformers, gguf; mlx, ModelOpt, GPTQModel and autoawq where they are installed) in binary32, and have to be the same numbers, bit by
bit but for the sign of zeros. A pair with a number is one that is not lossless: scruple has to refuse it, and to count the groups that differ where
it is allowed to lose something. Exit 1 with a line for each difference.
"""
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.mx_utils import decompress_mx_scale
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from folders import tensors
from transformers.integrations.finegrained_fp8 import Fp8Dequantize

try:
    from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor
except ImportError:
    NVFP4QTensor = None
try:
    import mlx.core as mx
except ImportError:
    mx = None
try:
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module
except ImportError:
    TorchLinear = None
awq = importlib.util.find_spec("awq")
if awq:
    spec = importlib.util.spec_from_file_location("packing_utils", pathlib.Path(awq.submodule_search_locations[0]) / "utils/packing_utils.py")
    awq = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(awq)

scruple, model = sys.argv[1:]
PAIRS = {
    "fp8-block": ["fp8-block-pow2:", "fp8-block-bf16:", "fp8-block32", "fp8-channel", "fp8-tensor"],
    "fp8-block-bf16": ["fp8-block", "fp8-block32-bf16"],
    "fp8-block-e8m0": ["fp8-block-pow2", "fp8-block-bf16", "fp8-block", "fp8-block32-e8m0", "mxfp8"],
    "fp8-block32": ["fp8-block:", "fp8-block32-bf16:"],
    "fp8-block32-bf16": ["fp8-block32", "fp8-block32-e8m0:"],
    "fp8-block32-e8m0": ["fp8-block32", "fp8-block32-pow2", "fp8-block32-bf16", "mxfp8"],
    "fp8-block-pow2": ["fp8-block", "fp8-channel", "fp8-tensor", "mxfp8"],
    "fp8-channel": ["fp8-block:", "fp8-tensor:", "fp8-fbgemm"],
    "fp8-tensor": ["fp8-channel", "fp8-block", "fp8-fbgemm"],
    "fp8-fbgemm": ["fp8-channel"],
    "mxfp8": ["mxfp8-mlx", "fp8-channel:"],
    "mxfp4-packed": ["MXFP4", "NVFP4", "mxfp4-mlx", "mxfp8-mlx", "nvfp4-packed", "mxfp8", "fp8-block", "fp8-block-pow2",
                     "fp8-block-e8m0", "fp8-block32-e8m0", "Q8_0", "mxfp4-deepseek",
                     "nvfp4-modelopt"],
    "mxfp4-deepseek": ["mxfp4-packed", "MXFP4", "mxfp4-mlx", "fp8-block-e8m0", "nvfp4-packed"],
    "nvfp4-packed": ["mxfp4-packed:", "nvfp4-modelopt:"],
    "nvfp4-modelopt": ["nvfp4-packed:", "mxfp4-packed:"],
    "int4-g32": ["int4-g32-asym", "int8-g32", "int4-gptq-g32", "int4-gptq-v2-g32-asym", "int4-awq-g32", "int4-mlx-g32", "Q4_0", "Q4_1", "Q5_0", "Q8_0"],
    "int4-g32-asym": ["int4-gptq-v2-g32-asym", "int4-awq-g32", "Q5_0", "Q4_1", "int4-g32:", "int4-mlx-g32:"],
    "int4-gptq-g128-asym": ["int4-g128-asym", "int4-awq-g128", "int4-gptq-v2-g64-asym"],
    "int4-awq-g32": ["int4-g32-asym", "int4-gptq-v2-g32-asym", "Q5_0"],
    "int8-g64": ["int8-gptq-g64", "int8-mlx-g64", "Q8_0"],
}
GROUP = {"mxfp4-packed": 32, "nvfp4-packed": 16, "nvfp4-modelopt": 16, "fp8-channel": 0, "fp8-block": 0, "fp8-tensor": 0, "fp8-block-pow2": 0, "fp8-block-bf16": 0,
         "fp8-block32-bf16": 0, "fp8-block32-e8m0": 0, "int4-g32": 32, "int4-mlx-g32": 32}
MODULES = [f"model.layers.{layer}.mlp.experts.{expert}.{p}_proj" for layer in (1, 2) for expert in (0, 5) for p in ("gate", "up", "down")]
bad, decoded, unasked = [], 0, 0


def args(**k):
    return QuantizationArgs(**{"num_bits": 8, "type": "float", "symmetric": True, **k})


def fp8(p, group):
    scale = p.get("weight_scale", p.get("weight_scale_inv")).float()
    if group:
        a = args(strategy="block", block_structure=[group, group])
    else:
        a = args(strategy="tensor" if scale.numel() == 1 else "channel")
    return dequantize(p["weight"], scale.reshape(1) if scale.numel() == 1 and not group else scale, args=a, dtype=torch.float32)


def fp4(p):
    rows, half = p["weight_packed"].shape
    mx_scale = p["weight_scale"].dtype == torch.uint8
    scale = decompress_mx_scale(p["weight_scale"]) if mx_scale else p["weight_scale"]
    return dequantize(unpack_fp4_from_uint8(p["weight_packed"], rows, 2 * half, dtype=torch.float32), scale.float(),
                      args=args(num_bits=4, strategy="group", group_size=32 if mx_scale else 16), global_scale=p.get("weight_global_scale"),
                      dtype=torch.float32)


def modelopt(p):
    if not NVFP4QTensor:
        return None
    codes = NVFP4QTensor((p["weight"].shape[0], 2 * p["weight"].shape[1]), torch.float32, p["weight"])
    return codes.dequantize(scale=p["weight_scale"], double_scale=p["weight_scale_2"], block_sizes={-1: 16})


def mxfp8(p):
    return dequantize(p["weight"], decompress_mx_scale(p["weight_scale"]).float(),
                      args=args(strategy="group", group_size=32, scale_dtype=torch.uint8), dtype=torch.float32)


def packed(p, bits):
    rows, groups = p["weight_scale"].shape
    a = args(num_bits=bits, type="int", symmetric="weight_zero_point" not in p, strategy="group", group_size=int(p["weight_shape"][1]) // groups)
    kind = BaseCompressor.get_value_from_registry("pack-quantized")
    return kind.decompress({**p, "weight_scale": p["weight_scale"].float()}, QuantizationScheme(targets=["Linear"], weights=a))["weight"]


def gptq(p, bits, version):
    rows, cols = p["qweight"].shape[1], p["g_idx"].shape[0]
    q = TorchLinear(bits=bits, group_size=cols // p["scales"].shape[0], sym=False, desc_act=False, in_features=cols, out_features=rows)
    q.qweight, q.qzeros, q.g_idx, q.scales = p["qweight"], p["qzeros"].clone(), p["g_idx"], p["scales"].float()
    if version == 1:
        convert_gptq_v1_to_v2_format_module(q, bits, torch.int32)
    q.post_init()
    return q.dequantize_weight().T.contiguous()


def mlx(p, bits):
    words = mx.array(p["weight"].view(torch.int32).numpy().view(np.uint32))
    if "biases" not in p:
        return np.array(mx.dequantize(words, mx.array(p["scales"].numpy()), group_size=32, bits=bits, mode=f"mxfp{bits}", dtype=mx.float32))
    scales, biases = (mx.array(p[k].float().numpy()) for k in ("scales", "biases"))
    group = p["weight"].shape[1] * 32 // bits // p["scales"].shape[1]
    return np.array(mx.dequantize(words, scales, biases, group_size=group, bits=bits, mode="affine", dtype=mx.float32))


def decode(form, p):
    """None where the tool is not here."""
    bits = 8 if "8" in form[:5] else 4
    if "-gptq" in form:
        return gptq(p, bits, 2 if "-v2" in form else 1) if TorchLinear else None
    if "-awq" in form:
        group = p["qweight"].shape[0] // p["scales"].shape[0]
        return awq.dequantize_gemm(p["qweight"], p["qzeros"], p["scales"].float(), 4, group).T if awq else None
    if "-mlx" in form:
        return mlx(p, bits) if mx else None
    if form.startswith("int"):
        return packed(p, bits)
    if form == "mxfp8":
        return mxfp8(p)
    if form == "nvfp4-modelopt":
        return modelopt(p)
    if form == "mxfp4-deepseek":
        return Fp8Dequantize(None)._dequantize_one(p["weight"], p["weight_scale_inv"], torch.float32)
    return fp8(p, 32 if "block32" in form else 128 if "block" in form else 0) if form.startswith("fp8") else fp4(p)


def read(folder, form):
    out = {}
    if form[0] in "QMN":
        for t in gguf.GGUFReader(next(pathlib.Path(folder).glob("*.gguf"))).tensors:
            if t.name.removesuffix(".weight") in MODULES:
                out[t.name.removesuffix(".weight")] = gguf.quants.dequantize(t.data, t.tensor_type)
        return out
    there = tensors(folder)
    for m in MODULES:
        x = decode(form, {k.removeprefix(m + "."): v for k, v in there.items() if k.startswith(m + ".")})
        if x is not None:
            out[m] = np.ascontiguousarray(x.float().numpy() if isinstance(x, torch.Tensor) else x)
    return out


def run(*words):
    return subprocess.run([scruple, *map(str, words)], capture_output=True, text=True)


def compare(source, form, target, folder, lossy):
    """Modules that differ, of those that somebody here decodes."""
    global decoded, unasked
    theirs, differ = read(folder, target), []
    for m in MODULES:
        if m not in theirs or m not in source:
            unasked += 1
            continue
        decoded += 1
        a, b = source[m] + np.float32(0), theirs[m] + np.float32(0)
        if a.shape != b.shape or (a.view(np.uint32) != b.view(np.uint32)).any():
            differ.append(m)
            if not lossy:
                bad.append(f"{form} to {target}: {m} decodes to other numbers")
    return differ


def changed_groups(source, folder, form, group, modules):
    theirs = read(folder, form)
    return {m: int((source[m].reshape(-1, group) != theirs[m].reshape(-1, group)).any(axis=1).sum()) for m in modules}


with tempfile.TemporaryDirectory() as work:
    for form, targets in PAIRS.items():
        made = run("quantize", model, "-o", f"{work}/{form}", "--type", form, "--layout", "plain", "-q")
        if made.returncode:
            bad.append(f"{form}: {made.stderr}")
            continue
        source = read(f"{work}/{form}", form)
        for target in targets:
            target, refused = target.rstrip(":"), target.endswith(":")
            to = f"{work}/{form}-{target}"
            done = run("convert", f"{work}/{form}", "-o", to, "--to", target, "-q")
            if done.returncode != refused:
                bad.append(f"{form} to {target}: status {done.returncode}: {done.stderr.strip()[:300]}")
                continue
            if not refused:
                compare(source, form, target, to, False)
                continue
            run("convert", f"{work}/{form}", "-o", to, "--to", target, "--allow-lossy", "-q")
            told = {w["module"]: w["blocks_changed"] for w in json.load(open(f"{to}/scruple.json"))["moved"]["weights_changed"]}
            differ = compare(source, form, target, to, True)
            if source and {m for m in told if m in MODULES} != set(differ) and read(to, target):
                bad.append(f"{form} to {target}: scruple says that {sorted(told)[:3]} changed, {differ[:3]} did")
            if GROUP[target] and differ:
                counted = changed_groups(source, to, target, GROUP[target], differ)
                if counted != {m: told[m] for m in differ}:
                    bad.append(f"{form} to {target}: groups that changed: {counted}, told {[told[m] for m in differ]}")

print(*bad, sep="\n", end="\n" if bad else "")
print(f"{decoded} weights decoded on both sides, {unasked} that nobody is here to decode, {len(bad)} differences")
sys.exit(bool(bad) or decoded == 0)
