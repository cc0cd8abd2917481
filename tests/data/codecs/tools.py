#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What GPTQModel, AutoAWQ and mlx write of a weight, and what they read out of that.

usage: tools.py        (writes tools.txt beside itself; needs torch, numpy, GPTQModel, autoawq, mlx[cpu])

scripts/oracle/tools.py asks the same questions of whole checkpoints; what is not installed is None there. tools.txt has a line an output: its
name and digest, of the weight of 32 x 1024 that tests/quantize/test_codec_tools.c computes, too. A group whose
scale is 0 in binary16 is coded under the least one there is, as with us.
"""
import importlib.util
import pathlib
import sys

import numpy as np
import torch

try:
    import mlx.core as mx
except ImportError:
    mx = None
try:
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization.config import RTNConfig
    from gptqmodel.quantization.rtn import RTN
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module, convert_gptq_v2_to_v1_format_module
except ImportError:
    TorchLinear = None
found = importlib.util.find_spec("awq")
home = pathlib.Path(found.submodule_search_locations[0]) if found else None


def part_of_awq(file, name):
    """A module of AutoAWQ without its package, which asks for older transformers."""
    spec = importlib.util.spec_from_file_location(name, home / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- GPTQModel ----
def gptq_module(w, bits, group):
    return TorchLinear(bits=bits, group_size=group, sym=False, desc_act=False, in_features=w.shape[1], out_features=w.shape[0])


def gptq_write(w, kind):
    linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False, dtype=w.dtype)
    linear.weight.data = w.clone()
    config = kind["config"] = kind.get("config") or RTNConfig(bits=kind["bits"], group_size=kind["group"], sym=kind["sym"])
    q, scale, zero, g_idx, *_ = RTN(linear, config).quantize()
    lost = scale.half() == 0  # not with us: such a group is coded under binary16's least number
    scale = torch.where(lost, 2.0**-24, scale)
    linear.weight.data = torch.where(lost.repeat_interleave(w.shape[1] // scale.shape[1], 1), torch.round(w * 2.0**24) * 2.0**-24, q)
    m = gptq_module(w, kind["bits"], kind["group"])
    m.pack_original(linear, scale, zero, g_idx)
    if kind["format"] == 1:
        convert_gptq_v2_to_v1_format_module(m, config)
    return {"qweight": m.qweight, "qzeros": m.qzeros, "scales": m.scales, "g_idx": m.g_idx}


def gptq_read(parts, kind):
    rows, cols = parts["qweight"].shape[1], parts["g_idx"].shape[0]
    m = gptq_module(torch.empty(rows, cols), kind["bits"], kind["group"])
    m.qweight, m.qzeros, m.g_idx, m.scales = parts["qweight"], parts["qzeros"].clone(), parts["g_idx"], parts["scales"].float()
    if kind["format"] == 1:
        convert_gptq_v1_to_v2_format_module(m, kind["bits"], torch.int32)
    m.post_init()
    return m.dequantize_weight().T.contiguous()


# ---- AutoAWQ ----
def awq_write(w, kind):
    group = kind["group"] if kind["group"] > 0 else w.shape[1]
    quantizer = type("Q", (), {"group_size": group, "zero_point": True, "w_bit": 4})()
    w16, scales, zeros = PSEUDO(quantizer, w.half())
    linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False, dtype=torch.float16)
    linear.weight.data = w16
    m = GEMM.from_linear(linear, 4, group, False, scales.t().contiguous(), zeros.t().contiguous())
    return {"qweight": m.qweight, "qzeros": m.qzeros, "scales": m.scales}


def awq_read(parts, kind):
    group = kind["group"] if kind["group"] > 0 else parts["qweight"].shape[0]
    return PACKING.dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"].float(), 4, group).T.contiguous()


def source_of(file, name, scope):
    """One definition out of a file of AutoAWQ, whose imports do not hold with today's transformers."""
    import ast
    import textwrap
    text = (home / file).read_text()
    node = next(n for n in ast.walk(ast.parse(text)) if getattr(n, "name", None) == name)
    exec(textwrap.dedent(ast.get_source_segment(text, node, padded=True)), scope)
    return scope[name]


