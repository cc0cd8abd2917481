"""Cases of index, config.json and tokenizer.json; make.py writes them. Each: (file, bytes, None where the file is read or REFUSED)."""
import json

cases = []
REFUSED = "refused"  # with the sentence of expected.tsv
BOM = "\ufeff"


def put(folder):
    def case(name, content, verdict, suffix=".json"):
        data = content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content)).encode()
        cases.append((f"{folder}/{name}{suffix}", data, verdict))
    return case


# ---- model.safetensors.index.json beside a.safetensors (x, y) and b.safetensors (z) ------------------------------------
index = put("index")
MAP = {"x": "a.safetensors", "y": "a.safetensors", "z": "b.safetensors"}


def full(weight_map, metadata={"total_size": 12}):
    return {"metadata": metadata, "weight_map": weight_map}


index("accept-good", full(MAP), None)
index("accept-no-metadata", {"weight_map": MAP}, None)
index("accept-empty-metadata", full(MAP, {}), None)
index("accept-wrong-total", full(MAP, {"total_size": 1}), None)
index("accept-total-float", full(MAP, {"total_size": 12.0}), None)
index("accept-total-string", full(MAP, {"total_size": "12"}), None)
index("accept-total-over-2-64", '{"metadata":{"total_size":99999999999999999999},"weight_map":%s}' % json.dumps(MAP), None)
index("accept-unknown-keys", {**full(MAP), "extra": [1, {"a": None}]}, None)
index("accept-escaped-names", '{"weight_map":{"\\u0078":"a.safetensors","y":"\\u0061.safetensors","z":"b.safetensors"}}', None)
index("empty", "", REFUSED)
index("array", "[]", REFUSED)
index("number", "7", REFUSED)
index("cut", json.dumps(full(MAP))[:-9], REFUSED)
index("two-values", json.dumps(full(MAP)) + "{}", REFUSED)
index("byte-order-mark", BOM + json.dumps(full(MAP)), REFUSED)
index("utf8-invalid", b'{"weight_map":{"x\xff":"a.safetensors"}}', REFUSED)
index("lone-surrogate", '{"weight_map":{"x\\ud800":"a.safetensors"}}', REFUSED)
index("no-map", {"metadata": {}}, REFUSED)
index("map-empty", full({}), REFUSED)
index("map-null", full(None), REFUSED)
index("map-array", full(["x"]), REFUSED)
index("map-twice", '{"weight_map":{"x":"a.safetensors"},"weight_map":{"x":"a.safetensors"}}', REFUSED)
index("metadata-twice", '{"metadata":{},"metadata":{},"weight_map":%s}' % json.dumps(MAP), REFUSED)
index("metadata-array", full(MAP, []), REFUSED)
index("total-twice", '{"metadata":{"total_size":1,"total_size":2},"weight_map":%s}' % json.dumps(MAP), REFUSED)
index("nested-too-deep", '{"extra":[[[[[]]]]],"weight_map":%s}' % json.dumps(MAP), REFUSED)
index("name-twice", '{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}', REFUSED)
index("name-twice-escaped", '{"weight_map":{"x":"a.safetensors","\\u0078":"a.safetensors"}}', REFUSED)
index("name-with-nul", '{"weight_map":{"x\\u0000":"a.safetensors"}}', REFUSED)
index("name-of-1025-bytes", full({**MAP, "n" * 1025: "a.safetensors"}), REFUSED)
index("name-of-1024-bytes", full({**MAP, "n" * 1024: "a.safetensors"}), REFUSED)
index("accept-nested-4-deep", {"weight_map": MAP, "extra": [[[]]]}, None)
index("shard-number", full({**MAP, "x": 1}), REFUSED)
index("shard-null", full({**MAP, "x": None}), REFUSED)
index("shard-object", full({**MAP, "x": {}}), REFUSED)
index("shard-of-another-kind", full({**MAP, "x": "a.bin"}), REFUSED)
index("shard-empty", full({**MAP, "x": ""}), REFUSED)
index("shard-with-nul", '{"weight_map":{"x":"a\\u0000.safetensors"}}', REFUSED)
for name, shard in [("parent", "../a.safetensors"), ("absolute", "/etc/passwd.safetensors"), ("folder", "sub/a.safetensors"),
                    ("backslash", "..\\a.safetensors"), ("drive", "C:a.safetensors"), ("newline", "a\n.safetensors"),
                    ("escape-byte", "\x1b[2J.safetensors"), ("delete-byte", "\x7f.safetensors"), ("dots", "../.safetensors"),
                    ("overlong", "n" * 244 + ".safetensors"), ("url", "https://example.org/a.safetensors"),
                    ("stream", "a.safetensors:$DATA.safetensors"), ("here", "./a.safetensors")]:
    index("shard-" + name, full({**MAP, "x": shard}), REFUSED)
