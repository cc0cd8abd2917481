#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GGUF against the package gguf (PyPI), both ways.   usage: gguf_both_ways.py SCRUPLE MODEL

What GGUFWriter writes (every type of tensors and of values, alignments, split files) scruple must list as GGUFReader does, move byte for byte,
and decode, where it decodes the type, to the bits of gguf.quants.dequantize. What scruple writes of MODEL, a safetensors checkpoint, GGUFReader
must read as the safetensors package reads MODEL, and what it quantizes with
--search compat must have the bytes of gguf.quants.quantize, of the types that it has. Exit 1 with a line for each difference.
"""
import importlib.metadata, json, pathlib, subprocess, sys, tempfile

import gguf
import numpy as np
import safetensors
from gguf import GGMLQuantizationType as T, GGUFReader, GGUFValueType as V, GGUFWriter, quants

scruple, model = sys.argv[1:]
bad = []
# Q8_1 (activations, never in a file) has 36 bytes a block in ggml; the package says 40.
TYPES = [kind for kind in T if kind != T.Q8_1]
PLAIN = {T.F32: np.float32, T.F16: np.float16, T.F64: np.float64, T.I8: np.int8, T.I16: np.int16, T.I32: np.int32, T.I64: np.int64}


def same(what, ours, theirs):
    if ours != theirs:
        bad.append(f"{what}: ours {str(ours)[:200]}, theirs {str(theirs)[:200]}")


def run(*words, status=0):
    done = subprocess.run([scruple, *map(str, words)], capture_output=True, text=True)
    if done.returncode != status:
        bad.append(f"{' '.join(map(str, words))}: status {done.returncode}: {done.stderr.strip()}")
    return done


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def random_values(w, rng):
    ends = {V.UINT8: (0, 2**8 - 1), V.INT8: (-2**7, 2**7 - 1), V.UINT16: (0, 2**16 - 1), V.INT16: (-2**15, 2**15 - 1), V.UINT32: (0, 2**32 - 1),
            V.INT32: (-2**31, 2**31 - 1), V.UINT64: (0, 2**64 - 1), V.INT64: (-2**63, 2**63 - 1)}
    for kind, (low, high) in ends.items():
        for name, value in (("low", low), ("high", high), ("one", 1)):
            w.add_key_value(f"t.{kind.name}.{name}", value, kind)
    w.add_float32("t.f32", float(np.float32(rng.standard_normal())))
    w.add_float64("t.f64", float(rng.standard_normal()))
    w.add_bool("t.yes", True)
    w.add_bool("t.no", False)
    w.add_string("t.text", "\u00e4 \U0001f600 \"quoted\"\n")
    w.add_array("t.texts", ["", "a", "\u00e4" * 50])
    w.add_array("t.numbers", [1, -2, 3])
    w.add_array("t.floats", [0.5, -1.25])
    w.add_array("t.bools", [True, False, True])


def tensor_of(rng, kind, lead):
    """Random bytes of a type, as the writer takes them, with two blocks a row."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if kind in PLAIN:
        return rng.integers(0, 256, (*lead, 6 * np.dtype(PLAIN[kind]).itemsize), dtype=np.uint8).view(PLAIN[kind])
    if kind == T.BF16:
        return rng.integers(0, 256, (*lead, 12), dtype=np.uint8)
    return rng.integers(0, 256, (*lead, 2 * size), dtype=np.uint8)


def write_all(path, rng, align=None, **split):
    w = GGUFWriter(path, "oracle", **split)
    if align:
        w.add_custom_alignment(align)
    random_values(w, rng)
    for kind in TYPES:
        for lead in ((), (3,), (2, 3), (2, 1, 3)):
            w.add_tensor(f"{kind.name}.{len(lead)}", tensor_of(rng, kind, lead), raw_dtype=None if kind in PLAIN else kind)
    finish(w)


def their_tensors(paths):
    return [(t.name, t.tensor_type.name, [int(n) for n in reversed(t.shape)], int(t.n_bytes), pathlib.Path(p).name, int(t.data_offset))
            for p in paths for t in GGUFReader(p).tensors]


def our_tensors(path):
    return [(t["name"], t["dtype"], t["shape"], t["bytes"], t["file"], t["offset"]) for t in json.loads(run("ls", "--json", path).stdout)["tensors"]]


def their_values(path):
    values = {}
    for name, field in GGUFReader(path).fields.items():
        if name.startswith("GGUF."):
            continue
        value = field.contents()
        if field.types[0] == V.ARRAY:
            kind = field.types[1].name
            short = {"UINT": "U", "INT": "I", "FLOAT": "F"}
            for word, letter in short.items():
                kind = letter + kind[len(word):] if kind.startswith(word) else kind
            value = {"array": kind, "length": len(field.data)}
        values[name] = value
    return values


def check_read(path, paths):
    same(f"{path.name}: tensors", our_tensors(path), their_tensors(paths))
    same(f"{path.name}: values", json.loads(run("show", "--json", path).stdout)["key_values"], their_values(paths[0]))


def check_moved(path, paths, work):
    """One file out of any number; GGUFReader has to find the same in it."""
    out = work / ("moved-" + path.name)
    run("convert", path, "-o", out, "--to", "gguf", "-q", "--read-back")
    theirs, ours = [t for p in paths for t in GGUFReader(p).tensors], GGUFReader(out / "model.gguf").tensors
    same(f"{path.name} moved: names", [t.name for t in ours], [t.name for t in theirs])
    for a, b in zip(ours, theirs):
        same(f"{path.name} moved: {a.name}", (a.tensor_type, a.shape.tolist(), a.data.tobytes()), (b.tensor_type, b.shape.tolist(), b.data.tobytes()))
    if len(paths) == 1 and (out / "model.gguf").read_bytes() != path.read_bytes():
        bad.append(f"{path.name}: moved, it is another file")


