#!/usr/bin/env python3
"""What the official safetensors package says to the files of tests/data/hostile, and whether docs/safetensors.md
lists exactly those on which the two of us differ.

usage: safetensors_conformance.py [DIR]   (exit 1 with a line for each surprise)
"""
import json, pathlib, re, struct, sys

import safetensors

top = pathlib.Path(__file__).parents[2]
root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else top / "tests/data/hostile"


def made(metadata):
    text = json.dumps({"__metadata__": metadata}).encode()
    return struct.pack("<Q", len(text)) + text


# Too large to be kept; our own verdict on them is in tests/formats/test_safetensors.c.
large = {"(made) metadata-value-over-1-mib": made({"k": "v" * ((1 << 20) + 1)}),
         "(made) metadata-of-65537-pairs": made({f"k{i}": "v" for i in range(65537)})}


def official(content):
    # No extra dtypes are needed to read headers: deserialize checks all and converts nothing.
    try:
        safetensors.deserialize(content)
        return "accepts", ""
    except Exception as e:  # the package raises SafetensorError and, for some dtypes, others
        return "refuses", f" ({e})"


bad = n = 0
differ = set()
cases = [row.split("\t") for row in (root / "cases.tsv").read_text().splitlines()[1:]] + [[name, "refuses", "accepts"] for name in large]
for name, ours, expected in cases:
    verdict, why = official(large[name] if name in large else (root / f"{name}.safetensors").read_bytes())
    n += 1
    if verdict != expected:
        bad += 1
        print(f"{name}: cases.tsv says that the official reader {expected} it, it {verdict}{why}")
    if ours == "accepts" and verdict == "refuses":
        bad += 1
        print(f"{name}: we accept what the official reader refuses")
    if ours != verdict:
        differ.add(name)
table = (top / "docs/safetensors.md").read_text().split("## Refused by us")[1].split("\n## ")[0]
listed = {name for line in table.splitlines() if line.startswith("| ") for name in re.findall(r"`([^`]+)`", line.split(" | ")[-1])}
for name in sorted(differ ^ listed):
    bad += 1
    print(f"{name}: {'is not in the table of' if name in differ else 'is no difference, and listed in'} docs/safetensors.md")
print(f"{n} files, safetensors {safetensors.__version__}, {len(differ)} of them read by it and refused by us: {bad} surprises")
sys.exit(bool(bad))
