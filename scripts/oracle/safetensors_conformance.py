#!/usr/bin/env python3
"""What the official safetensors package says to the files of tests/data/hostile.

usage: safetensors_conformance.py [DIR]   (exit 1 with a line for each case that differs from cases.tsv)
"""
import pathlib, sys

import safetensors

root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2] / "tests/data/hostile")
bad = n = 0
for row in (root / "cases.tsv").read_text().splitlines()[1:]:
    name, ours, expected = row.split("\t")
    # No extra dtypes are needed to read headers: deserialize checks all and converts nothing.
    try:
        safetensors.deserialize((root / f"{name}.safetensors").read_bytes())
        verdict, why = "accepts", ""
    except Exception as e:  # the package raises SafetensorError and, for some dtypes, others
        verdict, why = "refuses", f" ({e})"
    n += 1
    if verdict != expected:
        bad += 1
        print(f"{name}: cases.tsv says that the official reader {expected} it, it {verdict}{why}")
    if ours == "accepts" and expected == "refuses":
        bad += 1
        print(f"{name}: we accept what the official reader refuses")
print(f"{n} files, safetensors {safetensors.__version__}: {bad} differences")
sys.exit(bool(bad))
