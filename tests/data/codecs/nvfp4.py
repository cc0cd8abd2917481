#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goldens of tests/data/codecs/modelopt.txt: what ModelOpt's NVFP4QTensor makes of the weight of written.py in BF16, F16 and binary32.

usage: nvfp4.py        (needs torch, numpy, nvidia-modelopt)
"""
import pathlib

import torch
from modelopt.torch.quantization.qtensor.nvfp4_tensor import NVFP4QTensor

from hashed import digest, written_weight

lines = []
for name, kind in (("bf16", torch.bfloat16), ("f16", torch.float16), ("f32", torch.float32)):
    w = torch.from_numpy(written_weight()).to(kind)
    codes, scale, factor = NVFP4QTensor.quantize(w, 16)
    for part, value in (("codes", codes._quantized_data), ("scale", scale.view(torch.uint8)),
                        ("factor", factor.reshape(1).view(torch.int32))):
        lines.append(f"{name}_{part} {digest(value.contiguous().numpy())}")
(pathlib.Path(__file__).resolve().parent / "modelopt.txt").write_text("\n".join(lines) + "\n")
print("\n".join(lines))
