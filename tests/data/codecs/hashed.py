# SPDX-License-Identifier: Apache-2.0
"""The integer hashes that inputs come from and outputs are told by: tests/quantize/goldens.h in numpy, for the scripts beside it."""
import numpy as np


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
    """Sum over i of mix(value ^ mix(i)) x (2 i + 1), modulo 2^64, over integers of 32 bits or less."""
    v = np.ascontiguousarray(values).ravel().astype(np.uint32)
    i = np.arange(v.size, dtype=np.uint64)
    with np.errstate(over="ignore"):
        return int((mix(v ^ mix(i)).astype(np.uint64) * (2 * i + 1)).sum(dtype=np.uint64))


def weights(n, seed):
    """Bell-shaped: four 16-bit halves of two hashes summed, a few elements eight times as large."""
    i = np.arange(n, dtype=np.uint64) * 3 + seed
    a, b, c = (mix(i + k).astype(np.int64) for k in range(3))
    total = (a & 0xFFFF) + (a >> 16) + (b & 0xFFFF) + (b >> 16) - 131070
    total = np.where(c % 1000 == 0, total * 8, total)
    return (total.astype(np.float32) * np.float32(2.0**-21)).astype(np.float32)


def written_weight():
    """written_weight of goldens.h, 24 x 1024: ordinary rows behind some that are not."""
    rows, cols = 24, 1024
    w = weights(rows * cols, 41).reshape(rows, cols)
    w[0] = 0
    w[1] = 0.5
    w[2] = np.tile(np.arange(-8, 8), cols // 16) * np.float32(0.125)
    w[3] = np.abs(w[3])
    w[4] = -np.abs(w[4])
    w[5] *= np.float32(2.0**-14)   # F16: subnormal scales, some of them 0
    w[6] *= np.float32(2.0**12)
    w[7][np.arange(cols) % 64 < 48] = 0
    return w
