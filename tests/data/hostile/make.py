#!/usr/bin/env python3
"""Makes the files of this folder, cases.tsv (safetensors) and expected.tsv (the others).   usage: make.py

The sentences in expected.tsv are written by hand and kept; a new file that is refused has to be given one there.

Needs the standard library, and libxxhash for the digests of experts.idx. The others' cases are in make_*.py beside.

Each case: name, header text (or whole file), data, verdict of the official reader (safetensors 0.8.0,
checked by scripts/oracle/safetensors_conformance.py). Names beginning with accept- are read by us,
all others are refused; the sentences are in tests/formats/test_hostile.c.
"""
import json, pathlib, shutil, struct

import make_binary, make_gguf, make_imatrix, make_json, make_runs

HERE = pathlib.Path(__file__).parent
YES, NO = "accepts", "refuses"
cases = {}


def case(name, header, data=b"", official=NO, length=None):
    assert name not in cases, name
    text = header if isinstance(header, bytes) else header.encode()
    cases[name] = (struct.pack("<Q", len(text) if length is None else length) + text + data, official)


def whole(name, content, official=NO):
    assert name not in cases, name
    cases[name] = (content, official)


def t(dtype="F32", shape="[1]", offsets="[0,4]"):
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}'


def one(tensor, data=b"\0" * 4, name="a"):
    return '{"%s":%s}' % (name, tensor), data


F = t()
D4, D8 = b"\0" * 4, b"\0" * 8
TOP = 2**48 - 1

# the frame
whole("empty-file", b"")
whole("seven-bytes", b"\0" * 7)
case("header-length-zero", "")
case("header-length-all-ones", "{}", length=2**64 - 1)
case("header-length-over-limit", "{}", length=100_000_001)
case("header-length-at-limit-in-short-file", "{}", length=100_000_000)
case("header-one-byte-longer-than-file", "{}", length=3)
case("header-cut-in-json", '{"a":' + F[:-4], D4)

# JSON
case("header-is-array", "[]")
case("header-is-string", '"{}"')
case("header-is-nested-arrays", "[" * 600)
case("two-values", "{}{}")
case("nul-padding", '{"a":' + F + "}\0\0", D4)
case("trailing-comma", '{"a":' + F + ",}", D4)
case("comment", '{/*x*/"a":' + F + "}", D4)
case("byte-order-mark", "\ufeff{}")
case("utf8-invalid", b'{"a\xff":' + F.encode() + b"}", D4)
case("utf8-overlong", b'{"a\xc0\xaf":' + F.encode() + b"}", D4)
case("utf8-surrogate", b'{"a\xed\xa0\x80":' + F.encode() + b"}", D4)
case("lone-surrogate-escape", '{"a\\ud800":' + F + "}", D4)
case("lone-low-surrogate-escape", '{"a\\udc00":' + F + "}", D4)
case("surrogates-in-wrong-order", '{"a\\ud83d\\u0041":' + F + "}", D4)
case("escape-unknown", '{"a\\x":' + F + "}", D4)
case("escape-without-digits", '{"a\\u00g0":' + F + "}", D4)
case("escape-at-the-end", '{"a\\')
case("raw-control-byte", '{"a\x01":' + F + "}", D4)
case("unquoted-key", "{a:" + F + "}", D4)
case("number-minus-alone", *one(t(shape="[-]")))
case("number-point-alone", *one(t(shape="[1.]")))
case("number-exponent-alone", *one(t(shape="[1e]")))
case("word-cut", *one(t(shape="[tru]")))
case("number-1e400", *one(t(shape="[1e400]")))

# names
case("name-empty", *one(F, name=""), official=YES)
case("name-with-nul", *one(F, name="a\\u0000b"), official=YES)
case("name-with-escape-byte", *one(F, name="a\\u001b[2J"), official=YES)
case("name-with-delete-byte", *one(F, name="a\\u007f"), official=YES)
case("name-of-1025-bytes", *one(F, name="n" * 1025), official=YES)
case("duplicate-name", '{"a":' + F + ',"a":' + F + "}", D4, YES)
case("duplicate-name-other-dtype", '{"a":' + F + ',"b":' + t(offsets="[4,8]") + ',"a":' + t("I32") + "}", D8, YES)
case("duplicate-name-escaped", '{"a":' + F + ',"\\u0061":' + t("I32") + "}", D4, YES)
case("duplicate-name-other-range", '{"a":' + F + ',"a":' + t(offsets="[4,8]") + "}", D8)

# metadata
case("metadata-twice", '{"__metadata__":{"a":"1"},"__metadata__":{"b":"2"}}')
case("metadata-null", '{"__metadata__":null}', official=YES)
case("metadata-array", '{"__metadata__":["a"]}')
case("metadata-key-twice", '{"__metadata__":{"format":"pt","format":"np"}}', official=YES)
case("metadata-key-empty", '{"__metadata__":{"":"x"}}', official=YES)
case("metadata-value-number", '{"__metadata__":{"step":7}}')
case("metadata-value-object", '{"__metadata__":{"step":{}}}')
case("metadata-value-with-nul", '{"__metadata__":{"k":"a\\u0000b"}}', official=YES)

