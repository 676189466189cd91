"""Smaller batches see larger curvature; the largest learning rate grows as B for SGD, as sqrt(B) for Adam.

Granziol, Zohren, Roberts (2020), "Learning Rates as a Function of Batch Size: A Random Matrix Theory Approach to Neural
Network Training", arXiv:2006.09092.

The Hessian of the loss over a batch of B of the N examples is that over all of them plus noise, H_B = H + E. For E
symmetric with independent entries of variance sigma^2 / b, b = B / (1 - B / N), P weights and s = sigma sqrt(P / b),

    lambda_1(H_B) = lambda + s^2 / lambda    for lambda = lambda_1(H) > s, else 2 s           `seen`
    s^2 = (E |H_B|^2 - |H|^2) / P            Frobenius norms

SGD is stable up to lr = 2 / lambda_1(H_B), hence linear in B until lambda dominates. Adam divides by a root of squared
gradients, which itself is as B^(-1/2), so its largest learning rate is as B^(1/2). In closed form: over Gaussian rows
in d dimensions E |w|^2 falls by SGD with w <- w - lr/B sum_i x_i (x_i.w) if lr < 2 B / (B + d + 1).

Deviations from the paper: a tanh network with one hidden layer and 512 points labelled by a random network, in place of
VGG and WideResNet on CIFAR-100 and ImageNet, equally many steps at every B, no momentum; whole spectra, not by Lanczos;
"largest" is the largest on a grid with a mean loss over the second half of the training of at most 1.5, for least
squares one that has not risen. Learning rates from Lanczos iterations in the course of training are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import grad, jacrev

from ...orchestrator.claims import Claim, Frames, Paper
from ...orchestrator.fusion import Data, Program, adam, as_task, sgd
from ...orchestrator.fusion.program import Seeds
from ...orchestrator.task import Choice, Int, Lattice, Scalar
from ..blocks.estimators import Estimator, across, mean, over, slope
from ..blocks.figures import Panel, panels_figure
from ..blocks.probes import lane_by_lane
from ..blocks.students import TRAIN, loss, metrics, points, student

BETAS, DIMENSIONS, POOL, BATCHES, CHUNK = (0.9, 0.99), 50, 20_000, 8, 64  # rows of least squares; batches measured
# Or "least_squares". sigma: inputs are scaled by 10^U(-sigma, sigma). measured: B of the Hessians at the end, 0: none.
SYSTEM: dict[str, Scalar] = {"system": "network", "width": 64, "sigma": 0.3, "measured": 0}
DEFAULTS: dict[str, Scalar] = {**SYSTEM, "optimizer": "sgd", "lr": 2.0**-3, "batch_size": 32, "steps": 200}
Params = Mapping[str, Any]


def system(p: Params, seeds: Seeds) -> nn.Module:
    """The network, or the weights w of least squares, which should be 0; at first a random direction of length 1."""
    if p["system"] == "network":
        return student(p, seeds)
    w, squares = torch.randn(DIMENSIONS, generator=torch.Generator().manual_seed(seeds("init"))), nn.Module()
    squares.w = nn.Parameter(w / w.norm())
    return squares


def risk(model: Any, batch: tuple[Tensor, ...], p: Params) -> Tensor:
    """What is minimised."""
    return loss(model, batch, p) if p["system"] == "network" else 0.5 * (batch[0] @ model.tensors["w"]).square().mean()


def progress(model: Any, held_out: tuple[Tensor, ...], p: Params) -> Mapping[str, Tensor]:
    """The loss over all examples; for least squares the expected one."""
    if p["system"] == "network":
        return metrics(model, held_out, p)
    return {"train_loss": 0.5 * model.tensors["w"].square().sum()}


def hessians(model: Any, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """H and its Gauss-Newton part (both P x P) of the network's loss over examples z, noise."""
    like = {name: x for name, x in model.tensors.items() if name.startswith(("first", "second"))}

    def at(w: Tensor) -> Any:
        parts = w.split([x.numel() for x in like.values()])
        return model.at({name: part.view_as(x) for part, (name, x) in zip(parts, like.items(), strict=True)})

    w = torch.cat([x.flatten() for x in like.values()])
    h = jacrev(grad(lambda w: loss(at(w), (z, noise), {})), chunk_size=CHUNK)(w)
    j, f = jacrev(lambda w: at(w)(z, noise)[0])(w), model(z, noise)[0].softmax(1).unsqueeze(2)
    e = (f.sqrt() * (j - (f * j).sum(1, keepdim=True))).flatten(0, 1)  # G is E'E / n
    return (h + h.mT) / 2, e.mT @ e / len(z)


