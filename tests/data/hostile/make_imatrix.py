"""Cases of imatrix files, both forms; make.py writes them. Each: (file, bytes, None where the file is read or REFUSED)."""
import struct

from make_gguf import TEXT, U8, array, info, kv, text, u32, whole

cases = []
REFUSED = "refused"
F16 = 1  # of tensors
INF, NAN, BIG = struct.pack("<f", float("inf")), struct.pack("<f", float("nan")), struct.pack("<f", 2.0**54)


def case(name, content, verdict=REFUSED):
    cases.append((f"imatrix/{name}", content, verdict))


def f32(*values):
    return b"".join(v if isinstance(v, bytes) else struct.pack("<f", v) for v in values)


def pad(b, to=32):
    return b + b"\0" * (-len(b) % to)


def imatrix(tensors, kind="imatrix", values=()):
    """tensors: (name, dims, bytes[, type])"""
    infos, data = [], b""
    for name, dims, content, *rest in tensors:
        infos.append(info(name, dims, rest[0] if rest else 0, len(data)))
        data = pad(data + content)
    first = [kv("general.type", TEXT, text(kind))] if isinstance(kind, str) else list(kind)
    return whole(first + list(values), infos, data)


def pair(name="a", sums=(1.0, 2.0), counts=(3.0,)):
    n = max(1, len(counts))
    return [(f"{name}.in_sum2", (len(sums) // n, n), f32(*sums)), (f"{name}.counts", (1, len(counts)), f32(*counts))]


case("accept-one.gguf", imatrix(pair()), None)
case("accept-chunks.gguf", imatrix(pair(), values=[kv("imatrix.datasets", 9, array(TEXT, 1, text("calib.txt"))), u32("imatrix.chunk_count", 8), u32("imatrix.chunk_size", 512)]), None)
case("accept-experts-unseen.gguf", imatrix(pair(sums=(1.0, 2.0, 0.0, 0.0), counts=(3.0, 0.0))), None)
case("accept-one-count-for-all.gguf", imatrix([("a.in_sum2", (4, 1), f32(1.0, 2.0, 3.0, 4.0)), ("a.counts", (1, 1), f32(2.0))]), None)
case("accept-zeros-and-minus-zero.gguf", imatrix(pair(sums=(0.0, -0.0))), None)
case("accept-largest.gguf", imatrix(pair(sums=(3.4028234663852886e38, 1e-45), counts=(2.0**53,))), None)
case("type-missing.gguf", imatrix(pair(), kind=[]))
case("type-model.gguf", imatrix(pair(), kind="model"))
case("type-number.gguf", imatrix(pair(), kind=[kv("general.type", U8, b"\1")]))
case("no-tensors.gguf", imatrix([]))
case("counts-missing.gguf", imatrix(pair()[:1]))
case("sums-missing.gguf", imatrix(pair()[1:]))
case("other-tensor.gguf", imatrix(pair() + [("a.weight", (1,), f32(1.0))]))
case("name-is-suffix.gguf", imatrix([(n.replace("a", "", 1), d, b) for n, d, b in pair()]))
case("sums-f16.gguf", imatrix([("a.in_sum2", (2, 1), b"\0" * 4, F16), pair()[1]]))
case("counts-f16.gguf", imatrix([pair()[0], ("a.counts", (1, 1), b"\0" * 2, F16)]))
case("sums-empty.gguf", imatrix([("a.in_sum2", (0, 1), b""), pair()[1]]))
case("counts-empty.gguf", imatrix([pair()[0], ("a.counts", (1, 0), b"")]))
case("counts-do-not-divide.gguf", imatrix([("a.in_sum2", (3, 1), f32(1.0, 2.0, 3.0)), ("a.counts", (1, 2), f32(1.0, 2.0))]))
for name, value in (("nan", NAN), ("infinite", INF), ("negative", -1.0)):
    case(f"sum-{name}.gguf", imatrix(pair(sums=(1.0, value))))
    case(f"count-{name}.gguf", imatrix(pair(sums=(1.0, 2.0), counts=(1.0, value))))
case("count-above-2-53.gguf", imatrix(pair(counts=(BIG,))))
case("cut.gguf", imatrix(pair())[:-40])


def dat(entries, n=None, behind=b""):
    """entries: (name, calls, numbers[, number of them[, length of the name]])"""
    out = struct.pack("<i", len(entries) if n is None else n)
    for name, calls, numbers, *rest in entries:
        name = name if isinstance(name, bytes) else name.encode()
        out += struct.pack("<i", rest[1] if len(rest) > 1 else len(name)) + name
        out += struct.pack("<ii", calls, rest[0] if rest else len(numbers)) + f32(*numbers)
    return out + behind


ONE = ("blk.0.a.weight", 2, (1.0, 4.0))
case("accept-one.dat", dat([ONE]), None)
case("accept-two.dat", dat([ONE, ("b", 1, (0.0,))]), None)
case("accept-calls-0.dat", dat([("a", 0, (1.0,))]), None)
case("accept-calls-negative.dat", dat([("a", -1, (1.0,))]), None)
case("accept-chunks.dat", dat([ONE], behind=struct.pack("<i", 8)), None)
case("accept-chunks-negative.dat", dat([ONE], behind=struct.pack("<ii", -1, 0)), None)
case("accept-dataset.dat", dat([ONE], behind=struct.pack("<ii", 8, 9) + b"calib.txt"), None)
case("accept-name-of-1024-bytes.dat", dat([("n" * 1024, 1, (1.0,))]), None)
case("empty.dat", b"")
case("seven-bytes.dat", dat([ONE])[:7])
case("entries-0.dat", dat([ONE], n=0))
case("entries-negative.dat", dat([ONE], n=-1))
case("entries-over-limit.dat", dat([ONE], n=2**20 + 1))
case("entries-one-more.dat", dat([ONE], n=2))
case("name-empty.dat", dat([ONE, ("", 1, (1.0,))]))
case("name-negative.dat", dat([ONE, ("b", 1, (1.0,), 1, -1)]))
case("name-of-1025-bytes.dat", dat([ONE, ("n" * 1025, 1, (1.0,))]))
case("name-behind-the-end.dat", dat([ONE, ("b", 1, (1.0,), 1, 1000)]))
case("name-with-nul.dat", dat([("a\0b", 1, (1.0,))]))
case("name-with-escape-byte.dat", dat([("a\x1b[1m", 1, (1.0,))]))
case("name-no-utf8.dat", dat([(b"a\xff", 1, (1.0,))]))
case("name-twice.dat", dat([ONE, ONE]))
case("numbers-0.dat", dat([("a", 1, ())]))
case("numbers-negative.dat", dat([("a", 1, (1.0,), -1)]))
case("numbers-behind-the-end.dat", dat([("a", 1, (1.0,), 2)]))
case("numbers-2-31.dat", dat([("a", 1, (1.0,), 2**31 - 1)]))
for name, value in (("nan", NAN), ("infinite", INF), ("negative", -1.0)):
    case(f"number-{name}.dat", dat([("a", 1, (1.0, value))]))
case("header-cut.dat", dat([ONE])[:20])
case("chunks-cut.dat", dat([ONE], behind=b"\1\0"))
case("dataset-cut.dat", dat([ONE], behind=struct.pack("<ii", 8, 9) + b"calib"))
case("dataset-negative.dat", dat([ONE], behind=struct.pack("<ii", 8, -1)))
case("bytes-behind.dat", dat([ONE], behind=struct.pack("<ii", 8, 1) + b"ab"))
