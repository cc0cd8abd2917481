#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A second, independent reader of expert packs, written from docs/expert-pack.md with the standard library; numpy for arrays.

  read_pack.py PACK                         list layers and components
  read_pack.py PACK --layer L --expert E    list an expert's tensors with their SHA-256
  read_pack.py PACK --compare MODEL         every tensor of the pack against a plain checkpoint, byte for byte

Exit status 0: fine; 1: a difference; 3: not a valid pack.
"""
import argparse, hashlib, json, os, struct, sys

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
          "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "u1", "F8_E4M3": "u1", "F8_E5M2": "u1", "F8_E8M0": "u1"}
PROJECTIONS = ["gate", "up", "down"]


class Bad(Exception):
    pass


def safetensors_header(path):
    """({name: (dtype, shape, absolute begin, absolute end)}, metadata, data start)"""
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        head = json.loads(f.read(n))
    meta = head.pop("__metadata__", {})
    return {k: (v["dtype"], v["shape"], 8 + n + v["data_offsets"][0], 8 + n + v["data_offsets"][1])
            for k, v in head.items()}, meta, 8 + n


class Pack:
    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "experts.idx"), "rb") as f:
            b = f.read()
        if len(b) < 96 or b[:8] != b"SCRUPLEX":
            raise Bad("experts.idx: no magic")
        version, header, size, self.page, files, layers, components, _, records, strings = struct.unpack_from("<IIQQIIIIQQ", b, 8)
        if version != 1 or header != 96 or size != len(b):
            raise Bad(f"experts.idx: version {version}, header {header}, size {size} of {len(b)}")
        self.check_digests(b)
        at_layer = 96 + 48 * files
        at_component = at_layer + 56 * layers
        at_record = at_component + 72 * components
        at_string = at_record + 32 * records
        if at_string + strings != len(b):
            raise Bad("experts.idx: tables do not fill the file")

        if self.page < 4096 or self.page > 2 << 20 or self.page & (self.page - 1):
            raise Bad(f"experts.idx: page {self.page}")

        def text(offset, length):
            if offset + length > strings or length > 255:
                raise Bad("experts.idx: a name lies outside its strings")
            return b[at_string + offset:at_string + offset + length].decode()

        self.files = []
        for i in range(files):
            off, n, nbytes, start = struct.unpack_from("<IIQQ", b, 96 + 48 * i)
            name = text(off, n)
            if not name or "/" in name or name in (".", ".."):
                raise Bad(f"experts.idx: file name {name!r}")
            if os.path.getsize(os.path.join(folder, name)) != nbytes or start % self.page:
                raise Bad(f"{name}: not the shard that is described")
            self.files.append((name, nbytes, start))
        comps = []
        for i in range(components):
            proj, inside, so, sn, do, dn, rank, _, s0, s1, offset, stride, nbytes = struct.unpack_from("<IIIIIIIIQQQQQ", b, at_component + 72 * i)
            comps.append(dict(projection=PROJECTIONS[proj], in_record=bool(inside), suffix=text(so, sn), dtype=text(do, dn),
                              shape=[s0, s1][:rank], offset=offset, stride=stride, bytes=nbytes))
        self.layers = {}
        before = -1
        for i in range(layers):
            layer, file, experts, n, first, _, rec, at, nbytes, _ = struct.unpack_from("<IIIIIIQQQQ", b, at_layer + 56 * i)
            if layer <= before or file >= files or not experts or first + n > components or rec + experts > records:
                raise Bad(f"layer {layer}: its row contradicts the rest")
            before = layer
            if at != self.files[file][2] or at + experts * nbytes > self.files[file][1]:
                raise Bad(f"layer {layer}: its records do not lie in the file")
            for e in range(experts):
                o, r = struct.unpack_from("<QQ", b, at_record + 32 * (rec + e))
                if o != at + e * nbytes or r != nbytes:
                    raise Bad(f"layer {layer}: record {e} is not contiguous")
            self.check_components(layer, comps[first:first + n], at, nbytes, experts, self.files[file][1])
            self.layers[layer] = dict(file=file, experts=experts, components=comps[first:first + n], record_offset=at,
                                      record_bytes=nbytes)

    @staticmethod
    def check_components(layer, components, at, record_bytes, experts, file_bytes):
        inside = 0
        for c in components:
            if c["in_record"]:
                good = c["offset"] == at + inside and (experts == 1 or c["stride"] == record_bytes)
                inside += c["bytes"]
            else:
                last = c["offset"] + (experts - 1) * c["stride"] + c["bytes"]
                good = inside == record_bytes and c["offset"] >= at + experts * record_bytes and last <= file_bytes
            if not good:
                raise Bad(f"layer {layer}: {c['projection']}.{c['suffix']} does not lie where it can")
        if inside != record_bytes:
            raise Bad(f"layer {layer}: its parts do not fill the record")

    @staticmethod
    def check_digests(b):
        try:
            import xxhash
        except ImportError:
            return                      # the standard library cannot: the C reader checks them
        if xxhash.xxh3_128(b[96:]).digest() != b[64:80] or xxhash.xxh3_128(b[:80]).digest() != b[80:96]:
            raise Bad("experts.idx: digest")

    def record(self, layer, expert):
        """The expert's contiguous bytes: one read."""
        l = self.layers[layer]
        with open(os.path.join(self.folder, self.files[l["file"]][0]), "rb") as f:
            f.seek(l["record_offset"] + expert * l["record_bytes"])
            return f.read(l["record_bytes"])

    def parts(self, layer, expert):
        """{'gate.weight': (type, shape, bytes)}; those of the record are cut out of one read."""
        l = self.layers[layer]
        record, out = self.record(layer, expert), {}
        with open(os.path.join(self.folder, self.files[l["file"]][0]), "rb") as f:
            for c in l["components"]:
                at = c["offset"] + expert * c["stride"]
                if c["in_record"]:
                    inside = at - l["record_offset"] - expert * l["record_bytes"]
                    raw = record[inside:inside + c["bytes"]]
                else:
                    f.seek(at)
                    raw = f.read(c["bytes"])
                out[f"{c['projection']}.{c['suffix']}"] = c["dtype"], c["shape"], raw
        return out

    def tensors(self, layer, expert):
        """{'gate.weight': array}: BF16 as uint16, FP8 as uint8."""
        import numpy as np
        return {key: np.frombuffer(raw, DTYPES[dtype]).reshape(shape)
                for key, (dtype, shape, raw) in self.parts(layer, expert).items()}


