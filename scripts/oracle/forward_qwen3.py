#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`scruple forward` against transformers on seeded random qwen3_moe models.

usage: forward_qwen3.py SCRUPLE

Each variant is made by transformers in a temporary folder (head_dim is never hidden / heads, fewer
key and value heads than heads, norm weights away from 1), run by both sides in float32 on the
same tokens, and compared: logits, negative log likelihoods and hidden states to 1e-4 of the
largest, routed expert sets equal. Needs torch and transformers. Exit 1 where one is off.
"""
from forward_common import run
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

BASE = dict(vocab_size=160, hidden_size=48, intermediate_size=80, moe_intermediate_size=40,
            num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=20,
            num_experts=8, num_experts_per_tok=3, norm_topk_prob=True, tie_word_embeddings=False,
            mlp_only_layers=[], rope_parameters={"rope_type": "default", "rope_theta": 1e6})
VARIANTS = {
    "untied, renormalised, dense layer 1": dict(mlp_only_layers=[1]),
    "tied, not renormalised": dict(tie_word_embeddings=True, norm_topk_prob=False),
    "untied, not renormalised, dense layers 0 and 3": dict(norm_topk_prob=False,
                                                           mlp_only_layers=[0, 3]),
    "tied, renormalised, every other layer dense": dict(tie_word_embeddings=True,
                                                        decoder_sparse_step=2),
    "with attention biases, one kv head": dict(attention_bias=True, num_key_value_heads=1),
    "YaRN": dict(max_position_embeddings=256,
                 rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                                  "original_max_position_embeddings": 64}),
}

if __name__ == "__main__":
    run(__doc__, (Qwen3MoeConfig, Qwen3MoeForCausalLM), BASE, VARIANTS)
