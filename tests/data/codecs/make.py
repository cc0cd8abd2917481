#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goldens of tests/data/codecs: what torch, numpy and compressed-tensors make of the same numbers.

usage: make.py        (needs torch, numpy, compressed-tensors)

Inputs are not stored: they come from integer hashes that tests/quantize/goldens.h computes too.
Long outputs are stored as one number each (digest), short ones as they are.
"""
import pathlib

import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import quantize
from compressed_tensors.quantization.utils import calculate_qparams

from hashed import mix, digest, weights

OUT = pathlib.Path(__file__).resolve().parent
ROWS, COLS = 24, 256            # int4 matrix
FP8_ROWS, FP8_COLS = 256, 384   # fp8 matrix
RAGGED_ROWS, RAGGED_COLS = 200, 300


def bf16(x):
    return torch.from_numpy(x).to(torch.bfloat16)


def bits(t):
    return t.view(torch.int16 if t.element_size() == 2 else torch.int32).numpy()


def without_nan(values, is_nan, width):
    return np.where(is_nan, np.uint32(2**width - 1), values.astype(np.uint32) & (2**width - 1))


lines = []


def put(name, values):
    lines.append(f"{name} {digest(values)}")


# Every code to binary32. NaNs are all alike here.
codes = np.arange(65536, dtype=np.uint32).astype(np.uint16)
for name, kind in (("f16", torch.float16), ("bf16", torch.bfloat16)):
    wide = torch.from_numpy(codes.view(np.int16)).view(kind).float()
    put(f"{name}_to_f32", without_nan(bits(wide), np.isnan(wide.numpy()), 32))
e4m3 = torch.arange(256).to(torch.uint8).view(torch.float8_e4m3fn).float()
e8m0 = torch.arange(256).to(torch.uint8).view(torch.float8_e8m0fnu).float()
for name, wide in (("e4m3", e4m3), ("e8m0", e8m0)):
    put(f"{name}_to_f32", without_nan(bits(wide), np.isnan(wide.numpy()), 32))

# binary32 to codes: halfway points between neighbours with the numbers beside them, and hashes.
for name, kind, values in (
    ("f16", torch.float16, torch.from_numpy(np.arange(0x7C00, dtype=np.int16)).view(torch.float16)),
    ("bf16", torch.bfloat16, torch.from_numpy(np.arange(0x7F80, dtype=np.int16)).view(torch.bfloat16)),
    ("e4m3", torch.float8_e4m3fn, torch.arange(127).to(torch.uint8).view(torch.float8_e4m3fn)),
):
    v = values.double().numpy()
    middle = ((v[1:] + v[:-1]) / 2).astype(np.float32).view(np.uint32)
    near = np.stack([middle - 1, middle, middle + 1], axis=1).ravel()
    both = np.concatenate([near, near | 0x80000000, mix(np.arange(1 << 17))])
    x = torch.from_numpy(both.view(np.float32))
    if name == "e4m3":  # torch makes NaN of what is too large, here it saturates
        x = torch.where(x.isnan(), x, x.clamp(-448, 448))
    out = x.to(kind)
    width = 8 if name == "e4m3" else 16
    raw = out.view(torch.uint8).numpy() if width == 8 else bits(out).view(np.uint16)
    put(f"f32_to_{name}", without_nan(raw, np.isnan(x.numpy()), width))

# int4: compressed-tensors' scales, codes and packing of a BF16 weight. Row 0 is all of one value,
# row 1 is the test vector -8 ... 7 times a power of two.
w = weights(ROWS * COLS, 1).reshape(ROWS, COLS)
w[0] = 0.5
w[1] = np.tile(np.arange(-8, 8), COLS // 16) * np.float32(0.125)
w = bf16(w)
for group in (32, 64, 128):
    args = QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="group",
                            group_size=group)
    blocks = w.reshape(ROWS, COLS // group, group)
    scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), args)
    q = quantize(w, scale, zero, args, dtype=torch.int8)
    packed = pack_to_int32(q, 4)
    assert scale.dtype == torch.bfloat16 and packed.shape == (ROWS, COLS // 8)
    (OUT / f"ct_g{group}_scale.bin").write_bytes(bits(scale.contiguous()).tobytes())
    (OUT / f"ct_g{group}_packed.bin").write_bytes(packed.contiguous().numpy().tobytes())

# FP8: compressed-tensors a row and a block, binary32 throughout; the ragged block by hand, since
# it pads with zeros, which changes no maximum.
w = torch.from_numpy(weights(FP8_ROWS * FP8_COLS, 7).reshape(FP8_ROWS, FP8_COLS))
args = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="channel")
scale, zero = calculate_qparams(w.amin(1, keepdim=True), w.amax(1, keepdim=True), args)
q = quantize(w, scale, zero, args, dtype=torch.float8_e4m3fn)
put("fp8_channel_scale", bits(scale))
put("fp8_channel_code", q.view(torch.uint8).numpy())
args = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="block",
                        block_structure=[128, 128])
blocks = w.reshape(FP8_ROWS // 128, 128, FP8_COLS // 128, 128).transpose(1, 2)
scale, zero = calculate_qparams(blocks.amin((-1, -2)), blocks.amax((-1, -2)), args)
q = quantize(w, scale, zero, args, dtype=torch.float8_e4m3fn)
put("fp8_block_scale", bits(scale.contiguous()))
put("fp8_block_code", q.view(torch.uint8).numpy())

# The power-of-two scales of DeepSeek's kernel: 2^ceil(log2(amax / 448)), in binary64; stored as F32
# or E8M0. BF16: torch's cast of the binary32 scale, and codes under what that leaves.
w = torch.from_numpy(weights(RAGGED_ROWS * RAGGED_COLS, 11).reshape(RAGGED_ROWS, RAGGED_COLS))
for name, side, power, kind in (
    ("ragged", 128, False, torch.float32), ("pow2", 128, True, torch.float32),
    ("bf16", 128, False, torch.bfloat16), ("e8m0", 128, True, torch.float8_e8m0fnu),
    ("32", 32, False, torch.float32), ("32_pow2", 32, True, torch.float32),
    ("32_bf16", 32, False, torch.bfloat16), ("32_e8m0", 32, True, torch.float8_e8m0fnu),
):
    scales, code = [], torch.empty_like(w, dtype=torch.uint8)
    for r in range(0, RAGGED_ROWS, side):
        for c in range(0, RAGGED_COLS, side):
            part = w[r:r + side, c:c + side]
            scale = part.abs().max() / 448
            if power:
                scale = torch.exp2(torch.ceil(torch.log2(part.abs().max().double() / 448))).float()
            scales.append(scale.to(kind))
            scale = scales[-1].float()
            code[r:r + side, c:c + side] = (part / scale).clamp(-448, 448).to(
                torch.float8_e4m3fn).view(torch.uint8)
    scales = torch.stack(scales)
    put(f"fp8_{name}_scale", bits(scales) if kind != torch.float8_e8m0fnu else scales.view(torch.uint8).numpy())
    put(f"fp8_{name}_code", code.numpy())

(OUT / "digests.txt").write_text("\n".join(lines) + "\n")
print("\n".join(lines))
