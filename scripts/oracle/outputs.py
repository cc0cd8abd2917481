#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What convert and quantize write, judged by other people's code: safetensors, transformers, compressed-tensors, sha256sum.

  outputs.py SCRUPLE MODEL [WORK]       WORK: where to put the outputs (default: a temporary folder)

- the expert pack and the plain checkpoint made from it: every tensor byte-identical (safetensors), logits bit-equal to the
  original's (transformers), digest equal (scruple digest)
- fp8-block and fp8-block32 with scales of any type, fp8-channel, mxfp4-deepseek: load in transformers at dtype float32, expert weights bit-equal to scruple's decode
- int4-g32, int4-g64, int4-g128: load, expert weights equal to scruple's decode rounded to BF16
- recipes with several types in one checkpoint: load, all weights equal to scruple's decode (int4: rounded to BF16)
- every output folder complete, SHA256SUMS accepted by sha256sum -c
"""
import json, os, subprocess, sys, tempfile
import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, FbgemmFp8Config
from transformers.quantizers.auto import AutoQuantizationConfig
import transformers

transformers.utils.logging.set_verbosity_error()
torch.set_grad_enabled(False)
scruple, source = sys.argv[1:3]
work = sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp()
failures = 0


def say(ok, what):
    global failures
    failures += not ok
    print(("ok   " if ok else "FAIL ") + what, flush=True)


def run(*args):
    done = subprocess.run([scruple, *args], capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr)
        raise SystemExit(f"scruple {' '.join(args)} answered {done.returncode}")
    return done.stdout


def tensors(folder):
    out = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            with safe_open(os.path.join(folder, name), "pt") as f:
                for k in f.keys():
                    out[k] = f.get_tensor(k)
    return out


def same_bytes(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.contiguous().view(-1).view(torch.uint8), b.contiguous().view(-1).view(torch.uint8))


def load(folder, dtype=torch.float32):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager", experts_implementation="eager")
    return model.eval()


def logits(model):
    torch.manual_seed(1)
    ids = torch.randint(3, model.config.vocab_size, (2, 64))
    return model(ids, use_cache=False).logits


def experts(model):
    """{(layer, projection): [E, out, in]} of a loaded model."""
    out = {}
    for n, layer in enumerate(model.model.layers):
        fused = getattr(layer.mlp, "experts", None)
        if fused is None:
            continue
        gate, up = fused.gate_up_proj.detach().chunk(2, dim=1)
        out[n, "gate"], out[n, "up"], out[n, "down"] = gate, up, fused.down_proj.detach()
    return out


def decoded(folder):
    """The same out of scruple's own decode (--to f32)."""
    plain = os.path.join(work, os.path.basename(folder) + "-f32")
    run("convert", folder, "-o", plain, "--to", "f32", "-q", "--force")
    out = {}
    for k, v in tensors(plain).items():
        if ".mlp.experts." in k:
            parts = k.split(".")
            out.setdefault((int(parts[2]), parts[6].removesuffix("_proj")), {})[int(parts[5])] = v
    return {k: torch.stack([v[e] for e in sorted(v)]) for k, v in out.items()}


def complete(folder, multi):
    have = set(os.listdir(folder))
    need = {"config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "scruple.json", "SHA256SUMS"}
    need |= {"model.safetensors.index.json"} if multi else {"model.safetensors"}
    say(need <= have and not [n for n in have if n.startswith(".")], f"{os.path.basename(folder)}: folder complete")
    check = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    listed = {line.split("  ", 1)[1] for line in open(os.path.join(folder, "SHA256SUMS")).read().splitlines()}
    say(check.returncode == 0 and listed == have - {"SHA256SUMS"}, f"{os.path.basename(folder)}: SHA256SUMS lists and matches every file")


original = tensors(source)
reference = logits(load(source))
pack, back = os.path.join(work, "pack"), os.path.join(work, "back")
run("convert", source, "-o", pack, "--to", "experts", "-q", "--force")
run("convert", pack, "-o", back, "--to", "safetensors", "-q", "--force")
for folder in (pack, back):
    got = tensors(folder)
    name = os.path.basename(folder)
    say(got.keys() == original.keys() and all(same_bytes(got[k], original[k]) for k in original), f"{name}: {len(original)} tensors byte-identical (safetensors)")
    say(torch.equal(logits(load(folder)), reference), f"{name}: logits bit-equal to the original's (transformers)")
digests = {run("digest", f).split()[0] for f in (source, pack, back)}
say(len(digests) == 1, f"digest of source, pack and back equal: {digests}")
complete(pack, True)
complete(back, os.path.exists(os.path.join(back, "model.safetensors.index.json")))
reader = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "read_pack.py")
say(subprocess.run([sys.executable, reader, pack, "--compare", source]).returncode == 0, "pack: the Python reader returns the same bytes")

