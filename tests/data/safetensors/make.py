#!/usr/bin/env python3
"""official.safetensors: what the official package (safetensors 0.8.0, torch 2.13) writes.   usage: make.py"""
import pathlib
import torch
from safetensors.torch import save_file

torch.manual_seed(3)
tensors = {
    "b.weight": torch.randn(2, 3).bfloat16(),
    "a.weight": torch.randn(1).bfloat16(),
    "scale": torch.randn(()),
    'quote" back\\slash /slash \u00e4 \u4e2d \U0001f600': torch.arange(3, dtype=torch.uint8),
    "empty": torch.zeros(0, 2, dtype=torch.int64),
    "flags": torch.tensor([True, False]),
    "codes": torch.randn(4).to(torch.float8_e4m3fn),
}
save_file(tensors, pathlib.Path(__file__).parent / "official.safetensors",
          {"note": 'line\nbreak\ttab "quote" \u00e4 \x01'})
