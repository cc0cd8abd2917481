#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whole checkpoints in the forms of MLX, GPTQ and AWQ, loaded and run by the tools that own the forms.

usage: engines.py SCRUPLE MODEL        (a BF16 checkpoint with reference.npz; mlx-lm, GPTQModel: what is not installed is left out)

MODEL is quantized to each type by the default search. The tool loads the folder by its config.json, has to take the coded modules for coded ones
and the others for plain ones, and computes the logits of a window in binary32; they have to be those of `scruple forward` of the same folder up to
the order of sums. mlx-lm takes kv_b_proj apart and quantizes it anew, so that one is left plain for it. Exit 1 where one is off, or where neither tool is installed.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

try:
    import mlx.core as mx
    import mlx.nn
    from mlx_lm.utils import load_model
    from mlx_lm.models.switch_layers import QuantizedSwitchLinear
except ImportError:
    mx = None
try:
    import torch
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.nn_modules.qlinear import BaseQuantLinear
except ImportError:
    GPTQModel = None

ORDER = 1e-5  # of the logits' norm: sums of binary32 in another order make 3e-7
HALF = 1e-3  # GPTQModel rounds what it decodes of AWQ to binary16, 2^-11 of a weight; of the median token, since a router may then choose otherwise
MLX = ["int4-mlx-g32", "int8-mlx-g64", "mxfp4-mlx", "nvfp4-mlx", "mxfp8-mlx"]
GPTQ = ["int4-gptq-g32", "int4-gptq-v2-g32-asym", "int8-gptq-channel", "int4-awq-g32", "int4-awq-g64"]


def mlx_logits(folder, tokens):
    mx.set_default_device(mx.cpu)
    model, _ = load_model(folder)
    coded = sum(m.num_experts for _, m in model.named_modules() if isinstance(m, QuantizedSwitchLinear))
    coded += sum(isinstance(m, mlx.nn.QuantizedLinear) for _, m in model.named_modules())
    model.set_dtype(mx.float32)
    return coded, np.array(model(mx.array(tokens)))[0]


def gptqmodel_logits(folder, tokens):
    model = GPTQModel.load(str(folder), backend=BACKEND.TORCH, device="cpu", dtype=torch.float16).model
    coded = sum(isinstance(m, BaseQuantLinear) for m in model.modules())
    model.float()
    with torch.no_grad():
        return coded, model(torch.tensor(tokens.astype(np.int64))).logits.float().numpy()[0]


def run(scruple, *args):
    subprocess.run([scruple, *map(str, args), "-q"], check=True, stdout=subprocess.DEVNULL)


def off(scruple, model, kind, scope, logits, tmp):
    out, tokens = tmp / f"{kind}-{scope}", np.load(model / "reference.npz")["tokens"][:1].astype(np.int32)
    np.save(tmp / "tokens.npy", tokens)
    plain = ["--tensor-type", "attention.kv_b=keep"] if "mlx" in kind and scope == "all-linear" else []
    run(scruple, "quantize", model, "-o", out, "--type", kind, "--scope", scope, *plain)
    run(scruple, "forward", out, "--tokens", tmp / "tokens.npy", "-o", tmp / "ours.npz", "-f")
    names = subprocess.run([scruple, "ls", out, "--json"], check=True, capture_output=True, text=True).stdout
    ours, expected = np.load(tmp / "ours.npz")["logits"][0], names.count('.scales"')
    coded, theirs = logits(out, tokens)
    if "awq" in kind:
        distance, limit = np.median(np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(ours, axis=-1)), HALF
    else:
        distance, limit = np.linalg.norm(ours - theirs) / np.linalg.norm(ours), ORDER
    bad = not distance <= limit or coded != expected
    print(f"{kind}, {scope}: {coded} coded modules of {expected}, distance {distance:.1e}{' OFF' if bad else ''}")
    return bad


def main():
    scruple, model = sys.argv[1], pathlib.Path(sys.argv[2])
    tried = failed = 0
    for tool, kinds, logits in (("mlx-lm", mx and MLX, mlx_logits), ("GPTQModel", GPTQModel and GPTQ, gptqmodel_logits)):
        if not kinds:
            print(f"{tool}: not installed, left out")
            continue
        for kind in kinds:
            for scope in ("experts", "all-linear"):
                with tempfile.TemporaryDirectory() as tmp:
                    failed += off(scruple, model, kind, scope, logits, pathlib.Path(tmp))
                tried += 1
    print(f"engines: {tried - failed} of {tried} checkpoints ok")
    sys.exit(failed > 0 or not tried)


main()
