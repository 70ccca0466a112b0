"""The seven nets, with seeded random weights that keep activations near 1, and an input for each."""

import math

import timm
import torch
import torchvision
from timm.utils.model import reparameterize_model
from torch import nn


class PNet(nn.Module):
    """The first net of MTCNN (Zhang et al., arXiv:1604.02878): all convolutions, for images of any size."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 10, 3), nn.PReLU(10), nn.MaxPool2d(2, 2, ceil_mode=True),
            nn.Conv2d(10, 16, 3), nn.PReLU(16),
            nn.Conv2d(16, 32, 3), nn.PReLU(32),
        )  # fmt: skip
        self.probs, self.boxes = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, x):
        x = self.features(x)
        return torch.softmax(self.probs(x), 1), self.boxes(x)


class Refine(nn.Module):
    """What the second and the third net of MTCNN have in common: features, a dense layer, and heads, the first a softmax."""

    def __init__(self, features, width, hidden, heads):
        super().__init__()
        self.features = nn.Sequential(*features)
        self.dense, self.prelu = nn.Linear(width, hidden), nn.PReLU(hidden)
        self.heads = nn.ModuleList(nn.Linear(hidden, n) for n in heads)

    def forward(self, x):
        # The published weights count columns before rows.
        x = self.features(x).permute(0, 3, 2, 1).contiguous()
        x = self.prelu(self.dense(x.view(x.shape[0], -1)))
        first, *others = [head(x) for head in self.heads]
        return torch.softmax(first, 1), *others


def rnet():
    features = [
        nn.Conv2d(3, 28, 3), nn.PReLU(28), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(28, 48, 3), nn.PReLU(48), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(48, 64, 2), nn.PReLU(64),
    ]  # fmt: skip
    return Refine(features, 576, 128, [2, 4])


def onet():
    features = [
        nn.Conv2d(3, 32, 3), nn.PReLU(32), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(32, 64, 3), nn.PReLU(64), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Conv2d(64, 64, 3), nn.PReLU(64), nn.MaxPool2d(2, 2, ceil_mode=True),
        nn.Conv2d(64, 128, 2), nn.PReLU(128),
    ]  # fmt: skip
    return Refine(features, 1152, 256, [2, 4, 10])


class Layer(nn.Module):
    """A layer of a transformer encoder, normalized before attention and before the perceptron; the GELU is exact."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.gelu, self.down = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        each = width // self.heads
        y = self.norm1(x)
        q, k, v = (f(y).view(batch, length, self.heads, each).transpose(1, 2) for f in (self.q, self.k, self.v))
        attention = torch.softmax(q @ k.transpose(-1, -2) * (1 / math.sqrt(each)), -1)
        x = x + self.out((attention @ v).transpose(1, 2).reshape(batch, length, width))
        return x + self.down(self.gelu(self.up(self.norm2(x))))


def transformer():
    return nn.Sequential(*[Layer(384, 6) for _ in range(6)], nn.LayerNorm(384))


# Name: how it is made, the shape of its input, the names of its outputs.
NETS = {
    "resnet50": (lambda: torchvision.models.resnet50(weights=None), [1, 3, 224, 224], ["logits"]),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(weights=None), [1, 3, 224, 224], ["logits"]),
    "pnet": (PNet, [1, 3, 480, 640], ["probs", "boxes"]),
    "rnet_x16": (rnet, [16, 3, 24, 24], ["probs", "boxes"]),
    "onet_x16": (onet, [16, 3, 48, 48], ["probs", "boxes", "landmarks"]),
    "fastvit_t8": (lambda: timm.create_model("fastvit_t8", pretrained=False), [1, 3, 256, 256], ["logits"]),
    "transformer": (transformer, [1, 128, 384], ["y"]),
}


def calibrate(net, batch_norms, x):
    """Gives batch norms statistics with which a layer's values are near 1.

    They are not those of each channel of `x`: a channel in which random weights cancel what they read is scaled up by its own
    statistics, its rounding errors as well, and after fifty layers no two engines would agree on the net's output.
    """

    def before(norm, inputs):
        square = inputs[0].square().mean()
        norm.running_mean.normal_(0, 0.1).mul_(square.sqrt())
        norm.running_var.uniform_(0.5, 1.5).mul_(square)

    hooks = [norm.register_forward_pre_hook(before) for norm in batch_norms]
    net(x)
    for hook in hooks:
        hook.remove()


def make(name):
    """The net, ready for inference, and an input."""
    create, shape, _ = NETS[name]
    torch.manual_seed(sorted(NETS).index(name))
    net = create().eval()
    with torch.no_grad():
        norms = [m for m in net.modules() if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm))]
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.1)
        for m in net.modules():
            if isinstance(m, nn.PReLU):
                m.weight.uniform_(0.05, 0.4)
            gamma = getattr(m, "gamma", None)
            if isinstance(gamma, nn.Parameter):  # a layer scale, which starts near 0
                gamma.uniform_(0.1, 0.5)
        calibrate(net, [m for m in norms if isinstance(m, nn.BatchNorm2d)], torch.randn(4, *shape[1:]))
    if name == "fastvit_t8":
        net = reparameterize_model(net)
    return net, torch.randn(shape)
