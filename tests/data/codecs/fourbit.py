#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Digests of E2M1 by ml_dtypes, and of ggml's four-bit blocks as the package gguf reads them.

usage: fourbit.py        (needs numpy, ml_dtypes, gguf; writes fourbit.txt beside itself)

Blocks of all scales with all codes: byte j of 16 has the code j below and 15 - j above (NVFP4: byte
j of 8 has 2 j and 2 j + 1).
"""
import pathlib

import gguf
import ml_dtypes
import numpy as np

from hashed import mix, digest

OUT = pathlib.Path(__file__).resolve().parent
lines = []


def put(name, values):
    lines.append(f"{name} {digest(values)}")


def bits(x):
    """binary32 as integers, all NaNs alike."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    return np.where(np.isnan(x), np.uint32(0xFFFFFFFF), x.view(np.uint32))


e2m1 = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)
put("e2m1_to_f32", bits(e2m1))
middle = ((e2m1[1:8].astype(np.float64) + e2m1[:7]) / 2).astype(np.float32).view(np.uint32)
near = np.stack([middle - 1, middle, middle + 1], axis=1).ravel()
small = (mix(np.arange(1 << 15)) & np.uint32(0x81FFFFFF)) + np.uint32(0x3F000000)  # 0.5 to 8
u = np.concatenate([near, near | 0x80000000, mix(np.arange(1 << 15)), small]).astype(np.uint32)
x = u.view(np.float32)
with np.errstate(invalid="ignore"):
    code = x.astype(ml_dtypes.float4_e2m1fn).view(np.uint8)
put("f32_to_e2m1", np.where(np.isnan(x), 255, code))

codes = np.arange(16, dtype=np.uint8) | (15 - np.arange(16, dtype=np.uint8)) << 4
half = np.arange(65536, dtype=np.uint16)


def decoded(name, kind, blocks):
    with np.errstate(all="ignore"):
        values = gguf.dequantize(np.ascontiguousarray(blocks, dtype=np.uint8), kind)
    put(name, bits(values))


T = gguf.GGMLQuantizationType
n = half.size
decoded("iq4_nl", T.IQ4_NL, np.hstack([half.view(np.uint8).reshape(n, 2), np.tile(codes, (n, 1))]))
d = half[::16]
n = d.size
k = np.arange(n)[:, None] * 8 + np.arange(8)
scale = (k + (k >> 6)) & 63  # every part gets every scale
low = (scale[:, ::2] & 15 | (scale[:, 1::2] & 15) << 4).astype(np.uint8)
high = ((scale >> 4) << 2 * np.arange(8)).sum(axis=1).astype(np.uint16)
decoded("iq4_xs", T.IQ4_XS, np.hstack([d.copy().view(np.uint8).reshape(n, 2),
                                       high.view(np.uint8).reshape(n, 2), low,
                                       np.tile(codes, (n, 8))]))
e = np.arange(256, dtype=np.uint8)
decoded("mxfp4", T.MXFP4, np.hstack([e[:, None], np.tile(codes, (256, 1))]))
pairs = (np.arange(8) * 2 | (np.arange(8) * 2 + 1) << 4).astype(np.uint8)
decoded("nvfp4", T.NVFP4, np.hstack([e.reshape(64, 4), np.tile(pairs, (64, 4))]))

(OUT / "fourbit.txt").write_text("\n".join(lines) + "\n")
print("\n".join(lines))
