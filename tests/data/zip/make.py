# Makes the archives of this folder: numpy's and zipfile's own, and damaged ones.
# usage: python3 make.py     (Python 3, numpy)
import io, pathlib, struct, zipfile
import numpy as np

here = pathlib.Path(__file__).parent
arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(1000, dtype=np.int32) % 7}
np.savez(here / "stored.npz", **arrays)
np.savez_compressed(here / "deflated.npz", **arrays)


def archive(*members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, content in members:
            z.writestr(zipfile.ZipInfo(name), content)
    return bytearray(out.getvalue())


good = archive(("one", b"first content"), ("two", b"second content"))
(here / "good.zip").write_bytes(good)

twice = bytearray(good).replace(b"two", b"one")
(here / "twice.zip").write_bytes(twice)

crc = bytearray(good)
crc[crc.index(b"second")] ^= 1
(here / "crc.zip").write_bytes(crc)

locked = bytearray(good)
for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
    i = locked.rindex(magic)
    locked[i + at] |= 1
(here / "encrypted.zip").write_bytes(locked)

method = bytearray(good)
for magic, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
    i = method.rindex(magic)
    method[i + at:i + at + 2] = struct.pack("<H", 12)
(here / "bzip2.zip").write_bytes(method)

lie = bytearray(good)  # sizes of a gigabyte for a deflated member of 14 bytes
for magic, m, size in ((b"PK\x03\x04", 8, 22), (b"PK\x01\x02", 10, 24)):
    i = lie.rindex(magic)
    lie[i + m:i + m + 2] = struct.pack("<H", 8)
    lie[i + size:i + size + 4] = struct.pack("<I", 1 << 30)
(here / "lie.zip").write_bytes(lie)

(here / "truncated.zip").write_bytes(good[:-30])
