#!/usr/bin/env python3
"""Hold the lowerings of ATen ops to PyTorch.

  aten_ops.py --mil MIL [--only SUBSTRING] [--kinds pt2,core,traced] [--work DIR] [--check SHARED [--python PYTHON]] [-v]

Each case is a small module. It is exported (`pt2`), exported and decomposed to core ATen (`core`), and traced (`traced`), converted
with `mil convert --precision fp32`, run with `mil run`, and compared with what PyTorch gives. With --work files are kept, and those
that are there are not made again. Fails if a result is wrong, or if a case that is not marked so is refused. With --check,
coremltools reads every package that is written, and one that it refuses is a failure; it is in PYTHON, if not in the one that runs this.
"""
import argparse, json, os, pickle, shutil, subprocess, sys, tempfile, warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from fixtures import check_packages, read_safetensors, write_safetensors

parser = argparse.ArgumentParser()
parser.add_argument("--mil", required=True)
parser.add_argument("--only", default="")
parser.add_argument("--kinds", default="pt2,core,traced")
parser.add_argument("--work")
parser.add_argument("--check", metavar="SHARED", help="the folder that has oracle/check_package.py")
parser.add_argument("--python", default=sys.executable)
parser.add_argument("-v", action="store_true")
args = parser.parse_args()
warnings.filterwarnings("ignore")
torch.manual_seed(0)
CASES = {}


class Function(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, *xs):
        return self.f(*xs)


def case(name, module, *inputs, tolerance=1e-5, dynamic=None, refused=False):
    module = module if isinstance(module, nn.Module) else Function(module)
    for p in list(module.parameters()) + [b for b in module.buffers() if b.is_floating_point()]:
        with torch.no_grad():
            p.copy_(torch.rand_like(p) * 0.8 + 0.1 if p.dim() == 1 else torch.randn_like(p) * 0.3)
    assert name not in CASES, name
    CASES[name] = (module.eval(), inputs, tolerance, dynamic, refused)


def r(*shape):
    return torch.randn(*shape)


def i(high, *shape):
    return torch.randint(0, high, shape)


X, Y, V = r(2, 3, 4), r(2, 3, 4), r(2, 3, 8, 10)
for name in ("abs acos asin atan atanh ceil cos cosh erf erfc exp exp2 expm1 floor frac isfinite isinf isnan neg round sgn sigmoid sign sin sinc "
             "sinh sqrt square tan tanh trunc reciprocal relu").split():
    case(name, getattr(torch, name), X.clamp(-0.95, 0.95) if name in ("acos", "asin", "atanh") else X)
    if name not in ("sinc",):
        case(f"{name}.int", getattr(torch, name), i(3, 2, 3))
for name in "log log2 log10 log1p rsqrt acosh".split():
    case(name, getattr(torch, name), X.abs() + 1.001)
case("log1p.small", torch.log1p, X * 1e-4, tolerance=1e-9)
case("expm1.small", torch.expm1, X * 1e-4, tolerance=1e-9)
case("asinh", torch.asinh, X * 3)
case("round.decimals", lambda x: torch.round(x, decimals=2), X)
case("nan_to_num", torch.nan_to_num, torch.tensor([1.0, float("nan"), float("inf"), -float("inf")]))
for name in ("hardswish hardsigmoid hardtanh silu mish gelu elu selu celu leaky_relu softplus softsign relu6 logsigmoid tanhshrink hardshrink softshrink").split():
    case(name, getattr(F, name), X * 4)
case("gelu.tanh", lambda x: F.gelu(x, approximate="tanh"), X)
case("elu.alpha", lambda x: F.elu(x, 0.7), X)
case("celu.alpha", lambda x: F.celu(x, 0.7), X)
case("relu.inplace", lambda x: F.relu(x + 1, inplace=True) * 2, X)
case("threshold", lambda x: F.threshold(x, 0.2, -1.0), X)
case("glu", lambda x: F.glu(x, 2), X)
case("prelu", nn.PReLU(3), V)
case("prelu.one", nn.PReLU(), V)
for name in ("softmax", "log_softmax", "softmin"):
    case(name, lambda x, f=getattr(F, name): f(x, dim=1), X)
