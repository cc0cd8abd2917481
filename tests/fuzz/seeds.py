#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The first inputs of the fuzz targets, from the fixtures under tests/data and by hand.
usage: tests/fuzz/seeds.py OUT     (one folder a target; scripts/fuzz --minimise makes a corpus of them)
"""
import gzip, io, json, os, pathlib, struct, sys, zipfile

root = pathlib.Path(__file__).parent.parent.parent
out = pathlib.Path(sys.argv[1])
data = root / "tests/data"


def put(target, name, content):
    if isinstance(content, str):
        content = content.encode()
    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def tight(value):
    return json.dumps(value, separators=(",", ":"))


def container(header, size, pad=8):
    text = header.encode()
    text += b" " * (-len(text) % pad)
    return struct.pack("<Q", len(text)) + text + bytes(size)


# safetensors: the hostile files, and their headers alone
for file in sorted((data / "hostile").glob("*.safetensors")):
    whole = file.read_bytes()
    if len(whole) > 3000:
        continue
    put("safetensors", file.stem, whole)
    header = whole[8:8 + int.from_bytes(whole[:8], "little")]
    if header:
        put("safetensors", file.stem + ".text", header)

# the index of shards
index = {"metadata": {"total_size": 12}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors", "\u00e9": "m-1.safetensors"}}
put("shards", "good", tight(index))
put("shards", "spaced", json.dumps(index, indent=2))
for name, text in {
    "no-map": '{"metadata":{}}', "empty-map": '{"weight_map":{}}', "one": '{"weight_map":{"a":"x.safetensors"}}',
    "twice": '{"weight_map":{"a":"x.safetensors","\\u0061":"y.safetensors"}}', "number": '{"weight_map":{"a":1}}',
    "path": '{"weight_map":{"a":"../../x.safetensors"}}', "other": '{"weight_map":{"a":"x.bin"}}',
    "total-float": '{"metadata":{"total_size":1.5},"weight_map":{"a":"x.safetensors"}}',
    "total-twice": '{"metadata":{"total_size":1,"total_size":2},"weight_map":{"a":"x.safetensors"}}',
    "nul-in-name": '{"weight_map":{"a\\u0000":"x.safetensors"}}', "nul-in-shard": '{"weight_map":{"a":"x\\u0000.safetensors"}}',
    "deep": '{"x":[[[[1]]]],"weight_map":{"a":"x.safetensors"}}', "rest": '{"weight_map":{"a":"x.safetensors"}}{}',
}.items():
    put("shards", name, text)

# JSON
for i, text in enumerate([
    '{"a":[1,2.5e-3,true,false,null,"x\\n\\u00e9\\ud83d\\ude00"],"b":{"c":{}},"d":[]}', "[]", "{}", '""', "0", "-0.0e+1", "1e308", "1e400",
    "9007199254740993", "18446744073709551616", '{"a":1,"a":2}', '{"a":1,"\\u0061":2}', '"\\ud800"', '"\xed"', '{"a\\u0000":1}', '["\\u0000"]',
    "[" * 64 + "]" * 64, "[" * 65 + "]" * 65, "[1,]", "{,}", "tru", " \t\r\n1 ", '{"A":1,"a":2}', "0.1", "123456789012345678901234567890", "1" * 64,
    '"' + "\u00e9\u4e2d\U0001f600" + '"', "\ufeff1", "nullx", '{"a.b":{"c":1}}']):
    put("json", f"{i:02}", text)

# one member set: key NUL value NUL object
for i, (key, value, text) in enumerate([
    ("b", "7", '{"a":1, "b":2,\n "c":3}'), ("b", "", '{"a":1, "b":2,\n "c":3}'), ("c", "", '{"a":1,"c":3}'), ("a", "", '{"a":1}'),
    ("a", "", '{ "a" : 1 , "b" : 2 }'), ("z", '{"x":[1]}', "{}"), ("z", '"t"', '{\n  "a": 1\n}'), ("z", "", '{"a":1}'),
    ("a", "1", '{"a":1,"\\u0061":2}'), ("\u00e9", "1", '{"\\u00e9":2}'), ("a\"b", "null", '{"a":[{"a\\"b":1}]}'), ("a", "1", "[1]")]):
    put("jsonedit", f"{i:02}", f"{key}\0{value}\0{text}")

# config.json
deepseek = json.loads((data / "nano/config.json").read_text())
qwen = json.loads((data / "qwen3_tiny/config.json").read_text())
short = {k: v for k, v in deepseek.items() if k not in ("attention_dropout", "ep_size", "initializer_range", "torch_dtype", "use_cache", "max_position_embeddings")}
put("config", "deepseek", tight(short))
put("config", "qwen3", tight(qwen))
put("config", "wrapped", tight({"model_type": "kimi_k25", "text_config": short}))
put("config", "no-yarn", tight({k: v for k, v in short.items() if k != "rope_scaling"}))
put("config", "no-q-lora", tight({**short, "q_lora_rank": None}))
put("config", "fp8", tight({**short, "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}}))
weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32, "actorder": None}
put("config", "int4", tight({**qwen, "quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {
    "group_0": {"targets": ["Linear"], "weights": weights}, "group_1": {"targets": [], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}}, "ignore": ["lm_head"]}}))
put("config", "unknown", '{"architectures":["X"],"model_type":"x"}')
put("config", "empty", "{}")

# NumPy arrays
def npy(header, payload, version=1):
    text = header.encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + (struct.pack("<H", len(text)) if version == 1 else struct.pack("<I", len(text))) + text + payload

arrays = {
    "f32": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", bytes(24)),
    "i32": npy("{'descr': '<i4', 'fortran_order': False, 'shape': (1, 4), }", bytes(range(16))),
    "f64": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", bytes(8), 2),
    "scalar": npy("{'descr': '<i8', 'fortran_order': False, 'shape': (), }", bytes(8)),
    "empty": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (0, 5), }", b"", 3),
    "huge": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", b""),
    "fortran": npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }", bytes(4)),
    "structure": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", bytes(4)),
    "python2": npy("{'shape': (3L,), 'fortran_order': False, 'descr': \"|u1\"}", b"abc"),
    "short": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", bytes(4)),
}
for name, content in arrays.items():
    put("npy", name, content)

# archives of them
def archive(members, method=zipfile.ZIP_STORED):
    to = io.BytesIO()
    with zipfile.ZipFile(to, "w", method) as z:
        for name, content in members:
            z.writestr(zipfile.ZipInfo(name), content, method)
    return to.getvalue()

put("npz", "stored", archive([("logits.npy", arrays["f32"]), ("ids.npy", arrays["i32"])]))
put("npz", "deflated", archive([("a.npy", arrays["f64"] + bytes(200)), ("b.npy", arrays["i32"])], zipfile.ZIP_DEFLATED))
put("npz", "text", archive([("a.txt", b"x"), (".npy", arrays["scalar"])]))
put("npz", "empty", archive([]))
for file in sorted((data / "zip").glob("*.*z*")):
    if file.suffix in (".zip", ".npz") and file.stat().st_size < 2000:
        put("npz", file.name, file.read_bytes())

# text that may be packed
for level in (0, 1, 9):
    put("gzip", f"level-{level}", gzip.compress(b"some text, " * 20, level, mtime=0))
put("gzip", "two-members", gzip.compress(b"one", mtime=0) + gzip.compress(b"two", mtime=0))
put("gzip", "padded", gzip.compress(b"one", mtime=0) + bytes(5))
put("gzip", "padded-and-more", gzip.compress(b"one", mtime=0) + bytes(3) + b"x")
put("gzip", "cut", gzip.compress(b"some text" * 9, mtime=0)[:-5])
put("gzip", "bomb", gzip.compress(bytes(200000), 9, mtime=0))
put("gzip", "name", b"\x1f\x8b\x08\x1e\0\0\0\0\0\3\4\0abcdname\0comment\0" + gzip.compress(b"x", mtime=0)[10:])
put("gzip", "plain", b"no gzip at all\n")
put("gzip", "empty", b"")

# regular expressions of tokenizers
patterns = [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"\p{N}{1,3}", r"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", r"(?<=a)b(?!c)(?=d)(?<!e)", r"[a-z&&[^aeiou]]", r"[[:alpha:]]", r"\x41\x{1F600}\u00e9",
    r"[\]\-\\]+?", r"a{,3}b{2,}c{4}d*+", r"(?i)abc", r"(a|b)\1", r"^$", r"\p{^Lu}\P{Han}", r"(?:(?:a*)*)", r"[^\S\n]", r".\d\D\s\S", r"(?>a)", r"\p{IsX}", r"[z-a]", r"(", r"[", "\\"]
for i, text in enumerate(patterns):
    put("onig", f"{i:02}", text)

# scruple.json
manifest = {"schema_version": 1, "tool": "scruple", "version": "0.3.0", "command": "convert", "options": {}, "plan": "0" * 64,
            "source": {"files": [{"name": "model.safetensors", "bytes": 1, "sha256": "1" * 64}], "config_sha256": None}, "files": ["model.safetensors", "scruple.json", "SHA256SUMS"], "left_behind": []}
put("manifest", "good", tight(manifest))
put("manifest", "path", tight({**manifest, "files": ["../x"]}))
put("manifest", "other", tight({**manifest, "tool": "x"}))
put("manifest", "odd-source", tight({**manifest, "source": {"files": [1, {"name": 2}, None]}}))
put("manifest", "no-source", tight({k: v for k, v in manifest.items() if k != "source"}))

# gates
put("gate", "all", tight({"schema_version": 1, "exact": False, "exact_same_type": True, "min_sqnr_db": 20, "max_steps": 0.5001, "max_mean_kld": 0.01, "max_kld_p99": 0.2,
    "min_top1_agreement": 0.9, "max_nll_increase": -0.1, "min_router_agreement": 0.9, "min_router_agreement_large_margin": 1}))
put("gate", "types", tight({"min_sqnr_db": {"int4-g32": 18, "fp8-block": 30.5}}))
for i, text in enumerate(['{"exact":1}', '{"min_sqnr":1}', '{"min_sqnr_db":{"x":1}}', '{"max_steps":-1}', '{"schema_version":2}', "[]", "{}"]):
    put("gate", f"{i}", text)

# GGUF: a byte for the zeros behind (see the target), then the file; 0x80 and a length in front of two parts
for file in sorted((data / "hostile/gguf").glob("*.gguf")):
    if file.stat().st_size < 600:
        put("gguf", file.name, b"\0" + file.read_bytes())
for name in ("small", "plain"):
    whole_file = (data / f"gguf/{name}.gguf").read_bytes()
    put("gguf", name, b"\x0e" + whole_file[:1400 if name == "small" else 300])
parts = [(data / f"gguf/parts-0000{i}-of-00003.gguf").read_bytes().replace(b"split.count\2\0\0\0\3", b"split.count\2\0\0\0\2") for i in (1, 2)]
parts = [p.replace(b"split.tensors.count\5\0\0\0\5", b"split.tensors.count\5\0\0\0\4") for p in parts]
put("gguf", "parts", b"\x80" + struct.pack("<H", len(parts[0])) + parts[0] + parts[1])
put("gguf", "parts-cut", b"\x86" + struct.pack("<H", len(parts[0]) - 40) + parts[0][:-40] + parts[1])

# imatrix files: the hostile ones
for file in sorted((data / "hostile/imatrix").iterdir()):
    if file.stat().st_size < 1200:
        put("imatrix", file.name, file.read_bytes())

# experts.idx, by docs/expert-pack.md; the target puts the digests in
def pack(page, layers, files, version=1):
    strings, rows, tables = b"", b"", [b"", b"", b"", b""]
    def text(t):
        nonlocal strings
        at = len(strings)
        strings += t.encode()
        return struct.pack("<II", at, len(t))
    for name, size, start in files:
        tables[0] += text(name) + struct.pack("<QQ16xQ", size, start, 0)
    component = record = 0
    for number, file, experts, components in layers:
        start = files[file][2]
        size = sum(c[5] for c in components if c[1])
        tables[1] += struct.pack("<IIIIIIQQQQ", number, file, experts, len(components), component, 0, record, start, size, 0)
        inside, behind = start, start + experts * size
        for projection, in_record, suffix, kind, shape, n in components:
            at = inside if in_record else behind
            inside += n if in_record else 0
            behind += 0 if in_record else n * experts
            tables[2] += struct.pack("<II", projection, in_record) + text(suffix) + text(kind) + struct.pack("<IIQQQQQ", len(shape), 0, shape[0],
                shape[1] if len(shape) == 2 else 0, at, size if in_record else n, n)
        for x in range(experts):
            tables[3] += struct.pack("<QQ16s", start + x * size, size, b"digest of record")
        component += len(components)
        record += experts
    body = b"".join(tables) + strings
    body += b"" if len(body) % 2 == 0 else b"\0"
    strings_bytes = len(body) - sum(map(len, tables))
    return b"SCRUPLEX" + struct.pack("<IIQQIIIIQQ32x", version, 96, 96 + len(body), page, len(files), len(layers), component, 0, record, strings_bytes) + body

small = [(i, 1, "weight", "BF16", (2, 4), 16) for i in range(3)]
coded = [(i, 1, part, kind, shape, n) for i in range(3) for part, kind, shape, n in (("weight_packed", "I32", (2, 4), 32), ("weight_scale", "F16", (2, 2), 8))]
tail = [(i, 0, "weight_shape", "I64", (2,), 16) for i in range(3)]
put("pack", "small", pack(4096, [(1, 0, 2, small)], [("m-2.safetensors", 4096 + 96, 4096)]))
put("pack", "coded", pack(4096, [(0, 0, 2, coded + tail)], [("a.safetensors", 4096 + 240 + 96, 4096)]))
put("pack", "two-layers", pack(4096, [(1, 0, 1, small), (3, 1, 1, small[:1])], [("a", 4144, 4096), ("b", 8208, 8192)]))
put("pack", "one-expert", pack(16384, [(1, 0, 1, small[:1] + tail[:1])], [("a", 16384 + 16 + 16, 16384)]))
put("pack", "nothing", pack(4096, [], []))
put("pack", "page", pack(5000, [], []))
put("pack", "digest", pack(4096, [], []) + b"\0")

# a tokenizer, its config, a text
def tokenizer(**more):
    vocab = {t: i for i, t in enumerate(["\u0120", "a", "b", "c", "ab", "abc", "\u0120a", "1", "\u010a", "\u00c3", "\u00a9"])}
    split = {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}| ?\p{L}+|\s+(?!\S)|\s+"}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    model = more.get("model", {"type": "BPE", "vocab": vocab, "merges": ["a b", ["ab", "c"], "\u0120 a"]})
    added = {"id": len(model.get("vocab", {})), "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"version": "1.0", "added_tokens": [added], "normalizer": None, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}, "model": model, **more}
bos = tight({"add_bos_token": True, "bos_token": {"content": "<s>"}})
level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False}
token = lambda i, text, **more: {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **more}
for name, one, config, text in [
    ("split", tokenizer(), bos, "abc a 123\n<s>\u00e9"), ("plain", tokenizer(pre_tokenizer=level), "", " a b  c\n\n"),
    ("nfc", tokenizer(normalizer={"type": "NFC"}), tight({"add_bos_token": False}), "e\u0301"), ("sequence", tokenizer(normalizer={"type": "Sequence", "normalizers": [{"type": "NFKC"}]}), "{}", "\ufb01"),
    ("string", tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"String": "a"}, "behavior": "MergedWithNext", "invert": True}, level]}), "", "banana"),
    ("digits", tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, level]}), "", "a12b"),
    ("added", tokenizer(added_tokens=[token(11, "<a>", lstrip=True, rstrip=True), token(12, "<aa", single_word=True), token(13, "\u00e9", normalized=True)]), "", "x <a> <aa <aab\u00e9"),
    ("ignore-merges", tokenizer(model={"type": "BPE", "ignore_merges": True, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": []}), "", "ab"),
    ("no-merges", tokenizer(model={"vocab": {}, "merges": []}), "", ""), ("wordpiece", tokenizer(model={"type": "WordPiece"}), "", "a")]:
    put("tokenizer", name, tight(one) + "\0" + config + "\0" + text)

# Unicode
for i, text in enumerate(["abc", "e\u0301\u0323", "\u1e69\u0323", "\uac01\u1100\u1161\u11a8", "\ufb01\u2460\u00bd", "\u0344\u0958\u2126", "\U0001d15e\U00011938", "\u0300\u0301", "a\u0315\u0300\u05ae\u0062", "\u1112\u1161", "\u0f71\u0f72\u0f74", "\ufdfa"]):
    put("normalize", f"{i:02}", text)
put("normalize", "no-utf8", b"a\xff\xc3")

# statistics: header NUL data
def statistics(sets, data=b"", **metadata):
    header, at = {"__metadata__": {"format": "pt", "scruple.statistics": "1", "made_from": "[]", **metadata}}, 0
    for name, (kind, shape) in sets.items():
        n = 8
        for d in shape:
            n *= d
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    return tight(header).encode() + b"\0" + data
def one_set(layer, role, experts, cols):
    stem = f"layers.{layer}.{role}."
    return {stem + "energy": ("F64", [experts, cols]), stem + "weight_sum": ("F64", [experts]), stem + "weight_sq_sum": ("F64", [experts]), stem + "count": ("I64", [experts])}
values = struct.pack("<4d", 1.5, 0.25, 2, 1e30) + struct.pack("<2d", 1, 2) + struct.pack("<2d", 1, 4) + struct.pack("<2q", 3, 9)
put("stats", "one", statistics(one_set(1, "experts.gate", 2, 2), values))
put("stats", "two", statistics({**one_set(1, "experts.gate", 1, 1), **one_set(1, "experts.down", 1, 2)}, bytes(80), made_from='[{"version":"1"}]'))
put("stats", "infinite", statistics(one_set(0, "attention.q", 1, 1), struct.pack("<d", float("inf"))))
put("stats", "negative", statistics(one_set(0, "attention.q", 1, 1), struct.pack("<d", -1)))
put("stats", "tiny", statistics(one_set(0, "attention.q", 1, 2), struct.pack("<4dq", 1e-170, 0, 1e-80, 1e-170, 1)))
put("stats", "missing", statistics({k: v for k, v in one_set(1, "experts.up", 1, 1).items() if "count" not in k}))
put("stats", "no-energy", statistics({"layers.1.experts.up.count": ("I64", [1])}))
put("stats", "version", statistics({}, **{"scruple.statistics": "2"}))
put("stats", "nothing", statistics({}))
put("stats", "name", statistics({"x": ("F64", [1])}))

# a small model: config NUL header
def checkpoint_of(tensors):
    header, at, size = {}, 0, {"BF16": 2, "F32": 4, "F8_E4M3": 1, "F8_E8M0": 1, "I32": 4, "F16": 2, "I64": 8, "U8": 1, "I8": 1, "U32": 4}
    for name, (kind, shape) in tensors.items():
        n = size[kind]
        for d in shape:
            n *= d
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    return tight(header)
config = {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 4, "num_attention_heads": 1, "num_key_value_heads": 1,
          "head_dim": 2, "intermediate_size": 4, "moe_intermediate_size": 32, "num_experts": 1, "num_experts_per_tok": 1, "norm_topk_prob": True, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
          "hidden_act": "silu", "decoder_sparse_step": 1, "mlp_only_layers": [], "attention_bias": False, "tie_word_embeddings": True}
base = {"model.embed_tokens.weight": ("BF16", [4, 32]), "model.norm.weight": ("BF16", [32])}
layer = {"model.layers.0." + k: v for k, v in {"input_layernorm.weight": ("BF16", [32]), "post_attention_layernorm.weight": ("BF16", [32]), "self_attn.q_proj.weight": ("BF16", [2, 32]),
    "self_attn.k_proj.weight": ("BF16", [2, 32]), "self_attn.v_proj.weight": ("BF16", [2, 32]), "self_attn.o_proj.weight": ("BF16", [32, 2]), "self_attn.q_norm.weight": ("BF16", [2]),
    "self_attn.k_norm.weight": ("BF16", [2]), "mlp.gate.weight": ("F32", [1, 32])}.items()}
parts = {"bf16": {"weight": ("BF16", [32, 32])}, "int4": {"weight_packed": ("I32", [32, 4]), "weight_scale": ("BF16", [32, 1]), "weight_shape": ("I64", [2])},
         "fp8": {"weight": ("F8_E4M3", [32, 32]), "weight_scale_inv": ("F32", [1, 1])}, "channel": {"weight": ("F8_E4M3", [32, 32]), "weight_scale": ("BF16", [32, 1])},
         "zero-point": {"weight_packed": ("I32", [32, 4]), "weight_scale": ("BF16", [32, 1]), "weight_shape": ("I64", [2]), "weight_zero_point": ("I32", [4, 1])}}
parts |= {"order": {**parts["zero-point"], "weight_scale": ("BF16", [32, 2]), "weight_zero_point": ("I32", [4, 2]), "weight_g_idx": ("I32", [32])},
          "tensor": {"weight": ("F8_E4M3", [32, 32]), "weight_scale": ("F32", []), "input_scale": ("F32", [1])}, "mxfp8": {"weight": ("F8_E4M3", [32, 32]), "weight_scale": ("U8", [32, 1])},
          "int8": {"weight": ("I8", [32, 32]), "weight_scale": ("BF16", [32, 1]), "weight_zero_point": ("I8", [32, 1])},
          "nvfp4": {"weight_packed": ("U8", [32, 16]), "weight_scale": ("F8_E4M3", [32, 2]), "weight_global_scale": ("F32", [1])},
          "modelopt": {"weight": ("U8", [32, 16]), "weight_scale": ("F8_E4M3", [32, 2]), "weight_scale_2": ("F32", []), "input_scale": ("F32", [])},
          "mxfp4": {"weight": ("I8", [32, 16]), "scale": ("F8_E8M0", [32, 1])},
          "gptq": {"qweight": ("I32", [4, 32]), "qzeros": ("I32", [2, 4]), "scales": ("F16", [2, 32]), "g_idx": ("I32", [32])},
          "awq": {"qweight": ("I32", [32, 4]), "qzeros": ("I32", [1, 4]), "scales": ("F16", [1, 32])}, "mlx": {"weight": ("U32", [32, 3]), "scales": ("BF16", [32, 1]), "biases": ("BF16", [32, 1])}}
compressed = lambda group: {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": group}}}}
declared = {"fp8": {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, "channel": compressed({"num_bits": 8, "type": "float", "strategy": "channel"}),
            "int4": compressed({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}),
            "zero-point": compressed({"num_bits": 4, "group_size": 32, "symmetric": False}), "order": compressed({"num_bits": 4, "group_size": 16, "symmetric": False}),
            "tensor": compressed({"type": "float", "strategy": "tensor"}), "mxfp8": {"quantization_config": {"quant_method": "mxfp8"}},
            "int8": compressed({"strategy": "channel", "symmetric": False}), "nvfp4": compressed({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}),
            "modelopt": {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, "mxfp4": {"quantization_config": {"quant_method": "mxfp4"}},
            "gptq": {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 16}}, "awq": {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32}},
            "mlx": {"quantization": {"bits": 3, "group_size": 32}}}
for name, part in parts.items():
    experts = {f"model.layers.0.mlp.experts.0.{p}.{k}": v for p in ("gate_proj", "up_proj", "down_proj") for k, v in part.items()}
    tensors = {**base, **layer, **experts}
    # the shapes are the first bytes of the data
    if name in ("int4", "zero-point", "order"):
        shapes = {k: v for k, v in experts.items() if k.endswith("weight_shape")}
        tensors = {**shapes, **{k: v for k, v in tensors.items() if k not in shapes}}
    put("model", name, (tight({**config, **declared.get(name, {})}) + "\0" + checkpoint_of(tensors)).encode() + b"\0" + struct.pack("<6q", *[32] * 6))
put("model", "extra", tight(config) + "\0" + checkpoint_of({**base, **layer, **experts, "x": ("F32", [1])}))
put("model", "nothing", tight(config) + "\0{}")

# lists of SHA-256
sum_of = lambda c: c * 64
put("expected", "good", f"{sum_of('0')}  a.safetensors\n{sum_of('a')} *b.safetensors\n{sum_of('1')}  config.json\n")
put("expected", "twice", f"{sum_of('0')}  a.safetensors\n{sum_of('1')}  ./a.safetensors\n")
put("expected", "same", f"{sum_of('0')}  x\r\n# words\n\n{sum_of('0')}  x\n")
put("expected", "other", f"{sum_of('0')}  x\n{sum_of('1')}  x")
put("expected", "folder", f"{sum_of('0')}  sub/x\n")
put("expected", "short", f"{sum_of('0')[1:]}  x\n")
put("expected", "no-hex", f"{sum_of('g')}  x\n")
put("expected", "name-missing", f"{sum_of('0')}  \n")
put("expected", "named", f"{sum_of('0')}  a.safetensors\n{sum_of('a')}  b.safetensors")

# a saved plan: whole files, and changes to the target's own
options = {"type": "int4-g32", "scope": "experts", "search": "best", "positive_scales": False, "fallback": None, "layout": "experts", "page": 16384}
head = {"format": "scruple-plan", "format_version": 1, "version": "0.3.0", "plan": "0" * 64, "command": "quantize", "options": options, "family": "qwen3_moe", "input": "/in", "output": "/out",
        "small_files": [{"name": "config.json", "sha256": "1" * 64}], "units": 1, "tensors": 1, "bytes": 1}
put("plan", "head", tight(head) + "\n")
put("plan", "statistics", tight({**head, "options": {**options, "statistics": "2" * 64}, "statistics": "s"}) + "\n{}\n")
put("plan", "convert", tight({**head, "command": "convert", "options": {"to": "bf16", "allow_lossy": False}, "family": None}) + "\n")
put("plan", "experts", tight({**head, "command": "convert", "options": {"to": "experts", "page": 4096}}) + "\n")
put("plan", "more", tight({**head, "x": 1}) + "\n")
put("plan", "no-line", tight(head))
for name, at, cut, text in [("same", 0, 0, ""), ("other-version", 60, 1, "9"), ("unit", 600, 1, "x"), ("cut", 700, 255, ""), ("line", 650, 0, "\n"), ("later", 800, 3, "12"), ("far", 950, 1, '"')]:
    put("plan", "change-" + name, b"\1" + struct.pack("<HB", at, cut) + text.encode())

# an output folder: header, a file's note, a unit's note
journal = {"plan": "0" * 64, "inputs": ["model.safetensors 1 2"], "made_levels": 1, "replaces": ["old.safetensors"]}
note = {"file": "model.safetensors", "data": ".model.safetensors.tmp", "bytes": 5, "sha256": "3" * 64, "plan": "0" * 64, "note": "{}"}
# of tests/fuzz/small_plan.c's plan: the resident tensors, and one layer's two experts
resident = {"note": 1, "records": "", "sources": "ef" * 16 * 11, "changed": []}
unit = {"note": 1, "records": "ab" * 16 * 2, "sources": "cd" * 16 * 6, "changed": [[0, 1], [3, 2]]}
put("journal", "resident", tight(journal) + "\0" + tight(note) + "\0" + tight(resident))
put("journal", "all", tight(journal) + "\0" + tight(note) + "\0" + tight(unit))
put("journal", "path", tight({**journal, "replaces": ["../x"]}) + "\0" + tight({**note, "data": "x/y"}) + "\0" + tight({**unit, "records": ""}))
put("journal", "types", tight({**journal, "made_levels": -1}) + "\0" + tight({**note, "bytes": -1}) + "\0" + tight({**unit, "changed": [[3, 1], [0, 1]]}))
put("journal", "empty", "\0\0")
put("journal", "no-json", "x\0y\0z")

# recipes, and texts of --tensor-type
rule = {"match": "experts.down & layer<3", "type": "int4-g32", "search": "best", "positive_scales": True, "fallback": "bf16", "optional": True, "comment": "x"}
put("recipe", "all", tight({"schema_version": 1, "comment": "c", "rules": [rule]}))
put("recipe", "list", tight({"schema_version": 1, "rules": [{"match": ["attention", "layer=3..5", "*.q_proj", "re:layers\\.[0-3]\\.", "name:a & b"], "type": "fp8-block"}, {"match": "linear", "type": "keep"}]}))
for i, text in enumerate(["[]", "{}", '{"schema_version":2,"rules":[]}', '{"schema_version":1,"rules":[{"type":"bf16"}]}', '{"schema_version":1,"rules":[{"match":"expert","type":"bf16"}]}',
    '{"schema_version":1,"rules":[{"match":"re:(","type":"bf16"}]}', '{"schema_version":1,"rules":[{"match":"x","typ":"bf16"}]}', '{"schema_version":1,"rules":[{"match":[],"type":"W4A16"}]}',
    "experts.down=int4-g32", "layer>=58 & expert<8=fp8-channel", "re:a+b$=keep", "experts.down=", "=bf16", "layer<0=bf16", "a&&b=bf16", "name:=bf16", "a,b=bf16", "shared=Q4_K"]):
    put("recipe", f"{i:02}", text)

# folders of shards: index NUL header of a NUL header of b
two = [tight({"x": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}), tight({"y": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "z": {"dtype": "U8", "shape": [0], "data_offsets": [4, 4]}})]
where = {"x": "a.safetensors", "y": "b.safetensors", "z": "b.safetensors"}
for name, texts in {"two": [tight({"metadata": {"total_size": 6}, "weight_map": where}), *two], "one": ["", two[0], ""], "both-without-index": ["", *two], "missing": [tight({"weight_map": where}), two[0], ""],
    "swapped": [tight({"weight_map": where}), two[1], two[0]], "more": [tight({"weight_map": {**where, "w": "a.safetensors"}}), *two], "twice": [tight({"weight_map": where}), two[0], two[0]],
    "stranger": [tight({"metadata": {"total_size": 1}, "weight_map": {"x": "a.safetensors"}}), *two], "path": [tight({"weight_map": {"x": "../a.safetensors"}}), *two], "nothing": ["", "", ""]}.items():
    put("checkpoint", name, "\0".join(texts))

# calibration input: what it is, then the file
put("windows", "text", b"\x00" + b"ab a b" * 3)
put("windows", "text-bos", b"\x24" + b"ab a b" * 3)
put("windows", "lines", b"\x01" + b'{"text":"ab ab ab"}\n\n{"text":"<s>a","x":1}\n')
put("windows", "lines-limited", b"\x65" + b'{"text":"ab ab ab ab ab"}\n{"text":"aaaaaaaaaa"}')
put("windows", "packed", b"\x01" + gzip.compress(b'{"text":"abababab"}\n', mtime=0))
put("windows", "no-text", b"\x01{\"tex\":1}")
put("windows", "array", b"\x02" + npy("{'descr': '<i4', 'fortran_order': False, 'shape': (1, 9), }", bytes(36)))
put("windows", "array-bos", b"\x26" + npy("{'descr': '<i8', 'fortran_order': False, 'shape': (1, 9), }", bytes(72)))
put("windows", "rows", b"\x02" + npy("{'descr': '<i4', 'fortran_order': False, 'shape': (3, 2), }", bytes(24)))
put("windows", "negative", b"\x02" + npy("{'descr': '<i8', 'fortran_order': False, 'shape': (1, 2), }", b"\xff" * 16))
put("windows", "floats", b"\x02" + npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", bytes(8)))
