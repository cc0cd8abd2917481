"""Cases of npy, npz, experts.idx and statistics; make.py writes them. Each: (file, bytes, None where the file is read or REFUSED)."""
import ctypes, json, struct, zlib

cases = []
REFUSED = "refused"  # with the sentence of expected.tsv


def put(folder, suffix):
    def case(name, content, verdict):
        cases.append((f"{folder}/{name}{suffix}", content, verdict))
    return case


# ---- files that are given instead of a safetensors file ---------------------------------------------------------------------
model = put("model", "")
model("accept-gguf.safetensors", b"GGUF" + struct.pack("<IQQ", 3, 0, 0), None)
model("pytorch.bin", b"PK\3\4" + b"\0" * 30, REFUSED)
model("pickle.pt", b"\x80\2}q\0." + b"\0" * 30, REFUSED)
model("lfs-pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 7\n", REFUSED)
model("json.safetensors", b'{"metadata":{},"weight_map":{}}', REFUSED)
model("html.safetensors", b"<!DOCTYPE html><html>rate limit</html>", REFUSED)
model("zeros.safetensors", b"\0" * 64, REFUSED)
model("zeros-short.safetensors", b"\0" * 8, REFUSED)
model("one-byte.safetensors", b"{", REFUSED)
model("two-headers.safetensors", (struct.pack("<Q", 2) + b"{}") * 2, REFUSED)
model("accept-no-tensors.of-any-name", struct.pack("<Q", 2) + b"{}", None)

# ---- npy: reading an array -------------------------------------------------------------------------------------------
npy = put("npy", ".npy")


def array(text="{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", data=b"\0" * 8, version=(1, 0), length=None):
    head = text if isinstance(text, bytes) else text.encode()
    n = len(head) if length is None else length
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version[0] == 1 else "<I", n) + head + data


