#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""imatrix files against the package gguf (PyPI), both ways.   usage: imatrix.py SCRUPLE MODEL TOKENS_OR_TEXT

What calibrate --to imatrix writes GGUFReader must read: names, shapes, and means that are those of the statistics file (the arithmetic is NumPy's
here); the older form must hold the same means. What GGUFWriter writes as llama-imatrix does, under llama.cpp's names and under those of MODEL, must
give the same tensors, byte for byte, by quantize --stats. Exit 1 with a line for each difference.
"""
import importlib.metadata, json, pathlib, struct, subprocess, sys, tempfile

import gguf
import numpy as np
import safetensors

scruple, model, text = sys.argv[1:]
bad = []


def run(*words):
    done = subprocess.run([scruple, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        bad.append(f"{' '.join(map(str, words))}: status {done.returncode}: {done.stderr.strip()}")
    return done


def statistics(path):
    """set -> (means [experts][columns], counts)"""
    parts = {name: np.frombuffer(t["data"], np.int64 if t["dtype"] == "I64" else np.float64).reshape(t["shape"]) for name, t in safetensors.deserialize(path.read_bytes())}
    sets = {}
    for name in parts:
        if name.endswith(".energy"):
            base = name[:-len(".energy")]
            with np.errstate(all="ignore"):
                sets[base] = (parts[name] / parts[base + ".weight_sum"][:, None], parts[base + ".count"])
    return sets


def from_gguf(path):
    r = gguf.GGUFReader(path)
    t = {x.name: x.data.copy() for x in r.tensors}
    fields = {k: f.contents() for k, f in r.fields.items() if not k.startswith("GGUF.")}
    return {n[:-len(".in_sum2")]: (t[n], t[n[:-len(".in_sum2")] + ".counts"].reshape(-1)) for n in t if n.endswith(".in_sum2")}, fields


def from_dat(path):
    data, at, entries = path.read_bytes(), 4, {}
    for _ in range(struct.unpack_from("<i", data)[0]):
        length, = struct.unpack_from("<i", data, at)
        name = data[at + 4:at + 4 + length].decode()
        calls, n = struct.unpack_from("<ii", data, at + 4 + length)
        at += 12 + length
        entries[name] = np.frombuffer(data, np.float32, n, at) / np.float32(calls)
        at += 4 * n
    chunks, length = struct.unpack_from("<ii", data, at)
    if at + 8 + length != len(data):
        bad.append("dat: bytes behind the data set's name")
    return entries, chunks


WEIGHTS = {"attention.q": ["attn_q", "attn_k", "attn_v"], "attention.o": ["attn_output"], "attention.kv_a": ["attn_kv_a_mqa", "attn_q_a"], "attention.q_b": ["attn_q_b"],
           "attention.kv_b": ["attn_kv_b"], "experts.gate": ["ffn_gate_exps", "ffn_up_exps"], "experts.down": ["ffn_down_exps"], "shared.gate": ["ffn_gate_shexp", "ffn_up_shexp"],
           "shared.down": ["ffn_down_shexp"], "dense.gate": ["ffn_gate", "ffn_up"], "dense.down": ["ffn_down"]}


def check_written(work):
    sets = statistics(work / "stats")
    entries, fields = from_gguf(work / "im.gguf")
    older, chunks = from_dat(work / "im.dat")
    expected = {}
    for key, value in sets.items():
        _, layer, role = key.split(".", 2)
        for name in WEIGHTS[role]:
            expected[f"blk.{layer}.{name}.weight"] = value
    if sorted(entries) != sorted(expected) or sorted(older) != sorted(expected):
        bad.append(f"names: {sorted(set(entries) ^ set(expected))}, dat: {sorted(set(older) ^ set(expected))}")
    for name in set(entries) & set(expected):
        sums, counts = entries[name]
        means, tokens = expected[name]
        if not np.array_equal(counts, tokens.astype(np.float32)):
            bad.append(f"{name}: counts {counts}, of the statistics {tokens}")
        for what, is_ in (("gguf", sums / counts[:, None]), ("dat", older[name].reshape(means.shape))):
            # Two roundings to binary32 each.
            if not np.allclose(is_, means, rtol=2.0**-22, atol=0):
                bad.append(f"{name} ({what}): means differ")
    run_ = json.loads(run("calibrate", "--merge", work / "stats", work / "stats", "--dry-run", "-o", work / "none", "--json").stdout)["made_from"][0]
    if fields["general.type"] != "imatrix" or fields["imatrix.chunk_count"] != run_["windows"] or fields["imatrix.chunk_size"] != run_["context"] or chunks != run_["windows"]:
        bad.append(f"fields: {fields}, dat: {chunks} chunks")
    return entries


def write_as_llama(path, entries):
    w = gguf.GGUFWriter(path, "")
    w.add_type("imatrix")
    w.add_array("imatrix.datasets", ["calib.txt"])
    w.add_uint32("imatrix.chunk_count", 8)
    w.add_uint32("imatrix.chunk_size", 512)
    for name in sorted(entries):
        w.add_tensor(name + ".in_sum2", entries[name][0])
        w.add_tensor(name + ".counts", entries[name][1].reshape(-1, 1).astype(np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def blocks(folder):
    return {t.name: t.data.tobytes() for t in gguf.GGUFReader(folder / "model.gguf").tensors}


def check_used(work, entries):
    """By llama.cpp's names, and an expert at a time by the model's own."""
    write_as_llama(work / "theirs.gguf", entries)
    modules = {}
    for name, (sums, counts) in entries.items():
        _, layer, role, _ = name.split(".")
        short = {"ffn_gate_exps": "gate_proj", "ffn_up_exps": "up_proj", "ffn_down_exps": "down_proj"}.get(role)
        for e in range(len(counts) if short else 0):
            modules[f"model.layers.{layer}.mlp.experts.{e}.{short}"] = (sums[e:e + 1], counts[e:e + 1])
    # A GGUF's names of tensors have at most 63 bytes: the older form holds the longer ones.
    with open(work / "own.dat", "wb") as f:
        f.write(struct.pack("<i", len(modules)))
        for name, (sums, counts) in modules.items():
            name = (name + ".weight").encode()
            values = (sums / counts[:, None]).astype(np.float32)
            f.write(struct.pack("<i", len(name)) + name + struct.pack("<ii", 1, values.size) + values.tobytes())
    out = {}
    for name in ("im.gguf", "theirs.gguf", "own.dat"):
        folder = work / ("q-" + name)
        run("quantize", model, "-o", folder, "--type", "Q4_1", "--stats", work / name, "-q")
        out[name] = blocks(folder)
    run("quantize", model, "-o", work / "plain", "--type", "Q4_1", "-q")
    n = sum(a != b for a, b in zip(out["im.gguf"].values(), blocks(work / "plain").values()))
    for name in ("theirs.gguf", "own.dat"):
        differ = [t for t in out[name] if out[name][t] != out["im.gguf"][t]]
        if differ:
            bad.append(f"{name}: {len(differ)} tensors other than with im.gguf, the first is {differ[0]}")
    if n == 0:
        bad.append("the imatrix changed nothing")
    return n


with tempfile.TemporaryDirectory() as folder:
    work = pathlib.Path(folder)
    run("calibrate", model, "--text", text, "--max-tokens", "8192", "-o", work / "stats", "-q")
    for form, name in (("imatrix", "im.gguf"), ("imatrix-dat", "im.dat")):
        run("calibrate", "--merge", work / "stats", "--to", form, "-o", work / name, "-q")
    entries = check_written(work)
    n = check_used(work, entries)

for line in bad:
    print(line)
print(f"gguf {importlib.metadata.version('gguf')}: {len(entries)} entries in two forms, {n} tensors weighted: {len(bad)} differences")
sys.exit(bool(bad))