def finite_blocks(rng, kind):
    """A stack of blocks of random bytes that decode to finite numbers, where the package decodes the type; else None."""
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = rng.integers(0, 256, (200, size), dtype=np.uint8)
    try:
        with np.errstate(all="ignore"):
            finite = np.isfinite(quants.dequantize(blocks, kind)).all(axis=1)
    except NotImplementedError:
        return None
    blocks = blocks[finite]
    return blocks[:len(blocks) // 12 * 12].reshape(2, 3, -1)


def check_decoded(work, rng):
    decoded, known = [], []
    for kind in TYPES:
        blocks = None if kind in PLAIN or kind == T.BF16 else finite_blocks(rng, kind)
        if blocks is None:
            continue
        path = work / f"{kind.name}.gguf"
        w = GGUFWriter(path, "oracle")
        w.add_tensor("t", blocks, raw_dtype=kind)
        finish(w)
        known.append(kind.name)
        done = subprocess.run([scruple, "convert", path, "-o", work / f"{kind.name}-f32", "--to", "f32", "-q"], capture_output=True, text=True)
        if done.returncode == 3 and "does not decode" in done.stderr:
            continue
        if done.returncode:
            bad.append(f"{kind.name}: {done.stderr}")
            continue
        (_, t), = safetensors.deserialize((work / f"{kind.name}-f32/model.safetensors").read_bytes())
        expected = quants.dequantize(blocks, kind)
        decoded.append(kind.name)
        same(f"{kind.name} decoded: shape", list(t["shape"]), list(expected.shape))
        ours = np.frombuffer(t["data"], np.float32).reshape(expected.shape)
        if not np.array_equal(ours.view(np.uint32), expected.astype(np.float32).view(np.uint32)):
            bad.append(f"{kind.name} decoded: {np.count_nonzero(ours != expected)} of {ours.size} values differ, {np.abs(ours - expected).max()} at most")
    if "Q8_0" not in decoded:
        bad.append("Q8_0 was not decoded")
    return decoded, known


def check_written(work):
    names = {"F32": "F32", "F16": "F16", "BF16": "BF16", "I32": "I32", "I64": "I64"}
    out = work / "written"
    run("convert", model, "-o", out, "--to", "gguf", "-q")
    theirs = {}
    for file in sorted(pathlib.Path(model).glob("*.safetensors")):
        for name, t in safetensors.deserialize(file.read_bytes()):
            theirs[name] = (names[t["dtype"]], list(t["shape"]), bytes(t["data"]))
    ours = {}
    for file in sorted(out.glob("*.gguf")):
        for t in GGUFReader(file).tensors:
            ours[t.name] = (t.tensor_type.name, [int(n) for n in reversed(t.shape)], t.data.tobytes())
    same("written: names", sorted(ours), sorted(theirs))
    for name in set(ours) & set(theirs):
        same(f"written: {name}", ours[name], theirs[name])
    return len(ours)


def check_quantized(work):
    """The blocks of quantize --search compat, where the package has the type's quantizer."""
    source = {}
    for file in sorted(pathlib.Path(model).glob("*.safetensors")):
        for name, t in safetensors.deserialize(file.read_bytes()):
            if t["dtype"] == "BF16" and len(t["shape"]) == 2:
                source[name] = (np.frombuffer(t["data"], np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(t["shape"])
    known = []
    for kind in TYPES:
        if kind in PLAIN or kind == T.BF16 or kind.name.startswith("TQ"):
            continue
        try:
            quants.quantize(np.ones((1, 256), np.float32), kind)
        except NotImplementedError:
            continue
        known.append(kind.name)
        out, n = work / f"quantized-{kind.name}", 0
        run("quantize", model, "-o", out, "--type", kind.name, "--scope", "all-linear", "--search", "compat", "-q")
        for t in GGUFReader(out / "model.gguf").tensors:
            if t.tensor_type != kind:
                continue
            n += 1
            if not np.array_equal(t.data, quants.quantize(source[t.name], kind)):
                bad.append(f"{kind.name} of {t.name}: other bytes than the package's")
        if n == 0:
            bad.append(f"{kind.name}: nothing was quantized")
    if not known:
        bad.append("the package quantizes no type that scruple has")
    return known


with tempfile.TemporaryDirectory() as folder:
    work, rng = pathlib.Path(folder), np.random.default_rng(11)
    write_all(work / "all.gguf", rng)
    write_all(work / "aligned.gguf", rng, align=4096)
    for name, how in (("few", dict(split_max_tensors=50)), ("small", dict(split_max_size=20000))):
        (work / name).mkdir()
        write_all(work / name / f"{name}.gguf", rng, **how)
    for path in ("all.gguf", "aligned.gguf"):
        check_read(work / path, [work / path])
        check_moved(work / path, [work / path], work)
    n_parts = []
    for name in ("few", "small"):
        parts = sorted((work / name).glob("*.gguf"))
        n_parts.append(len(parts))
        for path in (work / name, parts[0], parts[-1]):
            check_read(path, parts)
        check_moved(work / name, parts, work)
    if min(n_parts) < 2:
        bad.append(f"sets of {n_parts} parts")
    decoded, known = check_decoded(work, rng)
    n = check_written(work)
    quantized = check_quantized(work)

for line in bad:
    print(line)
print(f"gguf {importlib.metadata.version('gguf')}: {len(TYPES)} types listed and moved, sets of {n_parts} parts, {len(decoded)} of {len(known)} block types decoded "
      f"({', '.join(decoded)}), {n} tensors written, {', '.join(quantized)} quantized: {len(bad)} differences")
sys.exit(bool(bad))
