"""Input gradients of standard networks leak to where signals could be; those of robust networks show where they are.

Shah, Jain, Netrapalli (2021), arXiv:2102.12781.

The attribution of x is |g|, g = df_c / dx, f_c the logit of the predicted class. Are its largest coordinates those that
decide? It can be told where the place of the signal is known, and by training on what attributions keep:

- Simplified BlockMNIST: x_i = y [i = j] + eta u_i, y = +-1, |u_i| <= 1, j random among the first coordinates (half of
  `noisy`; all of `points`, where eta = 0). A max-margin network of one hidden layer has equal |g_i| wherever a signal
  can be and 0 elsewhere, so it does not show j. `leakage` = median over x of mean |g_i|, i != j possible, over
  |g_j|, is 1 then; `hit_rate` = how often j has the largest |g_i|.
- `block-digits`: a digit and a square that is always the same, one above the other in random order; in
  `block-digits-top` the digit is above. `null_mass` = the share of sum |g_i| outside of the digit.
- DiffROAR on `digits`: `side` top or bottom keeps of each image the share `kept` = k of pixels that attributions of one
  trained network rank highest or lowest, and zeros; another network is trained and tested on what is left:
  DiffROAR(k) = accuracy(top) - accuracy(bottom) > 0 where attributions are right, 0 where they are random.

Robust networks train on the worst points of balls of radius `eps` only, by PGD; eps = 0 is standard training.

Deviations from the paper: perceptrons of width 128 and 256 with Adam, not of 25,000 with SGD, nor ResNets; 8x8 digits,
not MNIST and larger images; `points` with eps = 0.35, not 0.45; no bounds for PGD; one retraining, a standard one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.nn.functional import cross_entropy

from ...orchestrator.claims import Claim, Frames, Paper
from ...orchestrator.fusion import Data, Lanes, Program, adam, as_task
from ...orchestrator.fusion.program import Seeds
from ...orchestrator.task import Choice, Float, Lattice, Scalar
from ..blocks.attacks import NORMS, worst
from ..blocks.estimators import Term, combination, difference, mean
from ..blocks.figures import Panel, panels_figure
from ..blocks.losses import classification_metrics
from ..blocks.signals import NAMES, marked

Params = Mapping[str, Any]
STEPS = {"linf": {"steps": 8, "size": 0.25}, "l2": {"steps": 5, "size": 0.5}}  # the authors'
SIDES, LEVELS = ("top", "bottom"), (0.05, 0.1, 0.2, 0.4, 0.6)
DEFAULTS: dict[str, Scalar] = {
    "data": "points",
    "eps": 0.0,
    "norm": "linf",
    "test_eps": 0.35,  # of `robust_accuracy`
    "side": "all",
    "kept": 1.0,
    "lr": 3e-3,
    "width": 256,
    "depth": 1,
    "batch_size": 64,
    "steps": 1500,
}


def data(p: Params) -> Data:
    """Examples to train on are numbered, for their masks; with the others comes where the signal of any can be."""
    (x, y, signal), held_out = marked(p["data"])
    return Data((x, y, torch.arange(len(x))), (*held_out, signal.any(0)), batch=int(p["batch_size"]))


def attributions(f: Any, x: Tensor) -> Tensor:
    """|g| (N x D) of a network f."""
    return grad(lambda x: f(x).amax(1).sum())(x).abs()


class Network(nn.Sequential):
    """A perceptron; and masks (N x D) of what it is to see, of the examples to train on and of the others."""

    def __init__(self, p: Params, seen: Tensor, seen_others: Tensor) -> None:
        sizes = [seen.shape[1], *[int(p["width"])] * int(p["depth"])]
        hidden = (part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU()))
        super().__init__(*hidden, nn.Linear(sizes[-1], 10 if "digits" in p["data"] else 2))
        self.register_buffer("seen", seen)
        self.register_buffer("seen_others", seen_others)


@lru_cache(maxsize=64)
def ranks(settings: tuple[tuple[str, Scalar], ...], seeds: tuple[tuple[str, int], ...]) -> list[Tensor]:
    """The rank of each coordinate in its example (N x D), 0 for the largest attribution of a network trained on all."""
    p: Params = dict(settings)
    lanes = Lanes(PROGRAM, [p], [dict(seeds).__getitem__])
    lanes.run(p["steps"])
    weights = {name: x[0] for name, x in {**lanes.state["params"], **lanes.state["buffers"]}.items()}
    trained = network(p, dict(seeds).__getitem__)
    found = (attributions(lambda x: functional_call(trained, weights, x), x) for x, *_ in marked(p["data"]))
    return [g.argsort(dim=1, descending=True, stable=True).argsort(1) for g in found]


def network(p: Params, seeds: Seeds) -> nn.Module:
    """The trial's network. With a side it is not the one that ranks, which is that of the trial with all."""
    if p["side"] == "all":
        return Network(p, *(torch.ones_like(x, dtype=torch.bool) for x, *_ in marked(p["data"])))
    settings = {**p, "side": "all", "kept": 1.0}
    found = ranks(tuple(settings.items()), tuple((stream, seeds(stream)) for stream in ("init", "data", "noise")))
    torch.manual_seed(seeds("retraining"))
    size = found[0].shape[1]
    last = (each if p["side"] == "top" else size - 1 - each for each in found)
    return Network(p, *(each < round(p["kept"] * size) for each in last))


def loss(model: Any, batch: tuple[Tensor, ...], p: Params) -> Tensor:
    """The mean cross-entropy in nats, at the worst points unless the network is one that retrains."""
    x, y, number = batch
    x = x * model.tensors["seen"][number]
    if p["side"] == "all":
        x = worst(model, x, y, p["eps"], p["norm"], **STEPS[p["norm"]])
    return cross_entropy(model(x), y)