def shaped(shape, data=b"\0" * 8, descr="'<f4'", order="False"):
    return array("{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape), data)


npy("accept-one", array(), None)
npy("accept-version-2", array(version=(2, 0)), None)
npy("accept-version-3", array(version=(3, 0)), None)
npy("accept-scalar", shaped("()", b"\0" * 4), None)
npy("accept-empty", shaped("(0,)", b""), None)
npy("accept-zero-first", shaped("(0, 1000000)", b""), None)
npy("accept-long-integers", shaped("(2L,)"), None)
npy("accept-keys-in-any-order", array("{'shape': (2,), 'fortran_order': False, 'descr': '<f4'}"), None)
npy("accept-double-quotes", array('{"descr": "<f4", "fortran_order": False, "shape": (2,)}'), None)
npy("accept-rank-8", shaped("(1, 1, 1, 1, 1, 1, 1, 2)"), None)
npy("accept-header-at-limit", array(array()[10:-8].ljust(10000)), None)
npy("empty", b"", REFUSED)
npy("magic-only", b"\x93NUMPY", REFUSED)
npy("magic-wrong", b"\x94" + array()[1:], REFUSED)
npy("version-0", array(version=(0, 0)), REFUSED)
npy("version-1-1", array(version=(1, 1)), REFUSED)
npy("version-4", array(version=(4, 0)), REFUSED)
npy("header-behind-the-file", array(length=9999), REFUSED)
npy("header-over-limit", array(length=10001), REFUSED)
npy("header-4-gib", array(version=(2, 0), length=2**32 - 1), REFUSED)
npy("header-empty", array(""), REFUSED)
npy("header-no-brace", array("('descr',)"), REFUSED)
npy("header-open", array("{'descr': '<f4', "), REFUSED)
npy("header-call", array("__import__('os').system('id')"), REFUSED)
npy("header-expression", shaped("(1+1,)"), REFUSED)
npy("bytes-behind-brace", array("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } x"), REFUSED)
npy("key-unquoted", array("{descr: '<f4'}"), REFUSED)
npy("key-escaped", array("{'desc\\x72': '<f4'}"), REFUSED)
npy("key-unknown", array("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'evil': 1}"), REFUSED)
npy("key-twice", array("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"), REFUSED)
npy("key-missing", array("{'descr': '<f4', 'shape': (2,)}"), REFUSED)
npy("comma-missing", array("{'descr': '<f4' 'fortran_order': False}"), REFUSED)
npy("type-object", shaped("(1,)", descr="'|O'"), REFUSED)
npy("type-structured", shaped("(1,)", descr="[('a', '<f4')]"), REFUSED)
npy("type-big-endian", shaped("(2,)", descr="'>f4'"), REFUSED)
npy("type-void", shaped("(2,)", descr="'|V4'"), REFUSED)
npy("type-text", shaped("(2,)", descr="'<U1'"), REFUSED)
npy("type-long", shaped("(2,)", descr="'" + "<f4" * 100 + "'"), REFUSED)
npy("order-fortran", shaped("(2,)", order="True"), REFUSED)
npy("order-number", shaped("(2,)", order="0"), REFUSED)
npy("shape-number", shaped("2"), REFUSED)
npy("shape-no-tuple", shaped("(2)"), REFUSED)
npy("shape-list", shaped("[2]"), REFUSED)
npy("shape-negative", shaped("(-2,)"), REFUSED)
npy("shape-float", shaped("(2.0,)"), REFUSED)
npy("shape-leading-zero", shaped("(02,)"), REFUSED)
npy("shape-2-64", shaped("(18446744073709551616,)"), REFUSED)
npy("shape-2-63", shaped("(9223372036854775808,)"), REFUSED)
npy("shape-overflows", shaped("(4294967296, 4294967296, 4294967296)"), REFUSED)
npy("shape-overflows-behind-zero", shaped("(0, 9223372036854775807, 9223372036854775807)", b""), REFUSED)
npy("rank-9", shaped("(1, 1, 1, 1, 1, 1, 1, 1, 1)", b"\0" * 4), REFUSED)
npy("data-short", shaped("(3,)"), REFUSED)
npy("data-long", shaped("(1,)"), REFUSED)

# ---- npz: reading its array "a" -----------------------------------------------------------------------------------------
npz = put("npz", ".npz")


def member(name=b"a.npy", data=array(), method=0, flags=0, packed=None, crc=None, size=None, local_name=None, extra=b"", local_extra=b""):
    if packed is None:
        packed = data if method != 8 else zlib.compress(data, 9)[2:-4]
    return {"name": name, "local": name if local_name is None else local_name, "packed": packed, "method": method, "flags": flags,
            "crc": zlib.crc32(data) if crc is None else crc, "size": len(data) if size is None else size, "extra": extra, "local_extra": local_extra}


def archive(*members, count=None, central_offset=None, comment=b"", front=b""):
    out, central = front, b""
    for m in members:
        fields = struct.pack("<HHHHHIII", 20, m["flags"], m["method"], 0, 33, m["crc"], len(m["packed"]), m["size"])
        central += (b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHHHII", len(m["name"]), len(m["extra"]), 0, 0, 0, 0, m.get("at", len(out)))
                    + m["name"] + m["extra"])
        if "at" not in m:
            out += b"PK\3\4" + fields + struct.pack("<HH", len(m["local"]), len(m["local_extra"])) + m["local"] + m["local_extra"] + m["packed"]
    n = len(members) if count is None else count
    at = len(out) if central_offset is None else central_offset
    return out + central + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, n, n, len(central), at, len(comment)) + comment


good = member()
npz("accept-stored", archive(good), None)
npz("accept-deflated", archive(member(method=8)), None)
npz("accept-two", archive(good, member(b"b.npy")), None)
npz("accept-comment", archive(good, comment=b"hello"), None)
npz("accept-name-like-a-path", archive(good, member(b"../../etc/passwd")), None)
npz("empty", b"", REFUSED)
npz("no-zip", b"\x93NUMPY" * 10, REFUSED)
npz("no-members", archive(), REFUSED)
npz("cut", archive(good)[:-30], REFUSED)
npz("front-cut", archive(good)[40:], REFUSED)
npz("array-missing", archive(member(b"b.npy")), REFUSED)
npz("name-twice", archive(good, member()), REFUSED)
npz("encrypted", archive(member(flags=1)), REFUSED)
npz("method-bzip2", archive(member(method=12)), REFUSED)
npz("method-unknown", archive(member(method=99)), REFUSED)
npz("crc-wrong", archive(member(crc=1)), REFUSED)
npz("size-lies-short", archive(member(size=8)), REFUSED)
npz("size-lies-long", archive(member(size=99999)), REFUSED)
npz("deflate-size-lies-long", archive(member(method=8, size=1000)), REFUSED)
npz("deflate-size-lies-huge", archive(member(method=8, size=2**32 - 2)), REFUSED)
npz("deflate-garbage", archive(member(method=8, packed=b"\xff" * 40)), REFUSED)
npz("deflate-cut", archive(member(method=8, packed=zlib.compress(array(), 9)[2:20])), REFUSED)
npz("bomb", archive(member(data=b"\0" * 10**6, method=8)), REFUSED)
zip64 = struct.pack("<HHQ", 1, 8, 5 << 30)
npz("size-5-gib", archive(member(method=8, size=2**32 - 1, extra=zip64, local_extra=zip64)), REFUSED)
npz("names-differ", archive(member(local_name=b"b.npy")), REFUSED)
npz("overlapping", archive(good, {**member(b"b.npy"), "at": 0}), REFUSED)
npz("central-offset-behind", archive(good, central_offset=2**31), REFUSED)
npz("count-too-many", archive(good, count=7), REFUSED)
npz("count-too-few", archive(good, member(b"b.npy"), count=1), REFUSED)
npz("array-broken", archive(member(data=b"x" * 20)), REFUSED)
npz("array-short", archive(member(data=array()[:-1])), REFUSED)

