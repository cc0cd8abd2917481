#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the checkpoints of this folder.   usage: make.py   (Python's standard library only)"""
import json, pathlib, struct

here = pathlib.Path(__file__).parent


def write(name, tensors):
    """tensors: (name, dtype, shape, bytes)"""
    header, at = {}, 0
    for tensor, dtype, shape, data in tensors:
        header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (here / name).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors))


def codes(letter, *values):
    return struct.pack(f"<{len(values)}{letter}", *values)


# Every type that can hold NaN or infinity: zeros, the largest finite values, then what is wrong.
write("specials.safetensors", [
    ("bf16", "BF16", [6], codes("H", 0, 0x8000, 0x7f7f, 0x7fc0, 0xff80, 0x7f80)),
    ("f16", "F16", [2, 3], codes("H", 0x7bff, 0x7c00, 0xfc01, 0, 0x8000, 0xfbff)),
    ("f32", "F32", [5], codes("I", 0x7f7fffff, 0xff7fffff, 0x00000001, 0xff800000, 0x7f800001)),
    ("f64", "F64", [4], codes("Q", 0x7fefffffffffffff, 0x8000000000000000, 0x7ff0000000000000, 0xfff8000000000000)),
    ("f8_e4m3", "F8_E4M3", [6], codes("B", 0, 0x80, 0x7e, 0xfe, 0x7f, 0xff)),
    ("f8_e5m2", "F8_E5M2", [6], codes("B", 0, 0x7b, 0xfb, 0x7c, 0xfd, 0x80)),
    ("f8_e8m0", "F8_E8M0", [3], codes("B", 0, 0xfe, 0xff)),
    ("i16", "I16", [2], codes("H", 0x7fc0, 0xffff)),
    ("u8", "U8", [2], codes("B", 0xff, 0x7f)),
])

# Scales: zero of either sign is wrong, in every float type; elsewhere zeros are values like others.
write("scales.safetensors", [
    ("a.weight", "F8_E4M3", [2, 2], codes("B", 1, 2, 3, 4)),
    ("a.weight_scale_inv", "F32", [2, 1], codes("I", 0x3f800000, 0x80000000)),
    ("b.weight_packed", "I32", [2, 1], codes("I", 0x12345678, 0)),
    ("b.weight_scale", "BF16", [2, 2], codes("H", 0, 0x3f80, 0, 0x7fc0)),
    ("b.weight_shape", "I32", [2], codes("I", 2, 8)),
    ("c.weight", "BF16", [2], codes("H", 0, 0)),
])

# Companions that are not there.
write("companions.safetensors", [
    ("a.weight", "F8_E4M3", [2, 2], codes("B", 1, 2, 3, 4)),
    ("b.weight_packed", "I32", [2, 1], codes("I", 0x12345678, 0)),
    ("b.weight_shape", "I32", [2], codes("I", 2, 8)),
    ("c.weight_scale", "BF16", [2, 1], codes("H", 0x3f80, 0x3f80)),
    ("d.weight", "BF16", [2], codes("H", 0, 0)),
    ("e.weight_scale_inv", "F32", [1, 1], codes("I", 0x3f800000)),
])

# What a tensor's type does not say: orders of columns, shapes of packed codes, scales in bytes. The first of each pair is right.
I32 = lambda *values: codes("i", *values)
write("parts.safetensors", [
    ("a.right.weight_g_idx", "I32", [4], I32(0, 1, 1, 0)),
    ("a.right.weight_packed", "I32", [2, 1], I32(1, 2)),
    ("a.right.weight_scale", "BF16", [2, 2], codes("H", *[0x3f80] * 4)),
    ("a.right.weight_shape", "I64", [2], codes("q", 2, 4)),
    ("a.wrong.weight_g_idx", "I32", [4], I32(0, 2, -1, 0)),
    ("a.wrong.weight_packed", "I32", [2, 1], I32(1, 2)),
    ("a.wrong.weight_scale", "BF16", [2, 2], codes("H", *[0x3f80] * 4)),
    ("a.wrong.weight_shape", "I64", [2], codes("q", 4, 2)),
    ("b.right.g_idx", "I32", [8], I32(*[-1] * 8)),
    ("b.right.scales", "F16", [2, 8], codes("H", *[0x3c00] * 16)),
    ("b.wrong.g_idx", "I32", [8], I32(*[-1] * 7, 1)),
    ("b.wrong.scales", "F16", [2, 8], codes("H", *[0x3c00] * 16)),
    # mxfp4, of compressed-tensors, gpt-oss, MLX; mxfp8; nvfp4
    ("c.right.weight_packed", "U8", [1, 32], bytes(32)),
    ("c.right.weight_scale", "U8", [1, 2], codes("B", 0, 254)),
    ("c.wrong.weight_packed", "U8", [1, 32], bytes(32)),
    ("c.wrong.weight_scale", "U8", [1, 2], codes("B", 0, 255)),
    ("d.wrong_blocks", "U8", [1, 2, 16], bytes(32)),
    ("d.wrong_scales", "U8", [1, 2], codes("B", 255, 255)),
    ("e.right.scales", "U8", [1, 2], codes("B", 127, 127)),
    ("e.right.weight", "U32", [1, 8], bytes(32)),
    ("e.wrong.scales", "U8", [1, 2], codes("B", 255, 127)),
    ("e.wrong.weight", "U32", [1, 16], bytes(64)),
    ("f.right.scales", "U8", [1, 2], codes("B", 0, 0x7e)),
    ("f.right.weight", "U32", [1, 4], bytes(16)),
    ("f.wrong.scales", "U8", [1, 2], codes("B", 0, 0x7f)),
    ("f.wrong.weight", "U32", [1, 4], bytes(16)),
    ("g.other_scales", "U8", [2], codes("B", 255, 255)),
    # a packed weight in 8 bits, and two slices of a stack
    ("h.right.weight_packed", "I32", [1, 2], I32(1, 2)),
    ("h.right.weight_scale", "BF16", [1, 1], codes("H", 0x3f80)),
    ("h.right.weight_shape", "I32", [2], I32(1, 7)),
    ("h.wrong.weight_packed", "I32", [2, 1, 2], I32(1, 2, 3, 4)),
    ("h.wrong.weight_scale", "BF16", [2, 1, 5], codes("H", *[0x3f80] * 10)),
    ("h.wrong.weight_shape", "I32", [2, 2], I32(1, 15, 1, 16)),
    # 3 bits one behind the other in groups of 3, and a scale a row
    ("i.right.weight_packed", "I32", [1, 1], I32(1)),
    ("i.right.weight_scale", "BF16", [1, 4], codes("H", *[0x3f80] * 4)),
    ("i.right.weight_shape", "I64", [2], codes("q", 1, 10)),
    ("j.right.weight_packed", "I32", [3, 1], I32(1, 2, 3)),
    ("j.right.weight_scale", "BF16", [3], codes("H", *[0x3f80] * 3)),
    ("j.right.weight_shape", "I64", [2], codes("q", 3, 8)),
])
