#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the files of this folder with other people's writer: PyPI gguf 0.19.0, NumPy 2.   usage: make.py

small.gguf: every kind of value, plain types, Q8_0 as a matrix and as stacked experts, and two types that are only known by size.
plain.gguf: plain types only, aligned to 4096. special.gguf: NaN and infinite scales. parts-*: one set of three.
"""
import pathlib
import numpy as np
from gguf import GGMLQuantizationType as T, GGUFValueType as V, GGUFWriter, quants

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(5)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def q8_0(*shape):
    return quants.quantize(rng.standard_normal(shape).astype(np.float32), T.Q8_0)


w = GGUFWriter(HERE / "small.gguf", "qwen3moe")
w.add_name("Small \u00e4")
w.add_file_type(7)
w.add_block_count(1)
w.add_embedding_length(64)
w.add_context_length(512)
w.add_expert_count(2)
w.add_expert_used_count(1)
w.add_vocab_size(3)
for name, kind, value in (("u8", V.UINT8, 255), ("i8", V.INT8, -128), ("u16", V.UINT16, 65535), ("i16", V.INT16, -2), ("i32", V.INT32, -3), ("u64", V.UINT64, 2**64 - 1),
                          ("i64", V.INT64, -2**63), ("f64", V.FLOAT64, 0.1)):
    w.add_key_value(f"test.{name}", value, kind)
w.add_float32("test.f32", 0.1)
w.add_bool("test.bool", True)
w.add_string("test.text", "two\nlines")
w.add_token_list(["a", "b", "\u00e4"])
w.add_token_scores([0.5, -1.0, 2.0])
w.add_token_types([1, 1, 3])
w.add_array("test.bools", [True, False])
w.add_tensor("token_embd.weight", rng.standard_normal((3, 64)).astype(np.float16))
w.add_tensor("output_norm.weight", rng.standard_normal(64).astype(np.float32))
w.add_tensor("output.weight", q8_0(3, 64), raw_dtype=T.Q8_0)
w.add_tensor("blk.0.ffn_down_exps.weight", q8_0(2, 64, 32), raw_dtype=T.Q8_0)
w.add_tensor("blk.0.ffn_gate_inp.weight", rng.integers(0, 2**15, (2, 64)).astype(np.uint16).view(np.uint8), raw_dtype=T.BF16)
w.add_tensor("blk.0.iq2.weight", rng.integers(0, 256, (2, 66)).astype(np.uint8), raw_dtype=T.IQ2_XXS)
w.add_tensor("blk.0.tq1.weight", rng.integers(0, 256, (1, 54)).astype(np.uint8), raw_dtype=T.TQ1_0)
w.add_tensor("blk.0.table", np.arange(5, dtype=np.int32))
finish(w)

w = GGUFWriter(HERE / "plain.gguf", "llama")
w.add_custom_alignment(4096)
w.add_tensor("token_embd.weight", np.arange(12, dtype=np.float32).reshape(3, 4))
w.add_tensor("blk.0.attn_q.weight", np.arange(16, dtype=np.float16).reshape(4, 4))
w.add_tensor("blk.0.table", np.arange(5, dtype=np.int64))
finish(w)

w = GGUFWriter(HERE / "special.gguf", "llama")
blocks = q8_0(4, 64).reshape(8, 34)
blocks[3, :2] = (0, 0x7e)  # NaN
blocks[6, :2] = (0, 0xfc)  # -infinity
w.add_tensor("bad.weight", blocks.reshape(4, 68), raw_dtype=T.Q8_0)
w.add_tensor("good.weight", q8_0(4, 64), raw_dtype=T.Q8_0)
finish(w)

w = GGUFWriter(HERE / "parts.gguf", "llama", split_max_tensors=2)
for i in range(5):
    w.add_tensor(f"blk.{i}.weight", np.arange(7 * i + 1, dtype=np.float32))
finish(w)