case("softmax.dtype", lambda x: F.softmax(x, dim=-1, dtype=torch.float32), i(5, 3, 4))

case("add", lambda a, b: a + b, X, Y)
case("add.alpha", lambda a, b: torch.add(a, b, alpha=2.5), X, Y)
case("add.int_float", lambda a, b: a + b, i(9, 2, 3), r(2, 3))
case("add.scalar", lambda a: a + 3, X)
case("add.int_scalar_float", lambda a: a + 1.5, i(9, 4))
case("add.bool", lambda a: (a > 0) + 2, X)
case("uint8", lambda a, b: a + b, torch.tensor([200, 100], dtype=torch.uint8), torch.tensor([100, 3], dtype=torch.uint8))
case("sub", lambda a, b: a - b, X, Y)
case("rsub", lambda a: 2 - a, X)
case("mul.bool", lambda a: (a > 0) * a, X)
case("div", lambda a, b: a / b, X, Y.abs() + 0.5)
case("div.int", lambda a, b: a / b, i(9, 5), i(9, 5) + 1)
case("div.floor", lambda a, b: torch.div(a, b, rounding_mode="floor"), X * 5, Y.abs() + 0.5)
case("div.trunc", lambda a, b: torch.div(a, b, rounding_mode="trunc"), X * 5, Y.abs() + 0.5)
case("div.int_floor", lambda a: a // 3, i(20, 6) - 10)
case("div.int_trunc", lambda a: torch.div(a, 3, rounding_mode="trunc"), i(20, 6) - 10)
case("remainder", lambda a: a % 0.7, X)
case("remainder.int", lambda a: a % 3, i(20, 6) - 10)
case("fmod", lambda a: torch.fmod(a, 0.7), X)
for p in (2, 3, 0.5, -1, -0.5, 1.7):
    case(f"pow.{p}", lambda a, p=p: torch.pow(a, p), X.abs() + 0.1)
case("pow.scalar", lambda a: torch.pow(2.0, a), X)
case("pow.tensor", torch.pow, X.abs() + 0.1, Y)
case("pow.int", lambda a: a ** 3, i(6, 4))
case("maximum", torch.maximum, X, Y)
case("minimum", torch.minimum, X, Y)
case("max.other", lambda a, b: torch.max(a, b), X, Y)
case("atan2", torch.atan2, X, Y)
case("lerp", lambda a, b: torch.lerp(a, b, 0.3), X, Y)
case("addcmul", lambda a, b: torch.addcmul(a, b, b, value=0.5), X, Y)
case("addcdiv", lambda a, b: torch.addcdiv(a, b, b.abs() + 1, value=0.5), X, Y)
case("logical", lambda a, b: (torch.logical_and(a > 0, b > 0), torch.logical_or(a, b), torch.logical_not(a > 0), torch.logical_xor(a > 0, b > 0)), X, Y)
case("bitwise.bool", lambda a, b: ((a > 0) & (b > 0), (a > 0) | (b > 0), ~(a > 0), (a > 0) ^ (b > 0)), X, Y)
case("bitwise_not.int", torch.bitwise_not, i(9, 4))
for name in "eq ne lt le gt ge".split():
    case(name, getattr(torch, name), i(3, 2, 3), i(3, 2, 3))
    case(f"{name}.scalar", lambda a, f=getattr(torch, name): f(a, 0.5), X)
case("where", lambda a, b: torch.where(a > 0, a, b), X, Y)
case("where.scalar", lambda a: torch.where(a > 0, a, 0.0), X)
case("masked_fill", lambda a, b: a.masked_fill(b > 0, -1e9), X, Y)
case("clamp", lambda a: a.clamp(-0.5, 0.5), X)
case("clamp.min", lambda a: a.clamp(min=0.1), X)
case("clamp.relu6", lambda a: a.clamp(0, 6), X * 9)
case("clamp.int", lambda a: a.clamp(2, 5), i(9, 6))
case("clamp.tensor", lambda a, b: torch.clamp(a, min=b, max=b + 1), X, Y)

case("cast", lambda a: (a.int(), a.bool(), a.long(), a.half().float(), a.to(torch.float32)), X * 3)
case("type_as", lambda a, b: a.type_as(b), i(9, 4), r(4))
case("copies", lambda a: a.clone().contiguous().detach() + 1, X)
case("dropout", nn.Dropout(0.5), X)

for d in (1, 2, 3):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[d - 1]
    turn = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[d - 1]
    x = r(2, 4, *[7, 9, 6][:d])
    case(f"conv{d}d", conv(4, 6, 3, stride=2, padding=1), x, tolerance=1e-4)
    case(f"conv{d}d.groups", conv(4, 8, 3, dilation=2, groups=2, padding=2, bias=False), x, tolerance=1e-4)
    case(f"conv{d}d.same", conv(4, 4, 4, padding="same"), x, tolerance=1e-4)
    case(f"conv_transpose{d}d", turn(4, 6, 3, stride=2, padding=1), x, tolerance=1e-4)
    case(f"conv_transpose{d}d.output_padding", turn(4, 6, 3, stride=2, padding=1, output_padding=1), x, tolerance=1e-4)
    case(f"conv_transpose{d}d.no_padding", turn(4, 6, 2, stride=3, output_padding=1, groups=2), x, tolerance=1e-4)
case("conv2d.single", nn.Conv2d(3, 5, 3), r(3, 8, 8), tolerance=1e-4)
case("conv2d.weights", lambda x, w: F.conv2d(x, w), V, r(5, 3, 3, 3), tolerance=1e-4)

case("linear", nn.Linear(4, 5), X)
case("linear.no_bias", nn.Linear(4, 5, bias=False), X)
case("linear.computed", lambda x, w: F.linear(x, w), X, r(5, 4))
case("matmul", lambda a, b: a @ b, X, r(2, 4, 5))
case("matmul.broadcast", lambda a, b: a @ b, r(2, 1, 3, 4), r(5, 4, 2))
case("matmul.vector", lambda a, b: (a @ b, b @ b), X, r(4))
case("bmm", torch.bmm, X, r(2, 4, 5))
case("addmm", lambda c, a, b: torch.addmm(c, a, b, beta=0.5, alpha=2), r(5), r(3, 4), r(4, 5))
case("baddbmm", torch.baddbmm, r(2, 3, 5), X, r(2, 4, 5))
case("outer", torch.outer, r(3), r(4))
for n, (e, *shapes) in enumerate([("bij,bjk->bik", (2, 3, 4), (2, 4, 5)), ("bhid,bhjd->bhij", (2, 2, 3, 4), (2, 2, 5, 4)), ("ij->ji", (2, 3)), ("ij->", (2, 3)),
                                  ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)), ("i,j->ij", (3,), (4,)), ("bi,bi->b", (2, 3), (2, 3)),
                                  ("bchw,bcd->bdhw", (2, 3, 4, 5), (2, 3, 6)), ("nchw,cd,hk->ndkw", (2, 3, 4, 5), (3, 2), (4, 3)), ("ik,jk", (2, 3), (4, 3))]):
    case(f"einsum.{n}", lambda *xs, e=e: torch.einsum(e, *xs), *[r(*s) for s in shapes])

