#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the PyPI package gguf decodes from hashed blocks, and encodes from the weights of tests/quantize/goldens.h: the digests in
test_blocks_simple.c.

usage: simple.py        (needs gguf, numpy; written with gguf 0.19.0)
"""
import gguf
import numpy as np

BLOCKS = 400
SCALES = {"Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,)}


def mix(i):
    """MurmurHash3's finaliser on uint32."""
    i = np.asarray(i, dtype=np.uint64).astype(np.uint32)
    with np.errstate(over="ignore"):
        i ^= i >> np.uint32(16)
        i *= np.uint32(0x85EBCA6B)
        i ^= i >> np.uint32(13)
        i *= np.uint32(0xC2B2AE35)
        i ^= i >> np.uint32(16)
    return i


def digest(values):
    """Sum over i of mix(value ^ mix(i)) x (2 i + 1), modulo 2^64."""
    v = np.ascontiguousarray(values).ravel().view(np.uint32)
    i = np.arange(v.size, dtype=np.uint64)
    with np.errstate(over="ignore"):
        return int((mix(v ^ mix(i)).astype(np.uint64) * (2 * i + 1)).sum(dtype=np.uint64))


def weights(n):
    """golden_weight(i, 7)."""
    a, b, c = (mix(np.arange(n) * 3 + 7 + k).astype(np.int64) for k in range(3))
    total = (a & 0xFFFF) + (a >> 16) + (b & 0xFFFF) + (b >> 16) - 131070
    return (np.where(c % 1000 == 0, total * 8, total) * 2.0**-21).astype(np.float32)


for name, scales in SCALES.items():
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = (mix(np.arange(BLOCKS * size)) & 255).astype(np.uint8).reshape(BLOCKS, size)
    for at in scales:  # below 1 in magnitude, no infinity or NaN
        data[:, at + 1] &= 0xBB
    decoded = gguf.quants.dequantize(data, kind).astype(np.float32)
    encoded = gguf.quants.quantize(weights(BLOCKS * block), kind)
    print(f'{{DT_{name}, {digest(decoded)}u, {digest(encoded)}u}},')