if home:
    PACKING = part_of_awq("utils/packing_utils.py", "packing_utils")
    scope = {"torch": torch, "nn": torch.nn, "get_best_device": lambda: "cpu", "Dict": dict}
    PSEUDO = source_of("quantize/quantizer.py", "pseudo_quantize_tensor", scope)
    GEMM = source_of("modules/linear/gemm.py", "WQLinear_GEMM", scope)


# ---- MLX ----
def to_mlx(t):
    return mx.array(t.float().numpy()).astype({torch.bfloat16: mx.bfloat16, torch.float16: mx.float16}[t.dtype]) if t.is_floating_point() \
        else mx.array(t.numpy())


def from_mlx(a, dtype):
    return torch.from_numpy(np.array(a.astype(mx.float32) if dtype.is_floating_point else a, copy=True)).to(dtype)


def mlx_write(w, kind):
    q, s, b = mx.quantize(to_mlx(w), group_size=kind["group"], bits=kind["bits"])
    return {"weight": from_mlx(q, torch.uint32), "scales": from_mlx(s, w.dtype), "biases": from_mlx(b, w.dtype)}


def mlx_read(parts, kind):
    s, b = (mx.array(parts[k].float().numpy()) for k in ("scales", "biases"))
    return from_mlx(mx.dequantize(mx.array(parts["weight"].numpy()), s, b, group_size=kind["group"], bits=kind["bits"], dtype=mx.float32), torch.float32)


def gptq(bits, group, sym, format):
    return {"bits": bits, "group": group, "sym": sym, "format": format, "write": gptq_write, "read": gptq_read, "there": TorchLinear, "last": "scales"}


def awq_kind(group):
    return {"group": group, "write": awq_write, "read": awq_read, "there": home, "last": "scales"}


def mlx_kind(bits, group):
    return {"bits": bits, "group": group, "write": mlx_write, "read": mlx_read, "there": mx, "last": "biases"}


KINDS = {
    "int4-gptq-g128": gptq(4, 128, True, 1), "int4-gptq-v2-g32": gptq(4, 32, True, 2), "int4-gptq-v2-g64-asym": gptq(4, 64, False, 2),
    "int4-gptq-g32-asym": gptq(4, 32, False, 1), "int8-gptq-channel": gptq(8, -1, True, 1), "int8-gptq-v2-g32-asym": gptq(8, 32, False, 2),
    "int4-gptq-v2-channel-asym": gptq(4, -1, False, 2), "int4-awq-g128": awq_kind(128), "int4-awq-g32": awq_kind(32), "int4-awq-channel": awq_kind(-1),
    "int4-mlx-g64": mlx_kind(4, 64), "int4-mlx-g32": mlx_kind(4, 32), "int8-mlx-g128": mlx_kind(8, 128),
}


def write_goldens():
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    from hashed import digest, written_weight
    lines = []
    for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16), ("f32", torch.float32)):
        w = written_weight()
        w = torch.from_numpy(np.concatenate([w, w[8:16]])).to(dtype)  # 32 rows: AutoAWQ takes no other numbers
        for kind, how in KINDS.items():
            if kind == "int4-gptq-g32-asym" or (how["write"] is mlx_write and dtype == torch.float32):
                continue  # zero points of 0, scales of binary32: we write others
            for part, t in how["write"](w, how).items():
                t = t.contiguous()
                values = t.view({2: torch.int16, 4: torch.int32}[t.element_size()]).numpy()
                lines.append(f"{name}_{kind}_{part} {digest(values.view({2: np.uint16, 4: np.uint32}[t.element_size()]))}")
    (pathlib.Path(__file__).resolve().parent / "tools.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_goldens()