for kind in ("fp8-block", "fp8-block-pow2", "fp8-block-bf16", "fp8-block-e8m0", "fp8-block32", "fp8-block32-e8m0", "mxfp4-deepseek", "fp8-channel", "fp8-tensor", "int4-g32", "int4-g64", "int4-g128",
             "int4-channel"):
    folder = os.path.join(work, kind)
    run("quantize", source, "-o", folder, "--type", kind, "-q", "--force")
    complete(folder, True)
    model = load(folder)
    theirs, ours = experts(model), decoded(folder)
    say(theirs.keys() == ours.keys() and len(ours) > 0, f"{kind}: loads in transformers, experts of {len(ours) // 3} layers")
    worst = 0
    for k in ours:
        mine = ours[k].to(torch.bfloat16) if kind.startswith("int4") else ours[k]
        equal = (theirs[k].to(torch.float32).view(torch.int32) == mine.to(torch.float32).view(torch.int32)) | ((theirs[k] == 0) & (mine == 0))
        worst += int((~equal).sum())
    say(worst == 0, f"{kind}: decoded expert weights equal" + (" after rounding ours to BF16" if kind.startswith("int4") else " bit for bit") + (f" ({worst} differ)" if worst else ""))
    if kind.startswith("int4"):      # decoded to BF16, so that only a BF16 model runs
        model = load(folder, torch.bfloat16)
    distance = (torch.log_softmax(reference, -1) - torch.log_softmax(logits(model).float(), -1)).abs().mean()
    say(bool(distance < 0.5), f"{kind}: mean |log p| difference to the original {distance:.4f}")

# Several types in one checkpoint. transformers decompresses dense modules on the first forward pass.
MIXES = {
    "int4 experts, fp8-channel attention, int4 shared": ["--type", "int4-g32", "--tensor-type", "attention=fp8-channel", "--tensor-type", "shared=int4-g64"],
    "fp8-channel experts, int4 attention but layer 0": ["--type", "fp8-channel", "--tensor-type", "attention & layer<1=keep", "--tensor-type", "attention=int4-g32"],
    "int4 of three groups": ["--type", "int4-g32", "--tensor-type", "attention=int4-g64", "--tensor-type", "shared=int4-g128", "--tensor-type", "dense=int4-g128"],
    "FP4 experts, shared ones in FP8 blocks": ["--type", "mxfp4-deepseek", "--tensor-type", "shared=fp8-block-e8m0"],
    "fp8-block experts but down": ["--type", "fp8-block", "--tensor-type", "experts.down=keep"],
}


def every_weight(model):
    out = {k: v for k, v in model.state_dict().items() if ".mlp.experts." not in k}
    for (n, projection), stacked in experts(model).items():
        for e in range(len(stacked)):
            out[f"model.layers.{n}.mlp.experts.{e}.{projection}_proj.weight"] = stacked[e]
    return out


for name, rules in MIXES.items():
    folder, plain = os.path.join(work, "mix"), os.path.join(work, "mix-f32")
    run("quantize", source, "-o", folder, *rules, "-q", "--force")
    run("convert", folder, "-o", plain, "--to", "f32", "-q", "--force")
    model = load(folder)
    try:
        logits(model)
    except RuntimeError:             # int4 is decoded to BF16 beside float32; the weights are there
        pass
    theirs, ours = every_weight(model), tensors(plain)
    wrong = [k for k, v in ours.items()
             if k not in theirs or not any(torch.equal(theirs[k].float(), w.float()) for w in (v, v.to(torch.bfloat16)))]
    say(not wrong, f"{name}: {len(ours)} tensors load and decode equal" + (f" but {wrong[:3]}" if wrong else ""))

# What no CPU runs: transformers reads the config as what it is.
folder = os.path.join(work, "fp8-fbgemm")
run("quantize", source, "-o", folder, "--type", "fp8-fbgemm", "-q", "--force")
config = AutoQuantizationConfig.from_dict(json.load(open(os.path.join(folder, "config.json")))["quantization_config"])
left = [k[:-7] for k, v in tensors(folder).items() if k.endswith("_proj.weight") and v.dtype == torch.bfloat16]
say(isinstance(config, FbgemmFp8Config) and set(left) <= set(config.modules_to_not_convert), "fp8-fbgemm: its config is fbgemm's to transformers")

print(f"{'failed' if failures else 'passed'}: {failures} failures")
sys.exit(failures > 0)
