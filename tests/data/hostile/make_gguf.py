"""Cases of GGUF; make.py writes them. Each: (file, bytes, None where the file is read or REFUSED)."""
import struct

cases = []
REFUSED = "refused"
U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, ARRAY, U64, I64, F64 = range(13)
TOP = 2**48 - 1


def text(s, length=None):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(s) if length is None else length) + s


def kv(key, kind, value, length=None):
    return text(key, length) + struct.pack("<I", kind) + value


def u32(key, v):
    return kv(key, U32, struct.pack("<I", v))


def array(kind, n, content):
    return struct.pack("<IQ", kind, n) + content


def info(name="a", dims=(1,), kind=0, offset=0, rank=None, length=None):
    """dims as the file has them: the fastest first."""
    return (text(name, length) + struct.pack("<I", len(dims) if rank is None else rank) + struct.pack(f"<{len(dims)}Q", *dims)
            + struct.pack("<IQ", kind, offset))


def whole(values=(), infos=(), data=b"", version=3, n_tensors=None, n_values=None, align=32, magic=b"GGUF", order="<"):
    head = magic + struct.pack(order + "IQQ", version, len(infos) if n_tensors is None else n_tensors, len(values) if n_values is None else n_values)
    out = head + b"".join(values) + b"".join(infos)
    return out + b"\0" * (-len(out) % align) + data


def case(name, content, verdict=REFUSED):
    cases.append((f"gguf/{name}.gguf", content, verdict))


ONE = info()
D = b"\0" * 32

# the frame
case("empty", b"")
case("magic-only", b"GGUF")
case("magic-wrong", whole(magic=b"GGUg"))
case("head-cut", whole()[:23])
case("version-0", whole(version=0))
case("version-1", whole(version=1))
case("version-4", whole(version=4))
case("big-endian", whole(version=3, order=">"))
case("big-endian-2", whole(version=2, order=">", infos=[ONE], data=D))
case("count-of-tensors-2-63", whole(n_tensors=2**63))
case("count-of-tensors-all-ones", whole(n_tensors=2**64 - 1))
case("count-of-tensors-too-many", whole(infos=[ONE], data=D, n_tensors=5))
case("count-of-tensors-one-more", whole(infos=[ONE], data=D, n_tensors=2))
case("count-of-values-2-63", whole(n_values=2**63))
case("count-of-values-over-limit", whole(n_values=65537))
case("count-of-values-at-limit", whole(n_values=65536))
case("count-of-values-one-more", whole(values=[u32("a", 1)], n_values=2))
case("accept-nothing", whole()[:24], None)
case("accept-version-2", whole(version=2, infos=[ONE], data=D), None)

# keys
case("key-empty", whole([u32("", 1)]))
case("key-twice", whole([u32("a", 1), u32("b", 1), u32("a", 2)]))
case("key-twice-other-type", whole([u32("a", 1), kv("a", TEXT, text("x"))]))
case("key-2-64-long", whole([kv("a", U8, b"\1" * 40, length=2**64 - 1)]))
case("key-2-63-long", whole([kv("a", U8, b"\1" * 40, length=2**63)]))
case("key-one-longer-than-file", whole([kv("abcdef", U8, b"\1", length=12)], align=1))
case("key-over-limit", whole([u32("k" * 65536, 1)]))
case("key-with-nul", whole([u32("a\0b", 1)]))
case("key-with-escape-byte", whole([u32("a\x1b[2J", 1)]))
case("key-no-utf8", whole([u32(b"a\xff", 1)]))
case("accept-key-at-limit", whole([u32("k" * 65535, 1)]), None)
case("accept-keys-of-all-types", whole([
    kv("u8", U8, b"\1"), kv("i8", I8, b"\xff"), kv("u16", U16, b"\1\0"), kv("i16", I16, b"\xff\xff"), u32("u32", 1), kv("i32", I32, b"\xff" * 4),
    kv("f32", F32, struct.pack("<f", 1.5)), kv("bool", BOOL, b"\1"), kv("text", TEXT, text("x")), kv("u64", U64, b"\xff" * 8), kv("i64", I64, b"\xff" * 8),
    kv("f64", F64, struct.pack("<d", -0.5)), kv("empty", TEXT, text(""))] + [
    kv(f"array-{t}", ARRAY, array(t, 2, b"\1" * 2 * n)) for t, n in ((U8, 1), (I8, 1), (U16, 2), (I16, 2), (U32, 4), (I32, 4), (F32, 4), (BOOL, 1), (U64, 8), (I64, 8), (F64, 8))] + [
    kv("texts", ARRAY, array(TEXT, 3, text("a") + text("") + text("ccc")))], [ONE], D), None)
case("accept-bool-2", whole([kv("b", BOOL, b"\2")]), None)
case("accept-nan-value", whole([kv("f", F32, b"\0\0\xc0\x7f")]), None)