index("shard-missing", full({**MAP, "w": "d.safetensors"}), REFUSED)
index("shard-with-direction-marks", full({**MAP, "w": "\u202etxt.safetensors"}), REFUSED)
index("tensor-missing", full({**MAP, "w": "b.safetensors"}), REFUSED)
index("tensor-elsewhere", full({**MAP, "z": "a.safetensors"}), REFUSED)
index("tensor-in-two-shards", full({**MAP, "w": "c.safetensors"}), REFUSED)
index("tensor-in-an-earlier-shard", full({**MAP, "x": "c.safetensors"}), REFUSED)
index("tensor-unnamed", full({"x": "a.safetensors", "z": "b.safetensors"}), REFUSED)

# ---- config.json ---------------------------------------------------------------------------------------------------
config = put("config")
D = {"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "bos_token_id": 0, "first_k_dense_replace": 1,
     "hidden_act": "silu", "moe_layer_freq": 1, "n_group": 4, "n_shared_experts": 1, "norm_topk_prob": True,
     "num_attention_heads": 4, "num_key_value_heads": 4, "num_experts_per_tok": 4, "num_nextn_predict_layers": 0,
     "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "rms_norm_eps": 1e-06, "rope_theta": 10000,
     "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}, "routed_scaling_factor": 2.5,
     "scoring_func": "sigmoid", "topk_group": 2, "topk_method": "noaux_tc", "vocab_size": 2048, "hidden_size": 128,
     "num_hidden_layers": 3, "q_lora_rank": 64, "kv_lora_rank": 64, "intermediate_size": 384, "moe_intermediate_size": 128,
     "n_routed_experts": 16}
Q = {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "decoder_sparse_step": 1, "head_dim": 12,
     "hidden_size": 32, "intermediate_size": 40, "mlp_only_layers": [1], "moe_intermediate_size": 24, "norm_topk_prob": True,
     "num_attention_heads": 4, "num_experts_per_tok": 2, "num_hidden_layers": 3, "num_key_value_heads": 2,
     "num_local_experts": 6, "rms_norm_eps": 1e-06, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
     "vocab_size": 64}


def but(base, **changes):
    changed = {**base, **changes}
    return {k: v for k, v in changed.items() if v is not ...}


FP8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}


def groups(**weights):
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {**INT4, **weights}}}}