def check_hint(pack):
    """The index against the shards' own headers, which are the fact."""
    for layer, l in pack.layers.items():
        name = pack.files[l["file"]][0]
        tensors, meta, start = safetensors_header(os.path.join(pack.folder, name))
        if start != pack.files[l["file"]][2] or meta.get("moe.layer") != str(layer):
            raise Bad(f"{name}: the header is not the one that is described")
        spans = {(a, b) for _, _, a, b in tensors.values()}
        for e in range(l["experts"]):
            for c in l["components"]:
                at = c["offset"] + e * c["stride"]
                if (at, at + c["bytes"]) not in spans:
                    raise Bad(f"{name}: no tensor at {at}")


def all_tensors(folder):
    index = os.path.join(folder, "model.safetensors.index.json")
    names = sorted(set(json.load(open(index))["weight_map"].values())) if os.path.exists(index) else ["model.safetensors"]
    out = {}
    for n in names:
        for k, v in safetensors_header(os.path.join(folder, n))[0].items():
            out[k] = (os.path.join(folder, n),) + v
    return out


def read(entry):
    path, dtype, shape, a, b = entry
    with open(path, "rb") as f:
        f.seek(a)
        return f.read(b - a)


def compare(pack, model):
    theirs, ours = all_tensors(model), all_tensors(pack.folder)
    if theirs.keys() != ours.keys():
        print("different tensors:", sorted(theirs.keys() ^ ours.keys())[:5])
        return 1
    for k in theirs:
        if theirs[k][1:3] != ours[k][1:3] or read(theirs[k]) != read(ours[k]):
            print("different:", k)
            return 1
    n = 0
    for layer, l in pack.layers.items():           # and once more through the index
        for e in range(l["experts"]):
            for key, (_, _, raw) in pack.parts(layer, e).items():
                proj, suffix = key.split(".", 1)
                name = [k for k in theirs if f".layers.{layer}." in k and f".experts.{e}." in k and k.endswith(f".{proj}_proj.{suffix}")]
                if len(name) != 1 or read(theirs[name[0]]) != raw:
                    print("different through the index:", layer, e, key)
                    return 1
                n += 1
    print(f"{len(theirs)} tensors equal, {n} of experts also through experts.idx")
    return 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("pack")
    ap.add_argument("--layer", type=int)
    ap.add_argument("--expert", type=int)
    ap.add_argument("--compare", metavar="MODEL")
    a = ap.parse_args()
    try:
        pack = Pack(a.pack)
        check_hint(pack)
    except (Bad, OSError, struct.error, KeyError, ValueError) as problem:
        print(f"read_pack: {problem}", file=sys.stderr)
        return 3
    if a.compare:
        return compare(pack, a.compare)
    if a.layer is not None:
        for key, (dtype, shape, raw) in pack.parts(a.layer, a.expert or 0).items():
            print(f"{key:24} {str(shape):16} {dtype:8} {hashlib.sha256(raw).hexdigest()}")
        return 0
    for layer, l in pack.layers.items():
        on_page = l["record_bytes"] % pack.page == 0
        print(f"layer {layer}: {l['experts']} experts of {l['record_bytes']} bytes in {pack.files[l['file']][0]}"
              f"{'' if on_page else ' (records not on pages)'}: "
              + ", ".join(f"{c['projection']}.{c['suffix']}{'' if c['in_record'] else ' (tail)'}" for c in l["components"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
