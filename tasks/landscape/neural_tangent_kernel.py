"""The tangent kernel of a wide network is decided by its architecture alone, at its start and all through training.

Jacot, Gabriel, Hongler (2018), arXiv:1806.07572.

A network of L layers and widths n_0 (inputs), n_1, ..., n_(L-1), n_L = 1, whose weights and biases begin as N(0, 1),

    a_0 = x      z_(l+1) = W_l a_l / sqrt(n_l) + beta b_l      a_l = sigma(z_l)      f = z_L

is moved by gradient descent on C = sum_i (f(x_i) - y_i)^2 / 2n along its tangent kernel:

    df(x)/dt = -1/n sum_i Theta(x, x_i) (f(x_i) - y_i)        Theta(x, x') = sum_p df(x)/dp df(x')/dp

As n_1, ..., n_(L-1) grow, Theta tends to what no weight decides, Theta_L, and stays: with (u, v) ~ N(0, Sigma_l),

    Sigma_1 = Theta_1 = x.x' / n_0 + beta^2        Sigma_(l+1) = E[sigma(u) sigma(v)] + beta^2
    Theta_(l+1) = Theta_l E[sigma'(u) sigma'(v)] + Sigma_(l+1)        (`blocks.tangent` has both kernels)

So f obeys a linear equation; errors along eigenvectors of Theta fall at rates eigenvalue / n. At t = lr * steps

    f_t(x) = f_0(x) - Theta(x, X) Theta^-1 (1 - exp(-Theta t / n)) (f_0(X) - y)

Deviations from the paper:
- 20 points to train on, and 10 others, on a sphere, y = sin(u.x), or the circle, y = x_1 x_2, not Gaussian; no MNIST;
- rectifiers are sqrt(2) as large, to keep variances; the linear equation is that of the network's own first kernel;
- "standard", a baseline, has z = W a, W ~ N(0, 1 / n_l): the same functions, but layer l learns n_l times as fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ...orchestrator.claims import Claim, Frames, Paper
from ...orchestrator.fusion import Data, Optimizer, Program, as_task, sgd
from ...orchestrator.fusion.program import Seeds
from ...orchestrator.task import Choice, Float, Int, Scalar
from ..blocks.estimators import mean, slope
from ..blocks.figures import curves_figure
from ..blocks.tangent import ACTIVATIONS, empirical_kernel, limit_kernel, passed

TRAINED, OTHERS, DIMENSION, MODES = 20, 10, {"sphere": 5, "circle": 2}, 3
DEFAULTS: dict[str, Scalar] = {
    "points": "sphere",
    "activation": "relu",
    "parameterization": "ntk",
    "layers": 2,  # L
    "width": 256,  # n_1 = ... = n_(L-1)
    "beta": 0.0,
    "lr": 0.5,
    "steps": 400,
}
Params = Mapping[str, Any]
Points = tuple[Tensor, Tensor]  # x (N x n_0) and y (N)


@cache
def points(name: str) -> Points:
    """All points, those to train on first."""
    z = torch.Generator().manual_seed(0)
    draw = (torch.randn(count, DIMENSION[name], generator=z, dtype=torch.float64) for count in (TRAINED + OTHERS, 1))
    x, u = (each / each.norm(dim=1, keepdim=True) for each in draw)
    if name == "circle":
        return x, x[:, 0] * x[:, 1]
    x = x * DIMENSION[name] ** 0.5
    return x, (x @ u[0]).sin()


def widths(p: Params) -> list[int]:
    """n_0, ..., n_L."""
    return [DIMENSION[p["points"]], *[int(p["width"])] * (int(p["layers"]) - 1), 1]


def outputs(of: Mapping[str, Tensor], x: Tensor, p: Params) -> Tensor:
    """f (N) of the network with these tensors."""
    return passed(of, x, p["activation"])[-1][1][:, 0]


class Network(nn.Module):
    """The tensors of a network, and of its start: f_0, Theta, eigenvalues and eigenvectors of its part to train on."""

    def __init__(self, p: Params, seeds: Seeds) -> None:
        super().__init__()
        x, z = points(p["points"])[0], torch.Generator().manual_seed(seeds("init"))
        self.register_buffer("beta", torch.tensor(float(p["beta"]), dtype=torch.float64))
        for layer, (inputs, outs) in enumerate(zip(widths(p)[:-1], widths(p)[1:], strict=True)):
            self.register_parameter(f"w{layer}", nn.Parameter(torch.randn(outs, inputs, generator=z)))
            self.register_parameter(f"b{layer}", nn.Parameter(torch.randn(outs, generator=z)))
        of = {name: each.detach().double() for name, each in self.state_dict().items()}
        limit = limit_kernel(x, int(p["layers"]), float(p["beta"]), p["activation"])
        theta = empirical_kernel(of, x, p["activation"], p["parameterization"])
        values, vectors = torch.linalg.eigh(theta[:TRAINED, :TRAINED])
        start = {"first": outputs(of, x, p), "theta": theta, "values": values.clamp(min=1e-12), "vectors": vectors}
        for name, each in {**start, "limit": limit, "least": torch.linalg.eigvalsh(limit)[0]}.items():
            self.register_buffer(name, each)


def optimizer(p: Params) -> Optimizer:
    """Gradient descent."""
    rates = {f"w{layer}": {"lr": float(inputs)} for layer, inputs in enumerate(widths(p)[:-1])}
    return sgd("lr", scale=(lambda _: rates) if p["parameterization"] == "standard" else None)


def loss(model: Any, batch: Points, p: Params) -> Tensor:
    """C."""
    return 0.5 * (outputs(model.tensors, batch[0], p) - batch[1]).square().mean()


def metrics(model: Any, data: Points, p: Params) -> dict[str, Tensor]:
    """Distances between kernels as shares, in the Frobenius norm; the mean Theta(x, x); the limit's last eigenvalue."""
    of, now = model.tensors, empirical_kernel(model.tensors, data[0], p["activation"], p["parameterization"])
    return {
        "limit_gap": (of["theta"] - of["limit"]).norm() / of["limit"].norm(),
        "kernel_change": (now - of["theta"]).norm() / of["theta"].norm(),
        "kernel_size": of["theta"].diagonal().mean(),
        "least_eigenvalue": of["least"],
    }


