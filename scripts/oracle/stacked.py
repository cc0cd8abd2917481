#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stacked experts, as transformers holds and computes them.

usage: stacked.py SCRUPLE MODEL...

Each MODEL (one tensor an expert, deepseek_v3 or qwen3_moe) is loaded by transformers and its state
is saved as it is in memory, with fused experts (a synthetic qwen3_moe, too): packs of both have to
be the same bytes, and, where MODEL has a reference.npz, the forward pass has to meet it. Random
gpt_oss, llama4 and qwen3_5_moe models, whose experts transformers has in stacks, are packed; each
expert's output computed from the pack by the family's formula has to be what transformers' module
computes, and gpt_oss in MXFP4 has to decode to what transformers decodes it to. Its stacks of blocks have to come back from a pack and from
other forms byte for byte, and what is quantized into them has to load in transformers, every tensor of it. Needs torch, transformers and
safetensors. Exit 1 where one is off.
"""
import filecmp
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import (AutoModelForCausalLM, GptOssConfig, GptOssForCausalLM, Llama4ForCausalLM,
                          Llama4TextConfig, Mxfp4Config, Qwen3_5MoeForCausalLM,
                          Qwen3_5MoeTextConfig)
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from folders import tensors
from forward_reference import check as check_reference

TOLERANCE = 1e-5  # relative to the largest: sums of binary32 in another order
CLIPPED = 0.25  # E2M1 ends at 6, and the scale of a block whose largest is below 8 leaves it there
scruple = None
failed = 0


def say(name, ok, more=""):
    global failed
    failed += not ok
    print(f"{name}: {more}{'ok' if ok else 'OFF'}")


def run(*args):
    subprocess.run([scruple, *map(str, args), "-q"], check=True, stdout=subprocess.DEVNULL)


def pack(model, out):
    run("convert", model, "-o", out, "--to", "experts")
    return tensors(out)


def save_state(model, folder, state=None):
    folder.mkdir()
    state = state or {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    return state


def fused(tmp, path):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16)
    state = save_state(model, tmp / "fused")
    stacks = [k for k, v in state.items() if v.ndim == 3]
    pack(path, tmp / "single-pack")
    pack(tmp / "fused", tmp / "fused-pack")
    shards = sorted(tmp.glob("single-pack/*.safetensors"))[1:]  # the first holds no experts
    same = all(filecmp.cmp(s, tmp / "fused-pack" / s.name, shallow=False) for s in shards)
    say(f"{path.name}, fused by transformers", bool(stacks) and bool(shards) and same,
        f"{len(stacks)} stacks, {len(shards)} expert shards the same bytes: ")
    if (path / "reference.npz").exists():
        shutil.copy(path / "reference.npz", tmp / "fused")
        say("its forward pass", check_reference(scruple, tmp / "fused"))


def random_state(model):
    torch.manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p))
    return model


def qwen3(tmp):
    run("synth", "qwen3_moe", "-o", tmp / "qwen3_moe")
    fused(tmp, tmp / "qwen3_moe")


def fp8(tmp):
    """Blocks of 128 x 128 and their scales in stacks, as transformers' FP8 experts have them."""
    run("synth", "deepseek_v3", "-o", tmp / "single", "--set", "num_hidden_layers=2")
    state = load_file(tmp / "single" / "model.safetensors")
    fused = {k: v for k, v in state.items() if ".mlp.experts." not in k}
    base = "model.layers.1.mlp.experts."
    for part, ending in (("weight", ""), ("weight_scale_inv", "_scale_inv")):
        def expert(e, projection):
            return state[f"{base}{e}.{projection}_proj.{part}"].view(torch.uint8)
        gate_up = torch.stack([torch.cat([expert(e, "gate"), expert(e, "up")]) for e in range(16)])
        down = torch.stack([expert(e, "down") for e in range(16)])
        kind = state[f"{base}0.down_proj.{part}"].dtype
        fused[f"{base}gate_up_proj{ending}"] = gate_up.view(kind)
        fused[f"{base}down_proj{ending}"] = down.view(kind)
    (tmp / "fused").mkdir()
    save_file(fused, tmp / "fused" / "model.safetensors")
    shutil.copy(tmp / "single" / "config.json", tmp / "fused")
    for name in ("single", "fused"):
        pack(tmp / name, tmp / f"{name}-pack")
        run("convert", tmp / name, "-o", tmp / f"{name}-bf16", "--to", "bf16", "--allow-lossy")
    files = [f"{kind}/{f.name}" for kind in ("pack", "bf16")
             for f in tmp.glob(f"single-{kind}/*.safetensors")]
    say("FP8 blocks in stacks", len(files) == 3 and all(
        filecmp.cmp(tmp / f"single-{f}", tmp / f"fused-{f}", shallow=False) for f in files))