# ---- experts.idx beside layer.safetensors: one layer of two experts, gate, up and down of one F32 each, and a scale in the tail ----
pack = put("pack", ".idx")


class Digest(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def xxh128(data):
    """XXH3-128 by the system's libxxhash, in its canonical form."""
    f = ctypes.CDLL("libxxhash.so.0").XXH3_128bits
    f.restype, f.argtypes = Digest, [ctypes.c_char_p, ctypes.c_size_t]
    d = f(data, len(data))
    return struct.pack(">QQ", d.high, d.low)


PAGE = 4096
names = [f"model.layers.1.mlp.experts.{x}.{p}_proj.weight" for x in range(2) for p in ("gate", "up", "down")]
entries = [(n, "F32", [1, 1], 4 * i) for i, n in enumerate(names)] + [("tail", "F32", [2], 24)]
text = json.dumps({n: {"dtype": d, "shape": s, "data_offsets": [at, at + (8 if n == "tail" else 4)]} for n, d, s, at in entries}).encode()
text += b" " * (PAGE - 8 - len(text))
SHARD = struct.pack("<Q", len(text)) + text + bytes(range(32))


def text_row(strings, s):
    at = len(strings)
    strings += s
    return struct.pack("<II", at, len(s))


def idx(file={}, layer={}, part={}, tail={}, head={}, records=None, layers=1, record_digest=None, name=b"layer.safetensors", suffix=b"weight", dtype=b"F32"):
    strings = bytearray()
    f = {"bytes": len(SHARD), "start": PAGE, "digest": xxh128(SHARD[:PAGE]), **file}
    body = text_row(strings, name) + struct.pack("<QQ", f["bytes"], f["start"]) + f["digest"] + bytes(8)
    for i in range(layers):
        l = {"layer": 1, "file": 0, "experts": 2, "parts": 4, "first_part": 0, "record": 0, "at": PAGE, "bytes": 12, **layer}
        body += struct.pack("<IIIIIIQQQQ", l["layer"], l["file"], l["experts"], l["parts"], l["first_part"], 0, l["record"], l["at"], l["bytes"], 0)
    for i in range(4):
        c = {"projection": i, "inside": 1, "rank": 2, "rows": 1, "cols": 1, "at": PAGE + 4 * i, "stride": 12, "bytes": 4,
             **({"projection": 0, "inside": 0, "rank": 1, "cols": 0, "at": PAGE + 24, "stride": 4} if i == 3 else {}),
             **(part if i == 1 else {}), **(tail if i == 3 else {})}
        body += struct.pack("<II", c["projection"], c["inside"]) + text_row(strings, suffix) + text_row(strings, dtype)
        body += struct.pack("<IIQQQQQ", c["rank"], 0, c["rows"], c["cols"], c["at"], c["stride"], c["bytes"])
    rows = [(PAGE + 12 * x, 12) for x in range(2)] if records is None else records
    for at, n in rows:
        body += struct.pack("<QQ", at, n) + (record_digest or xxh128(SHARD[at:at + n]))
    body += strings
    h = {"magic": b"SCRUPLEX", "version": 1, "header": 96, "bytes": 96 + len(body), "page": PAGE, "files": 1, "layers": layers, "parts": 4,
         "records": len(rows), "strings": len(strings), "digest": xxh128(bytes(body)), "own": None, **head}
    out = h["magic"] + struct.pack("<IIQQIIIIQQ", h["version"], h["header"], h["bytes"], h["page"], h["files"], h["layers"], h["parts"], 0, h["records"], h["strings"]) + h["digest"]
    return out + (h["own"] or xxh128(out)) + bytes(body)


pack("accept-good", idx(), None)
pack("empty", b"", REFUSED)
pack("header-cut", idx()[:95], REFUSED)
pack("magic-wrong", idx(head={"magic": b"SCRUPLEY"}), REFUSED)
pack("version-2", idx(head={"version": 2}), REFUSED)
pack("header-digest-wrong", idx(head={"own": b"x" * 16}), REFUSED)
pack("header-size-97", idx(head={"header": 97}), REFUSED)
pack("file-cut", idx()[:-1], REFUSED)
pack("file-longer", idx() + b"\0", REFUSED)
pack("tables-digest-wrong", idx(head={"digest": b"x" * 16}), REFUSED)
pack("files-too-many", idx(head={"files": 2**32 - 1}), REFUSED)
pack("layers-too-many", idx(head={"layers": 2}), REFUSED)
pack("components-too-many", idx(head={"parts": 2**32 - 1}), REFUSED)
pack("records-overflow", idx(head={"records": 2**60}), REFUSED)
pack("strings-overflow", idx(head={"strings": 2**64 - 1}), REFUSED)
pack("page-0", idx(head={"page": 0}), REFUSED)
pack("page-12345", idx(head={"page": 12345}), REFUSED)
pack("page-2-63", idx(head={"page": 2**63}), REFUSED)
pack("type-unknown", idx(dtype=b"F33"), REFUSED)
pack("name-with-nul", idx(name=b"layer\0.safetensors"), REFUSED)
pack("name-long", idx(name=b"n" * 256), REFUSED)
pack("name-parent", idx(name=b"../layer.safetensors"), REFUSED)
pack("name-absolute", idx(name=b"/etc/passwd"), REFUSED)
pack("name-missing", idx(name=b"other.safetensors"), REFUSED)
pack("shard-size", idx(file={"bytes": len(SHARD) + 1}), REFUSED)
pack("shard-start-off-page", idx(file={"start": PAGE + 1}), REFUSED)
pack("shard-start-zero", idx(file={"start": 0}), REFUSED)
pack("shard-start-huge", idx(file={"start": 2**62}), REFUSED)
pack("shard-header-differs", idx(file={"digest": b"x" * 16}), REFUSED)
pack("layer-file-outside", idx(layer={"file": 1}), REFUSED)
pack("layer-without-experts", idx(layer={"experts": 0}), REFUSED)
pack("layer-experts-too-many", idx(layer={"experts": 2**32 - 1}), REFUSED)
pack("layer-components-outside", idx(layer={"first_part": 1}), REFUSED)
pack("layer-record-outside", idx(layer={"record": 1}), REFUSED)
pack("layer-bytes-overflow", idx(layer={"bytes": 2**63}), REFUSED)
pack("layer-off-data-start", idx(layer={"at": PAGE + 4}), REFUSED)
pack("layers-not-ascending", idx(layers=2), REFUSED)
pack("record-digest-wrong", idx(record_digest=b"x" * 16), REFUSED)
pack("record-moved", idx(records=[(PAGE, 12), (PAGE + 13, 12)]), REFUSED)
pack("record-short", idx(records=[(PAGE, 12), (PAGE + 12, 11)]), REFUSED)
pack("record-one-too-many", idx(records=[(PAGE, 12), (PAGE + 12, 12), (PAGE + 24, 8)]), REFUSED)
for name, change in [("projection-3", {"projection": 3}), ("rank-0", {"rank": 0}), ("rank-3", {"rank": 3}), ("rows-0", {"rows": 0}), ("rows-2-63", {"rows": 2**63}),
                     ("overflows", {"rows": 2**62, "cols": 2**62}), ("bytes-wrong", {"bytes": 5}), ("moved", {"at": PAGE}),
                     ("stride-wrong", {"stride": 13})]:
    pack("component-" + name, idx(part=change), REFUSED)
pack("accept-number-without-dimension", idx(tail={"rank": 0, "rows": 0}), None)
pack("tail-outside", idx(tail={"at": PAGE + 40}), REFUSED)
pack("tail-in-records", idx(tail={"at": PAGE}), REFUSED)
pack("tail-stride-overflows", idx(tail={"stride": 2**63}), REFUSED)
pack("components-too-few", idx(layer={"parts": 2}), REFUSED)

# ---- statistics ------------------------------------------------------------------------------------------------------------
stats = put("stats", ".stats")
PARTS = [("energy", "F64", [2, 3]), ("weight_sum", "F64", [2]), ("weight_sq_sum", "F64", [2]), ("count", "I64", [2])]
META = {"format": "pt", "scruple.statistics": "1", "made_from": "[]"}


def statistics(meta=META, prefix="layers.1.experts.gate", parts=PARTS, values={}, without=(), more=()):
    header, data = {} if meta is None else {"__metadata__": meta}, b""
    for name, dtype, shape in [(f"{prefix}.{p}", d, s) for p, d, s in parts if p not in without] + list(more):
        n = 1
        for d in shape:
            n *= d
        v = values.get(name.split(".")[-1], [1] * n)
        bytes_ = struct.pack(f"<{n}" + {"F64": "d", "I64": "q", "F32": "f"}[dtype], *v)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(bytes_)]}
        data += bytes_
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def retyped(part, dtype, shape):
    return [(p, dtype, shape) if p == part else (p, d, s) for p, d, s in PARTS]