def top(a: Tensor) -> Tensor:
    """The largest eigenvalue."""
    return lane_by_lane(lambda a: (torch.linalg.eigvalsh(a)[-1:],), a)[0][0]


def seen(top: Tensor, excess: Tensor, size: int) -> Tensor:
    """lambda_1(H_B) as the theorem has it; `excess` is E |H_B|^2 - |H|^2, `size` is P."""
    s = (excess.clamp(min=0) / size).sqrt()
    return torch.where(top > s, top + s**2 / top, 2 * s)


def curvature(model: Any, held_out: tuple[Tensor, ...], p: Params) -> Mapping[str, Tensor]:
    """Largest eigenvalues over all examples, and their means over batches of `measured`, the same in all trials."""
    found = dict(progress(model, held_out, p))
    if not p["measured"]:
        return found
    z, noise, draw = *held_out[:2], np.random.default_rng(0)
    h, g = hessians(model, z, noise)
    rows = [torch.as_tensor(draw.permutation(TRAIN)[: p["measured"]], device=z.device) for _ in range(BATCHES)]
    parts = [torch.stack(each) for each in zip(*(hessians(model, z[some], noise[some]) for some in rows), strict=True)]
    excess = parts[0].square().sum((1, 2)).mean() - h.square().sum()
    for name, whole, batches in (("top", h, parts[0]), ("ggn", g, parts[1])):
        found |= {name: top(whole), f"{name}_batch": torch.stack([top(each) for each in batches]).mean()}
    return {**found, "misfit": (seen(found["top"], excess, len(h)) / found["top_batch"] - 1).abs()}


