#!/usr/bin/env python3
"""Compares a checkpoint that scruple wrote with its source, both read by the official safetensors package.

usage: safetensors_roundtrip.py SOURCE OURS     (files or folders; exit 1 with a line for each difference)

Names, dtypes, shapes and bytes of all tensors have to be equal; how they are spread over files does not
matter. Where a folder has model.safetensors.index.json it has to name exactly the tensors of its files.
"""
import json, pathlib, sys

import safetensors


def read(path):
    """name -> (dtype, shape, bytes), and the complaints about the folder itself."""
    path, complaints = pathlib.Path(path), []
    index = path / "model.safetensors.index.json"
    named = None
    if path.is_dir() and index.exists():
        named = json.loads(index.read_text())["weight_map"]
        files = sorted({path / f for f in named.values()})
    else:
        files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    tensors = {}
    for file in files:
        for name, t in safetensors.deserialize(file.read_bytes()):
            if name in tensors:
                complaints.append(f"{file}: tensor {name!r} is in two files")
            if named is not None and named.get(name) != file.name:
                complaints.append(f"{index}: {name!r} is in {file.name}, the index says {named.get(name)}")
            tensors[name] = (t["dtype"], list(t["shape"]), bytes(t["data"]))
    for name in sorted(set(named or {}) - set(tensors)):
        complaints.append(f"{index}: {name!r} is in no file")
    return tensors, complaints


def main(source, ours):
    (a, bad), (b, more) = read(source), read(ours)
    bad += more
    for name in sorted(set(a) | set(b)):
        if name not in b:
            bad.append(f"{name}: missing in {ours}")
        elif name not in a:
            bad.append(f"{name}: not in {source}")
        else:
            for what, x, y in zip(("dtype", "shape"), a[name], b[name]):
                if x != y:
                    bad.append(f"{name}: {what} {x} in the source, {y} in ours")
            if a[name][2] != b[name][2]:
                bad.append(f"{name}: bytes differ")
    for line in bad:
        print(line)
    total = sum(len(t[2]) for t in b.values())
    print(f"{len(b)} tensors, {total} bytes, safetensors {safetensors.__version__}: {len(bad)} differences")
    return bool(bad) or not b


if len(sys.argv) != 3:
    sys.exit(__doc__)
sys.exit(main(*sys.argv[1:]))
