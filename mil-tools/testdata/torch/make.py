"""Makes the small files of PyTorch that the tests of the readers read: `python mil-tools/testdata/torch/make.py`.

Needs torch (2.8 or later). What the files hold stands in the tests; seeds make it the same at every run. `net.torch27.pt2` is not made
here: torch 2.7.1 wrote it, in the layout that torch had until then.
"""

import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent


def weights():
    """Tensors of many dtypes and layouts."""
    base = torch.arange(24, dtype=torch.float32)
    tied = torch.tensor([1.5, -2.5])
    return OrderedDict(
        [
            ("conv.weight", base[:12].reshape(3, 4).clone()),
            ("transposed", base[:6].reshape(2, 3).t()),
            ("strided", base[4::5]),
            ("expanded", torch.tensor([[1.0], [2.0]]).expand(2, 3)),
            ("tied.a", tied),
            ("tied.b", tied),
            ("half", torch.tensor([0.5, -1.0], dtype=torch.float16)),
            ("bf16", torch.tensor([1.5], dtype=torch.bfloat16)),
            ("double", torch.tensor(2.5, dtype=torch.float64)),
            ("long", torch.tensor([-1, 1 << 40])),
            ("bytes", torch.tensor([[1], [255]], dtype=torch.uint8)),
            ("flag", torch.tensor([True, False])),
            ("empty", torch.zeros(0, 3)),
            ("parameter", nn.Parameter(torch.ones(1))),
        ]
    )


class Block(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv = nn.Conv2d(n, n, 3, padding=1)
        self.bn = nn.BatchNorm2d(n)
        self.act = nn.ReLU()

    def forward(self, x):
        return x + self.act(self.bn(self.conv(x)))


class Net(nn.Module):
    """Submodules (one used twice), a buffer, a constant, lists and tuples of tensors, arithmetic on shapes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(Block(4), Block(4))
        self.head = nn.Linear(4, 3)
        self.register_buffer("scale", torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x):
        x = self.layers(x)
        x = self.layers[0](x)
        a, b = torch.split(x, 2, dim=1)
        x = torch.cat([b, a], 1)
        n, c, h, w = x.shape
        y = x.reshape(n, c, h * w).mean(-1)
        top, where = y.max(1)
        return self.head(y) * self.scale + torch.tensor([0.5, 0.25, 0.125]), {"top": top, "where": where}


class Branch(nn.Module):
    def forward(self, x):
        if bool(x.sum() > 0):
            x = x + 1
        return x


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed-by-pickle",)


def without_traces(program):
    """Drops what makes up most of a small file: where each op was called."""
    for node in program.graph.nodes:
        for key in ("stack_trace", "from_node", "source_fn_stack"):
            node.meta.pop(key, None)
    return program


def main():
    torch.save(weights(), HERE / "weights.pth")
    torch.save({"state_dict": {"module.w": torch.ones(2)}, "epoch": 3, "note": ["a", 1.5, None, True]}, HERE / "nested.pth")
    torch.save(weights(), HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"u16": torch.tensor([65535], dtype=torch.uint16), "f8": torch.ones(2).to(torch.float8_e4m3fn)}, HERE / "v3.pth")
    torch.save({"w": torch.ones(2, dtype=torch.complex64)}, HERE / "complex.pth")
    torch.save({"w": torch.ones(1), "evil": Evil()}, HERE / "evil.pth")
    torch.save(nn.Linear(1, 1), HERE / "whole_module.pth")
    with open(HERE / "plain.pkl", "wb") as out:
        pickle.dump({"a": 1}, out, 2)

    net = Net().eval()
    x = torch.randn(2, 4, 6, 6)
    with torch.no_grad():
        batch, size = torch.export.Dim("batch", min=1, max=8), torch.export.Dim("size", min=2, max=64)
        program = torch.export.export(net, (x,), dynamic_shapes=({0: batch, 2: size, 3: size},)).run_decompositions()
        torch.export.save(without_traces(program), HERE / "net.pt2")
        torch.jit.save(torch.jit.trace(net, x, strict=False), HERE / "net.traced.pt")
        torch.jit.save(torch.jit.script(Branch()), HERE / "branch.scripted.pt")
        counting = torch.export.export(nn.BatchNorm2d(2).train(), (torch.randn(2, 2, 3, 3),))
        torch.export.save(without_traces(counting.run_decompositions()), HERE / "mutated.pt2")
    print(json.dumps({p.name: p.stat().st_size for p in sorted(HERE.iterdir())}, indent=1))


if __name__ == "__main__":
    main()
