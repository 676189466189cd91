"""Why do learning rates transfer? Width and depth, for a perceptron, a residual net and a transformer.

Lorenzo Noci, Alexandru Meterez, Thomas Hofmann, Antonio Orvieto (2024), arXiv:2402.17457, also titled "Super
Consistency of Neural Network Landscapes and Learning Rate Transfer". Claim: the learning rate at which a network trains
best moves neither with its width under muP nor with its depth under depth-muP, because its sharpness S does not either;
under the standard parameterisation it falls, and under NTK S grows the less the wider the network is.

The perceptron, for an image x, width n and L = `depth` hidden layers without biases (others are in `blocks.models`),

    h_1 = relu(m_in W_in x)       h_l = relu(m_hid W_l h_(l-1)), l = 2..L       f = m_out W_out h_L

and its training at learning rate eta, with G the gradient (SGD) or the gradient normalised by Adam:

    W <- W - eta r G              W(0) = s Z,  Z_ij ~ N(0, 1)

A parameterisation (`blocks.parameterization`) says how multiplier m, deviation s and rate r of a layer scale. S is the
largest eigenvalue of P^(1/2) H P^(1/2), H the Hessian of the loss, P = diag(r) or, for Adam, diag(r / sqrt(v)). `edge`
is S over the largest with which training is stable: 2 (1 + momentum) / eta, for Adam 38 / eta.

Deviations from the paper:
- an MLP on MNIST-5k, a residual net on a regression of 64 points (|u| = 1, since in pilots the NTK net hardly sharpened
  for some random u), a transformer on Bible text, in place of ConvNets, vision transformers and GPT-2; no warm-up;
- sizes count relative to a base network, one for all parameterisations; its mean-field form of muP trains equally;
- images have mean |x|^2 = 64, not 784: the input layer's share of the sharpness grows with |x|^2 and not with width,
  and 784 hides part of the standard network's drift at widths below 1,000;
- Adam's epsilon is 1e-12, not 0: the gradients of a dead unit are 0, and 0/0 would follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...orchestrator.claims import Claim, Frames, Paper
from ...orchestrator.fusion import Data, Optimizer, Program, adam, as_task, sgd
from ...orchestrator.fusion.program import Seeds
from ...orchestrator.task import Choice, Int, Lattice, Scalar
from ..blocks.datasets import order
from ..blocks.estimators import across, difference, grown, mean, moving
from ..blocks.figures import paths_and_optima
from ..blocks.losses import agreement, risk
from ..blocks.parameterization import Layer, Scaling, named_rates
from ..blocks.probes import sharpness
from ..blocks.systems import POINTS, SYSTEMS

CURVED, BETAS, EPSILON = 256, (0.9, 0.999), 1e-12  # examples that the sharpness is measured on; Adam's constants

Params = Mapping[str, Scalar]
CHOICES = {
    "network": tuple(SYSTEMS),
    "parameterization": ("standard", "ntk", "mup", "depth_mup", "completep"),
    "optimizer": ("sgd", "adam"),
    "loss": ("mse", "cross_entropy"),
}
# depth: hidden layers, branches or blocks. momentum: of SGD. report_every: steps; 0 is a tenth of them. lanczos:
# iterations for the sharpness at each report; 0: it is not measured.
SIZES: dict[str, Scalar] = {"width": 128, "base_width": 64, "depth": 2, "base_depth": 2, "batch_size": 32}
TRAINING: dict[str, Scalar] = {"optimizer": "sgd", "momentum": 0.0, "loss": "mse", "lr": 2.0**-3, "steps": 500}
LOOKS: dict[str, Scalar] = {"report_every": 0, "lanczos": 0}
DEFAULTS: dict[str, Scalar] = {"network": "mlp", "parameterization": "mup", **SIZES, **TRAINING, **LOOKS}


def settle(given: Params) -> Params:
    """`given` parameters over the defaults. Raises `ValueError` for an unknown name or choice."""
    if unknown := sorted(given.keys() - DEFAULTS):
        raise ValueError(f"parameter {unknown[0]!r} is unknown; there are {', '.join(DEFAULTS)}")
    p = {**DEFAULTS, **given}
    for name, allowed in CHOICES.items():
        if p[name] not in allowed:
            raise ValueError(f"{name} {p[name]!r} is unknown; it is one of {', '.join(allowed)}")
    if p["loss"] not in (fits := SYSTEMS[str(p["network"])].losses):
        raise ValueError(f"loss {p['loss']!r} does not fit network {p['network']!r}; use {' or '.join(fits)}")
    return p


def scaling(p: Params) -> Scaling:
    """The parameterisation at the trial's size."""
    sizes = int(p["width"]), int(p["base_width"]), int(p["depth"]), int(p["base_depth"])
    return Scaling(str(p["parameterization"]), p["optimizer"] == "adam", *sizes)


