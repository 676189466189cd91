"""The shapes that lanes and their contenders train: models, data, and how much of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swathe.orchestrator.fusion import Data
from swathe.orchestrator.task import Scalar

ROWS, BATCH, INPUTS, CLASSES = 1024, 32, 64, 10


def mlp(p: Mapping[str, Scalar], seeds: Any) -> nn.Module:
    """Two hidden layers."""
    n = int(p["width"])
    return nn.Sequential(nn.Linear(INPUTS, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, CLASSES))


def convnet(p: Mapping[str, Scalar], seeds: Any) -> nn.Module:
    """Two convolutions on 8 x 8 images."""
    n = int(p["width"])
    first = (nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, n, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, nn.Conv2d(n, n, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * n, CLASSES))


class Transformer(nn.Module):
    """One block over the eight rows of an image."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.read = nn.Linear(8, n)
        self.query, self.key, self.value, self.out = (nn.Linear(n, n) for _ in range(4))
        self.wide, self.narrow = nn.Linear(n, 2 * n), nn.Linear(2 * n, n)
        self.norms = nn.ModuleList(nn.LayerNorm(n) for _ in range(2))
        self.head = nn.Linear(n, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images (batch x 64)."""
        h = self.read(x.unflatten(-1, (8, 8)))
        z = self.norms[0](h)
        q, k, v = (part(z).unflatten(-1, (2, -1)).transpose(-2, -3) for part in (self.query, self.key, self.value))
        h = h + self.out(F.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2))
        h = h + self.narrow(F.gelu(self.wide(self.norms[1](h))))
        return self.head(h.mean(-2))


def transformer(p: Mapping[str, Scalar], seeds: Any) -> nn.Module:
    """See `Transformer`."""
    return Transformer(int(p["width"]))


@dataclass(frozen=True)
class Case:
    """One shape: how many trials of how many steps Swathe is given, how many of them the loop trains, and the goal."""

    title: str
    model: Callable[..., nn.Module]
    width: int
    trials: int
    steps: int
    alone: int
    goal: float = 0.95
    batch: int = BATCH


X = torch.randn(ROWS, INPUTS, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, CLASSES, (ROWS,), generator=torch.Generator().manual_seed(1))


def data(batch: int) -> Data:
    """All rows to train on, a few to measure on."""
    return Data((X, Y), (X[:64], Y[:64]), batch)


def objective(model: Any, batch: tuple[Tensor, Tensor], p: Mapping[str, Any]) -> Tensor:
    """Cross-entropy."""
    return F.cross_entropy(model(batch[0]), batch[1])