stats("accept-good", statistics(), None)
stats("accept-nothing", statistics(parts=[]), None)
stats("accept-counts-at-limit", statistics(values={"count": [2**53, 0]}), None)
stats("empty", b"", REFUSED)
stats("cut", statistics()[:-1], REFUSED)
stats("no-metadata", statistics(None), REFUSED)
stats("version-missing", statistics({"made_from": "[]"}), REFUSED)
stats("version-2", statistics({**META, "scruple.statistics": "2"}), REFUSED)
stats("version-long", statistics({**META, "scruple.statistics": "\u202e" * 300}), REFUSED)
stats("made-from-missing", statistics({"scruple.statistics": "1"}), REFUSED)
stats("made-from-no-json", statistics({**META, "made_from": "[,]"}), REFUSED)
stats("made-from-object", statistics({**META, "made_from": "{}"}), REFUSED)
stats("made-from-nested", statistics({**META, "made_from": "[" * 65 + "]" * 65}), REFUSED)
for name, prefix in [("elsewhere", "model.experts.gate"), ("layer-negative", "layers.-1.experts.gate"), ("layer-leading-zero", "layers.01.experts.gate"),
                     ("layer-2-64", "layers.18446744073709551616.experts.gate"), ("layer-over-limit", "layers.1048577.experts.gate"),
                     ("role-unknown", "layers.1.experts.evil"), ("role-long", "layers.1." + "r" * 64), ("role-empty", "layers.1")]:
    stats("name-" + name, statistics(prefix=prefix), REFUSED)
