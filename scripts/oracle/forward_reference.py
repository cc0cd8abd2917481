#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`scruple forward` against the reference.npz that transformers made beside a model.

usage: forward_reference.py SCRUPLE MODEL...      (each MODEL folder holds a reference.npz)

Runs the command on the reference's tokens and compares logits and hidden states (relative to the
largest), negative log likelihoods and routed expert sets. Needs numpy. Exit 1 where one is off.
"""
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

TOLERANCE = 1e-4  # relative to the largest: the bound for binary32 against binary32


def relative(ours, theirs):
    return float(np.abs(ours.astype(np.float64) - theirs).max() / np.abs(theirs).max())


def check(scruple, model):
    ref = np.load(model / "reference.npz")
    n, length = ref["tokens"].shape
    with tempfile.TemporaryDirectory() as tmp:
        tokens, out = pathlib.Path(tmp, "tokens.npy"), pathlib.Path(tmp, "out.npz")
        np.save(tokens, ref["tokens"])
        began = time.time()
        subprocess.run([scruple, "forward", str(model), "--tokens", str(tokens), "-o", str(out),
                        "--activations", "-q"], check=True, stdout=subprocess.DEVNULL)
        seconds = time.time() - began
        got = dict(np.load(out))
    assert got["logits"].dtype == np.float32 and got["logits"].shape[:2] == (n, length)
    assert got["nll"].dtype == np.float32 and got["nll"].shape == (n, length - 1)
    assert got["hidden"].dtype == np.float32 and got["router"].dtype == np.int32
    windows, positions = ref["hidden"].shape[1:3]
    found = {
        "logits": relative(got["logits"][:len(ref["logits"])], ref["logits"]),
        "nll": relative(got["nll"], ref["nll"]),
        "hidden": relative(got["hidden"][:, :windows, :positions], ref["hidden"]),
        "router": int((got["router"][:, 0, :positions] != ref["router"]).sum()),
    }
    ok = all(found[k] <= TOLERANCE for k in ("logits", "nll", "hidden")) and found["router"] == 0
    print(f"{model.name}: logits {found['logits']:.2e}, nll {found['nll']:.2e}, hidden "
          f"{found['hidden']:.2e} of the largest; {found['router']} routed experts differ; "
          f"{seconds:.1f} s: {'ok' if ok else 'OFF'}")
    return ok


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    results = [check(sys.argv[1], pathlib.Path(m)) for m in sys.argv[2:]]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
