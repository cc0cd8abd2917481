#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the PyPI package gguf decodes from hashed super-blocks: the digests in test_blocks_k.c.

usage: kquants.py        (needs gguf, numpy; written with gguf 0.19.0)
"""
import gguf
import numpy as np

BLOCKS = 400
FACTORS = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


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


for name, factors in FACTORS.items():
    kind = gguf.GGMLQuantizationType[name]
    size = gguf.GGML_QUANT_SIZES[kind][1]
    data = (mix(np.arange(BLOCKS * size)) & 255).astype(np.uint8).reshape(BLOCKS, size)
    for at in factors:  # below 1 in magnitude, no infinity or NaN
        data[:, at + 1] &= 0xBB
    print(name, digest(gguf.quants.dequantize(data, kind).astype(np.float32)))
