#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the PyPI package gguf decodes from hashed super-blocks: the digests in test_blocks_k.c.

usage: kquants.py        (needs gguf, numpy; written with gguf 0.19.0)
"""
import gguf
import numpy as np

from hashed import mix, digest

BLOCKS = 400
FACTORS = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


for name, factors in FACTORS.items():
    kind = gguf.GGMLQuantizationType[name]
    size = gguf.GGML_QUANT_SIZES[kind][1]
    data = (mix(np.arange(BLOCKS * size)) & 255).astype(np.uint8).reshape(BLOCKS, size)
    for at in factors:  # below 1 in magnitude, no infinity or NaN
        data[:, at + 1] &= 0xBB
    print(name, digest(gguf.quants.dequantize(data, kind).astype(np.float32).view(np.uint32)))
