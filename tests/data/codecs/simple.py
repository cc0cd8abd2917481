#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the PyPI package gguf decodes from hashed blocks, and encodes from the weights of tests/quantize/goldens.h: the digests in
test_blocks_simple.c.

usage: simple.py        (needs gguf, numpy; written with gguf 0.19.0)
"""
import gguf
import numpy as np

from hashed import mix, digest, weights

BLOCKS = 400
SCALES = {"Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,)}


def words(values):
    return np.ascontiguousarray(values).ravel().view(np.uint32)


for name, scales in SCALES.items():
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = (mix(np.arange(BLOCKS * size)) & 255).astype(np.uint8).reshape(BLOCKS, size)
    for at in scales:  # below 1 in magnitude, no infinity or NaN
        data[:, at + 1] &= 0xBB
    decoded = gguf.quants.dequantize(data, kind).astype(np.float32)
    encoded = gguf.quants.quantize(weights(BLOCKS * block, 7), kind)
    print(f'{{DT_{name}, {digest(words(decoded))}u, {digest(words(encoded))}u}},')
