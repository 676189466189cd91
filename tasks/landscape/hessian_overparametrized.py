"""The Hessian of a trained network: a bulk at zero, a few directions that are those of the classes, one flat basin.

Sagun, Evci, Guney, Dauphin, Bottou (2017), arXiv:1706.04454.

A network f(w, x) with M weights and k outputs is trained on L(w) = 1/n sum_i l(f(w, x_i), y_i), l the cross-entropy.
With J_i = df(w, x_i)/dw (k x M) and p_i = softmax f(w, x_i), the Hessian of L splits exactly:

    H = G + R    G = 1/n sum_i J_i' (diag p_i - p_i p_i') J_i         rank G <= n (k - 1), no negative eigenvalue
                 R = 1/n sum_i sum_c (p_i - y_i)_c Hess f_c(w, x_i)   vanishes with the residual

As diag p - p p' = sum_q p_q (e_q - p) (e_q - p)', G is E'E / n with the rows E_iq = sqrt(p_iq) (e_q - p_i)' J_i. The
means of E_iq over the examples of a class c, k^2 vectors, span the part of G between classes. Measured are

- bulk: the share of eigenvalues with |lambda| <= 0.01 lambda_max; negative: -lambda_min / lambda_max;
- overlap: the mean of |Q'u|^2 over the top k eigenvectors u of H, Q a basis of that span; by chance k^2 / M;
- outliers: the eigenvalues above the widest ratio of neighbours among the largest 4 k;
- barrier: max over a of L((1 - a) u + a v) - (1 - a) L(u) - a L(v), for u trained by gradient descent and v that went
  on from u's step `branch` in small batches (`barrier`), or that began elsewhere (`barrier_apart`).
A network stops where its loss reaches `target`; a large target leaves it at its random beginning.

Deviations from the paper: clusters, a random teacher and tanh networks of 200 to 900 weights, whose whole spectrum is
computed, in place of MNIST, CIFAR and up to 80,000 weights; "large batch" is all examples; the paper shows spectra and
counts by eye, so these measures are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, jacrev, vmap
from torch.nn.functional import cross_entropy, one_hot

from ...orchestrator.claims import Claim, Frames, Paper
from ...orchestrator.fusion import Data, Program, as_task, sgd
from ...orchestrator.fusion.program import Seeds
from ...orchestrator.task import Float, Int, Lattice, Scalar
from ..blocks.estimators import difference, mean
from ..blocks.figures import curves_figure
from ..blocks.probes import lane_by_lane

BULK, POINTS, CHUNK = 0.01, 21, 64  # of lambda_max; on a path; rows of a Hessian at a time
SYSTEM = {"data": "clusters", "classes": 5, "inputs": 30, "examples": 300, "spread": 0.3}  # data may be "teacher"
TRAINING = {"width": 10, "depth": 1, "lr": 0.2, "target": 0.2, "branch": 400, "batch_size": 16, "steps": 1000}
DEFAULTS: dict[str, Scalar] = {**SYSTEM, **TRAINING}
Params = Mapping[str, Scalar]
Shape = list[tuple[int, int]]  # (inputs, outputs) of each layer


def layers(p: Params) -> Shape:
    """From the examples to the logits."""
    return list(pairwise([int(p["inputs"]), *[int(p["width"])] * int(p["depth"]), int(p["classes"])]))


def logits(w: Tensor, x: Tensor, shape: Shape) -> Tensor:
    """f(w, x) (n x k) of the tanh network whose weights and biases w holds one layer after the other."""
    at = 0
    for place, (inputs, outputs) in enumerate(shape):
        part = w[at : (at := at + (inputs + 1) * outputs)].view(inputs + 1, outputs)
        x = (torch.tanh(x) if place else x) @ part[:-1] + part[-1]
    return x


def examples(p: Params, z: torch.Generator) -> tuple[Tensor, Tensor]:
    """x (n x inputs) and classes: centred clusters around positive means in turn, or as a random network decides."""
    n, k, inputs = (int(p[name]) for name in ("examples", "classes", "inputs"))
    x, y = torch.randn(n, inputs, generator=z, dtype=torch.float64), torch.arange(n) % k
    if p["data"] == "teacher":
        return x, logits(beginning(p, z), x, layers(p)).argmax(1)
    x = torch.randn(k, inputs, generator=z, dtype=torch.float64).clamp(min=0)[y] + float(p["spread"]) * x
    return x - x.mean(0), y


def beginning(p: Params, z: torch.Generator) -> Tensor:
    """Random weights of variance 1 / inputs of their layer, and biases 0 (M)."""
    drawn = [torch.randn(i + 1, o, generator=z, dtype=torch.float64) / i**0.5 for i, o in layers(p)]
    return torch.cat([torch.cat([part[:-1], 0 * part[-1:]]).flatten() for part in drawn])


def networks(p: Params, seeds: Seeds) -> nn.Module:
    """Three networks as rows of w (3 x M), the first two equal; their examples x, y; the number of updates made."""
    z, model = torch.Generator().manual_seed(seeds("init")), nn.Module()
    first, apart = (beginning(p, z) for _ in range(2))
    model.w = nn.Parameter(torch.stack([first, first, apart]))
    x, y = examples(p, torch.Generator().manual_seed(seeds("data")))
    for name, value in {"x": x, "y": y, "made": torch.zeros(())}.items():
        model.register_buffer(name, value)
    return model


def loss(model: Any, batch: tuple[Tensor], p: Mapping[str, Any]) -> Tensor:
    """The sum of the three losses, constant where one has come to its target; from `branch` on the second network sees
    the rows `batch` only."""
    w, x, y, made = (model.tensors[name] for name in ("w", "x", "y", "made"))
    shape, (rows,) = layers(p), batch
    whole = torch.stack([cross_entropy(f, y) for f in vmap(lambda w: logits(w, x, shape))(w)])
    few = cross_entropy(logits(w[1], x[rows], shape), y[rows])
    lowered = torch.stack([whole[0], torch.where(made < p["branch"], whole[1], few), whole[2]])
    made += 1
    return torch.where(whole > p["target"], lowered, lowered.detach()).sum()


def root(w: Tensor, x: Tensor, shape: Shape) -> Tensor:
    """E (n k x M), of which G is E'E / n."""
    p = logits(w, x, shape).softmax(1).unsqueeze(2)
    j = jacrev(lambda w: logits(w, x, shape))(w)
    return (p.sqrt() * (j - (p * j).sum(1, keepdim=True))).flatten(0, 1)