config("accept-deepseek", D, None)
config("accept-qwen", Q, None)
config("accept-in-text-config", {"model_type": "wrapper", "text_config": D}, None)
config("accept-fp8", but(D, quantization_config=FP8), None)
config("accept-int4", but(D, quantization_config=groups()), None)
config("accept-unknown-keys", but(D, auto_map={"AutoModel": "evil.py--Evil"}, transformers_version=[]), None)
config("accept-layers-at-limit", but(D, num_hidden_layers=4096), None)
config("accept-hidden-at-limit", but(D, hidden_size=2**20), None)
config("accept-vocab-at-limit", but(D, vocab_size=2**24), None)
config("accept-experts-at-limit", but(D, n_routed_experts=2**16), None)
config("accept-no-shared-experts", but(D, n_shared_experts=None), None)
config("empty", "", REFUSED)
config("array", "[]", REFUSED)
config("null", "null", REFUSED)
config("cut", json.dumps(D)[:-1], REFUSED)
config("trailing-comma", json.dumps(D)[:-1] + ",}", REFUSED)
config("comment", "// x\n" + json.dumps(D), REFUSED)
config("nan", json.dumps(D)[:-1] + ',"x":NaN}', REFUSED)
config("number-1e400", json.dumps(D)[:-1] + ',"x":1e400}', REFUSED)
config("number-of-64-characters", json.dumps(D)[:-1] + ',"x":1%s}' % ("0" * 63), REFUSED)
config("byte-order-mark", BOM + json.dumps(D), REFUSED)
config("utf8-invalid", b'{"model_type":"\xff"}', REFUSED)
config("key-twice", json.dumps(D)[:-1] + ',"hidden_size":256}', REFUSED)
config("key-twice-escaped", json.dumps(D)[:-1] + ',"hidden\\u005fsize":256}', REFUSED)
config("key-twice-inside", json.dumps(D)[:-1] + ',"x":{"a":1,"a":2}}', REFUSED)
config("key-with-nul", json.dumps(D)[:-1] + ',"a\\u0000b":1}', REFUSED)
config("text-with-nul", json.dumps(D)[:-1] + ',"x":"a\\u0000b"}', REFUSED)
config("nested-65-deep", '{"x":' + "[" * 64 + "]" * 64 + "}", REFUSED)
config("accept-nested-64-deep", json.dumps(D)[:-1] + ',"x":' + "[" * 63 + "]" * 63 + "}", None)
config("no-family", {}, REFUSED)
config("family-unknown", but(D, architectures=["EvilForCausalLM"], model_type="evil"), REFUSED)
config("family-long", but(D, architectures=["E" * 5000], model_type="\u202egnp"), REFUSED)
config("family-number", but(D, architectures=[7], model_type=7), REFUSED)
for key, low, high in [("num_hidden_layers", 0, 4097), ("hidden_size", 0, 2**20 + 1), ("vocab_size", 0, 2**24 + 1),
                       ("n_routed_experts", 0, 2**16 + 1), ("num_attention_heads", 0, 2**16 + 1),
                       ("intermediate_size", -1, 2**24 + 1), ("moe_intermediate_size", 0, 2**24 + 1),
                       ("num_nextn_predict_layers", -1, 65), ("kv_lora_rank", 0, 2**20 + 1)]:
    config(f"{key}-{low}", but(D, **{key: low}), REFUSED)
    config(f"{key}-{high}", but(D, **{key: high}), REFUSED)