stats("part-unknown", statistics(more=[("layers.1.experts.gate.evil", "F64", [2])]), REFUSED)
stats("energy-missing", statistics(without=("energy",)), REFUSED)
stats("sum-missing", statistics(without=("weight_sum",)), REFUSED)
stats("count-missing", statistics(without=("count",)), REFUSED)
stats("energy-f32", statistics(parts=retyped("energy", "F32", [2, 3])), REFUSED)
stats("energy-rank-1", statistics(parts=retyped("energy", "F64", [6])), REFUSED)
stats("energy-empty", statistics(parts=retyped("energy", "F64", [0, 3])), REFUSED)
stats("sum-shape", statistics(parts=retyped("weight_sum", "F64", [3])), REFUSED)
stats("count-f64", statistics(parts=retyped("count", "F64", [2])), REFUSED)
stats("energy-nan", statistics(values={"energy": [float("nan")] + [1] * 5}), REFUSED)
stats("energy-infinite", statistics(values={"energy": [float("inf")] + [1] * 5}), REFUSED)
stats("energy-negative", statistics(values={"energy": [-1] + [1] * 5}), REFUSED)
stats("sum-nan", statistics(values={"weight_sum": [float("nan"), 1]}), REFUSED)
stats("count-negative", statistics(values={"count": [-1, 1]}), REFUSED)
stats("count-over-limit", statistics(values={"count": [2**53 + 1, 1]}), REFUSED)