def layers(p: Params) -> Mapping[str, Layer]:
    """The layers by the names of their modules."""
    return SYSTEMS[str(p["network"])].layers(scaling(p))


def network(p: Params, seeds: Seeds) -> nn.Module:
    """The trial's network."""
    p = settle(p)
    return SYSTEMS[str(p["network"])].build(layers(p), scaling(p), seeds("init"))


def optimizer(p: Params) -> Optimizer:
    """SGD with momentum, or Adam (Kingma and Ba 2015)."""
    if p["optimizer"] == "adam":
        return adam("lr", BETAS, EPSILON, scale=lambda p: named_rates(layers(p)))
    return sgd("lr", float(p["momentum"]), scale=lambda p: named_rates(layers(p)))


def loss(model: Any, batch: tuple[Tensor, ...], p: Mapping[str, Any]) -> Tensor:
    """What is minimised."""
    return risk(p["loss"], model(batch[0]), batch[1])


def train_loss(model: Any, data: tuple[Tensor, ...], p: Mapping[str, Any]) -> dict[str, Tensor]:
    """The loss over the first training examples, for digits 1,000; where it is asked for, also sharpness and edge."""
    found = {"train_loss": loss(model, data, p)}
    if not p["lanczos"]:
        return found
    few, steps, fast = (data[0][:CURVED], data[1][:CURVED]), int(p["lanczos"]), p["optimizer"] == "adam"
    s = sharpness(lambda model: loss(model, few, p), model, iterations=steps, betas=BETAS if fast else None)
    stable = (1 + BETAS[0]) / (1 - BETAS[0]) if fast else 1 + p["momentum"]
    return {**found, "sharpness": s, "edge": s * p["lr"] / (2 * stable)}


def validation(model: Any, data: tuple[Tensor, ...], p: Mapping[str, Any]) -> dict[str, Tensor]:
    """Loss and, of a classification, accuracy (a fraction) on validation examples."""
    f, y = model(data[2]), data[3]
    return {"val_loss": risk(p["loss"], f, y)} | ({} if f.shape[1] == 1 else {"val_accuracy": agreement(f, y)})


def data(p: Params) -> Data:
    """The examples, and the order in which a replicate sees them; the learning rates of a replicate share it."""
    system, size, steps = SYSTEMS[str(p["network"])], int(p["batch_size"]), int(p["steps"])
    (x, y), held_out = system.examples()
    measured = (x[: system.probe], y[: system.probe], *held_out)
    return Data((x, y), measured, batch=size, rows=lambda seed: order(len(x), size, steps, seed))