case("metadata-cut", '{"__metadata__":{"a":"b"')

# fields
case("field-cut", *one('{"dtype":"F32",'))
case("tensor-as-array", *one('["F32",[1],[0,4]]'), official=YES)
case("tensor-null", *one("null"))
case("field-unknown", *one(F[:-1] + ',"strides":[1]}'), official=YES)
case("field-dtype-twice", *one(F[:-1] + ',"dtype":"F32"}'))
case("field-shape-twice", *one(F[:-1] + ',"shape":[1]}'))
case("field-offsets-twice", *one(F[:-1] + ',"data_offsets":[0,4]}'))
case("field-dtype-missing", *one('{"shape":[1],"data_offsets":[0,4]}'))
case("field-shape-missing", *one('{"dtype":"F32","data_offsets":[0,4]}'))
case("field-offsets-missing", *one('{"dtype":"F32","shape":[1]}'))
case("dtype-unknown", *one(t("F128")))
case("dtype-lower-case", *one(t("f32")))
case("dtype-long", *one(t("\u00e4" * 100)))
case("dtype-number", *one('{"dtype":32,"shape":[1],"data_offsets":[0,4]}'))

# shapes
case("shape-number", *one(t(shape="1")))
case("shape-nested", *one(t(shape="[[1]]")))
case("dim-negative", *one(t(shape="[-1]")))
case("dim-minus-zero", *one(t(shape="[-0]")))
case("dim-float", *one(t(shape="[1.0]")))
case("dim-exponent", *one(t(shape="[1e0]")))
case("dim-string", *one(t(shape='["1"]')))
case("dim-leading-zero", *one(t(shape="[01]")))
case("dim-2-64", *one(t(shape="[18446744073709551616]")))
case("dim-2-48", *one(t(shape=f"[{TOP + 1},0]", offsets="[0,0]"), b""), official=YES)
case("rank-9", *one(t(shape="[1,1,1,1,1,1,1,1,1]")), official=YES)
case("shape-overflows", *one(t(shape=f"[{TOP},{TOP},{TOP}]")))
case("shape-wraps-to-4", *one(t("U8", "[4194305,4194305,211106198978564]")))
case("shape-overflows-behind-zero", *one(t(shape=f"[0,{TOP},{TOP}]", offsets="[0,0]"), b""), official=YES)
case("shape-over-2-60-bytes", *one(t("U8", f"[{TOP},4097,0]", "[0,0]"), b""), official=YES)
case("f4-half-a-byte", *one(t("F4", "[3]", "[0,2]"), b"\0\0"))
case("f6-half-a-byte", *one(t("F6_E2M3", "[2]", "[0,2]"), b"\0\0"))

# ranges
case("offsets-number", *one(t(offsets="4")))
case("offsets-one", *one(t(offsets="[0]")))
case("offsets-three", *one(t(offsets="[0,4,8]")))
case("offset-negative", *one(t(offsets="[-4,0]")))
case("offset-float", *one(t(offsets="[0,4.0]")))
case("offset-string", *one(t(offsets='["0",4]')))
case("offset-2-64", *one(t(offsets="[0,18446744073709551616]")))
case("offsets-backwards", *one(t(offsets="[4,0]")))
case("offsets-all-memory", *one(t(offsets="[0,18446744073709551615]")))
case("range-too-short", *one(t(shape="[2]")))
case("range-too-long", *one(t(offsets="[0,8]"), D8))
case("file-truncated", *one(F, D4[:3]))
case("file-truncated-to-header", *one(F, b""))
case("byte-behind-the-data", *one(F, D4 + b"\0"))
case("data-without-tensors", "{}", b"\0")
case("hole-in-front", *one(t(offsets="[4,8]"), D8))
case("hole-between", '{"a":' + F + ',"b":' + t(offsets="[8,12]") + "}", D8 + D4)
case("overlap", '{"a":' + t(shape="[2]", offsets="[0,8]") + ',"b":' + t(offsets="[4,8]") + "}", D8)
case("shared-range", '{"a":' + F + ',"b":' + F + "}", D4)
case("zero-size-inside-a-range",
     '{"a":' + t(shape="[2]", offsets="[0,8]") + ',"z":' + t(shape="[0]", offsets="[4,4]") + "}", D8)
case("zero-size-behind-the-data", '{"a":' + F + ',"z":' + t(shape="[0]", offsets="[8,8]") + "}", D4)

# read by us
case("accept-no-tensors", "{}", official=YES)
case("accept-metadata-only", '{"__metadata__":{"format":"pt"}}', official=YES)
case("accept-metadata-empty", '{"__metadata__":{},"a":' + F + "}", D4, YES)
case("accept-leading-space", "  \n\t\r{" + '"a":' + F + "}", D4, YES)
case("accept-trailing-space", '{"a":' + F + "} \n\t\r ", D4, YES)
case("accept-space-everywhere", json.dumps(json.loads('{"a":' + F + "}"), indent=1), D4, YES)
case("accept-header-length-odd", '{"a":' + F + "}" + " " * (7 - len('{"a":' + F + "}") % 8), D4, YES)
case("accept-scalar", *one(t(shape="[]")), official=YES)
case("accept-zero-size-only", *one(t(shape="[0]", offsets="[0,0]"), b""), official=YES)
case("accept-zero-size-between",
     '{"a":' + F + ',"y":' + t(shape="[3,0]", offsets="[4,4]") + ',"z":' + t(shape="[0]", offsets="[4,4]")
     + ',"b":' + t(offsets="[4,8]") + "}", D8, YES)
