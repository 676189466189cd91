"""Classification of Gaussian points with inputs of unequal scales, labelled by a random network: trained in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...orchestrator.fusion import Data
from ...orchestrator.fusion.program import Seeds
from ...orchestrator.task import Scalar

INPUTS, CLASSES, TRAIN, TEST = 20, 5, 512, 2048
Params = Mapping[str, Scalar]


class Student(nn.Module):
    """A network with one hidden layer, the scales 10^U(-sigma, sigma) of its inputs, and the teacher that labels."""

    scales: Tensor
    within: Tensor
    out: Tensor

    def __init__(self, width: int, sigma: float, seeds: Seeds) -> None:
        super().__init__()
        start, z = (torch.Generator().manual_seed(seeds(stream)) for stream in ("init", "teacher"))
        self.first, self.second = nn.Linear(INPUTS, width), nn.Linear(width, CLASSES)
        with torch.no_grad():
            for layer in (self.first, self.second):
                layer.weight.normal_(0, layer.in_features**-0.5, generator=start)
                layer.bias.zero_()
        self.register_buffer("scales", 10 ** (sigma * (2 * torch.rand(INPUTS, generator=z) - 1)))
        self.register_buffer("within", torch.randn(16, INPUTS, generator=z) * 1.5 / INPUTS**0.5)
        self.register_buffer("out", torch.randn(CLASSES, 16, generator=z))

    def forward(self, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the classes that the teacher gives, for Gaussian z (N x 20) and noise (N x 5)."""
        f = self.second(torch.tanh(self.first(z * self.scales)))
        return f, (torch.tanh(z @ self.within.T) @ self.out.T + 0.3 * noise).argmax(1)


def student(p: Params, seeds: Seeds) -> Student:
    """Of `width` hidden units and `sigma`, with teacher, scales and beginning of the replicate's own."""
    return Student(int(p["width"]), float(p["sigma"]), seeds)


def points(p: Params) -> Data:
    """Points to train on and others, the same for all; what is labelled how is the replicate's own."""
    z = torch.Generator().manual_seed(0)
    drawn = [torch.randn(count, size, generator=z) for count in (TRAIN, TEST) for size in (INPUTS, CLASSES)]
    return Data((drawn[0], drawn[1]), tuple(drawn), batch=int(p["batch_size"]))


def loss(model: Any, batch: tuple[Tensor, ...], p: Params) -> Tensor:
    """The mean cross-entropy in nats."""
    return cross_entropy(*model(*batch))


def metrics(model: Any, data: tuple[Tensor, ...], p: Params) -> dict[str, Tensor]:
    """The loss over all training points, and the accuracy (a fraction) on the others."""
    f, y = model(*data[2:])
    return {"train_loss": cross_entropy(*model(*data[:2])), "val_accuracy": (f.argmax(1) == y).double().mean()}
