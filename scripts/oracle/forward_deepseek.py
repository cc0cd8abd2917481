#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`scruple forward` against transformers on seeded random deepseek_v3 models.

usage: forward_deepseek.py SCRUPLE

What the trained models do not have: no query rank, no groups, no renormalisation, no YaRN, an
mscale apart from mscale_all_dim, more dense layers. Made, run and compared as forward_qwen3.py
does. Needs torch and transformers. Exit 1 where one is off.
"""
from forward_common import run
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 40.0, "beta_fast": 32.0, "beta_slow": 1.0,
        "original_max_position_embeddings": 64, "mscale": 1.0, "mscale_all_dim": 1.0}
PLAIN = {"rope_type": "default", "rope_theta": 1e4}
BASE = dict(vocab_size=160, hidden_size=48, intermediate_size=80, moe_intermediate_size=40,
            num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=3, q_lora_rank=24,
            kv_lora_rank=28, qk_nope_head_dim=14, qk_rope_head_dim=10, v_head_dim=18,
            n_routed_experts=12, num_experts_per_tok=3, n_group=4, topk_group=2, n_shared_experts=1,
            first_k_dense_replace=1, norm_topk_prob=True, routed_scaling_factor=2.5,
            max_position_embeddings=2560, rope_parameters=YARN)
VARIANTS = {
    "as DeepSeek-V3": {},
    "no query rank": dict(q_lora_rank=None),
    "no groups, two shared experts": dict(n_group=1, topk_group=1, n_shared_experts=2),
    "not renormalised, two dense layers": dict(norm_topk_prob=False, first_k_dense_replace=2),
    "no YaRN, eps 1e-5, tied": dict(rope_parameters=PLAIN, rms_norm_eps=1e-5,
                                    tie_word_embeddings=True),
    "mscale apart from mscale_all_dim": dict(rope_parameters=YARN | {"mscale": 0.8,
                                                                     "mscale_all_dim": 0.5}),
}

if __name__ == "__main__":
    run(__doc__, (DeepseekV3Config, DeepseekV3ForCausalLM), BASE, VARIANTS)