case("accept-unaligned", '{"u":' + t("U8", "[1]", "[0,1]") + ',"a":' + t(offsets="[1,5]") + "}", D4 + b"\1", YES)
case("accept-out-of-order", '{"b":' + t(offsets="[4,8]") + ',"a":' + F + "}", D8, YES)
case("accept-fields-in-any-order", *one('{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}'), official=YES)
case("accept-f4", *one(t("F4", "[2,4]", "[0,4]")), official=YES)
case("accept-f6", *one(t("F6_E3M2", "[4]", "[0,3]"), b"\0\0\0"), official=YES)
case("accept-bool-2", *one(t("BOOL", "[1]", "[0,1]"), b"\2"), official=YES)
case("accept-nan", *one(F, b"\0\0\xc0\x7f"), official=YES)
case("accept-escaped-name", *one(F, name="\\u00e4\\/\\\"\\\\\\ud83d\\ude00"), official=YES)
case("accept-composed-and-decomposed", '{"\u00e4":' + F + ',"a\u0308":' + t(offsets="[4,8]") + "}", D8, YES)
case("accept-name-like-a-path", *one(F, name="../../x"), official=YES)
case("accept-name-of-1024-bytes", *one(F, name="n" * 1024), official=YES)
case("accept-rank-8", *one(t(shape="[1,1,1,1,1,1,1,1]")), official=YES)
case("accept-dim-at-limit", *one(t(shape=f"[{TOP},0]", offsets="[0,0]"), b""), official=YES)
case("accept-2-60-bytes-times-zero", *one(t("U8", f"[{TOP},4096,0]", "[0,0]"), b""), official=YES)
case("accept-two-in-order", '{"x":' + F + ',"y":' + t(offsets="[4,8]") + "}", D8, YES)
case("accept-one-x", *one(F, name="x"), official=YES)
case("accept-one-z", *one(F, name="z"), official=YES)
at, fields, data = 0, [], b""
for name, bits in [("BOOL", 8), ("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6), ("U8", 8), ("I8", 8), ("F8_E5M2", 8),
                   ("F8_E4M3", 8), ("F8_E8M0", 8), ("F8_E4M3FNUZ", 8), ("F8_E5M2FNUZ", 8), ("I16", 16), ("U16", 16),
                   ("F16", 16), ("BF16", 16), ("I32", 32), ("U32", 32), ("F32", 32), ("C64", 64), ("F64", 64),
                   ("I64", 64), ("U64", 64)]:
    n = bits * 4 // 8
    fields.append(f'"{name}":' + t(name, "[4]", f"[{at},{at + n}]"))
    at += n
case("accept-all-dtypes", "{" + ",".join(fields) + "}", bytes(range(at)), YES)

for old in HERE.glob("*.safetensors"):
    old.unlink()
rows = ["case\tours\tofficial"]
for name, (content, official) in sorted(cases.items()):
    (HERE / f"{name}.safetensors").write_bytes(content)
    rows.append(f"{name}\t{YES if name.startswith('accept-') else NO}\t{official}")
(HERE / "cases.tsv").write_text("\n".join(rows) + "\n")

# A file of another format is read by the function that reads it (tests/convert/test_hostile_formats.c); status 0, or another and a
# sentence that holds the third column.
EXPECTED = HERE / "expected.tsv"
known = {name: sentence for name, _, sentence in (line.split("\t") for line in EXPECTED.read_text().splitlines())}
others = [(*c[:2], 3 if c[2] else None) for c in make_json.cases + make_binary.cases + make_gguf.cases + make_imatrix.cases] + make_runs.cases
beside = {"index/a.safetensors": cases["accept-two-in-order"][0], "index/b.safetensors": cases["accept-one-z"][0],
          "index/c.safetensors": cases["accept-one-x"][0],
          "pack/layer.safetensors": make_binary.SHARD}
for folder in {name.split("/")[0] for name, *_ in others}:
    shutil.rmtree(HERE / folder, ignore_errors=True)
    (HERE / folder).mkdir()
rows = ["file\tstatus\tsentence"]
for name, content, refused in sorted(others):
    assert not (HERE / name).exists(), name
    assert name.split("/")[1].startswith("accept-") == (refused is None), name
    (HERE / name).write_bytes(content)
    rows.append(f"{name}\t{refused}\t{known.get(name, '(no sentence yet)')}" if refused else f"{name}\t0\t")
EXPECTED.write_text("\n".join(rows) + "\n")
for name, content in beside.items():
    (HERE / name).write_bytes(content)
total = sum(len(c) for c, _ in cases.values()) + sum(len(c) for _, c, _ in others)
print(len(cases), "safetensors files and", len(others), "others,", total, "bytes")