def metrics(model: Any, data: tuple[Tensor, ...], p: Params) -> dict[str, Tensor]:
    """Loss and accuracy on the other examples."""
    return classification_metrics(model, (data[0] * model.tensors["seen_others"], data[1]), p)


def shown(model: Any, data: tuple[Tensor, ...], p: Params) -> dict[str, Tensor]:
    """What attributions show of the other examples, and the accuracy at their worst points within `test_eps`."""
    x, y, signal, possible = data
    x = x * model.tensors["seen_others"]
    g, elsewhere = attributions(model, x), possible & ~signal
    inside, others = ((g * each).sum(1) / each.sum(1).clamp(min=1) for each in (signal, elsewhere))
    attacked = worst(model, x, y, p["test_eps"], p["norm"], **STEPS[p["norm"]])
    return {
        "hit_rate": signal.gather(1, g.argmax(1, keepdim=True)).double().mean(),
        "leakage": (others / inside.clamp(min=1e-30)).sort().values[len(x) // 2],
        "null_mass": ((g * ~signal).sum(1) / g.sum(1).clamp(min=1e-30)).mean(),
        "robust_accuracy": (model(attacked).argmax(1) == y).double().mean(),
    }


SHAPES = ("data", "norm", "side", "width", "depth", "batch_size")
PROGRAM = Program(network, loss, adam("lr"), data, metrics, SHAPES, shown, defaults=DEFAULTS)


def sweep(grid: dict[str, Any], **fixed: Scalar) -> dict[str, Any]:
    """Five seeds."""
    return {"metric": "val_accuracy", "direction": "maximize", "seeds": 5, "grid": grid, "fixed": fixed}


def roar(eps: float, sign: int = 1) -> list[Term]:
    """DiffROAR of networks trained with `eps`, its mean over levels."""
    sides = (("top", sign / len(LEVELS)), ("bottom", -sign / len(LEVELS)))
    return [(weight, {"eps": eps, "side": side, "kept": kept}) for side, weight in sides for kept in LEVELS]


POINTS = sweep({"eps": (0.0, 0.35)}, data="points", steps=1500)
NOISY = sweep({"eps": (0.0, 0.25)}, data="noisy", steps=2500, test_eps=0.25)
IMAGES: dict[str, Any] = {"norm": "l2", "steps": 450, "lr": 1e-3, "test_eps": 1.0}
BLOCKS = sweep({"data": NAMES[2:4], "eps": (0.0, 1.0)}, depth=2, **IMAGES)
ROAR = sweep({"side": SIDES, "kept": LEVELS, "eps": (0.0, 1.0)}, data="digits", width=128, **IMAGES)
SCORE, MASS, ON_TOP = "val_accuracy", "null_mass", (NAMES[3], NAMES[2])
CLAIMS = (
    *(
        Claim(f"{name}, {net}: {metric}", study, mean(metric, eps=at), "above" if sign == ">" else "below", limit)
        for name, study, eps, hits in (("points", POINTS, 0.35, 0.8), ("noisy", NOISY, 0.25, 0.6))
        for net, at, metric, sign, limit in (
            *(("standard", 0.0, SCORE, ">", 0.99), ("standard", 0.0, "hit_rate", "<", 0.3)),
            *(("robust", eps, "hit_rate", ">", hits), ("standard", 0.0, "leakage", ">", 0.7)),
            ("robust", eps, "leakage", "<", 0.1),
        )
    ),
    Claim("null mass, robust less standard", BLOCKS, difference(MASS, eps=(1.0, 0.0), data=NAMES[2]), "below", 0.0),
    Claim("null mass, standard, on top less either", BLOCKS, difference(MASS, eps=0.0, data=ON_TOP), "below", 0.0),
    Claim("DiffROAR, robust less standard", ROAR, combination(SCORE, roar(1.0) + roar(0.0, -1)), "above", 0.0),
    Claim("DiffROAR, robust", ROAR, combination(SCORE, roar(1.0)), "above", 0.0),
    Claim("DiffROAR, standard", ROAR, combination(SCORE, roar(0.0)), "below", 0.0, "64 pixels may be too few."),
)


def figure(points: Frames, noisy: Frames, blocks: Frames, roar: Frames) -> Any:
    """Leakage of points, the null mass of blocks, and accuracy on what the sides keep."""
    leaks = (Panel(f"{name}: leakage", each, "leakage", "eps") for name, each in (("points", points), ("noisy", noisy)))
    null = Panel("null mass", blocks, "null_mass", "eps", ("data",))
    return panels_figure([*leaks, null, Panel("accuracy on what is kept", roar, SCORE, "kept", ("eps", "side"))])


PAPER = Paper(
    "Do Input Gradients Highlight Discriminative Features?", ("Shah", "Jain", "Netrapalli"), 2021, "2102.12781"
)
TASK = as_task(
    PROGRAM,
    name="input-gradients",
    summary="Do input gradients show which coordinates decide, of standard and of robust networks?",
    metrics=("val_loss", "val_accuracy", "hit_rate", "leakage", "null_mass", "robust_accuracy"),
    space={"data": Choice(NAMES), "norm": Choice(NORMS), "eps": Float(0.0, 2.0), "lr": Lattice(-12, -6, 13)},
    smallest={"width": 16, "batch_size": 16, "steps": 12, "report_every": 6},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"fixed.width": 25_000, "fixed.steps": 20_000, "seeds": 10},
    figure=figure,
)