BY_WIDTH = {"name": "transfer", "axis": "width", "hyperparameter": "lr"}
SWEEP: dict[str, Any] = {"metric": "train_loss", "sampler": "grid", "seeds": 5}
STUDY: dict[str, Any] = {  # the demo (lr_transfer.yaml) without width 1024, which takes more than half of its time
    **SWEEP,
    "grid": {"parameterization": ["standard", "mup"], "width": [64, 128, 256, 512]},
    "search": {"lr": {"log2": [-6, -1], "num": 11}},
    "study": BY_WIDTH,
    "fixed": {"base_width": 64, "depth": 2, "optimizer": "sgd", "loss": "mse", "batch_size": 32, "steps": 500},
}
TOY = {"network": "residual", "base_width": 1, "batch_size": POINTS, "steps": 100}  # gradient descent
GRID = {"parameterization": ["ntk", "mup"], "width": [32, 64, 128], "lr": [4.0]}
EDGE: dict[str, Any] = {**SWEEP, "grid": GRID, "fixed": {**TOY, "lanczos": 20}}
DEPTH: dict[str, Any] = {
    **SWEEP,
    "grid": {"parameterization": ["mup", "depth_mup"], "depth": [2, 4, 8, 16]},
    "search": {"lr": {"log2": [-1, 5], "num": 13}},
    "study": {**BY_WIDTH, "axis": "depth"},
    "fixed": {**TOY, "width": 64},
}
LANGUAGE = {"network": "transformer", "loss": "cross_entropy", "optimizer": "adam", "base_width": 32, "batch_size": 8}
TEXT: dict[str, Any] = {
    **SWEEP,
    "grid": {"parameterization": ["standard", "mup"], "width": [32, 64, 128]},
    "search": {"lr": {"log2": [-9.5, -5], "num": 10}},
    "study": BY_WIDTH,
    "seeds": 3,
    "fixed": {**LANGUAGE, "steps": 100, "report_every": 50},
}
NTK, MUP = ({"parameterization": name} for name in ("ntk", "mup"))
FARTHEST = across("edge", "width", lambda edge: abs(edge - 1).max(), **MUP)
SPREAD = across("edge", "width", lambda edge: edge.max() / edge.min(), **MUP)
GROWTH = grown("sharpness", difference("growth", **NTK, width=(32, 128)))
CLAIMS = (  # thresholds of the sharpness are those of a prototype that had other data and seeds
    moving("muP", STUDY, "width", "mup", stays=True),
    moving("standard", STUDY, "width", "standard", stays=False),
    moving("depth-muP, residual net", DEPTH, "depth", "depth_mup", stays=True),
    moving("muP, residual net", DEPTH, "depth", "mup", stays=False),
    moving("muP, transformer", TEXT, "width", "mup", stays=True),
    moving("standard, transformer", TEXT, "width", "standard", stays=False),
    Claim("muP: largest |lr S / 2 - 1| of widths 32 to 128 after 100 steps", EDGE, FARTHEST, "below", 0.15),
    Claim("muP: largest S over the smallest of widths 32 to 128", EDGE, SPREAD, "below", 1.2),
    Claim("NTK: growth of the sharpness in 100 steps, width 32 less width 128", EDGE, GROWTH, "above", 0.3),
    Claim("NTK: lr S / 2 after 100 steps, width 128", EDGE, mean("edge", **NTK, width=128), "below", 0.75),
)
TITLE = "Super Consistency of Neural Network Landscapes and Learning Rate Transfer"
PAPER = Paper(TITLE, ("Noci", "Meterez", "Hofmann", "Orvieto"), 2024, "2402.17457")


def figure(widths: Frames, depths: Frames, texts: Frames, edge: Frames) -> Any:
    """The sharpness as training goes on, and the best learning rates by width and by depth."""
    optima = {"MLP": ("width", widths), "residual net": ("depth", depths), "transformer": ("width", texts)}
    return paths_and_optima(edge, ("edge", "width"), optima, "lr", by="parameterization")


WIDTHS, RATES = Int(16, 4096, log=True), Lattice(-8, 0, 17)
SHAPES = ("network", "width", "depth", "optimizer", "momentum", "loss", "batch_size", "lanczos")
PROGRAM = Program(network, loss, optimizer, data, train_loss, SHAPES, final=validation, defaults=DEFAULTS)
TASK = as_task(
    PROGRAM,
    name="lr-transfer",
    summary="Does the best learning rate of a network transfer across its width and its depth?",
    metrics=("train_loss", "val_loss", "val_accuracy", "sharpness", "edge"),
    space={"parameterization": Choice(CHOICES["parameterization"]), "width": WIDTHS, "lr": RATES},
    smallest={"width": 16, "batch_size": 8, "steps": 10, "report_every": 5, "lanczos": 4},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"grid.width": [64, 128, 256, 512, 1024, 2048, 4096, 8192], "fixed.steps": 10_000},
    figure=figure,
)
