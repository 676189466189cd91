"""Networks whose every matrix has a parameterisation: perceptrons, plain and residual, convolutions, a transformer.

Each comes as a table of its matrices by the names of its modules (the layers), for `parameterization.named_rates`, and
as a module made from that table. There are no biases and no gains; random numbers depend on seed and shapes alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, scaled_dot_product_attention, unfold

from .parameterization import Layer, Matrix, Scaling

Layers = Mapping[str, Layer]
EXPANSION = 4  # of a transformer's perceptron
KERNEL = 3  # pixels


def mlp_layers(scaling: Scaling, inputs: int, outputs: int, size: float) -> Layers:
    """Of `parameterization.mlp`, for inputs with mean |x|^2 = `size`; the depth counts hidden layers.

    In the base network |h_l|^2 begins at half the width, and each of f at half a unit squared.
    """
    n, base = scaling.width, scaling.base_width
    hidden = scaling.layer("hidden", (n, n), (2 / base) ** 0.5)
    first, last = scaling.layer("input", (n, inputs), size**-0.5), scaling.layer("output", (outputs, n), base**-0.5)
    return {str(2 * k): layer for k, layer in enumerate([first, *[hidden] * (scaling.depth - 1), last])}


def residual_layers(scaling: Scaling, inputs: int, outputs: int) -> Layers:
    """Of `Residual`. In the base network all deviations are 1, and multipliers keep h and f at size 1 for |x|^2 =
    `inputs`, at any base depth."""
    n, base, branch = scaling.width, scaling.base_width, (scaling.base_width * scaling.base_depth) ** -0.5
    blocks = {f"blocks.{k}": scaling.layer("branch", (n, n), 1.0, branch) for k in range(scaling.depth)}
    read = scaling.layer("input", (n, inputs), 1.0, inputs**-0.5)
    return {"read": read, **blocks, "out": scaling.layer("output", (outputs, n), 1.0, base**-0.5)}


class Residual(nn.Module):
    """h_1 = W_in x, h_(l+1) = h_l + W_l tanh(h_l), f = W_out tanh(h_(L+1)), each with its multiplier; x is batch x
    inputs."""

    def __init__(self, layers: Layers, seed: int) -> None:
        super().__init__()
        z = torch.Generator().manual_seed(seed)
        self.read = Matrix(layers["read"], z)
        self.blocks = nn.ModuleList(Matrix(layer, z) for name, layer in layers.items() if name.startswith("blocks."))
        self.out = Matrix(layers["out"], z)

    def forward(self, x: Tensor) -> Tensor:
        """(batch x inputs) -> (batch x outputs)."""
        h = self.read(x)
        for block in self.blocks:
            h = h + block(torch.tanh(h))
        return self.out(torch.tanh(h))


def convolutional_layers(scaling: Scaling, channels: int, outputs: int) -> Layers:
    """Of `Convolutional`: `channels` are the images'; the width counts channels, the depth hidden convolutions."""
    n, base, patch = scaling.width, scaling.base_width, KERNEL**2
    hidden = scaling.layer("hidden", (n, patch * n), (2 / (patch * base)) ** 0.5)
    read = scaling.layer("input", (n, patch * channels), (patch * channels) ** -0.5)
    out = scaling.layer("output", (outputs, n), base**-0.5)
    return {"read": read, **{f"hidden.{k}": hidden for k in range(scaling.depth)}, "out": out}


