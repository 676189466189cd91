"""Fine-tuning in the small: a perceptron that knows several domains, and one of them to learn new names in.

Domains are Gaussian classes of which each is a rotation of the others. All is a function of two seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...orchestrator.fusion.program import Seeds
from ...orchestrator.task import Scalar
from .datasets import Examples

ANGLES, INPUTS, CLASSES = (0.0, 0.4, 0.8, 1.2), 20, 5
SEEN, TESTED = 500, 300  # examples of each domain to pre-train on, and to test on
Draw = Callable[[int], Examples]


def rotations(angles: Sequence[float], size: int, z: torch.Generator) -> Tensor:
    """(angles x size x size), each by one angle in all of the same size / 2 orthogonal planes."""
    basis = torch.linalg.qr(torch.randn(size, size, generator=z))[0]
    plane = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    turn = basis @ torch.block_diag(*[plane] * (size // 2)) @ basis.T
    return torch.stack([torch.matrix_exp(angle * turn) for angle in angles])


def domains(z: torch.Generator) -> Draw:
    """What draws so many examples of each domain: x (angles x count x inputs) and classes (angles x count)."""
    means, turns = 0.9 * torch.randn(CLASSES, INPUTS, generator=z), rotations(ANGLES, INPUTS, z)

    def draw(count: int) -> Examples:
        y = torch.randint(CLASSES, (len(ANGLES), count), generator=z)
        x = means[y] + torch.randn(len(ANGLES), count, INPUTS, generator=z)
        return x @ turns.mT, y

    return draw


def pretrained(p: Mapping[str, Scalar], seeds: Seeds) -> nn.Module:
    """A tanh perceptron of this `width` after `pretraining` steps of Adam on all domains, with a new head.

    Its buffers are x, y, `examples` of the first domain with classes renamed; test_x, test_y of all domains (angles x
    TESTED); and start.weight, start.bias, those of the hidden layer before fine-tuning.
    """
    sizes = [int(p[name]) for name in ("width", "examples", "pretraining")]
    return deepcopy(_pretrained(seeds("init"), seeds("data"), *sizes))


@lru_cache(maxsize=128)
def _pretrained(init: int, data: int, width: int, examples: int, steps: int) -> nn.Module:
    z, draw = torch.Generator().manual_seed(data), domains(torch.Generator().manual_seed(data))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(init)
        model = nn.Sequential(nn.Linear(INPUTS, width), nn.Tanh(), nn.Linear(width, CLASSES))
        head = nn.Linear(width, CLASSES)
    x, y = draw(SEEN)
    descent = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        descent.zero_grad()
        cross_entropy(model(x).flatten(0, 1), y.flatten()).backward()
        descent.step()
    model[2], names = head, torch.randperm(CLASSES, generator=z)
    model.zero_grad()
    (x, y), (test_x, test_y) = draw(examples), draw(TESTED)
    model.add_module("start", deepcopy(model[0]).requires_grad_(False))
    for name, value in {"x": x[0], "y": names[y[0]], "test_x": test_x, "test_y": names[test_y]}.items():
        model.register_buffer(name, value)
    return model


def hidden(w: Mapping[str, Tensor], x: Tensor, layer: str = "0") -> Tensor:
    """The hidden layer (... x width) of the perceptron with the tensors `w`, at x (... x inputs)."""
    return torch.tanh(x @ w[f"{layer}.weight"].T + w[f"{layer}.bias"])


def logits(w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """What it says (... x classes)."""
    return hidden(w, x) @ w["2.weight"].T + w["2.bias"]


def cka(a: Tensor, b: Tensor) -> Tensor:
    """The linear centred kernel alignment of two representations (examples x features): 1 for equal ones.

    Kornblith et al. (2019), arXiv:1905.00414.
    """
    a, b = a - a.mean(0), b - b.mean(0)
    return (a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())