config("layers-2-53", but(D, num_hidden_layers=2**53), REFUSED)
config("layers-1e18", json.dumps(but(D, num_hidden_layers=...))[:-1] + ',"num_hidden_layers":1e18}', REFUSED)
config("layers-float", but(D, num_hidden_layers=2.5), REFUSED)
config("layers-string", but(D, num_hidden_layers="3"), REFUSED)
config("layers-true", but(D, num_hidden_layers=True), REFUSED)
config("layers-missing", but(D, num_hidden_layers=...), REFUSED)
config("layers-null", but(D, num_hidden_layers=None), REFUSED)
config("theta-zero", but(D, rope_theta=0), REFUSED)
config("theta-negative", but(D, rope_theta=-10000), REFUSED)
config("theta-missing", but(D, rope_theta=...), REFUSED)
config("eps-zero", but(D, rms_norm_eps=0), REFUSED)
config("eps-string", but(D, rms_norm_eps="1e-6"), REFUSED)
config("renorm-missing", but(D, norm_topk_prob=...), REFUSED)
config("renorm-number", but(D, norm_topk_prob=1), REFUSED)
config("rope-type-unknown", but(D, rope_scaling={"type": "longrope", "factor": 2}), REFUSED)
config("rope-type-number", but(D, rope_scaling={"type": 3}), REFUSED)
config("yarn-factor-missing", but(D, rope_scaling={"type": "yarn", "original_max_position_embeddings": 4096}), REFUSED)
config("yarn-factor-below-1", but(D, rope_scaling={"type": "yarn", "factor": 0.5, "original_max_position_embeddings": 4096}), REFUSED)
config("two-spellings", but(D, rope_parameters={"rope_theta": 5000}), REFUSED)
config("experts-spelled-twice", but(D, num_experts=8), REFUSED)
config("act-gelu", but(D, hidden_act="gelu"), REFUSED)
config("score-softmax", but(D, scoring_func="softmax"), REFUSED)
config("layer-freq-2", but(D, moe_layer_freq=2), REFUSED)
config("attention-bias", but(D, attention_bias=True), REFUSED)
config("dense-replace-missing", but(D, first_k_dense_replace=...), REFUSED)
config("dense-replace-over-layers", but(D, first_k_dense_replace=4), REFUSED)
config("dense-replace-negative", but(D, first_k_dense_replace=-1), REFUSED)
config("dense-list-number", but(Q, mlp_only_layers=1), REFUSED)
config("dense-list-outside", but(Q, mlp_only_layers=[3]), REFUSED)
config("dense-list-text", but(Q, mlp_only_layers=["1"]), REFUSED)
config("sparse-step-zero", but(Q, decoder_sparse_step=0), REFUSED)
config("sliding-window", but(Q, use_sliding_window=True), REFUSED)
config("head-dim-odd", but(Q, head_dim=13), REFUSED)
config("head-dim-underivable", but(Q, head_dim=..., hidden_size=33), REFUSED)
config("heads-no-multiple", but(Q, num_key_value_heads=3), REFUSED)
config("kv-heads-differ", but(D, num_key_value_heads=2), REFUSED)
config("rope-dim-odd", but(D, qk_rope_head_dim=15), REFUSED)
config("top-k-over-experts", but(D, num_experts_per_tok=17), REFUSED)
config("groups-no-divisor", but(D, n_group=5), REFUSED)
config("topk-group-over-groups", but(D, topk_group=5), REFUSED)
config("top-k-over-groups", but(D, num_experts_per_tok=9), REFUSED)
config("groups-of-one", but(D, n_group=16, topk_group=16), REFUSED)
config("bos-outside", but(D, bos_token_id=2048), REFUSED)
config("quant-method-unknown", but(D, quantization_config={"quant_method": "evil"}), REFUSED)
config("quant-method-missing", but(D, quantization_config={}), REFUSED)
config("quant-fp8-e5m2", but(D, quantization_config={**FP8, "fmt": "e5m2"}), REFUSED)
config("accept-quant-fp8-per-tensor", but(D, quantization_config={**FP8, "weight_block_size": None}), None)
config("accept-quant-fp8-block-64", but(D, quantization_config={**FP8, "weight_block_size": [64, 64]}), None)
config("quant-fp8-block-three", but(D, quantization_config={**FP8, "weight_block_size": [128, 128, 128]}), REFUSED)
config("quant-no-groups", but(D, quantization_config={"quant_method": "compressed-tensors"}), REFUSED)
config("quant-preset", but(D, quantization_config={"quant_method": "compressed-tensors", "config_groups": {"W4A16": ["Linear"]}}), REFUSED)
config("quant-3-bits", but(D, quantization_config=groups(num_bits=3)), REFUSED)
config("accept-quant-asymmetric", but(D, quantization_config=groups(symmetric=False)), None)
config("accept-quant-group-100", but(D, quantization_config=groups(group_size=100)), None)
config("accept-quant-reordered", but(D, quantization_config=groups(actorder="group")), None)
config("quant-bits-text", but(D, quantization_config=groups(num_bits="4")), REFUSED)
config("quant-transform", but(D, quantization_config={**groups(), "transform_config": {"a": 1}}), REFUSED)
config("quant-block-of-0", but(D, quantization_config=groups(type="float", num_bits=8, strategy="block", block_structure=[0, 128])), REFUSED)
config("quant-block-text", but(D, quantization_config=groups(type="float", num_bits=8, strategy="block", block_structure="128by128")), REFUSED)
config("accept-quant-block-text", but(D, quantization_config=groups(type="float", num_bits=8, strategy="block", block_structure="128x128")), None)
config("accept-quant-fbgemm", but(D, quantization_config={"quant_method": "fbgemm_fp8"}), None)
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
config("accept-quant-gptq", but(D, quantization_config=GPTQ), None)
config("quant-gptq-5-bits", but(D, quantization_config={**GPTQ, "bits": 5}), REFUSED)
config("quant-gptq-group-0", but(D, quantization_config={**GPTQ, "group_size": 0}), REFUSED)
config("quant-gptq-planar", but(D, quantization_config={**GPTQ, "checkpoint_format": "gptq_p"}), REFUSED)
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}
config("accept-quant-awq", but(D, quantization_config=AWQ), None)
config("quant-awq-gemv", but(D, quantization_config={**AWQ, "version": "gemv"}), REFUSED)
config("quant-awq-8-bits", but(D, quantization_config={**AWQ, "bits": 8}), REFUSED)
config("quant-awq-group-text", but(D, quantization_config={**AWQ, "group_size": "128"}), REFUSED)
config("accept-quant-modelopt", but(D, quantization_config={"quant_method": "modelopt", "quant_algo": "NVFP4"}), None)
config("quant-modelopt-awq", but(D, quantization_config={"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}), REFUSED)
MLX = {"group_size": 64, "bits": 4}
config("accept-quant-mlx", but(D, quantization={**MLX, "model.layers.0": {"bits": 8, "group_size": 32}, "lm_head": False}), None)
config("quant-mlx-mode", but(D, quantization={**MLX, "mode": "evil"}), REFUSED)
config("quant-mlx-9-bits", but(D, quantization={**MLX, "bits": 9}), REFUSED)
config("quant-mlx-group-0", but(D, quantization={**MLX, "group_size": 0}), REFUSED)
config("quant-schemes-17", but(D, quantization={**MLX, **{f"a{i}": {"bits": 4, "group_size": 32 + i} for i in range(16)}}), REFUSED)
config("quant-sparse", but(D, quantization_config={**groups(), "sparsity_config": {"format": "sparse-24-bitmask"}}), REFUSED)

# ---- tokenizer.json and tokenizer_config.json ------------------------------------------------------------------------
tokenizer = put("tokenizer")
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
MODEL = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
T = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "pre_tokenizer": LEVEL,
     "post_processor": None, "decoder": {"type": "ByteLevel"}, "model": MODEL}
END = {"id": 3, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
SPLIT = {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Isolated", "invert": False}


def model(**changes):
    return but(T, model=but(MODEL, **changes))


def pre(*steps):
    return but(T, pre_tokenizer={"type": "Sequence", "pretokenizers": list(steps)})


def config_case(name, content, verdict):
    """tokenizer_config.json beside a good tokenizer.json whose token 3 is <end>."""
    tokenizer(name, content, verdict, ".config.json")


tokenizer("accept-good", but(T, added_tokens=[END]), None)
tokenizer("accept-merges-as-lists", model(merges=[["a", "b"]]), None)
tokenizer("accept-split", pre(SPLIT, LEVEL), None)
tokenizer("accept-normalizers", but(T, normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]}), None)
tokenizer("empty", "", REFUSED)
tokenizer("array", "[]", REFUSED)
tokenizer("cut", json.dumps(T)[:-2], REFUSED)
tokenizer("nested-65-deep", '{"x":' + "[" * 64 + "]" * 64 + "}", REFUSED)
tokenizer("key-twice", json.dumps(T)[:-1] + ',"model":{}}', REFUSED)
tokenizer("unknown-part", but(T, script="evil"), REFUSED)
tokenizer("version-2", but(T, version="2.0"), REFUSED)
tokenizer("truncation", but(T, truncation={"max_length": 4}), REFUSED)
tokenizer("padding", but(T, padding={}), REFUSED)
tokenizer("no-model", but(T, model=...), REFUSED)
tokenizer("model-text", but(T, model="BPE"), REFUSED)
tokenizer("model-unigram", model(type="Unigram"), REFUSED)
tokenizer("model-unknown-field", model(evil=1), REFUSED)
tokenizer("model-dropout", model(dropout=0.1), REFUSED)
tokenizer("model-unk", model(unk_token="a"), REFUSED)
tokenizer("model-byte-fallback", model(byte_fallback=True), REFUSED)
tokenizer("model-fuse-number", model(fuse_unk=1), REFUSED)
tokenizer("model-suffix", model(end_of_word_suffix="</w>"), REFUSED)
tokenizer("vocab-missing", model(vocab=...), REFUSED)
tokenizer("vocab-array", model(vocab=[["a", 0]]), REFUSED)
tokenizer("vocab-id-negative", model(vocab={"a": -1}, merges=[]), REFUSED)
tokenizer("vocab-id-huge", model(vocab={"a": 2**31}, merges=[]), REFUSED)
tokenizer("vocab-id-2-53", model(vocab={"a": 2**53}, merges=[]), REFUSED)
tokenizer("vocab-id-float", model(vocab={"a": 0.5}, merges=[]), REFUSED)
tokenizer("vocab-id-text", model(vocab={"a": "0"}, merges=[]), REFUSED)
tokenizer("vocab-id-twice", model(vocab={"a": 0, "b": 0}, merges=[]), REFUSED)
tokenizer("vocab-token-with-nul", '{"model":{"vocab":{"a\\u0000b":0},"merges":[]}}', REFUSED)
tokenizer("merges-missing", model(merges=...), REFUSED)
tokenizer("merges-object", model(merges={}), REFUSED)
tokenizer("merge-number", model(merges=[7]), REFUSED)
tokenizer("merge-one-word", model(merges=["ab"]), REFUSED)
tokenizer("merge-three-words", model(merges=["a b c"]), REFUSED)
tokenizer("merge-list-of-three", model(merges=[["a", "b", "c"]]), REFUSED)
tokenizer("merge-list-of-numbers", model(merges=[[0, 1]]), REFUSED)
tokenizer("merge-unknown-left", model(merges=["c b"]), REFUSED)
tokenizer("merge-unknown-result", model(merges=["b a"]), REFUSED)
tokenizer("pre-missing", but(T, pre_tokenizer=...), REFUSED)
tokenizer("pre-text", but(T, pre_tokenizer="ByteLevel"), REFUSED)
tokenizer("pre-unknown", but(T, pre_tokenizer={"type": "Metaspace"}), REFUSED)
tokenizer("pre-untyped", but(T, pre_tokenizer={"pretokenizers": []}), REFUSED)
tokenizer("pre-sequence-object", but(T, pre_tokenizer={"type": "Sequence", "pretokenizers": {}}), REFUSED)
tokenizer("pre-behind-byte-level", pre(LEVEL, SPLIT), REFUSED)
tokenizer("pre-no-byte-level", pre(SPLIT), REFUSED)
tokenizer("pre-too-many-steps", pre(*[SPLIT] * 40, LEVEL), REFUSED)
tokenizer("byte-level-flag-missing", but(T, pre_tokenizer={"type": "ByteLevel", "trim_offsets": True}), REFUSED)
tokenizer("byte-level-unknown-field", but(T, pre_tokenizer={**LEVEL, "evil": 1}), REFUSED)
tokenizer("digits-flag-text", pre({"type": "Digits", "individual_digits": "yes"}, LEVEL), REFUSED)
tokenizer("split-no-pattern", pre(but(SPLIT, pattern=...), LEVEL), REFUSED)
tokenizer("split-two-patterns", pre({**SPLIT, "pattern": {"Regex": "a", "String": "b"}}, LEVEL), REFUSED)
tokenizer("split-pattern-of-another-kind", pre({**SPLIT, "pattern": {"Glob": "a*"}}, LEVEL), REFUSED)
tokenizer("split-behavior-unknown", pre({**SPLIT, "behavior": "Removedd"}, LEVEL), REFUSED)
tokenizer("split-invert-missing", pre(but(SPLIT, invert=...), LEVEL), REFUSED)
for name, regex in [("unbalanced", "(a"), ("class-open", "[a"), ("backreference", "(a)\\1"), ("recursion", "(?R)"),
                    ("callout", "(?C1)"), ("look-behind-variable", "(?<=a+)b"), ("property-unknown", "\\p{Evil}"),
                    ("repeat-huge", "(a{1000}){1000}{1000}"), ("named-group", "(?<n>a)\\k<n>"), ("absent", "(?~a)")]:
    tokenizer("regex-" + name, pre({**SPLIT, "pattern": {"Regex": regex}}, LEVEL), REFUSED)
tokenizer("regex-long", pre({**SPLIT, "pattern": {"Regex": "a" * 70000}}, LEVEL), REFUSED)
tokenizer("normalizer-unknown", but(T, normalizer={"type": "Lowercase"}), REFUSED)
tokenizer("normalizer-untyped", but(T, normalizer={}), REFUSED)
tokenizer("normalizer-list-missing", but(T, normalizer={"type": "Sequence"}), REFUSED)
tokenizer("normalizer-too-many", but(T, normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}] * 9}), REFUSED)
tokenizer("normalizer-unknown-field", but(T, normalizer={"type": "NFC", "evil": 1}), REFUSED)
tokenizer("added-object", but(T, added_tokens={}), REFUSED)
tokenizer("added-text", but(T, added_tokens=["<end>"]), REFUSED)
tokenizer("added-id-negative", but(T, added_tokens=[{**END, "id": -1}]), REFUSED)
tokenizer("added-id-elsewhere", but(T, added_tokens=[{**END, "id": 9}]), REFUSED)
tokenizer("added-id-2-31", but(T, added_tokens=[{**END, "id": 2**31}]), REFUSED)
tokenizer("added-flag-missing", but(T, added_tokens=[but(END, lstrip=...)]), REFUSED)
tokenizer("added-content-missing", but(T, added_tokens=[but(END, content=...)]), REFUSED)
tokenizer("added-content-long", but(T, added_tokens=[{**END, "content": "x" * 4097}]), REFUSED)
tokenizer("added-twice", but(T, added_tokens=[{**END, "id": 0, "content": "a"}, {**END, "id": 0, "content": "a"}]), REFUSED)
tokenizer("added-unknown-field", but(T, added_tokens=[{**END, "evil": 1}]), REFUSED)
tokenizer("added-same-when-normalized", but(T, normalizer={"type": "NFC"}, added_tokens=[
    {**END, "normalized": True, "content": "\u00e4"}, {**END, "id": 4, "normalized": True, "content": "a\u0308"}]), REFUSED)
config_case("accept-bos", {"add_bos_token": True, "bos_token": "<end>"}, None)
config_case("accept-bos-object", {"add_bos_token": True, "bos_token": {"content": "<end>"}}, None)
config_case("accept-no-bos", {"chat_template": "{{ evil }}", "auto_map": {}}, None)
config_case("bos-flag-text", {"add_bos_token": "yes"}, REFUSED)
config_case("bos-missing", {"add_bos_token": True}, REFUSED)
config_case("bos-number", {"add_bos_token": True, "bos_token": 0}, REFUSED)
config_case("bos-unknown", {"add_bos_token": True, "bos_token": "<start>"}, REFUSED)
config_case("config-cut", '{"add_bos_token":', REFUSED)
