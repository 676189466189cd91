"""Why do learning rates transfer? The width study, on an MLP.

Lorenzo Noci, Alexandru Meterez, Thomas Hofmann, Antonio Orvieto (2024), arXiv:2402.17457, also titled "Super
Consistency of Neural Network Landscapes and Learning Rate Transfer". Claim: the learning rate at which a network
trains best does not move with its width under muP; under the standard parameterisation it falls.

The network, for an image x, width n and L = `depth` hidden layers without biases,

    h_1 = relu(m_in W_in x)       h_l = relu(m_hid W_l h_(l-1)), l = 2..L       f = m_out W_out h_L

and its training at learning rate eta, with G the gradient (SGD) or the gradient normalised by Adam:

    W <- W - eta r G              W(0) = s Z,  Z_ij ~ N(0, 1)

A parameterisation (`blocks.parameterization`) says how multiplier m, deviation s and rate r of a layer scale with
width. Under muP logits start at size n^(-1/2) and hidden layers move by O(1); under NTK these are O(1), O(n^(-1/2)).

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

from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from ...orchestrator.claims import Claim, Frames, Paper
from ...orchestrator.fusion import Data, Optimizer, Program, adam, as_task, sgd
from ...orchestrator.fusion.program import Seeds
from ...orchestrator.task import Choice, Int, Lattice, Scalar
from ..blocks.datasets import mnist5k, order
from ..blocks.estimators import drift, movement
from ..blocks.figures import transfer_figure
from ..blocks.parameterization import Layer, mlp, rates, scaled

PIXELS, CLASSES, NORM = 784, 10, 64.0  # mean |x|^2 = NORM
PROBE = 1000  # training digits that train_loss is measured on
BETAS, EPSILON = (0.9, 0.999), 1e-12  # Adam's

Params = Mapping[str, Scalar]
Digits = tuple[Tensor, Tensor]  # images x (N x 784) and one-hot classes y (N x 10)

PARAMETERIZATIONS = ("standard", "ntk", "mup")
CHOICES = {"parameterization": PARAMETERIZATIONS, "optimizer": ("sgd", "adam"), "loss": ("mse", "cross_entropy")}
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
        at_base = Layer(shape[role], 1.0, deviation[role], 1.0)
        return scaled(role, at_base, width / base, str(p["parameterization"]), adaptive=p["optimizer"] == "adam")

    return [layer("input"), *[layer("hidden")] * hidden, layer("output")]


def network(p: Params, seeds: Seeds) -> nn.Module:
    """The trial's network."""
    return mlp(layers(settle(p)), seeds("init"))


def optimizer(p: Params) -> Optimizer:
    """SGD with momentum, or Adam (Kingma and Ba 2015)."""
    if p["optimizer"] == "adam":
        return adam("lr", BETAS, EPSILON, scale=lambda p: rates(layers(p)))
    return sgd("lr", float(p["momentum"]), scale=lambda p: rates(layers(p)))


def risk(loss: Scalar, f: Tensor, y: Tensor) -> Tensor:
    """Mean over the batch of |f - y|^2 / 2 (0.5 at f = 0), or of the cross-entropy in nats."""
    return 0.5 * (f - y).square().sum(1).mean() if loss == "mse" else cross_entropy(f, y)


def loss(model: nn.Module, batch: Digits, p: Params) -> Tensor:
    """What is minimised."""
    return risk(p["loss"], model(batch[0]), batch[1])


def train_loss(model: nn.Module, data: tuple[Tensor, ...], p: Params) -> dict[str, Tensor]:
    """The loss over the first 1,000 training digits, 100 a class."""
    return {"train_loss": risk(p["loss"], model(data[0]), data[1])}


def validation(model: nn.Module, data: tuple[Tensor, ...], p: Params) -> dict[str, Tensor]:
    """Loss and accuracy (a fraction) on the validation digits."""
    *_, x, y = data
    f = model(x)
    return {"val_loss": risk(p["loss"], f, y), "val_accuracy": (f.argmax(1) == y.argmax(1)).double().mean()}


@cache
def images() -> tuple[Digits, Digits]:
    """`mnist5k` with mean |x|^2 = `NORM` over the training digits."""
    train, held_out = ((x * (NORM / PIXELS) ** 0.5, one_hot(y, CLASSES).float()) for x, y in mnist5k())
    return train, held_out


def digits(p: Params) -> Data:
    """The digits, and the order in which a replicate sees them; the learning rates of a replicate share it."""
    (x, y), held_out = images()
    size, steps = int(p["batch_size"]), int(p["steps"])
    return Data(
        (x, y), (x[:PROBE], y[:PROBE], *held_out), batch=size, rows=lambda seed: order(len(x), size, steps, seed)
    )


# The demo; lr_transfer.yaml says how it was chosen.
STUDY: dict[str, Any] = {
    "metric": "train_loss",
    "grid": {"parameterization": ["standard", "mup"], "width": [64, 128, 256, 512, 1024]},
    "search": {"lr": {"log2": [-6, -1], "num": 11}},
    "sampler": "grid",
    "study": {"name": "transfer", "axis": "width", "hyperparameter": "lr"},
    "fixed": {"base_width": 64, "depth": 2, "optimizer": "sgd", "loss": "mse", "batch_size": 32, "steps": 500},
    "seeds": 5,
}
PAPER = Paper(
    title="Super Consistency of Neural Network Landscapes and Learning Rate Transfer",
    authors=("Noci", "Meterez", "Hofmann", "Orvieto"),
    year=2024,
    arxiv="2402.17457",
)
CLAIMS = (
    Claim(
        "muP: |octaves that the best lr moves per doubling of the width|, bounds as for equivalence",
        STUDY,
        movement("width", "lr", parameterization="mup"),
        "below",
        0.15,
    ),
    Claim(
        "standard: octaves that the best lr moves per doubling of the width",
        STUDY,
        drift("width", "lr", parameterization="standard"),
        "below",
        -0.15,
    ),
)


def figure(frames: Frames) -> Any:
    """Loss against learning rate at each width, and the optima."""
    return transfer_figure(frames, axis="width", hyperparameter="lr", by="parameterization", label="train_loss")


SHAPES = ("width", "depth", "optimizer", "momentum", "loss", "batch_size")
PROGRAM = Program(network, loss, optimizer, digits, train_loss, SHAPES, final=validation, defaults=DEFAULTS)
TASK = as_task(
    PROGRAM,
    name="lr-transfer",
    summary="Does the best learning rate of an MLP on MNIST digits transfer across its width?",
    metrics=("train_loss", "val_loss", "val_accuracy"),
    space={"parameterization": Choice(PARAMETERIZATIONS), "width": Int(16, 4096, log=True), "lr": Lattice(-8, 0, 17)},
    smallest={"width": 16, "batch_size": 8, "steps": 10, "report_every": 5},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"grid.width": [64, 128, 256, 512, 1024, 2048, 4096, 8192], "fixed.steps": 10_000},
    figure=figure,
)
