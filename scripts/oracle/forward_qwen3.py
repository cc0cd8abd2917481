#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`scruple forward` against transformers on seeded random qwen3_moe models.

usage: forward_qwen3.py SCRUPLE

Each variant is made by transformers in a temporary folder (head_dim is never hidden / heads, fewer
key and value heads than heads, norm weights away from 1), run by both sides in float32 on the
same tokens, and compared: logits and negative log likelihoods to 1e-4 of the largest, hidden
states likewise, routed expert sets equal. Needs torch and transformers. Exit 1 where one is off.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

TOLERANCE = 1e-4
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
    "YaRN": dict(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                                  "original_max_position_embeddings": 64}),
}


def make(folder, seed, changes):
    """A random model whose every part matters: wide logits, uneven norms, decided routers."""
    torch.manual_seed(seed)
    config = Qwen3MoeConfig(**(BASE | changes))
    model = Qwen3MoeForCausalLM(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.copy_(1.0 + 0.3 * torch.randn_like(p))
            elif "bias" in name:
                p.copy_(0.3 * torch.randn_like(p))
            else:
                p.copy_(1.5 * torch.randn_like(p) / p.shape[-1] ** 0.5)
    model.save_pretrained(folder)
    return Qwen3MoeForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                               attn_implementation="eager").eval()


def reference(model, tokens):
    chosen = []
    hooks = [m.register_forward_hook(lambda m, i, o: chosen.append(o[2]))
             for n, m in model.named_modules() if n.endswith("mlp.gate")]
    with torch.no_grad():
        out = model(tokens, output_hidden_states=True, use_cache=False)
    for h in hooks:
        h.remove()
    nll = F.cross_entropy(out.logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
    router = torch.stack([c.reshape(*tokens.shape, -1).sort(-1)[0] for c in chosen])
    return dict(logits=out.logits.numpy(), nll=nll.numpy(), router=router.numpy(),
                hidden=torch.stack(out.hidden_states).numpy())


def check(scruple, name, seed, changes):
    with tempfile.TemporaryDirectory() as tmp:
        folder = pathlib.Path(tmp, "model")
        model = make(folder, seed, changes)
        tokens = torch.randint(0, BASE["vocab_size"], (3, 300))
        np.save(pathlib.Path(tmp, "tokens.npy"), tokens.numpy().astype(np.int32))
        subprocess.run([scruple, "forward", str(folder), "--tokens", f"{tmp}/tokens.npy",
                        "-o", f"{tmp}/out.npz", "--activations", "-q"], check=True,
                       stdout=subprocess.DEVNULL)
        got = dict(np.load(f"{tmp}/out.npz"))
        ref = reference(model, tokens)
    off = {k: float(np.abs(got[k] - ref[k]).max() / np.abs(ref[k]).max())
           for k in ("logits", "nll", "hidden")}
    routed = int((got["router"] != ref["router"]).sum())
    ok = all(v <= TOLERANCE for v in off.values()) and routed == 0
    print(f"{name}: logits {off['logits']:.2e}, nll {off['nll']:.2e}, hidden {off['hidden']:.2e}"
          f" of the largest; {routed} routed experts differ: {'ok' if ok else 'OFF'}")
    return ok


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    results = [check(sys.argv[1], name, seed, changes)
               for seed, (name, changes) in enumerate(VARIANTS.items())]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
