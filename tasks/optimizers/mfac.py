"""M-FAC: products with the inverse of a Fisher matrix of m gradients, exact and without the matrix.

Frantar, Kurtic, Alistarh (2021), arXiv:2107.03356.

With the rows g_1, ..., g_m of G (m x d) the damped empirical Fisher matrix is F = lam I + G'G / m. By Woodbury, with
C C' = m lam I + G G',

    F^-1 x = (x - G' (C C')^-1 G x) / lam        (F^-1)_ii = (1 - sum_k (C^-1 G)_ki^2) / lam

in O(dm + m^3) once G G' is known. The optimizer keeps the last m gradients: g = grad + wd w takes the place of the
oldest and changes one row and column of G G', O(dm); rows that are not filled yet are zero, and m stays m. Then

    s = F^-1 g        v <- mu v + (1 - mu) s        w <- w - lr v

Pruning (optimal brain surgeon) to a sparsity, in R rounds of geometrically falling density with G at the present
weights: those Q of least w_i^2 / 2 (F^-1)_ii go, and the others move by -F^-1 sum_(i in Q) e_i w_i / (F^-1)_ii.

Deviations from the paper: a Cholesky factor of the m x m system in place of the paper's recursions, which give the
same numbers and are what the tests compare with; a small perceptron on points that a random network labels in place of
ResNets and MobileNets; pruning over all weights at once, not in blocks, after training and without training again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy

from ...orchestrator.claims import Claim, Frames, Paper
from ...orchestrator.fusion import Optimizer, Program, adam, adamw, as_task, cosine, sgd
from ...orchestrator.fusion.optim import Hyper, State, Tree, spread
from ...orchestrator.task import Choice, Float, Lattice, Scalar
from ..blocks.estimators import difference, over, ratio
from ..blocks.figures import curves_figure
from ..blocks.fisher import factor, product, replaced
from ..blocks.students import TRAIN, loss, metrics, points, student

OPTIMIZERS = ("sgd", "adam", "adamw", "mfac")
DEFAULTS: dict[str, Scalar] = {
    "optimizer": "mfac",
    "lr": 2.0**-8,
    "lam": 1e-3,
    "momentum": 0.0,  # of M-FAC
    "weight_decay": 0.0,  # of M-FAC and AdamW
    "m": 64,
    "rounds": 0,  # of pruning after the training; 0 prunes nothing
    "sparsity": 0.8,
    "gradients": 256,  # of 4 examples each, that pruning rests on; 256 at most
    "sigma": 0.0,
    "width": 64,
    "batch_size": 64,
    "steps": 300,
}
Params = Mapping[str, Scalar]


@dataclass(frozen=True)
class MFAC(Optimizer):
    """An optimizer whose rule is given s = F^-1 g in place of g; it has settings `lam` and `weight_decay`."""

    m: int = 64

    def init(self, tree: Tree, lanes: int | None = None) -> State:
        """Also "window", G as a tree of (lanes x m x shape), and "gram", G G'."""
        state, front = super().init(tree, lanes), () if lanes is None else (lanes,)
        window = {name: p.new_zeros((*front, self.m, *p.shape[len(front) :])) for name, p in tree.items()}
        return {**state, "window": window, "gram": next(iter(tree.values())).new_zeros((*front, self.m, self.m))}

    def update_(self, grads: Tree, state: State, tree: Tree, hyper: Hyper) -> State:
        """See `Optimizer`."""
        g = {k: x + spread(hyper.base["weight_decay"].to(x.dtype), x) * tree[k] for k, x in grads.items()}
        window, gram = replaced(state["window"], state["gram"], g, state["t"])
        s = product(window, gram, g, hyper.base["lam"])
        return {**super().update_(s, state, tree, hyper), "window": window, "gram": gram}


def mfac(m: int, **options: Any) -> MFAC:
    """M-FAC over the last m gradients."""

    def rule(w: Tensor, s: Tensor, memory: dict[str, Tensor], c: dict[str, Tensor]) -> dict[str, Tensor]:
        v = memory["v"].mul_(c["momentum"]).add_((1 - c["momentum"]) * s)
        w.sub_(c["lr"] * v)
        return {"v": v}

    settings = {name: name for name in ("lr", "lam", "momentum", "weight_decay")}
    return MFAC(settings, ("v",), lambda h, t: dict(h), rule, m=m, **options)


def optimizer(p: Params) -> Optimizer:
    """The trial's optimizer; the learning rate falls by half a cosine."""
    schedule = cosine(steps="steps")
    match p["optimizer"]:
        case "sgd":
            return sgd("lr", 0.9, schedule=schedule)
        case "adam":
            return adam("lr", schedule=schedule)
        case "adamw":
            return adamw("lr", weight_decay="weight_decay", schedule=schedule)
        case _:
            return mfac(int(p["m"]), schedule=schedule)