def far(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def gpt_oss():
    return random_state(GptOssForCausalLM(GptOssConfig(
        vocab_size=64, hidden_size=96, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_local_experts=5,
        num_experts_per_tok=2, bos_token_id=0, eos_token_id=1, pad_token_id=1)))


def gpt_oss_experts(tmp):
    model = gpt_oss()
    save_state(model, tmp / "oss")
    got = pack(tmp / "oss", tmp / "oss-pack")
    worst = 0
    for n, layer in enumerate(model.model.layers):
        experts = layer.mlp.experts
        for e in range(5):
            x = torch.randn(7, 96)
            w = {k: (got[f"model.layers.{n}.mlp.experts.{e}.{k}_proj.weight"],
                     got[f"model.layers.{n}.mlp.experts.{e}.{k}_proj.bias"])
                 for k in ("gate", "up", "down")}
            gate = F.linear(x, *w["gate"]).clamp(max=experts.limit)
            up = F.linear(x, *w["up"]).clamp(-experts.limit, experts.limit)
            ours = F.linear((up + 1) * gate * torch.sigmoid(experts.alpha * gate), *w["down"])
            theirs = experts(x, torch.full((7, 1), e), torch.ones(7, 1)).detach()
            worst = max(worst, far(ours, theirs))
    say("gpt_oss, experts computed from the pack", worst < TOLERANCE, f"{worst:.1e}: ")


def gpt_oss_mxfp4(tmp):
    """The published form, and what transformers makes of it."""
    model = gpt_oss().bfloat16()
    published, decoded = {}, {}
    for k, v in model.state_dict().items():
        if v.ndim != 3:
            published[k] = decoded[k] = v.contiguous()
            continue
        e, width, rows = v.shape
        blocks = torch.randint(0, 256, (e, rows, width // 32, 16), dtype=torch.uint8)
        scales = torch.randint(118, 130, (e, rows, width // 32), dtype=torch.uint8)
        published[k + "_blocks"], published[k + "_scales"] = blocks, scales
        decoded[k] = convert_moe_packed_tensors(blocks, scales).contiguous()
        assert decoded[k].shape == v.shape
    save_state(model, tmp / "decoded", decoded)
    save_state(model, tmp / "published", published)
    config = tmp / "published" / "config.json"
    text = json.loads(config.read_text())
    text["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    config.write_text(json.dumps(text))
    expected = pack(tmp / "decoded", tmp / "decoded-pack")
    run("convert", tmp / "published", "-o", tmp / "bf16", "--to", "bf16")
    got = load_file(tmp / "bf16" / "model.safetensors")
    same = got.keys() == expected.keys() and all(torch.equal(got[k], expected[k]) for k in got)
    say("gpt_oss, MXFP4 decoded", same)
    moved = pack(tmp / "published", tmp / "published-pack")
    blocks = published["model.layers.1.mlp.experts.gate_up_proj_blocks"]
    scales = published["model.layers.1.mlp.experts.gate_up_proj_scales"]
    name = "model.layers.1.mlp.experts.3."
    say("gpt_oss, MXFP4 cut", torch.equal(moved[name + "gate_proj.blocks"], blocks[3, ::2].flatten(1))
        and torch.equal(moved[name + "up_proj.blocks"], blocks[3, 1::2].flatten(1))
        and torch.equal(moved[name + "up_proj.scales"], scales[3, 1::2]))
    gpt_oss_blocks(tmp, published, decoded)


def same_state(got, expected):
    return got.keys() == expected.keys() and all(torch.equal(got[k], expected[k]) for k in got)


def loaded(folder):
    """The state that transformers makes of a folder in BF16, and the names that it missed or did not know."""
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=Mxfp4Config(dequantize=True),
        output_loading_info=True)
    return model.state_dict(), [k for kind in info.values() for k in kind]


def gpt_oss_blocks(tmp, published, decoded):
    """Stacks of blocks that are written: put together from experts one by one, and quantized into."""
    for form in ("experts", "mxfp4-packed", "mxfp4-deepseek", "mxfp4-mlx"):
        run("convert", tmp / "published", "-o", tmp / f"by-{form}", "--to", form)
        run("convert", tmp / f"by-{form}", "-o", tmp / f"back-{form}", "--to", "mxfp4-blocks")
        state, off = loaded(tmp / f"back-{form}")
        say(f"gpt_oss, MXFP4 by {form} and back into stacks",
            same_state(load_file(tmp / f"back-{form}" / "model.safetensors"), published)
            and same_state(state, decoded) and not off)
    model = gpt_oss().bfloat16()
    save_state(model, tmp / "plain")
    for search in ("best", "compat"):
        run("quantize", tmp / "plain", "-o", tmp / search, "--type", "mxfp4-blocks", "--search",
            search)
        state, off = loaded(tmp / search)
        save_state(model, tmp / f"{search}-loaded", {k: v.contiguous() for k, v in state.items()})
        expected = pack(tmp / f"{search}-loaded", tmp / f"{search}-loaded-pack")
        run("convert", tmp / search, "-o", tmp / f"{search}-bf16", "--to", "bf16")
        got = load_file(tmp / f"{search}-bf16" / "model.safetensors")
        stored = load_file(tmp / search / "model.safetensors")
        kept = all(torch.equal(stored[k], v) for k, v in model.state_dict().items() if k in stored)
        far_off = max(far(state[k].float(), v.float()) for k, v in model.state_dict().items())
        say(f"gpt_oss, quantized into stacks ({search}), loads", same_state(got, expected)
            and kept and not off and 0 < far_off <= CLIPPED, f"at most {far_off:.2f} of the largest: ")


def llama4(tmp):
    model = random_state(Llama4ForCausalLM(Llama4TextConfig(
        vocab_size=64, hidden_size=96, intermediate_size=64, intermediate_size_mlp=128,
        num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        num_local_experts=3, interleave_moe_layer_step=2, bos_token_id=0, eos_token_id=1,
        pad_token_id=1)))
    save_state(model, tmp / "llama4")
    got = pack(tmp / "llama4", tmp / "llama4-pack")
    worst = 0
    for n in (1, 3):
        x = torch.randn(3 * 7, 96)
        theirs = model.model.layers[n].feed_forward.experts(x).detach().view(3, 7, 96)
        for e in range(3):
            w = {k: got[f"model.layers.{n}.feed_forward.experts.{e}.{k}_proj.weight"]
                 for k in ("gate", "up", "down")}
            one = x.view(3, 7, 96)[e]
            ours = F.linear(F.silu(F.linear(one, w["gate"])) * F.linear(one, w["up"]), w["down"])
            worst = max(worst, far(ours, theirs[e]))
    say("llama4, experts computed from the pack", worst < TOLERANCE, f"{worst:.1e}: ")


def qwen3_5(tmp):
    model = random_state(Qwen3_5MoeForCausalLM(Qwen3_5MoeTextConfig(
        vocab_size=64, hidden_size=96, moe_intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_experts=3,
        num_experts_per_tok=2, shared_expert_intermediate_size=80, linear_num_key_heads=2,
        linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=16)))
    state = save_state(model, tmp / "qwen3_5")
    got = pack(tmp / "qwen3_5", tmp / "qwen3_5-pack")
    kept = all(torch.equal(got[k], v) for k, v in state.items() if ".experts." not in k)
    say("qwen3_5_moe, all but experts", kept and any("linear_attn" in k for k in got))
    worst = 0
    for n, layer in enumerate(model.model.layers):
        for e in range(3):
            x = torch.randn(7, 96)
            w = {k: got[f"model.layers.{n}.mlp.experts.{e}.{k}_proj.weight"]
                 for k in ("gate", "up", "down")}
            ours = F.linear(F.silu(F.linear(x, w["gate"])) * F.linear(x, w["up"]), w["down"])
            theirs = layer.mlp.experts(x, torch.full((7, 1), e), torch.ones(7, 1)).detach()
            worst = max(worst, far(ours, theirs))
    say("qwen3_5_moe, experts computed from the pack", worst < TOLERANCE, f"{worst:.1e}: ")


def main():
    global scruple
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    scruple = sys.argv[1]
    for work in [lambda tmp, m=m: fused(tmp, pathlib.Path(m)) for m in sys.argv[2:]] + [
            qwen3, fp8, gpt_oss_experts, gpt_oss_mxfp4, llama4, qwen3_5]:
        with tempfile.TemporaryDirectory() as tmp:
            work(pathlib.Path(tmp))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