# values
case("value-type-13", whole([kv("a", 13, b"\0" * 8)]))
case("value-type-all-ones", whole([kv("a", 2**32 - 1, b"\0" * 8)]))
case("value-cut", whole([kv("a", U64, b"\1" * 8)])[:40])
case("value-type-cut", whole([kv("abcdef", U64, b"\1" * 8)])[:40])
case("text-2-64-long", whole([kv("a", TEXT, text("x" * 30, 2**64 - 1))]))
case("text-one-longer-than-file", whole([kv("a", TEXT, text("x", 2))], align=1))
case("text-with-nul", whole([kv("a", TEXT, text("x\0y"))]))
case("text-no-utf8", whole([kv("a", TEXT, text(b"\xc0\xaf"))]))
case("array-of-arrays", whole([kv("a", ARRAY, array(ARRAY, 1, array(U8, 1, b"\1")))]))
case("array-of-type-13", whole([kv("a", ARRAY, array(13, 1, b"\1" * 8))]))
case("array-2-64-long", whole([kv("a", ARRAY, array(U8, 2**64 - 1, b"\1"))]))
case("array-2-61-doubles", whole([kv("a", ARRAY, array(F64, 2**61, b"\1" * 8))]))
case("array-2-61-texts", whole([kv("a", ARRAY, array(TEXT, 2**61, text("x")))]))
case("array-one-longer-than-file", whole([kv("a", ARRAY, array(U16, 3, b"\1" * 4))], align=1))
case("array-text-2-64-long", whole([kv("a", ARRAY, array(TEXT, 2, text("x") + text("y" * 20, 2**64 - 1)))]))
case("array-texts-one-more", whole([kv("a", ARRAY, array(TEXT, 3, text("x") + text("y")))], align=1))
case("accept-array-empty", whole([kv("a", ARRAY, array(U8, 0, b"")), kv("b", ARRAY, array(TEXT, 0, b""))]), None)
case("accept-array-texts-no-utf8", whole([kv("a", ARRAY, array(TEXT, 2, text(b"\xff\0\xfe") + text("")))]), None)

# alignment
case("alignment-0", whole([u32("general.alignment", 0)], [ONE], D))
case("alignment-48", whole([u32("general.alignment", 48)], [ONE], b"\0" * 48, align=48))
case("alignment-all-ones", whole([u32("general.alignment", 2**32 - 1)], [ONE], D))
case("alignment-2-31", whole([u32("general.alignment", 2**31)], [ONE], D))
case("alignment-over-limit", whole([u32("general.alignment", 2**25)]))
case("alignment-u64", whole([kv("general.alignment", U64, struct.pack("<Q", 32))], [ONE], D))
case("alignment-text", whole([kv("general.alignment", TEXT, text("32"))], [ONE], D))
case("alignment-array", whole([kv("general.alignment", ARRAY, array(U32, 1, struct.pack("<I", 32)))], [ONE], D))
case("alignment-data-at-32", whole([u32("general.alignment", 4096)], [ONE], D))
case("accept-alignment-1", whole([u32("general.alignment", 1)], [ONE, info("b", offset=4)], b"\0" * 8, align=1), None)
case("accept-alignment-4096", whole([u32("general.alignment", 4096)], [ONE, info("b", offset=4096)], b"\0" * 4100, align=4096), None)
case("accept-alignment-at-limit", whole([u32("general.alignment", 2**24)]), None)

# names of tensors
case("name-empty", whole(infos=[info("")], data=D))
case("name-of-64-bytes", whole(infos=[info("n" * 64)], data=D))
case("name-2-64-long", whole(infos=[info("n" * 20, length=2**64 - 1)], data=D))
case("name-with-nul", whole(infos=[info("a\0b")], data=D))
case("name-with-delete-byte", whole(infos=[info("a\x7f")], data=D))
case("name-no-utf8", whole(infos=[info(b"\xed\xa0\x80")], data=D))
case("name-twice", whole(infos=[info("a"), info("b", offset=32), info("a", offset=64)], data=3 * D))
case("accept-name-of-63-bytes", whole(infos=[info("n" * 63)], data=D), None)
case("accept-name-like-a-path", whole(infos=[info("../../x")], data=D), None)

# shapes and types
case("rank-5", whole(infos=[info(dims=(1,) * 5)], data=D))
case("rank-all-ones", whole(infos=[info(rank=2**32 - 1)], data=D))
case("rank-cut", whole(infos=[info("n" * 20)])[:54])
case("fields-cut", whole(infos=[info(dims=(1, 1, 1, 1))])[:60])
case("dim-negative", whole(infos=[info(dims=(2**64 - 1,))], data=D))
case("dim-2-48", whole(infos=[info(dims=(0, TOP + 1))]))
case("shape-overflows", whole(infos=[info(dims=(TOP, TOP, TOP))], data=D))
case("shape-wraps-to-4", whole(infos=[info(dims=(4194305, 4194305, 211106198978564), kind=24)], data=D))
case("shape-overflows-behind-zero", whole(infos=[info(dims=(0, TOP, TOP, TOP))]))
case("shape-over-2-60-bytes", whole(infos=[info(dims=(TOP, 4097, 0), kind=24)]))
case("row-no-whole-block", whole(infos=[info(dims=(33, 32), kind=8)], data=b"\0" * 33 * 34))
case("row-no-whole-block-k", whole(infos=[info(dims=(128, 2), kind=12)], data=b"\0" * 160))
case("scalar-of-blocks", whole(infos=[info(dims=(), kind=8)], data=b"\0" * 64))
for old in (4, 5, 31, 32, 33, 36, 37, 38):
    case(f"type-{old}-removed", whole(infos=[info(dims=(256,), kind=old)], data=b"\0" * 1024))
