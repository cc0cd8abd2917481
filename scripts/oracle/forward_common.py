# SPDX-License-Identifier: Apache-2.0
"""What the forward oracles share: make a random model with transformers, run both sides, compare."""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F

TOLERANCE = 1e-4  # relative to the largest: binary32 against binary32
WINDOWS, LENGTH = 3, 300  # more keys than one block of 256, several tiles of queries


def make(folder, classes, seed, settings):
    """A random model whose every part matters: wide logits, uneven norms, decided routers."""
    config_class, model_class = classes
    torch.manual_seed(seed)
    model = model_class(config_class(**settings))
    with torch.no_grad():
        for name, p in list(model.named_parameters()) + list(model.named_buffers()):
            if name.endswith("e_score_correction_bias"):
                p.copy_(0.2 * torch.randn_like(p))
            elif "norm" in name:
                p.copy_(1.0 + 0.3 * torch.randn_like(p))
            elif "bias" in name:
                p.copy_(0.3 * torch.randn_like(p))
            elif name.endswith("weight") or "proj" in name:
                p.copy_(1.5 * torch.randn_like(p) / p.shape[-1] ** 0.5)
    model.save_pretrained(folder)
    return model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


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


def check(scruple, name, classes, seed, settings):
    with tempfile.TemporaryDirectory() as tmp:
        folder = pathlib.Path(tmp, "model")
        model = make(folder, classes, seed, settings)
        tokens = torch.randint(0, settings["vocab_size"], (WINDOWS, LENGTH))
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


def run(doc, classes, base, variants):
    """Every variant of `base` in turn; exits 1 where one is off."""
    if len(sys.argv) != 2:
        sys.exit(doc)
    results = [check(sys.argv[1], name, classes, seed, base | changes)
               for seed, (name, changes) in enumerate(variants.items())]
    sys.exit(0 if all(results) else 1)