def linear(of: Mapping[str, Tensor], y: Tensor, t: Any) -> Tensor:
    """f_t (N) by the linear equation."""
    n, v, values = TRAINED, of["vectors"], of["values"]
    moved = v @ (torch.expm1(-values * t / n) / values * (v.mT @ (of["first"] - y)[:n, None])[:, 0])[:, None]
    return of["first"] + (of["theta"][:, :n] @ moved)[:, 0]


def final(model: Any, data: Points, p: Params) -> dict[str, Tensor]:
    """The distance (RMS) of f from the linear equation at other points; how far off the worst rate of decay is."""
    (x, y), of, n, t = data, model.tensors, TRAINED, p["lr"] * p["steps"]
    f, v = outputs(of, x, p), of["vectors"][:, -MODES:]
    begin, end = ((v.mT @ (g - y)[:n, None])[:, 0] for g in (of["first"], f))
    return {
        "train_loss": 0.5 * (f - y)[:n].square().mean(),
        "linear_gap": (f - linear(of, y, t))[n:].square().mean().sqrt(),
        "rate_gap": ((begin / end).abs().log() / (of["values"][-MODES:] * t / n) - 1).abs().amax(),
    }


def data(p: Params) -> Data:
    """One batch to train on, all points to measure at."""
    x, y = points(p["points"])
    return Data((x[:TRAINED], y[:TRAINED]), (x, y))


GOAL = {"metric": "train_loss", "direction": "minimize", "seeds": 10}
SHALLOW: dict[str, Any] = {**GOAL, "grid": {"width": [64, 128, 256, 512, 1024]}}
EARLY = {**GOAL, "fixed": {"width": 1024, "lr": 0.05, "steps": 40}}
PAPERS = {"points": "circle", "layers": 4, "beta": 0.1, "lr": 1.0, "steps": 200}
DEEP = {**SHALLOW, "seeds": 8, "fixed": PAPERS}
STANDARD = {**SHALLOW, "fixed": {"parameterization": "standard", "lr": 1e-6, "steps": 1}}
FROM_START, LINE = "kernel's change in training, power of width", "f's gap to the linear equation, power of width"
CLAIMS = (  # in theory powers are -1/2, and -1/2 to -1 for what training does; thresholds are older than the seeds
    Claim(
        "L = 2: first kernel's gap to the limit, power of width", SHALLOW, slope("limit_gap", "width"), "below", -0.35
    ),
    Claim(f"L = 2: {FROM_START}", SHALLOW, slope("kernel_change", "width"), "below", -0.4),
    Claim(f"L = 2: {LINE}", SHALLOW, slope("linear_gap", "width"), "below", -0.4),
    Claim(
        "L = 4: first kernel's gap to the limit, power of width",
        *(DEEP, slope("limit_gap", "width"), "below", -0.35, "Deep kernels differ more from seed to seed."),
    ),
    Claim(f"L = 4: {FROM_START}", DEEP, slope("kernel_change", "width"), "below", -0.4),
    Claim(f"L = 4: {LINE}", DEEP, slope("linear_gap", "width"), "below", -0.4),
    Claim("width 1024: rates of decay, worst of three, off by a share of", EARLY, mean("rate_gap"), "below", 0.1),
    Claim("smallest eigenvalue of the limit, rectifiers", EARLY, mean("least_eigenvalue"), "above", 0.0),
    Claim("standard: kernel's size, power of width", STANDARD, slope("kernel_size", "width"), "above", 0.8),
)


def figure(shallow: Frames, deep: Frames, *_: Frames) -> Any:
    """The three distances over the width."""
    import pandas as pd

    both = pd.concat([each.trials.assign(**{"param.net": f"L = {n}"}) for n, each in ((2, shallow), (4, deep))])
    return curves_figure(
        Frames(both, both), by="net", over="width", metrics=("limit_gap", "kernel_change", "linear_gap")
    )


TITLE = "Neural Tangent Kernel: Convergence and Generalization in Neural Networks"
PAPER = Paper(TITLE, ("Jacot", "Gabriel", "Hongler"), 2018, "1806.07572")
SHAPES = ("points", "activation", "parameterization", "layers", "width")
PROGRAM = Program(Network, loss, optimizer, data, metrics, SHAPES, final, defaults=DEFAULTS)
NAMES = {"points": DIMENSION, "activation": ACTIVATIONS, "parameterization": ("ntk", "standard")}
SIZES = {"layers": Int(2, 6), "width": Int(32, 8192, log=True), "beta": Float(0.0, 1.0), "lr": Float(0.01, 1, log=True)}
TASK = as_task(
    PROGRAM,
    name="neural-tangent-kernel",
    summary="Does the tangent kernel of a wide network stay what its architecture makes it?",
    metrics=("train_loss", "limit_gap", "kernel_change", "kernel_size", "least_eigenvalue", "linear_gap", "rate_gap"),
    space={**{name: Choice(tuple(known)) for name, known in NAMES.items()}, **SIZES},
    smallest={"width": 16, "steps": 10, "report_every": 5},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"grid.width": [500, 10_000], **{f"fixed.{name}": value for name, value in PAPERS.items()}},
    figure=figure,
)