def surgeon(w: Tensor, kept: Tensor, g: Tensor, count: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
    """Weights w (d), of which `kept` are left, and those kept of them once `count` in all are gone; g is G (m x d)."""
    g = torch.where(kept, g, 0.0)
    c = factor(g @ g.mT, lam).to(g.dtype)
    half = torch.linalg.solve_triangular(c, g, upper=False)
    diagonal = (1 - half.square().sum(0)).clamp(min=1e-6) / lam
    score = torch.where(kept, w.square() / (2 * diagonal), -1.0)
    going = kept & (score.argsort().argsort() < count)
    x = torch.where(going, w / diagonal, 0.0)
    kept = kept & ~going
    return torch.where(kept, w - (x - half.mT @ (half @ x)) / lam, 0.0), kept


def pruned(model: Any, data: tuple[Tensor, ...], p: Mapping[str, Any]) -> dict[str, Tensor]:
    """The training loss once `sparsity` of the weights are gone, by `surgeon` and by magnitude."""
    sizes = {name: x.numel() for name, x in model.tensors.items() if name.endswith("weight")}
    w = start = torch.cat([model.tensors[name].flatten() for name in sizes])
    rows = torch.arange(TRAIN, device=w.device)  # in two ways in fours, 256 batches
    batches = torch.cat([rows.view(-1, 4), rows.view(4, -1).T])[: int(p["gradients"])]

    def risk(w: Tensor, *batch: Tensor) -> Tensor:
        parts = zip(sizes, w.split(list(sizes.values())), strict=True)
        return cross_entropy(*model.at({name: x.view_as(model.tensors[name]) for name, x in parts})(*batch))

    kept = torch.ones_like(w, dtype=torch.bool)
    for turn in range(int(p["rounds"])):
        gone = len(w) * (1 - (1 - p["sparsity"]) ** ((turn + 1) / int(p["rounds"])))
        g = vmap(grad(risk), in_dims=(None, 0, 0))(w, data[0][batches], data[1][batches])
        w, kept = surgeon(w, kept, g, gone, p["lam"])
    count = p["sparsity"] * len(w) * min(int(p["rounds"]), 1)
    shrunk = torch.where(start.abs().argsort().argsort() >= count, start, 0.0)
    return {"surgeon_loss": risk(w, *data[:2]), "magnitude_loss": risk(shrunk, *data[:2])}


SHAPES = ("optimizer", "m", "rounds", "gradients", "width", "batch_size")
PROGRAM = Program(student, loss, optimizer, points, metrics, SHAPES, final=pruned, defaults=DEFAULTS)


def sweep(*optimizers: str, **fixed: Scalar) -> dict[str, Any]:
    """Some of the optimizers at every two octaves of the learning rate, eight seeds."""
    space = {"grid": {"optimizer": optimizers}, "search": {"lr": {"log2": [-14, 2], "num": 9}}}
    return {"metric": "train_loss", "seeds": 8, "sampler": "grid", **space, "fixed": fixed}


MAIN, DECAYED = sweep("sgd", "adam", "mfac"), sweep("adamw", "mfac", weight_decay=3e-3)
SPARSITIES = (0.5, 0.7, 0.8, 0.9)
TRAINED: dict[str, Any] = {"fixed": {"optimizer": "adam", "lr": 2.0**-6, "lam": 1e-5}, "seeds": 8}
PRUNING = {"metric": "surgeon_loss", "grid": {"sparsity": SPARSITIES, "rounds": (1, 16)}, **TRAINED}


def surgery(sparsity: float, rounds: int) -> Claim:
    """That the training loss is less after pruning by `surgeon` than by magnitude."""
    found = over("surgeon_loss", "magnitude_loss", sparsity=sparsity, rounds=rounds)
    named = f"training loss after pruning {sparsity:.0%} in {rounds} round{'s' * (rounds > 1)}, surgeon over magnitude"
    return Claim(named, PRUNING, found, "below", 1.0)


LOSS = ratio("train_loss", optimizer=("mfac", "sgd"))
GAIN = {name: difference("val_accuracy", "maximize", optimizer=("mfac", name)) for name in ("sgd", "adam", "adamw")}
SMALL = "The paper's gains are those of residual networks on images, with augmentation and at length."
CLAIMS = (  # a pilot with other seeds chose the range of learning rates
    Claim("training loss, M-FAC over SGD with momentum", MAIN, LOSS, "below", 3.0),
    Claim("accuracy, M-FAC less SGD with momentum", MAIN, GAIN["sgd"], "above", 0.0, SMALL),
    Claim("accuracy, M-FAC less Adam", MAIN, GAIN["adam"], "above", 0.0, SMALL),
    Claim("accuracy, M-FAC less AdamW, weight decay 0.003", DECAYED, GAIN["adamw"], "above", 0.0, SMALL),
    *(surgery(sparsity, 16) for sparsity in SPARSITIES),
    surgery(0.9, 1),
)


def figure(main: Frames, *others: Frames) -> Any:
    """Training loss and accuracy over the learning rate."""
    return curves_figure(main, by="optimizer", over="lr", metrics=("train_loss", "val_accuracy"))


TITLE = "M-FAC: Efficient Matrix-Free Approximations of Second-Order Information"
PAPER = Paper(TITLE, ("Frantar", "Kurtic", "Alistarh"), 2021, "2107.03356")
TASK = as_task(
    PROGRAM,
    name="mfac",
    summary="Do exact products with the inverse of a Fisher matrix of few gradients train and prune better?",
    metrics=("train_loss", "val_accuracy", "surgeon_loss", "magnitude_loss"),
    space={"optimizer": Choice(OPTIMIZERS), "lr": Lattice(-14, 2, 17), "lam": Float(1e-6, 0.1, log=True)},
    smallest={"width": 8, "batch_size": 16, "steps": 12, "report_every": 6, "m": 4, "rounds": 2, "gradients": 16},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"fixed.width": 2048, "fixed.m": 1024, "fixed.steps": 64_000, "fixed.batch_size": 128},
    figure=figure,
)
