#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes this folder: a seeded random qwen3_moe by transformers, and its forward pass.

usage: make.py [FOLDER]        (default: the folder of this script; needs torch and transformers)
"""
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

here = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
torch.manual_seed(20251)
config = Qwen3MoeConfig(vocab_size=64, hidden_size=32, intermediate_size=40, moe_intermediate_size=24,
                        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
                        num_experts=6, num_experts_per_tok=2, norm_topk_prob=True, mlp_only_layers=[1],
                        tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 1e4})
model = Qwen3MoeForCausalLM(config)
with torch.no_grad():
    for name, p in model.named_parameters():
        noise = torch.randn_like(p)
        p.copy_(1.0 + 0.3 * noise if "norm" in name else 1.5 * noise / p.shape[-1] ** 0.5)
model.to(torch.bfloat16).save_pretrained(here)
(here / "generation_config.json").unlink(missing_ok=True)

model = Qwen3MoeForCausalLM.from_pretrained(here, dtype=torch.float32, attn_implementation="eager").eval()
tokens = torch.randint(0, 64, (2, 80))
chosen = []
for name, module in model.named_modules():
    if name.endswith("mlp.gate"):
        module.register_forward_hook(lambda m, i, o: chosen.append(o[2]))
with torch.no_grad():
    out = model(tokens, output_hidden_states=True, use_cache=False)
nll = F.cross_entropy(out.logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
np.savez(here / "reference.npz", tokens=tokens.numpy().astype(np.int32), logits=out.logits[:, -4:].numpy(),
         nll=nll.numpy(), hidden=torch.stack([h[:1, :16] for h in out.hidden_states]).numpy(),
         router=torch.stack([c.reshape(2, 80, -1).sort(-1)[0] for c in chosen]).numpy().astype(np.int32))