def span(e: Tensor, y: Tensor, k: int) -> Tensor:
    """Q (M x k^2): orthonormal, with the means over each class of the rows of E as combinations."""
    sums = one_hot(y, k).to(e).T @ e.view(len(y), -1)
    return lane_by_lane(torch.linalg.qr, sums.view(k * k, -1).T)[0]


def outliers(values: Tensor, k: int) -> Tensor:
    """How many of the eigenvalues (ascending) are above the widest ratio of neighbours among the largest 4 k."""
    top = values.flip(0)[: 4 * k + 1].clamp(min=1e-12)
    return (top[:-1] / top[1:]).argmax() + 1.0


def barrier(risk: Callable[[Tensor], Tensor], u: Tensor, v: Tensor) -> Tensor:
    """How far the loss rises above the chord on the straight path from u to v."""
    a = torch.linspace(0, 1, POINTS, dtype=u.dtype, device=u.device)
    path = vmap(risk)(torch.lerp(u, v, a.unsqueeze(1)))
    return (path - torch.lerp(path[0], path[-1], a)).max()


def landscape(model: Any, data: Any, p: Mapping[str, Any]) -> dict[str, Tensor]:
    """The spectrum at the first network, and its paths to the others."""
    (w, small, apart), x, y, shape = *(model.tensors[name] for name in ("w", "x", "y")), layers(p)

    def risk(w: Tensor) -> Tensor:
        return cross_entropy(logits(w, x, shape), y)

    hessian = jacrev(grad(risk), chunk_size=CHUNK)(w)
    values, vectors = lane_by_lane(torch.linalg.eigh, (hessian + hessian.T) / 2)
    e, k = root(w, x, shape), shape[-1][1]
    return {
        "train_loss": risk(w),
        "top": values[-1],
        "bulk": (values.abs() <= BULK * values[-1]).double().mean(),
        "negative": -values[0] / values[-1],
        "overlap": (span(e, y, k).T @ vectors[:, -k:]).square().sum() / k,
        "residual": (hessian - e.T @ e / len(x)).norm() / hessian.norm(),
        "outliers": outliers(values, k),
        "barrier": barrier(risk, w, small),
        "barrier_apart": barrier(risk, w, apart),
    }