def data(p: Params) -> Data:
    """The network's points; Gaussian rows, enough to see none twice."""
    if p["system"] == "network":
        return points(p)
    pool = torch.randn(POOL, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    return Data((pool,), batch=int(p["batch_size"]))


def largest(frames: Frames, limit: float) -> Frames:
    """By seed and B: largest stable learning rates of `sgd` and `adam`, NaN at ends of the grid, and their ratio."""
    trials, table = frames.trials, frames.metrics
    reports: Any = table[(table["metric"] == "train_loss") & ~table["final"]]
    late = reports[reports["step"] > reports["step"].max() / 2].groupby("trial")["value"].agg(["mean", "count"])
    stays: Any = late.index[(late["mean"] <= limit) & (late["count"] == late["count"].max())]
    rows = trials.assign(optimizer=trials.get("param.optimizer", "sgd"), rate=trials["param.lr"].astype(float))
    ends = rows["rate"].min(), rows["rate"].max()
    found = rows[rows["trial"].isin(stays)].pivot_table(
        index=["replicate", "param.batch_size"], columns="optimizer", values="rate", aggfunc="max"
    )
    found = found.mask(found.isin(ends)).reindex(columns=["sgd", "adam"])
    table = found.assign(gain=found["sgd"] / found["adam"]).add_prefix("metric.").reset_index()
    return Frames(table, table)


def stable(limit: float, estimator: Estimator) -> Estimator:
    """`estimator` of what `largest` finds."""
    return lambda frames: estimator(largest(frames, limit))


SWEEP: dict[str, Any] = {"metric": "train_loss", "sampler": "grid", "seeds": 8}
SIZES, LEVELS, MEASURED = [2, 4, 8, 16, 32], [4, 8, 16, 32, 64], [2, 4, 8, 16, 32, 64, 128]
BOTH, WIDE = {"optimizer": ["sgd", "adam"], "batch_size": SIZES}, {"lr": {"log2": [-12, 5], "num": 35}}
RULES = {**SWEEP, "grid": BOTH, "search": WIDE}
FINE, EXACT = {"lr": {"log2": [-4, 1], "num": 41}}, {"system": "least_squares", "steps": 300}
SQUARES = {**SWEEP, "grid": {"batch_size": LEVELS}, "search": FINE, "fixed": EXACT}
SPECTRA = {**SWEEP, "grid": {"measured": MEASURED}, "fixed": {"width": 10, "lr": 0.25}}
AT_MOST, UNCHANGED = 1.5, 0.5  # losses
BOUND = np.array([2 * size / (size + DIMENSIONS + 1) for size in LEVELS])
FARTHEST = across("sgd", "batch_size", lambda found: abs(found / BOUND - 1).max())
RISE = across("top_batch", "measured", lambda found: (found[1:] / found[:-1]).max())
SGD, ADAM, GAIN = (stable(AT_MOST, slope(name, "batch_size")) for name in ("sgd", "adam", "gain"))
CLAIMS = (
    Claim("lambda_1 of the Hessian, 4 examples over all", SPECTRA, over("top_batch", "top", measured=4), "above", 3.0),
    Claim("lambda_1 of Gauss-Newton, 4 examples over all", SPECTRA, over("ggn_batch", "ggn", measured=4), "above", 3.0),
    Claim("lambda_1 of a batch, largest ratio of B to B / 2", SPECTRA, RISE, "below", 1.0),
    Claim(
        "|theory / measured - 1| of lambda_1, 4 examples",
        SPECTRA,
        mean("misfit", measured=4),
        "below",
        0.25,
        "Few examples have a Hessian of low rank; the theorem spreads the same noise over all directions.",
    ),
    Claim("SGD: power of B with which the largest lr grows", RULES, SGD, "above", 0.75),
    Claim("SGD: the same power, from above", RULES, SGD, "below", 1.4),
    Claim("Adam: power of B with which the largest lr grows", RULES, ADAM, "above", 0.35),
    Claim("Adam: the same power, from above", RULES, ADAM, "below", 0.9),
    Claim("power of SGD less power of Adam", RULES, GAIN, "above", 0.2),
    Claim("least squares: |largest lr (B + d + 1) / (2 B) - 1|", SQUARES, stable(UNCHANGED, FARTHEST), "below", 0.15),
)


def figure(spectra: Frames, rules: Frames, squares: Frames) -> Any:
    """What a batch sees, and the largest learning rates."""
    rates, exact = largest(rules, AT_MOST), largest(squares, UNCHANGED)
    shown = [("Hessian", spectra, "top_batch", "measured"), ("Gauss-Newton", spectra, "ggn_batch", "measured")]
    shown += [(f"largest lr: {name}", rates, name, "batch_size") for name in ("sgd", "adam")]
    shown += [("largest lr: least squares", exact, "sgd", "batch_size")]
    return panels_figure([Panel(*each, powers=True) for each in shown])


TITLE = "Learning Rates as a Function of Batch Size: A Random Matrix Theory Approach to Neural Network Training"
PAPER = Paper(TITLE, ("Granziol", "Zohren", "Roberts"), 2020, "2006.09092")
SHAPES = ("system", "optimizer", "batch_size", "width", "measured")
PROGRAM = Program(
    *(system, risk, lambda p: adam("lr", BETAS) if p["optimizer"] == "adam" else sgd("lr"), data, progress, SHAPES),
    final=curvature,
    defaults=DEFAULTS,
)
TASK = as_task(
    PROGRAM,
    name="lr-batch-size",
    summary="How does the largest learning rate grow with the batch size, and the curvature that a batch sees fall?",
    metrics=("train_loss", "val_accuracy", "top", "top_batch", "ggn", "ggn_batch", "misfit"),
    space={"batch_size": Int(2, 512, log=True), "lr": Lattice(-12, 4, 33), "optimizer": Choice(("sgd", "adam"))},
    smallest={"width": 4, "batch_size": 8, "steps": 10, "report_every": 5, "measured": 4},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"grid.batch_size": [2, 4, 8, 16, 32, 64, 128, 256], "fixed.width": 1024, "fixed.steps": 10_000},
    figure=figure,
)
