"""Minima at which SGD can stay have Hessians of small trace, and small norms; full batches bound one eigenvalue only.

Wu, Su (2023), "The Implicit Regularization of Dynamical Stability in Stochastic Gradient Descent", arXiv:2305.17490.

At a minimum of L = 1/2n sum_i (f(x_i) - y_i)^2 that fits all n examples, with gradients a_i of f(x_i), the Hessian is
H = 1/n sum_i a_i a_i', and a small deviation d and the moments X = E[d d'] of steps with learning rate lr follow

    d <- (1 - lr A) d,  A = 1/B sum_(i in batch) a_i a_i'
    X <- X - lr (H X + X H) + lr^2 [1/B E(a a' X a a') + (1 - 1/B) H X H]        batches with replacement

It is linearly stable where the spectral radius of this map, here `growth`, is at most 1, from which follow

    tr H <= 2 / lr for B = 1 (else tr H <= 2 B / lr)        lambda_max(H) <= 2 / lr for full batches

For diagonal linear networks f(x) = beta.x, beta = u * v, and inputs of unit variance, that bounds what makes sparse:

    a_i = (x_i * v, x_i * u)        tr H = sum_j (u_j^2 + v_j^2) on average >= 2 |beta|_1

Deviations from the paper: diagonal networks only, no rectifiers, no CIFAR-10; 30 examples of 60 inputs, 3 of which
matter; u = 0.5, v = +-0.5 up to 1% at the start; what counts as a minimum has a loss below 1e-6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...orchestrator.claims import Claim, Estimate, Frames, Paper
from ...orchestrator.fusion import Data, Program, as_task, sgd
from ...orchestrator.fusion.program import Seeds
from ...orchestrator.task import Choice, Float, Lattice, Scalar
from ..blocks.estimators import ratio
from ..blocks.figures import curves_figure

CONVERGED, ROUNDS, FULL = 1e-6, 200, 30
DEFAULTS: dict[str, Scalar] = {
    "examples": FULL,  # n
    "inputs": 60,
    "relevant": 3,  # the first entries of beta are 1 in the labels, others 0
    "scale": 0.5,  # of u and v at the start
    "batch_size": 1,  # B; with n all examples are seen at every step
    "lr": 2.0**-5,
    "steps": 20_000,
}
Params = Mapping[str, Any]


class DiagonalNetwork(nn.Module):
    """u and v, with the examples x (n x inputs), their labels y (n) and the `truth` (inputs) behind them."""

    def __init__(self, p: Params, seeds: Seeds) -> None:
        super().__init__()
        z, size = torch.Generator().manual_seed(seeds("data")), int(p["inputs"])
        x, truth = torch.randn(int(p["examples"]), size, generator=z), torch.zeros(size)
        truth[: int(p["relevant"])] = 1
        for name, value in {"x": x, "y": x @ truth, "truth": truth}.items():
            self.register_buffer(name, value)
        z.manual_seed(seeds("init"))
        signs = 1 - 2.0 * (torch.arange(size) % 2)
        self.u = nn.Parameter(p["scale"] * (1 + 0.02 * torch.randn(size, generator=z)))
        self.v = nn.Parameter(p["scale"] * (signs + 0.02 * torch.randn(size, generator=z)))


def risk(of: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """L over examples x (N x inputs) with labels y (N)."""
    return 0.5 * ((x @ (of["u"] * of["v"])[:, None])[:, 0] - y).square().mean()


def slopes(of: Mapping[str, Tensor]) -> Tensor:
    """The gradients a_i (n x 2 inputs) by u and v."""
    return torch.cat([of["x"] * of["v"], of["x"] * of["u"]], 1)


def coordinates(a: Tensor) -> Tensor:
    """The rows of a (n x p) in a basis of their span (n x n): their scalar products stay."""
    values, vectors = torch.linalg.eigh(a @ a.mT)
    return vectors * values.clamp(min=0).sqrt()


def moments(x: Tensor, a: Tensor, lr: Any, batch_size: float) -> Tensor:
    """X (k x k) after one more step, for gradients a (n x k)."""
    h, noise = a.mT @ a / len(a), 1 / batch_size
    spread = a.mT @ (((a @ x) * a).sum(1, keepdim=True) * a) / len(a)  # E(a a' X a a')
    return x - lr * (h @ x + x @ h) + lr**2 * (noise * spread + (1 - noise) * (h @ x @ h))


def growth(a: Tensor, lr: Any, batch_size: float) -> Tensor:
    """The spectral radius of `moments` in the span of a, from below: of a map that keeps matrices positive."""
    x, size = torch.eye(a.shape[1], dtype=a.dtype), torch.ones(())
    for _ in range(ROUNDS):
        x = moments(x / x.norm(), a, lr, batch_size)
        size = x.norm()
    return size


def loss(model: Any, batch: tuple[Tensor], p: Params) -> Tensor:
    """L over the rows of the batch."""
    of, (rows,) = model.tensors, batch
    return risk(of, of["x"][rows], of["y"][rows])


def metrics(model: Any, data: tuple[()], p: Params) -> dict[str, Tensor]:
    """L; the mean squared error on unseen examples; trace and top eigenvalue of H as shares of 2 / lr."""
    of, beta = model.tensors, model.tensors["u"] * model.tensors["v"]
    hessian = slopes(of) @ slopes(of).mT / len(of["x"])  # it has the eigenvalues of H that are not 0
    trace, l1 = hessian.diagonal().sum(), beta.abs().sum()
    return {
        "train_loss": risk(of, of["x"], of["y"]),
        "test_error": (beta - of["truth"]).square().sum(),
        "l1_norm": l1,
        "trace_share": trace * p["lr"] / 2,
        "top_share": torch.linalg.eigvalsh(hessian)[-1] * p["lr"] / 2,
        "trace_gap": (trace - 2 * l1).abs() / trace,
    }


def final(model: Any, data: tuple[()], p: Params) -> dict[str, Tensor]:
    """How fast SGD with B = 1 and this learning rate would leave where the trial has ended, or come back."""
    return {**metrics(model, data, p), "growth": growth(coordinates(slopes(model.tensors)), p["lr"], 1)}


def data(p: Params) -> Data:
    """Rows of the examples, drawn with replacement, or all of them at every step."""
    n, size, steps = int(p["examples"]), int(p["batch_size"]), int(p["steps"])
    if size == n:
        return Data((torch.arange(n),))
    draw = torch.Generator()
    return Data(
        (torch.arange(n),), (), size, None, lambda s: torch.randint(n, (steps, size), generator=draw.manual_seed(s))
    )


def minima(metric: str, batch_size: int, pick: str = "max", over: int = 0) -> Callable[[Frames], Estimate]:
    """A metric's largest value over rates at which a seed converges, or its "last"; as a share of that of `over`."""

    def estimate(frames: Frames) -> Estimate:
        from ...analysis import estimates, tuned

        def values(size: int) -> Any:
            rows = tuned.select(frames.trials, batch_size=size)
            found = rows.loc[(rows["metric.train_loss"] < CONVERGED).fillna(False).to_numpy(dtype=bool)]
            return found.sort_values(by=["param.lr"]).groupby("replicate")[f"metric.{metric}"].agg(pick)

        found = values(batch_size) / values(over) if over else values(batch_size)
        return estimates.from_values(found.to_numpy(dtype=float, na_value=float("nan")))

    return estimate