class Convolutional(nn.Module):
    """3x3 convolutions with rectifiers, all but the first of stride 2, then the mean over places and a matrix."""

    def __init__(self, layers: Layers, seed: int) -> None:
        super().__init__()
        z = torch.Generator().manual_seed(seed)
        self.read = Matrix(layers["read"], z)
        self.hidden = nn.ModuleList(Matrix(layer, z) for name, layer in layers.items() if name.startswith("hidden."))
        self.out = Matrix(layers["out"], z)

    def forward(self, x: Tensor) -> Tensor:
        """(batch x channels x side x side) -> (batch x outputs)."""
        h, size = torch.relu(self.read(_patches(x, 1))), x.shape[-1]
        for matrix in self.hidden:
            h = torch.relu(matrix(_patches(h.mT.unflatten(-1, (size, size)), 2)))
            size = -(-size // 2)
        return self.out(h.mean(1))


def _patches(x: Tensor, stride: int) -> Tensor:
    """(batch x channels x side x side) -> (batch x places x channels * 9): products are faster in lanes than `conv2d`,
    which has groups there."""
    return unfold(x, KERNEL, padding=KERNEL // 2, stride=stride).mT


def transformer_layers(scaling: Scaling, kinds: int, length: int) -> Layers:
    """Of `Transformer`, for texts of `length` symbols of so many `kinds`; the depth counts its blocks."""
    n, base = scaling.width, scaling.base_width
    block = {
        "qkv": scaling.layer("inner", (3 * n, n), base**-0.5),
        "merge": scaling.layer("branch", (n, n), base**-0.5),
        "up": scaling.layer("inner", (EXPANSION * n, n), base**-0.5),
        "down": scaling.layer("branch", (n, EXPANSION * n), (EXPANSION * base) ** -0.5),
    }
    blocks = {f"blocks.{k}.{name}": layer for k in range(scaling.depth) for name, layer in block.items()}
    embed = scaling.layer("input", (n, kinds + length), 0.5**0.5)
    return {"embed": embed, **blocks, "out": scaling.layer("output", (kinds, n), base**-0.5)}


class Transformer(nn.Module):
    """A causal one that normalises before each branch; `attention` is the factor of q.k."""

    def __init__(self, layers: Layers, heads: int, attention: float, seed: int) -> None:
        super().__init__()
        z = torch.Generator().manual_seed(seed)
        kinds, width = layers["out"].shape
        self.kinds, self.length = kinds, layers["embed"].shape[1] - kinds
        self.embed = Matrix(layers["embed"], z)
        blocks = {name.split(".")[1] for name in layers if name.startswith("blocks.")}
        self.blocks = nn.ModuleList(_Block(layers, f"blocks.{k}.", heads, attention, z) for k in range(len(blocks)))
        self.out = Matrix(layers["out"], z)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Whole numbers (batch x length) -> logits (batch * length x kinds) of what comes next."""
        kind = (x.unsqueeze(-1) == torch.arange(self.kinds, device=x.device)).to(self.embed.weight.dtype)
        place = torch.eye(self.length, dtype=kind.dtype, device=x.device).expand(*x.shape, self.length)
        h = self.embed(torch.cat([kind, place], -1))
        for block in self.blocks:
            h = block(h)
        return self.out(layer_norm(h, (self.width,))).flatten(0, 1)


class _Block(nn.Module):
    """h + attention(norm h), then h + perceptron(norm h), for h (batch x length x width)."""

    attention: Tensor

    def __init__(self, layers: Layers, name: str, heads: int, attention: float, z: torch.Generator) -> None:
        super().__init__()
        self.qkv, self.merge, self.up, self.down = (
            Matrix(layers[name + part], z) for part in ("qkv", "merge", "up", "down")
        )
        self.heads = heads
        self.register_buffer("attention", torch.tensor(attention, dtype=torch.float64))

    def forward(self, h: Tensor) -> Tensor:
        width = h.shape[-1:]
        qkv = self.qkv(layer_norm(h, width)).unflatten(-1, (3, self.heads, -1))
        q, k, v = (qkv.select(-3, which).transpose(-3, -2) for which in range(3))  # batch x heads x length x size
        seen = scaled_dot_product_attention(q * self.attention, k, v, is_causal=True, scale=1.0)
        h = h + self.merge(seen.transpose(-3, -2).flatten(-2))
        return h + self.down(gelu(self.up(layer_norm(h, width))))
