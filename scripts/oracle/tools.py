#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quantize to the forms of GPTQ, AWQ and MLX against their own code: the same bytes where the search is compat, and what they decode
our files to, is what scruple decodes them to.

usage: tools.py SCRUPLE MODEL [PART-OF-A-TYPE]        (a BF16 checkpoint; torch, safetensors, GPTQModel, autoawq, mlx[cpu]; what is not installed is left out)
"""
import subprocess
import sys
import tempfile

import torch
from folders import tensors

sys.path.insert(0, "tests/data/codecs")
from tools import KINDS

scruple, source = sys.argv[1:3]
failures = 0


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.contiguous().flatten().view(torch.uint8), b.contiguous().flatten().view(torch.uint8))


def quantize(kind, search, folder):
    subprocess.run([scruple, "quantize", source, "-o", folder, "--type", kind, "--search", search, "-q"], check=True, stdout=subprocess.DEVNULL)
    return tensors(folder)


def decoded(folder):
    plain = folder + "/plain"
    subprocess.run([scruple, "convert", folder + "/q", "-o", plain, "--to", "f32", "-q"], check=True, stdout=subprocess.DEVNULL)
    return tensors(plain)


original = tensors(source)
for name, kind in [(k, v) for k, v in KINDS.items() if len(sys.argv) < 4 or sys.argv[3] in k]:
    if not kind["there"]:
        print(f"left out {name}: its package is not installed")
        continue
    for search in ("compat", "best"):
        with tempfile.TemporaryDirectory() as folder:
            ours = quantize(name, search, folder + "/q")
            plain = decoded(folder)
        modules = sorted(n[:-len(kind["last"]) - 1] for n in ours if n.endswith("." + kind["last"]))
        unlike = misread = 0
        for module in modules:
            w = original[module + ".weight"]
            if search == "compat":
                expected = kind["write"](w, kind)
                unlike += not all(same(ours[f"{module}.{k}"], expected[k]) for k in expected)
            parts = {k: ours[f"{module}.{k}"] for k in expected}
            misread += not torch.equal(kind["read"](parts, kind), plain[module + ".weight"])
        bad = unlike or misread or not modules
        failures += bool(bad)
        print(f"{'FAILED' if bad else 'ok    '} {name} {search}: {len(modules)} weights" + (f", {unlike} of other bytes" if unlike else "")
              + (f", {misread} read otherwise" if misread else ""))
print(f"{'failed' if failures else 'passed'}: {failures} failures")
sys.exit(failures > 0)
