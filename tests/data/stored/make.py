#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Weights as other tools store them, and what those tools' own code makes of them.

usage: make.py           (needs torch, numpy, safetensors, compressed-tensors, transformers, mlx[cpu], GPTQModel, autoawq)
       make.py --check   (leaves out what mlx, GPTQModel and autoawq say where they are not installed)

Writes stored.safetensors and expected.tsv beside itself, or compares with them: module, codec, rows, columns, digest of the
decoded binary32 (tests/quantize/goldens.h; all NaNs as one). Codes and scales are random; scales are given to the tools as binary32, so that
they compute in it, and where a tool computes in BF16 its result is compared with the binary32 one rounded.
"""
import importlib.util
import pathlib
import sys
import tempfile

import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.mx_utils import decompress_mx_scale
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import dequantize
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import _convert_moe_packed_tensors

try:
    import mlx.core as mx
except ImportError:
    mx = None
try:
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module
except ImportError:
    TorchLinear = None

CHECK = sys.argv[1:] == ["--check"]
OUT = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(OUT.parent / "codecs"))
import hashed
rng = np.random.default_rng(20)
tensors, lines = {}, []


def digest(x):
    return hashed.digest(np.where(np.isnan(x), np.uint32(0xFFFFFFFF), x.view(np.uint32)))


def put(module, codec, parts, expected):
    for suffix, t in parts.items():
        tensors[module + ("" if suffix.startswith("_") else ".") + suffix] = t.contiguous().clone()
    if expected is None:  # nobody here to ask
        assert CHECK, module
        lines.append(f"{module}\t")
        return
    x = np.ascontiguousarray(expected.float().numpy() if isinstance(expected, torch.Tensor) else expected)
    lines.append(f"{module}\t{codec}\t{x.shape[0]}\t{x.shape[1]}\t{digest(x)}")


def same_in_bf16(theirs, x):
    assert theirs.dtype == torch.bfloat16
    y = x.to(torch.bfloat16)
    assert torch.equal(theirs.view(torch.int16), y.view(torch.int16))


def scales(*shape, dtype=torch.float32):
    x = rng.uniform(0.5, 2, shape) * 2.0 ** rng.integers(-12, -4, shape)
    return torch.from_numpy(np.asarray(x, dtype=np.float32)).to(dtype)


def e4m3(*shape):
    codes = rng.integers(0, 256, shape, dtype=np.uint8)
    codes[(codes & 0x7F) == 0x7F] = 0x7E
    return torch.from_numpy(codes).view(torch.float8_e4m3fn)


def e8m0(*shape, low=100, high=130):
    return torch.from_numpy(rng.integers(low, high, shape, dtype=np.uint8))


def bytes_of(*shape):
    return torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))


def args(**k):
    return QuantizationArgs(**{"num_bits": 8, "type": "float", "symmetric": True, **k})


def decompress(format, parts, a):
    """compressed-tensors' own compressor on a module's tensors."""
    kind = BaseCompressor.get_value_from_registry(format)
    return kind.decompress(dict(parts), QuantizationScheme(targets=["Linear"], weights=a))["weight"]


# ---- FP8 -----------------------------------------------------------------------------------------------------------
def fp8(module, codec, rows, cols, name, scale, a, **more):
    parts = {"weight": e4m3(rows, cols), name: scale, **more}
    s = scale.float()
    s = s.reshape(1) if s.numel() == 1 and a.strategy == "tensor" else s
    s = s.reshape(-1, 1) if a.strategy == "channel" else s
    x = dequantize(parts["weight"], s, args=a, dtype=torch.float32)
    # (Without a scheme the compressor takes ragged blocks for whole ones.)
    if scale.dtype == torch.bfloat16 and name == "weight_scale" and a.strategy != "block":
        same_in_bf16(decompress("float-quantized", {"weight": parts["weight"], "weight_scale": scale}, a), x)
    put(module, codec, parts, x)


static = {"input_scale": scales(1)}
fp8("fp8.tensor", "fp8-tensor", 17, 130, "weight_scale", scales(1), args(strategy="tensor"), **static)
fp8("fp8.tensor.inv", "fp8-tensor", 9, 64, "weight_scale_inv", scales(), args(strategy="tensor"), activation_scale=scales())
fp8("fp8.tensor.bf16", "fp8-tensor", 9, 1100, "weight_scale", scales(1, 1, dtype=torch.bfloat16), args(strategy="tensor"))
fp8("fp8.channel", "fp8-channel", 17, 130, "weight_scale", scales(17, 1, dtype=torch.bfloat16), args(strategy="channel"))
fp8("fp8.channel.f16", "fp8-channel", 5, 2100, "weight_scale", scales(5, 1, dtype=torch.float16), args(strategy="channel"))
fp8("fp8.channel.flat", "fp8-channel", 17, 64, "weight_scale", scales(17), args(strategy="channel"))
fp8("fp8.channel.static", "fp8-scaled", 17, 64, "weight_scale", scales(17, 1), args(strategy="channel"), **static)
fp8("fp8.group", "fp8-scaled", 16, 256, "weight_scale", scales(16, 2, dtype=torch.bfloat16), args(strategy="group", group_size=128))
fp8("fp8.block.inv", "fp8-block", 160, 200, "weight_scale_inv", scales(2, 2), args(strategy="block", block_structure=[128, 128]))
fp8("fp8.block.inv.bf16", "fp8-block-bf16", 130, 128, "weight_scale_inv", scales(2, 1, dtype=torch.bfloat16),
    args(strategy="block", block_structure=[128, 128]))
fp8("fp8.block", "fp8-scaled", 160, 200, "weight_scale", scales(2, 2, dtype=torch.bfloat16),
    args(strategy="block", block_structure=[128, 128]))
fp8("fp8.block.32", "fp8-block32", 70, 100, "weight_scale_inv", scales(3, 4), args(strategy="block", block_structure=[32, 32]))
scale = e8m0(2, 2)
fp8("fp8.block.e8m0", "fp8-block-e8m0", 160, 200, "scale", scale.view(torch.float8_e8m0fnu),
    args(strategy="block", block_structure=[128, 128]))
for module, codec, name, kind in (("fp8.mx", "mxfp8", "weight_scale", torch.uint8),
                                  ("fp8.mx.inv", "mxfp8", "weight_scale_inv", torch.uint8),
                                  ("fp8.mx.e8m0", "mxfp8", "scale", torch.float8_e8m0fnu)):
    parts = {"weight": e4m3(20, 96), name: e8m0(20, 3)}
    a = args(strategy="group", group_size=32, scale_dtype=torch.uint8)
    x = dequantize(parts["weight"], decompress_mx_scale(parts[name]).float(), args=a, dtype=torch.float32)
    if name == "weight_scale":
        same_in_bf16(decompress("mxfp8-quantized", parts, a), x)
    parts[name] = parts[name].view(kind)
    put(module, codec, parts, x)
every = torch.arange(512).to(torch.uint8).reshape(2, 256).view(torch.float8_e4m3fn)
put("fp8.every", "fp8-tensor", {"weight": every, "weight_scale": torch.tensor([0.75])},
    dequantize(every, torch.tensor([0.75]), args=args(strategy="tensor"), dtype=torch.float32))


# ---- compressed-tensors' integers ----------------------------------------------------------------------------------
def packed(module, codec, rows, cols, bits, group, dtype=torch.bfloat16, zeros=False, order=False):
    try:
        a = args(num_bits=bits, type="int", symmetric=not zeros, strategy="group" if group else "channel",
                 group_size=group or None, actorder="group" if order else None)
    except ValueError:  # orders of columns are gone from 0.20
        a = None
    low, high = -(1 << bits - 1), 1 << bits - 1
    groups = cols // group if group else 1
    q = torch.from_numpy(rng.integers(low, high, (rows, cols), dtype=np.int8))
    parts = {"weight_packed": pack_to_int32(q, bits), "weight_scale": scales(rows, groups, dtype=dtype),
             "weight_shape": torch.tensor([rows, cols])}
    if zeros:
        z = torch.from_numpy(rng.integers(low, high, (rows, groups), dtype=np.int8))
        parts["weight_zero_point"] = pack_to_int32(z, bits, packed_dim=0).contiguous()
    if order:
        parts["weight_g_idx"] = torch.from_numpy(rng.permutation(np.arange(cols) // group).astype(np.int32))
    if not a:
        put(module, codec, parts, None)
        return
    wide = {**parts, "weight_scale": parts["weight_scale"].float()}
    x = decompress("pack-quantized", wide, a)
    assert x.dtype == torch.float32
    if dtype == torch.bfloat16:
        same_in_bf16(decompress("pack-quantized", parts, a), x)
    put(module, codec, parts, x)


packed("int4.g32", "int4-g32", 19, 96, 4, 32)
packed("int4.g128", "int4-g128", 3, 1152, 4, 128, torch.float16)
packed("int4.g16", "int4-g16", 5, 96, 4, 16, torch.float32)
packed("int4.g48", "int4", 5, 96, 4, 48)
packed("int4.channel", "int4-channel", 5, 1128, 4, 0)
packed("int4.zeros", "int4-g32-asym", 19, 96, 4, 32, zeros=True)
packed("int4.zeros.channel", "int4-channel-asym", 21, 72, 4, 0, zeros=True)
packed("int4.order", "int4", 5, 1280, 4, 32, order=True)
packed("int4.zeros.order", "int4-zeros", 17, 128, 4, 32, zeros=True, order=True)
packed("int8.g128", "int8-g128", 19, 256, 8, 128)
packed("int8.channel", "int8-channel", 19, 100, 8, 0, torch.float16)
packed("int8.zeros", "int8-g32-asym", 19, 96, 8, 32, zeros=True)
packed("int8.order", "int8", 19, 96, 8, 32, order=True)
for module, a, shape in (("tensor", args(type="int", strategy="tensor"), (1,)),
                         ("channel", args(type="int", strategy="channel"), (19, 1)),
                         ("group", args(type="int", strategy="group", group_size=32), (19, 3))):
    parts = {"weight": bytes_of(19, 96).view(torch.int8), "weight_scale": scales(*shape)}
    put("int8.bytes." + module, "int8-bytes", parts, decompress("int-quantized", parts, a))
a = args(type="int", strategy="channel", symmetric=False)
parts = {"weight": bytes_of(19, 96).view(torch.int8), "weight_scale": scales(19, 1),
         "weight_zero_point": bytes_of(19, 1).view(torch.int8)}
put("int8.bytes.zeros", "int8-bytes", parts, decompress("naive-quantized", parts, a))


# ---- four-bit floats -----------------------------------------------------------------------------------------------
def fp4(packed, scale, group, divisor=None):
    rows, cols = packed.shape
    codes = unpack_fp4_from_uint8(packed, rows, 2 * cols, dtype=torch.float32)
    return dequantize(codes, scale.float(), args=args(num_bits=4, strategy="group", group_size=group),
                      global_scale=divisor, dtype=torch.float32)


every_code = torch.tensor([2 * i | (2 * i + 1) << 4 for i in range(8)], dtype=torch.uint8)
parts = {"weight_packed": bytes_of(18, 64), "weight_scale": e4m3(18, 8).view(torch.uint8).bitwise_and(0x7F).view(torch.float8_e4m3fn),
         "weight_global_scale": torch.tensor([1234.5]), "input_global_scale": torch.tensor([3.0])}
x = fp4(parts["weight_packed"], parts["weight_scale"], 16, parts["weight_global_scale"])
same_in_bf16(decompress("nvfp4-pack-quantized", {k: v for k, v in parts.items() if k[0] == "w"},
                        args(num_bits=4, strategy="tensor_group", group_size=16)), x)
put("nvfp4.ct", "nvfp4-packed", parts, x)
# Every code with every scale.
codes = every_code.repeat(16, 16)
scale = torch.arange(256, dtype=torch.uint8).reshape(16, 16).view(torch.float8_e4m3fn)
put("nvfp4.every", "nvfp4-packed", {"weight_packed": codes, "weight_scale": scale, "weight_global_scale": torch.ones(1)},
    fp4(codes, scale, 16, torch.ones(1)))
# ModelOpt's global scale multiplies: by a power of two that is dividing by its reciprocal.
parts = {"weight": bytes_of(18, 64), "weight_scale": e4m3(18, 8).view(torch.uint8).bitwise_and(0x7F).view(torch.float8_e4m3fn),
         "weight_scale_2": torch.tensor(2.0**-9), "input_scale": torch.tensor(0.25)}
put("nvfp4.modelopt", "nvfp4-modelopt", parts, fp4(parts["weight"], parts["weight_scale"], 16, torch.tensor([2.0**9])))
codes = every_code.repeat(255, 2)
scale = torch.arange(255, dtype=torch.uint8).reshape(255, 1)
x = fp4(codes, decompress_mx_scale(scale), 32)
theirs = _convert_moe_packed_tensors(codes.reshape(1, 255, 1, 16), scale.reshape(1, 255, 1), dtype=torch.float32)
assert np.array_equal(x.numpy(), theirs[0].T.numpy())
put("mxfp4.every", "mxfp4-packed", {"weight_packed": codes, "weight_scale": scale}, x)
parts = {"weight_packed": bytes_of(18, 48), "weight_scale": e8m0(18, 3)}
x = fp4(parts["weight_packed"], decompress_mx_scale(parts["weight_scale"]), 32)
same_in_bf16(decompress("mxfp4-pack-quantized", parts, args(num_bits=4, strategy="group", group_size=32, scale_dtype=torch.uint8)), x)
put("mxfp4.ct", "mxfp4-packed", parts, x)
parts = {"weight": bytes_of(18, 48).view(torch.int8), "scale": e8m0(18, 3).view(torch.float8_e8m0fnu)}
put("mxfp4.deepseek", "mxfp4-deepseek", parts,
    fp4(parts["weight"].view(torch.uint8), decompress_mx_scale(parts["scale"].view(torch.uint8)), 32))
# gpt-oss: 3 experts of 2 x 20 rows, gate and up interleaved, and 3 of 24 rows on their own.
blocks, scale = bytes_of(3, 40, 3, 16), e8m0(3, 40, 3)
x = _convert_moe_packed_tensors(blocks, scale, dtype=torch.float32).transpose(1, 2).contiguous()
tensors["gpt.experts.gate_up_proj_blocks"], tensors["gpt.experts.gate_up_proj_scales"] = blocks, scale
for e in range(3):
    for first, name in enumerate(("gate", "up")):
        y = np.ascontiguousarray(x[e, first::2].numpy())
        lines.append(f"gpt.experts.gate_up_proj:3:{e}:40:{first}:2\tmxfp4-blocks\t20\t96\t{digest(y)}")


# ---- GPTQ and AWQ --------------------------------------------------------------------------------------------------
def gptq(module, codec, rows, cols, bits, group, version, order):
    words = lambda n: n * bits // 32
    groups = cols // group if group > 0 else 1
    z = rng.integers(1, 1 << bits, (groups, rows))
    stored = z - 1 if version == 1 else z
    bit = ((stored[:, :, None] >> np.arange(bits)) & 1).reshape(groups, -1).astype(np.uint8)
    qzeros = torch.from_numpy(np.packbits(bit, axis=1, bitorder="little").view(np.int32).copy())
    qweight = bytes_of(words(cols), rows * 4).view(torch.int32)
    g_idx = np.arange(cols) // (group if group > 0 else cols)
    g_idx = torch.from_numpy((rng.permutation(g_idx) if order else g_idx).astype(np.int32))
    s = scales(groups, rows, dtype=torch.float16)
    assert qzeros.shape == (groups, words(rows)) and qweight.shape == (words(cols), rows)
    x = dequantize_gptq(bits, group, order, qweight, qzeros, g_idx, s, version) if TorchLinear else None
    put(module, codec, {"qweight": qweight, "qzeros": qzeros, "g_idx": g_idx, "scales": s}, x)


def dequantize_gptq(bits, group, order, qweight, qzeros, g_idx, s, version):
    rows, cols = qweight.shape[1], g_idx.shape[0]
    q = TorchLinear(bits=bits, group_size=group, sym=False, desc_act=order, in_features=cols, out_features=rows)
    q.qweight, q.qzeros, q.g_idx, q.scales = qweight, qzeros.clone(), g_idx, s.float()
    if version == 1:
        convert_gptq_v1_to_v2_format_module(q, bits, torch.int32)
    q.post_init()
    x = q.dequantize_weight().T.contiguous()
    assert x.dtype == torch.float32 and x.shape == (rows, cols)
    return x


for bits in (2, 3, 4, 8):
    gptq(f"gptq.{bits}", f"int{bits}-gptq", 64, 128, bits, 32, 1, False)
    gptq(f"gptq.{bits}.v2", f"int{bits}-gptq-v2", 32, 96, bits, 32, 2, True)
gptq("gptq.4.channel", "int4-gptq", 24, 1152, 4, -1, 1, False)
gptq("gptq.4.long", "int4-gptq-v2", 40, 1152, 4, 128, 2, False)
awq = importlib.util.find_spec("awq")
if awq:
    home = pathlib.Path(awq.submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("packing_utils", home / "utils" / "packing_utils.py")
    awq = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(awq)
for module, rows, cols, group in (("awq", 40, 96, 32), ("awq.long", 24, 1152, 128)):
    parts = {"qweight": bytes_of(cols, rows // 2).view(torch.int32), "qzeros": bytes_of(cols // group, rows // 2).view(torch.int32),
             "scales": scales(cols // group, rows, dtype=torch.float16)}
    put(module, "int4-awq", parts, awq and awq.dequantize_gemm(parts["qweight"], parts["qzeros"], parts["scales"].float(), 4, group).T)


# ---- MLX -----------------------------------------------------------------------------------------------------------
def words(rows, n):
    return torch.from_numpy(rng.integers(0, 1 << 32, (rows, n), dtype=np.uint64).astype(np.uint32))


def mlx(module, codec, rows, cols, bits, group, mode, scale, biases=None):
    parts = {"weight": words(rows, cols * bits // 32), "scales": scale, **({} if biases is None else {"biases": biases})}
    if not mx:
        put(module, codec, parts, None)
        return
    given = [mx.array(parts["weight"].numpy()), mx.array(scale.float().numpy() if mode == "affine" else scale.numpy())]
    if biases is not None:
        given.append(mx.array(biases.float().numpy()))
    x = mx.dequantize(*given, group_size=group, bits=bits, mode=mode, dtype=mx.float32)
    put(module, codec, parts, np.array(x, copy=True))


for bits in (2, 3, 4, 5, 6, 8):
    mlx(f"mlx.{bits}", f"int{bits}-mlx", 18, 128, bits, 64, "affine", scales(18, 2, dtype=torch.bfloat16),
        -scales(18, 2, dtype=torch.bfloat16))
mlx("mlx.4.g32", "int4-mlx", 3, 1152, 4, 32, "affine", scales(3, 36), scales(3, 36))
mlx("mlx.5.long", "int5-mlx", 3, 1152, 5, 128, "affine", scales(3, 9, dtype=torch.float16), scales(3, 9, dtype=torch.float16))
mlx("mlx.mxfp4", "mxfp4-mlx", 18, 128, 4, 32, "mxfp4", e8m0(18, 4))
mlx("mlx.nvfp4", "nvfp4-mlx", 18, 128, 4, 16, "nvfp4", e4m3(18, 8).view(torch.uint8) & 0x7F)
mlx("mlx.mxfp8", "mxfp8-mlx", 18, 128, 8, 32, "mxfp8", e8m0(18, 4))
# ---- FP8 in blocks, by what scales are stored in -------------------------------------------------------------------
for codec, side, name in (("fp8-block32-bf16", 32, "weight_scale_inv"), ("fp8-block32-e8m0", 32, "weight_scale_inv"),
                          ("fp8-block32-e8m0", 32, "scale"), ("fp8-block-e8m0", 128, "weight_scale_inv")):
    grid = (-(-70 // side), -(-150 // side))
    scale = scales(*grid, dtype=torch.bfloat16) if codec.endswith("bf16") else e8m0(*grid).view(torch.float8_e8m0fnu)
    fp8(f"{codec.replace('-', '.')}.{name}", codec, 70, 150, name, scale, args(strategy="block", block_structure=[side, side]))

# DeepSeek's FP4 under the names that transformers looks for, and as it decodes them.
parts = {"weight": bytes_of(18, 48).view(torch.int8), "weight_scale_inv": e8m0(18, 3).view(torch.float8_e8m0fnu)}
x = Fp8Dequantize(None)._dequantize_one(parts["weight"], parts["weight_scale_inv"], torch.float32)
put("mxfp4.transformers", "mxfp4-deepseek", parts, x)

lines.insert(0, "module\tcodec\trows\tcolumns\tdigest")
if CHECK:
    with tempfile.TemporaryDirectory() as folder:
        save_file(tensors, pathlib.Path(folder) / "x", metadata={"format": "pt"})
        same = (pathlib.Path(folder) / "x").read_bytes() == (OUT / "stored.safetensors").read_bytes()
    before = (OUT / "expected.tsv").read_text().splitlines()
    others = [a for a, b in zip(lines, before, strict=True) if a != b and a != b.split("\t")[0] + "\t"]
    print(*others[:10], sep="\n", end="")
    print(f"{len(lines) - 1} weights, {sum(a.endswith(chr(9)) for a in lines)} that nobody is here to decode, {len(others)} others than before"
          + ("" if same else "; stored.safetensors is another file"))
    sys.exit(0 if same and not others else 1)
save_file(tensors, OUT / "stored.safetensors", metadata={"format": "pt"})
(OUT / "expected.tsv").write_text("\n".join(lines) + "\n")
print(len(lines) - 1, "weights,", (OUT / "stored.safetensors").stat().st_size, "bytes")
