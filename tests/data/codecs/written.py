#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goldens of tests/data/codecs/written.txt: what compressed-tensors makes of weights of each type.

usage: written.py        (needs torch, numpy, compressed-tensors)

The weight is 24 x 1024, computed from integer hashes by tests/quantize/test_groups.c too. One line an output: its name and
digest. Integers are packed by the package's compressor; of a binary32 weight the scale is rounded to BF16 before codes
are made, since that is how we store it.
"""
import pathlib

import torch
from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
from compressed_tensors.compressors.mxfp8.base import MXFP8QuantizationCompressor
from compressed_tensors.compressors.naive_quantized.base import NaiveQuantizationCompressor
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

from hashed import digest, written_weight as weight

OUT = pathlib.Path(__file__).resolve().parent
ROWS = 24


def raw(t):
    """The bits of each element."""
    t = t.contiguous()
    return t.view({1: torch.uint8, 2: torch.uint16, 4: torch.uint32}[t.element_size()]).numpy()


lines = []


def put(name, values):
    lines.append(f"{name} {digest(values)}")


def blocks_of(w, group):
    return w.reshape(ROWS, -1, group) if group > 0 else w.reshape(ROWS, 1, -1)


def extremes(w, group):
    return blocks_of(w, group).amin(-1), blocks_of(w, group).amax(-1)


def scheme_of(**args):
    return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))


def integers(name, w):
    for bits in (4, 8):
        for symmetric in (True, False):
            for group in (16, 32, 128, 1024, -1):
                scheme = scheme_of(num_bits=bits, type="int", symmetric=symmetric, strategy="group" if group > 0 else "channel",
                                   group_size=group if group > 0 else None)
                scale, zero = calculate_qparams(*extremes(w, group), scheme.weights)
                if scale.dtype == torch.float32:
                    scale = scale.to(torch.bfloat16)
                state = {"weight": w, "weight_scale": scale}
                if not symmetric:
                    state["weight_zero_point"] = zero
                state = PackedQuantizationCompressor.compress(state, scheme)
                key = f"{name}_int{bits}{'' if symmetric else '_asym'}_{'channel' if group < 0 else f'g{group}'}"
                put(key + "_packed", raw(state["weight_packed"]))
                put(key + "_scale", raw(state["weight_scale"]))
                if not symmetric:
                    put(key + "_zero", raw(state["weight_zero_point"]))


def floats(name, w):
    for kind, compressor, bits, group, packed in (("mxfp4", MXFP4PackedCompressor, 4, 32, "weight_packed"),
                                                  ("mxfp8", MXFP8QuantizationCompressor, 8, 32, "weight")):
        scheme = scheme_of(num_bits=bits, type="float", symmetric=True, strategy="group", group_size=group,
                           scale_dtype=torch.uint8)
        scale, _ = calculate_qparams(*extremes(w, group), scheme.weights)
        state = compressor.compress({"weight": w, "weight_scale": scale}, scheme)
        put(f"{name}_{kind}_codes", raw(state[packed]))
        put(f"{name}_{kind}_scale", raw(state["weight_scale"]))
    scheme = scheme_of(num_bits=4, type="float", symmetric=True, strategy="tensor_group", group_size=16,
                       scale_dtype=torch.float8_e4m3fn)
    gparam = generate_gparam(w.amin(), w.amax())
    scale, _ = calculate_qparams(*extremes(w, 16), scheme.weights, global_scale=gparam)
    state = NVFP4PackedCompressor.compress({"weight": w, "weight_scale": scale, "weight_global_scale": gparam}, scheme)
    put(f"{name}_nvfp4_codes", raw(state["weight_packed"]))
    put(f"{name}_nvfp4_scale", raw(state["weight_scale"]))
    put(f"{name}_nvfp4_global", raw(state["weight_global_scale"]))


for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16), ("f32", torch.float32)):
    w = torch.from_numpy(weight()).to(dtype)
    integers(name, w)
    floats(name, w)
w = torch.from_numpy(weight())
scheme = scheme_of(num_bits=8, type="float", symmetric=True, strategy="tensor")
scale, _ = calculate_qparams(w.amin(), w.amax(), scheme.weights)
state = NaiveQuantizationCompressor.compress({"weight": w, "weight_scale": scale}, scheme)
put("f32_fp8_tensor_codes", raw(state["weight"]))
put("f32_fp8_tensor_scale", raw(state["weight_scale"]))
(OUT / "written.txt").write_text("\n".join(lines) + "\n")