LOSS, GRID = {"metric": "train_loss", "seeds": 6}, {"target": [0.2, 100.0], "width": [5, 10, 20]}
SPECTRA: dict[str, Any] = {**LOSS, "grid": GRID, "fixed": {"data": "clusters", "steps": 300}}
TEACHER = {"data": "teacher", "inputs": 20, "width": 32, "examples": 600, "target": 0.0, "lr": 0.5, "steps": 1000}
BASINS: dict[str, Any] = {**LOSS, "fixed": TEACHER}
TRAINED, BEGIN = {"target": 0.2, "width": 20}, {"target": (0.2, 100.0), "width": 20}
GAPS = "Among a few hundred eigenvalues no gap stands out; the paper counts in larger spectra, by eye."
CLAIMS = (
    Claim("share of the top 5 eigenvectors that the classes span", SPECTRA, mean("overlap", **TRAINED), "above", 0.8),
    Claim("bulk at zero, width 10 less 5", SPECTRA, difference("bulk", target=0.2, width=(10, 5)), "above", 0.0),
    Claim("bulk at zero, width 20 less 10", SPECTRA, difference("bulk", target=0.2, width=(20, 10)), "above", 0.0),
    Claim("-lambda_min / lambda_max after training", SPECTRA, mean("negative", **TRAINED), "below", 0.5),
    Claim("-lambda_min / lambda_max, end less beginning", SPECTRA, difference("negative", **BEGIN), "below", 0.0),
    Claim("outliers by the widest gap, of 5 classes", SPECTRA, mean("outliers", **TRAINED), "above", 4.0, GAPS),
    Claim("barrier between large and small batches, nats", BASINS, mean("barrier"), "below", 0.05),
    Claim("barrier between two beginnings, nats", BASINS, mean("barrier_apart"), "above", 0.3),
)


def figure(spectra: Frames, basins: Frames) -> Any:
    """The spectrum over the width, of trained networks (target 0.2) and of random ones."""
    return curves_figure(spectra, by="target", over="width", metrics=("bulk", "negative", "overlap"))


TITLE = "Empirical Analysis of the Hessian of Over-Parametrized Neural Networks"
PAPER = Paper(TITLE, ("Sagun", "Evci", "Guney", "Dauphin", "Bottou"), 2017, "1706.04454")
PROGRAM = Program(
    *(networks, loss, sgd("lr"), lambda p: Data((torch.arange(int(p["examples"])),), batch=int(p["batch_size"]))),
    shapes=("data", "width", "depth", "classes", "inputs", "examples", "batch_size"),
    final=landscape,
    defaults=DEFAULTS,
    dtype=torch.float64,
)
TASK = as_task(
    PROGRAM,
    name="hessian-overparametrized",
    summary="What is the spectrum of a trained network's Hessian made of?",
    metrics=("train_loss", "top", "bulk", "negative", "overlap", "residual", "outliers", "barrier", "barrier_apart"),
    space={"width": Int(4, 64, log=True), "classes": Int(2, 10), "spread": Float(0.1, 2.0), "lr": Lattice(-6, 1, 8)},
    smallest={"width": 4, "inputs": 6, "examples": 32, "steps": 8, "branch": 4},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"grid.width": [32, 64, 128], "fixed.examples": 1000, "seeds": 10},
    figure=figure,
)