GOAL = {"metric": "train_loss", "direction": "minimize", "seeds": 8, "sampler": "grid"}
SWEEP = {**GOAL, "grid": {"batch_size": [1, FULL]}, "search": {"lr": {"log2": [-5, 0], "num": 11}}}
SLOW, FAST, FASTER = 2.0**-5, 2.0**-4, 2.0**-1
SGD, ALL = {"batch_size": 1, "lr": (FAST, SLOW)}, {"batch_size": FULL, "lr": (FASTER, SLOW)}
CLAIMS = (  # "last": at the largest learning rate at which a seed converges
    Claim("SGD: largest tr H over 2 / lr", SWEEP, minima("trace_share", 1), "below", 1.05),
    Claim("full batches: largest lambda_max(H) over 2 / lr", SWEEP, minima("top_share", FULL), "below", 1.05),
    Claim("full batches, last: tr H over 2 / lr", SWEEP, minima("trace_share", FULL, "last"), "above", 3.0),
    Claim("SGD: largest growth of linearised SGD", SWEEP, minima("growth", 1), "below", 1.0),
    Claim("full batches, last: growth of linearised SGD", SWEEP, minima("growth", FULL, "last"), "above", 1.0),
    Claim("last: test error, SGD over full batches", SWEEP, minima("test_error", 1, "last", FULL), "below", 0.6),
    Claim("SGD: norm of beta, lr 2^-4 over 2^-5", SWEEP, ratio("l1_norm", **SGD), "below", 1.0),
    Claim("SGD: test error, lr 2^-4 over 2^-5", SWEEP, ratio("test_error", **SGD), "below", 1.0),
    Claim(
        "full batches: test error, lr 2^-1 over 2^-5",
        *(SWEEP, ratio("test_error", **ALL), "above", 0.9, "Half of the minima of 2^-5 would be unstable at 2^-1."),
    ),
    Claim(
        "SGD, last: |tr H - 2 |beta|_1| / tr H",
        *(SWEEP, minima("trace_gap", 1, "last"), "below", 0.1, "30 examples are few for averages over inputs."),
    ),
)


def figure(frames: Frames) -> Any:
    """The trace, the norm and the test error over the learning rate, of those that have found a minimum."""
    found = (frames.trials["metric.train_loss"] < CONVERGED).fillna(False).to_numpy(dtype=bool)
    shown = frames.trials.loc[found] if found.any() else frames.trials
    shown = shown.assign(**{"param.batch": [f"B = {size}" for size in shown["param.batch_size"]]})
    return curves_figure(Frames(shown, shown), by="batch", over="lr", metrics=("trace_share", "l1_norm", "test_error"))


TITLE = "The Implicit Regularization of Dynamical Stability in Stochastic Gradient Descent"
PAPER = Paper(TITLE, ("Wu", "Su"), 2023, "2305.17490")
SHAPES = ("examples", "inputs", "relevant", "batch_size")
PROGRAM = Program(DiagonalNetwork, loss, sgd("lr"), data, metrics, SHAPES, final, defaults=DEFAULTS)
TASK = as_task(
    PROGRAM,
    name="dynamical-stability",
    summary="Are minima at which SGD can stay small in trace and norm, and so do they generalise?",
    metrics=("train_loss", "test_error", "l1_norm", "trace_share", "top_share", "trace_gap", "growth"),
    space={"batch_size": Choice((1, 2, 5, 10, FULL)), "lr": Lattice(-8, 0, 17), "scale": Float(0.05, 1.0, log=True)},
    smallest={"examples": 6, "inputs": 10, "steps": 20, "report_every": 10},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"grid.batch_size": [1, 2, 5, 10, FULL], "fixed.steps": 200_000, "seeds": 20},
    figure=figure,
)