case("batch_norm", nn.BatchNorm2d(3), V)
case("batch_norm.1d", nn.BatchNorm1d(4), r(5, 4))
case("batch_norm.plain", nn.BatchNorm2d(3, affine=False), V)
case("batch_norm.batch", lambda x: F.batch_norm(x, None, None, training=True), V)
case("layer_norm", nn.LayerNorm(4), X)
case("layer_norm.two", nn.LayerNorm((3, 4), bias=False), X)
case("layer_norm.computed", lambda x, w: F.layer_norm(x, (4,), w), X, r(4))
case("group_norm", nn.GroupNorm(2, 4), r(2, 4, 5, 6))
case("instance_norm", nn.InstanceNorm2d(3, affine=True), V)
case("instance_norm.1d", nn.InstanceNorm1d(3), X)
case("rms_norm", nn.RMSNorm(4), X)
case("normalize", lambda x: F.normalize(x, dim=1), X)
case("local_response_norm", nn.LocalResponseNorm(3), r(2, 5, 4, 4))
case("weight_norm", nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), X)

for d in (1, 2, 3):
    x = r(2, 3, *[9, 11, 8][:d])
    case(f"max_pool{d}d", (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[d - 1](3, 2, 1), x)
    case(f"avg_pool{d}d", (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[d - 1](3, 2, 1), x)
    case(f"avg_pool{d}d.exclude", (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[d - 1](3, 2, 1, count_include_pad=False), x)
    for out in (1, 3, 5):
        case(f"adaptive_avg_pool{d}d.{out}", (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[d - 1](out), x)
        case(f"adaptive_max_pool{d}d.{out}", (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)[d - 1](out), x)
case("adaptive_avg_pool2d.even", nn.AdaptiveAvgPool2d((4, 5)), V)
case("max_pool2d.ceil", nn.MaxPool2d(3, 2, ceil_mode=True), V)
case("max_pool2d.ceil_pad", nn.MaxPool2d(3, 2, 1, ceil_mode=True), V)
case("max_pool2d.dilated", nn.MaxPool2d(3, 2, 1, dilation=2), V)
case("avg_pool2d.ceil", nn.AvgPool2d(3, 2, 1, ceil_mode=True), V)
case("avg_pool2d.divisor", nn.AvgPool2d(3, 2, 1, divisor_override=5), V)
case("max_pool2d.indices", nn.MaxPool2d(2, return_indices=True), V, refused=True)

for name in "sum mean prod amax amin".split():
    f = getattr(torch, name)
    case(name, f, X)
    case(f"{name}.dim", lambda x, f=f: f(x, dim=1), X)
    case(f"{name}.keep", lambda x, f=f: f(x, dim=-1, keepdim=True), X)
case("sum.dims", lambda x: x.sum((0, 2)), X)
case("sum.bool", lambda x: (x > 0).sum(), X)
case("sum.dtype", lambda x: x.sum(dtype=torch.float32), i(9, 4))
case("sum.dim_dtype", lambda x: x.sum(0, dtype=torch.float32), i(9, 4, 2))
case("mean.dims", lambda x: x.mean((2, 3), keepdim=True), V)
case("max", lambda x: (x.max(), x.min()), X)
case("max.dim", lambda x: x.max(1), X)
case("min.dim", lambda x: x.min(1, keepdim=True), X)
case("max.values", lambda x: x.max(1)[0], X)
case("argmax", lambda x: (x.argmax(), x.argmax(1), x.argmin(-1, keepdim=True)), X)
case("any_all", lambda x: ((x > 0).any(), (x > 0).all(1), (x > 0).any(-1, keepdim=True), x.bool().any(0)), X)
for name in ("var", "std"):
    f = getattr(torch, name)
    case(name, f, X)
    case(f"{name}.dim", lambda x, f=f: f(x, 1), X)
    case(f"{name}.biased", lambda x, f=f: f(x, 1, unbiased=False, keepdim=True), X)
    case(f"{name}.correction", lambda x, f=f: f(x, dim=(0, 1), correction=2), X)
case("var_mean", lambda x: torch.var_mean(x, dim=1), X)
case("logsumexp", lambda x: torch.logsumexp(x, 1), X)
case("norm", lambda x: (x.norm(), x.norm(dim=1), torch.linalg.vector_norm(x, 1, dim=-1), x.norm(p=3, dim=2), x.norm(p=float("inf"), dim=0)), X)
case("cumsum", lambda x: (x.cumsum(1), i_sum(x)), X)
case("count_nonzero", lambda x: torch.count_nonzero(x > 0, dim=1), X)


def i_sum(x):
    return (x > 0).cumsum(0)


case("view", lambda x: (x.view(6, 4), x.view(-1), x.reshape(2, -1), x.view(2, 1, 12)), X)
case("view.rank6", lambda x: x.view(2, 3, 4, 2, 5, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 12, 4, 5), V)
case("view.windows", lambda x: x.view(1, 2, 4, 3, 5, 6).permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 4, 5, 6), r(1, 8, 15, 6))
case("flatten", lambda x: (x.flatten(), x.flatten(1), x.flatten(1, 2), x.flatten(2)), V)
case("unflatten", lambda x: x.unflatten(1, (3, 2)), r(2, 6, 2))
case("permute", lambda x: (x.permute(2, 0, 1), x.transpose(1, 2), x[0].t(), x.mT, x.movedim(0, 2), x[0].T), X)
case("squeeze", lambda x: (x.squeeze(), x.squeeze(1), x.squeeze(0), x.unsqueeze(-1), x.unsqueeze(1)), r(2, 1, 3, 1))
case("squeeze.dims", lambda x: x.squeeze((1, 3)), r(2, 1, 3, 1))
case("expand", lambda x: (x.expand(4, 2, 3), x.expand(-1, 3), x[:1].expand(5, -1)), r(2, 3)[:, :3])
case("expand.add", lambda x: x.expand(2, 3, 4) + 1, r(3, 1))
case("repeat", lambda x: (x.repeat(2, 1, 3), torch.tile(x, (2,))), r(2, 3))
case("repeat_interleave", lambda x: x.repeat_interleave(3, dim=1), r(2, 3))
case("cat", lambda a, b: (torch.cat([a, b], 1), torch.stack([a, b], 1), torch.stack([a, b], -1), torch.cat([a, a.int()], 0)), X, Y)
case("slice", lambda x: (x[:, 1:3], x[..., ::2], x[:, -2:], x[:, :-1], x[1], x[:, -1], x[:, :100]), X)
case("split", lambda x: (*x.split(3, 1), *x.chunk(3, 1), *x.split([1, 5, 2], 1)), r(2, 8))
case("split.one", lambda x: x.split(2, 0)[0] + 1, r(2, 3))
case("unbind", lambda x: x.unbind(1), X)
case("tensor_split", lambda x: torch.tensor_split(x, 3, 1), r(2, 8))
case("narrow", lambda x: x.narrow(1, 1, 2), X)
case("flip", lambda x: x.flip(0, 2), X)
case("roll", lambda x: (x.roll(1, 1), x.roll((1, -2), (0, 2)), x.roll(3)), X)
case("diagonal", lambda x: (torch.diagonal(x), torch.diagonal(x, 1, 1, 2)), X)
case("unfold", lambda x: x.unfold(1, 2, 1), X)
case("slice_scatter", lambda a, b: (torch.slice_scatter(a, b[:, :2], 1, 1, 3), torch.select_scatter(a, b[:, 0], 1, 2), torch.slice_scatter(a, b[:, :, :2], 2, 0, 4, 2)), X, Y)
case("pad", lambda x: (F.pad(x, (1, 2)), F.pad(x, (1, 2, 0, 1), value=3.0), F.pad(x, (-1, 2))), X)
case("pad.int", lambda x: F.pad(x, (1, 2), value=7), i(9, 2, 3))
for mode in ("reflect", "replicate", "circular"):
    case(f"pad.{mode}", lambda x, mode=mode: F.pad(x, (1, 2, 2, 1), mode=mode), V)
case("write.slice", Function(lambda x: write(x)), X)
case("write.fill", lambda x: x.clone().fill_(2.0) + x.clone().zero_(), X)
case("write.add", lambda x: x.clone().add_(1).mul_(2), X)


def write(x):
    y = x.clone()
    y[:, 0] = 1.5
    y[:, 1:] *= 2
    return y + 1


case("gather", lambda x, n: (x.gather(1, n), x.gather(1, n[:1, :2])), X, i(3, 2, 3, 4))
case("index_select", lambda x, n: x.index_select(1, n), X, i(3, 5))
case("take_along_dim", lambda x, n: torch.take_along_dim(x, n, 1), X, i(3, 2, 3, 4))
case("embedding", nn.Embedding(7, 4), i(7, 2, 3))
case("index", lambda x, n: (x[:, n], x[n % 2], x[:, torch.tensor([0, -1])]), X, i(3, 5))
case("index.two", lambda x, a, b: (x[a, b], x[:, a, b], x[a, :, b], x[a[:, None], b]), r(3, 3, 3), i(3, 4), i(3, 4))
case("index.mask", lambda x: x[x > 0], X)
case("index_put", lambda x, n: put(x, n), X, torch.tensor([0, 2]))


def put(x, n):
    y = x.clone()
    y[:, n] = 3.0
    z = x.clone()
    z[x > 0] = -1.0
    w = x.clone()
    w.index_put_((torch.tensor([0, 1]), n), w[:, 0] * 2, accumulate=True)
    return y, z, w


case("scatter", lambda x, n, s: (x.scatter(1, n, s), x.scatter(1, n, 2.0), x.scatter_add(1, n, s)), X, torch.argsort(r(2, 3, 4), 1), Y)
for mode in "sum prod amax amin mean".split():
    case(f"scatter_reduce.{mode}", lambda x, n, s, m=mode: (x.scatter_reduce(1, n, s, m), x.scatter_reduce(1, n, s, m, include_self=False)), X, i(3, 2, 3, 4), Y)
case("index_add", lambda x, n, s: (x.index_add(1, n, s), x.index_fill(1, n, 2.0)), X, torch.tensor([2, 0, 1]), Y)

case("arange", lambda x: (x + torch.arange(4), torch.arange(1, 9, 2) + x.int()[0, 0], torch.arange(0, 1, 0.25) + x), X)
case("full", lambda x: (torch.full((2, 3), 1.5) + x[:, :, 0], torch.zeros_like(x), torch.ones(3, 4) + x, x.new_zeros(2), torch.full_like(x, 2.0), x.new_ones(3)), X)
case("eye", lambda x: x + torch.eye(4)[:3], X)
case("linspace", lambda x: x + torch.linspace(-1, 1, 4), X)
case("tri", lambda x: (x.tril(), x.triu(), x.tril(-1), x.triu(1), x.tril(2), x.triu(-1)), r(2, 4, 5))
case("causal", lambda x: x + torch.triu(torch.full((4, 4), float("-inf")), 1), r(4, 4))

for mode in ("nearest", "bilinear", "bicubic", "nearest-exact"):
    for what, kw in dict(twice=dict(scale_factor=2), size=dict(size=(13, 7)), half=dict(scale_factor=0.5), odd=dict(scale_factor=1.7)).items():
        case(f"upsample.{mode}.{what}", lambda x, m=mode, kw=kw: F.interpolate(x, mode=m, **kw), V, tolerance=1e-4)
    if mode.startswith("bi"):
        case(f"upsample.{mode}.align", lambda x, m=mode: F.interpolate(x, size=(13, 7), mode=m, align_corners=True), V, tolerance=1e-4)
        case(f"upsample.{mode}.antialias", lambda x, m=mode: F.interpolate(x, size=(5, 13), mode=m, antialias=True), V, tolerance=1e-4)
case("upsample.linear", lambda x: F.interpolate(x, scale_factor=2, mode="linear"), X, tolerance=1e-4)
case("upsample.nearest1d", lambda x: F.interpolate(x, scale_factor=2), X)
case("upsample.trilinear", lambda x: F.interpolate(x, size=(5, 6, 7), mode="trilinear"), r(1, 2, 3, 4, 5), tolerance=1e-4)
for pad in ("zeros", "border", "reflection"):
    for mode in ("bilinear", "nearest"):
        for align in (True, False):
            case(f"grid_sample.{pad}.{mode}.{align}", lambda x, g, p=pad, m=mode, a=align: F.grid_sample(x, g, m, p, a), V, torch.rand(2, 5, 6, 2) * 2.4 - 1.2, tolerance=1e-4)
case("pixel_shuffle", nn.PixelShuffle(2), r(2, 8, 3, 4))
case("pixel_unshuffle", nn.PixelUnshuffle(2), r(2, 3, 4, 6))
case("channel_shuffle", nn.ChannelShuffle(2), r(2, 4, 3, 3))

Q, K = r(2, 2, 5, 8), r(2, 2, 6, 8)
case("sdpa", lambda q, k, v: F.scaled_dot_product_attention(q, k, v), Q, K, r(2, 2, 6, 4))
case("sdpa.causal", lambda q: F.scaled_dot_product_attention(q, q, q, is_causal=True), Q)
case("sdpa.mask", lambda q, k, m: F.scaled_dot_product_attention(q, k, k, attn_mask=m > 0), Q, K, r(5, 6).abs())
case("sdpa.bias", lambda q, k, m: F.scaled_dot_product_attention(q, k, k, attn_mask=m, scale=0.3), Q, K, r(5, 6))
case("attention", nn.MultiheadAttention(8, 2, batch_first=True), r(2, 5, 8), r(2, 5, 8), r(2, 5, 8))
case("encoder", nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), r(2, 5, 8), tolerance=1e-4)


class First(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        y, state = self.layer(x)
        return (y, *state) if isinstance(state, tuple) else (y, state)


case("lstm", First(nn.LSTM(4, 5)), r(6, 2, 4))
case("lstm.two", First(nn.LSTM(4, 5, 2, bidirectional=True, batch_first=True)), r(2, 6, 4))
case("lstm.no_bias", First(nn.LSTM(4, 5, bias=False)), r(6, 2, 4))
case("gru", First(nn.GRU(4, 5, 2, bidirectional=True)), r(6, 2, 4))
case("rnn", First(nn.RNN(4, 5, 1, nonlinearity="relu")), r(6, 2, 4))
case("topk", lambda x: (*x.topk(2, 1), *x.topk(2, -1, largest=False)), X)
case("sort", lambda x: (*x.sort(1), *x.sort(-1, descending=True), x.argsort(1)), X)

case("dynamic.flatten", lambda x: x.flatten(1) * x.shape[0], V, dynamic={0: "B"})
case("dynamic.view", lambda x: x.view(x.shape[0], -1, 2).sum(1), V, dynamic={0: "B"})
case("dynamic.arange", lambda x: x + torch.arange(x.shape[1], device=x.device)[:, None], X, dynamic={1: "S"})
case("dynamic.mask", lambda x: x.masked_fill(torch.ones(x.shape[1], x.shape[1]).triu(1).bool()[None, :, :1], -1.0), X, dynamic={1: "S"})
case("dynamic.pool", nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), V, dynamic={2: "H", 3: "W"}, tolerance=1e-4)
case("dynamic.upsample", lambda x: F.interpolate(x, scale_factor=2) + F.interpolate(x, scale_factor=2, mode="bilinear"), V, dynamic={2: "H", 3: "W"}, tolerance=1e-4)
for mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
    case(f"dynamic.upsample.{mode}.size", lambda x, y, m=mode: F.interpolate(x, size=y.shape[2:], mode=m), V, V[:, :, :3, 2:], dynamic={2: "H"}, tolerance=1e-4)
    case(f"dynamic.upsample.{mode}.factor", lambda x, m=mode: F.interpolate(x, scale_factor=1.6, mode=m), V, dynamic={2: "H", 3: "W"}, tolerance=1e-4)
    if mode.startswith("bi"):
        case(f"dynamic.upsample.{mode}.antialias", lambda x, y, m=mode: F.interpolate(x, size=y.shape[2:], mode=m, antialias=True), V, V[:, :, :3, 2:], dynamic={2: "H"}, tolerance=1e-4)
        case(f"dynamic.upsample.{mode}.align", lambda x, y, m=mode: F.interpolate(x, size=y.shape[2:], mode=m, align_corners=True), V, V[:, :, :3, 2:], dynamic={2: "H"}, tolerance=1e-4)
case("dynamic.norm", nn.GroupNorm(3, 3), V, dynamic={0: "B", 2: "H"})


def flat(x):
    return [x] if isinstance(x, torch.Tensor) else [t for item in x for t in flat(item)] if isinstance(x, (tuple, list)) else []


def make(name, kind, path):
    """Writes the model; gives the names of its inputs, or why PyTorch cannot write it."""
    module, inputs, _, dynamic, _ = CASES[name]
    try:
        with torch.no_grad():
            module(*inputs)
            if kind == "traced":
                if dynamic:
                    return None
                traced = torch.jit.trace(module, inputs, check_trace=False)
                torch.jit.save(traced, path)
                # As the source text in the file has them.
                names = [v.debugName().split(".")[0] for v in list(traced.inlined_graph.inputs())[1:]]
                return [f"argument_{n}" if n.isdigit() else n for n in names]
            shapes = None
            if dynamic:
                # Each input has sizes of its own.
                dims = tuple({axis: torch.export.Dim(f"{d}{i}", min=2, max=64) for axis, d in dynamic.items()} for i in range(len(inputs)))
                shapes = dims if not isinstance(module, Function) else (dims,)
            program = torch.export.export(module, inputs, dynamic_shapes=shapes)
            if kind == "core":
                program = program.run_decompositions()
            torch.export.save(program, path)
            return [s.arg.name for s in program.graph_signature.input_specs if s.kind.name == "USER_INPUT"]
    except Exception as e:
        return f"{type(e).__name__}: {e}"


def check(job):
    name, kind, path, inputs = job
    module, xs, tolerance, dynamic, refused = CASES[name]
    with tempfile.TemporaryDirectory() as tmp:
        shapes = [a for n, x in zip(inputs, xs) for a in ("--input", f"{n}=" + ",".join(map(str, x.shape)))] if kind == "traced" else []
        done = subprocess.run([args.mil, "convert", path, "-o", f"{tmp}/m.mlpackage", "--precision", "fp32", *shapes], capture_output=True, text=True, timeout=120)
        if done.returncode:
            return ("crashed" if done.returncode != 1 or "panicked" in done.stderr else "refused"), done.stderr.strip()
        if refused:
            return "converted", "but should be refused"
        if args.check:
            shutil.copytree(f"{tmp}/m.mlpackage", f"{PACKAGES.name}/{name}.{kind}.mlpackage")
        with torch.no_grad():
            want = flat(module(*xs))
        write_safetensors(f"{tmp}/in.safetensors", {n: x.numpy() for n, x in zip(inputs, xs)})
        done = subprocess.run([args.mil, "run", f"{tmp}/m.mlpackage", "--inputs", f"{tmp}/in.safetensors", "--outputs", f"{tmp}/out.safetensors"], capture_output=True, text=True, timeout=120)
        if done.returncode:
            return "not run", done.stderr.strip()
        got = list(read_safetensors(f"{tmp}/out.safetensors").values())
        if len(got) != len(want):
            return "wrong", f"{len(got)} outputs, wanted {len(want)}"
        left = list(got)
        for n, w in enumerate(want):
            w = w.numpy()
            fits = [g for g in left if g.shape == w.shape and np.allclose(g.astype(np.float64), w.astype(np.float64), tolerance, tolerance, equal_nan=True)]
            if not fits:
                same = [np.nanmax(np.abs(g.astype(np.float64) - w)) if w.size else 0 for g in left if g.shape == w.shape]
                return "wrong", f"output {n} of shape {w.shape}: off by {min(same)}" if same else f"output {n}: shapes {[g.shape for g in left]}, wanted {w.shape}"
            left = [g for g in left if g is not fits[0]]
    return "passed", ""


PACKAGES = tempfile.TemporaryDirectory()
work = args.work or tempfile.mkdtemp()
os.makedirs(work, exist_ok=True)
jobs, results = [], {}
for name in CASES:
    if args.only in name:
        for kind in args.kinds.split(","):
            path = f"{work}/{name}.{kind}.{'pt' if kind == 'traced' else 'pt2'}"
            if not os.path.exists(path + ".names"):
                inputs = make(name, kind, path)
                pickle.dump(inputs, open(path + ".names", "wb"))
            inputs = pickle.load(open(path + ".names", "rb"))
            if isinstance(inputs, str):
                results[name, kind] = ("not made", inputs)
            elif inputs is not None:
                jobs.append((name, kind, path, inputs))
with ThreadPoolExecutor(2) as pool:
    for job, result in zip(jobs, pool.map(check, jobs)):
        results[job[:2]] = result
failed = 0
for kind in args.kinds.split(","):
    counts = {}
    for (name, k), (state, text) in results.items():
        if k != kind:
            continue
        counts[state] = counts.get(state, 0) + 1
        bad = state in ("wrong", "not run", "crashed", "converted") or state == "refused" and not CASES[name][4]
        failed += bad
        if bad or args.v and state == "not made":
            print(f"{kind} {name}: {state}: {text[:300]}")
    print(kind, counts)
for line in check_packages(args.check, PACKAGES.name, args.python) if args.check else []:
    print(line)
    failed += 1
sys.exit(f"{failed} failed" if failed else 0)