case("type-43", whole(infos=[info("blk.0.ffn_up.weight", dims=(256,), kind=43)], data=b"\0" * 1024))
case("type-all-ones", whole(infos=[info(kind=2**32 - 1)], data=D))
case("accept-scalar", whole(infos=[info(dims=())], data=D), None)
case("accept-rank-4", whole(infos=[info(dims=(1, 1, 1, 1))], data=D), None)
case("accept-dim-at-limit", whole(infos=[info(dims=(0, TOP))]), None)
case("accept-2-60-bytes-times-zero", whole(infos=[info(dims=(TOP, 4096, 0), kind=24)]), None)
case("accept-zero-elements", whole(infos=[info("z", (0,)), info("a"), info("y", (3, 0), offset=32), info("b", offset=32)], data=2 * D), None)
sizes = [(0, 1, 4), (1, 1, 2), (2, 32, 18), (3, 32, 20), (6, 32, 22), (7, 32, 24), (8, 32, 34), (9, 32, 36), (10, 256, 84), (11, 256, 110), (12, 256, 144),
         (13, 256, 176), (14, 256, 210), (15, 256, 292), (16, 256, 66), (17, 256, 74), (18, 256, 98), (19, 256, 50), (20, 32, 18), (21, 256, 110), (22, 256, 82),
         (23, 256, 136), (24, 1, 1), (25, 1, 2), (26, 1, 4), (27, 1, 8), (28, 1, 8), (29, 256, 56), (30, 1, 2), (34, 256, 54), (35, 256, 66), (39, 32, 17),
         (40, 64, 36), (41, 128, 18), (42, 64, 18)]
infos, at = [], 0
for kind, block, size in sizes:
    infos.append(info(f"t{kind}", (block, 3), kind, at))
    at += -(-3 * size // 32) * 32
case("accept-all-types", whole(infos=infos, data=b"\0" * at), None)

# places
TWO = [info("a"), info("b", offset=32)]
case("hole-in-front", whole(infos=[info(offset=32)], data=2 * D))
case("hole-between", whole(infos=[info("a"), info("b", offset=64)], data=3 * D))
case("order-swapped", whole(infos=[info("a", offset=32), info("b")], data=2 * D))
case("overlap", whole(infos=[info("a", (16,)), info("b", offset=32)], data=3 * D))
case("shared-range", whole(infos=[info("a"), info("b")], data=D))
case("offset-not-padded", whole(infos=[info("a"), info("b", offset=4)], data=2 * D))
case("offset-all-ones", whole(infos=[info(offset=2**64 - 1)], data=D))
case("offset-2-63", whole(infos=[info("a"), info("b", offset=2**63)], data=D))
case("data-cut", whole(infos=[info(dims=(8,))], data=D[:31]))
case("data-missing", whole(infos=[ONE]))
case("data-cut-in-the-padding-in-front", whole(infos=[ONE])[:57])
case("tensor-larger-than-all-memory", whole(infos=[info(dims=(2**40,))], data=D))
case("accept-two", whole(infos=TWO, data=2 * D), None)
case("accept-last-padding-missing", whole(infos=TWO, data=(2 * D)[:36]), None)
case("accept-bytes-behind", whole(infos=TWO, data=2 * D + b"rest"), None)
case("accept-no-padding-behind-a-header-without-tensors", whole([u32("a", 1)])[:41], None)

# parts of split files, alone
def part(no=0, count=2, total=1, **more):
    return whole([kv("split.no", U16, struct.pack("<H", no)), kv("split.count", U16, struct.pack("<H", count)),
                  kv("split.tensors.count", I32, struct.pack("<i", total))], [ONE], D, **more)


case("part-under-another-name", part())
case("part-with-another-number-00002-of-00002", part())
case("part-of-another-count-00001-of-00003", part())
case("part-without-the-other-00001-of-00002", part())
case("part-no-behind-count-00003-of-00002", part(no=2))
case("part-without-number-00001-of-00002", whole([kv("split.count", U16, b"\2\0")]))
case("part-total-negative-00001-of-00002", part(total=-1))
case("part-count-text-00001-of-00002", whole([kv("split.count", TEXT, text("2"))]))
case("accept-split-of-one", part(count=1), None)
case("accept-split-of-none", part(count=0), None)
