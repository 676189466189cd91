"""CGBA: adversarial points from labels alone, sought on semicircles between a boundary point and the source.

Reza, Rahmati, Wu, Dai (2023), arXiv:2308.03163.

An oracle says of a point whether it is adversarial, A = +1 or -1, at the price of a query. From an adversarial x_b at
the boundary, with v = x_b - x_s, x_s the source and R = |v|, iteration t = 0, 1, ... goes to a nearer one:

    eta ~ sum_j A(x_b + sigma z_j) z_j    for floor(n0 sqrt(t + 1)) Gaussian z_j, of low frequencies with `factor` > 1;
                                          the unit vector eta is about normal to the boundary
    x(phi) = x_s + R cos(phi) zeta(phi)   zeta ~ eta + m v / R, m = sin(theta) cot(phi) - cos(theta), is the unit vector
                                          at the angle phi from v towards eta, and theta the angle of v and eta

This is a circle with the diameter x_s x_b. Where it leaves the adversarial side is, in the plane of v and eta, the
nearest point of a flat boundary (Thales). `method` is the search:

    cgba      phi_n = (1 - 2^-n) pi / 2, n = 1, 2, ... until x(phi_n) is not adversarial; then bisects phi from 0 on
    cgba-h    (for high curvature) phi_n = theta / 2^n until x(phi_n) is adversarial; then bisects its segment to x_s
    line      a baseline: the nearest point of the line x_s + r eta, as in GeoDA
    boundary  a baseline: the random walk of the Boundary Attack, without eta

Deviations from the paper: boundaries known in closed form, and perceptrons on digits of 8x8 pixels (with sigma = 0.01,
all frequencies), in place of ImageNet and CIFAR-10; points may leave the range of pixels; targeted attacks start from
one image of the target class, not from the best of several; two baselines.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, count, islice
from typing import Any

import torch
from torch import Tensor

from ...orchestrator.claims import Claim, Frames, Paper
from ...orchestrator.task import Choice, Float, Scalar, Task, Trial
from ..blocks.estimators import mean, ratio
from ..blocks.figures import progress_figure
from ..blocks.hard_label import TRIES, Counted, bisect, boundary_attack, line_search, noises, to_boundary, unit
from ..blocks.victims import KNOWN, Case, first_point, known, known_digits

METHODS, PROBLEMS, AIMS = ("cgba", "cgba-h", "line", "boundary"), (*KNOWN, "digits"), ("untargeted", "targeted")
DEFAULTS: dict[str, Scalar] = {
    "problem": "half-space",
    "method": "cgba",
    "dimension": 100,  # of the known boundaries
    "aim": "untargeted",  # on digits
    "images": 30,
    "n0": 30,
    "sigma": 2e-4,
    "factor": 1,
    "tolerance": 1e-4,
    "queries": 1500,  # the budget
    "iterations": 1000,  # at most
}
Params = Mapping[str, Any]


def semicircle(x_s: Tensor, x_b: Tensor, eta: Tensor) -> tuple[Callable[[float], Tensor], float]:
    """x(phi), and theta."""
    radius, v = (x_b - x_s).norm(), unit(x_b - x_s)
    w = unit(eta - (eta @ v) * v)
    theta = math.acos(max(-1.0, min(1.0, float(eta @ v))))
    return lambda phi: x_s + radius * math.cos(phi) * (math.cos(phi) * v + math.sin(phi) * w), theta


def cgba(ask: Counted, x_s: Tensor, x_b: Tensor, eta: Tensor, tolerance: float) -> Tensor:
    """Where the semicircle leaves the adversarial side."""
    at, _ = semicircle(x_s, x_b, eta)
    for n in range(1, TRIES + 1):
        if not ask(at(phi := (1 - 2.0**-n) * math.pi / 2)):
            return bisect(ask, at, 0.0, phi, tolerance)
    return x_b


def cgba_h(ask: Counted, x_s: Tensor, x_b: Tensor, eta: Tensor, tolerance: float) -> Tensor:
    """The boundary in the direction of the first adversarial point of the semicircle from eta back to v."""
    at, theta = semicircle(x_s, x_b, eta)
    for n in range(1, TRIES + 1):
        if ask(x := at(theta / 2**n)):
            return to_boundary(ask, x_s, x, tolerance)
    return x_b


SEARCHES = {"cgba": cgba, "cgba-h": cgba_h, "line": line_search}


def normal(ask: Counted, x_b: Tensor, sigma: float, z: Tensor) -> Tensor:
    """eta, from noises z (q x D)."""
    return unit((2 * ask.all(x_b + sigma * z).to(z.dtype) - 1) @ z)


def attack(ask: Counted, x_s: Tensor, x_b: Tensor, p: Params, z: torch.Generator) -> Iterator[Tensor]:
    """The boundary points of an attack, one an iteration."""
    if p["method"] == "boundary":
        yield from boundary_attack(ask, x_s, x_b, z)
    for t in count():
        drawn = noises(int(p["n0"] * (t + 1) ** 0.5), len(x_s), p["factor"], z)
        x_b = SEARCHES[p["method"]](ask, x_s, x_b, normal(ask, x_b, p["sigma"], drawn), p["tolerance"])
        yield x_b


def course(case: Case, p: Params, z: torch.Generator) -> list[tuple[int, float]]:
    """(queries so far, distance) after the start and after each iteration."""
    ask, found = Counted(case.oracle), list[tuple[int, float]]()
    x_b = first_point(ask, case, p["tolerance"], z)
    for x in islice(chain([x_b], attack(ask, case.source, x_b, p, z)), p["iterations"] + 1):
        found.append((ask.queries, float((x - case.source).norm())))
        if ask.queries >= p["queries"]:
            break
    return found


def train(trial: Trial) -> dict[str, float]:
    """Attack; `distance` is the median over images, at the end and after each tenth of the queries."""
    p: dict[str, Any] = {**DEFAULTS, **trial.params}
    for name, allowed in (("problem", PROBLEMS), ("aim", AIMS), ("method", METHODS)):
        if p[name] not in allowed:
            raise ValueError(f"{name} {p[name]!r} is unknown; it is one of {', '.join(allowed)}")

    def stream(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(trial.seed(name))

    if p["problem"] in KNOWN:
        cases = [known(p["problem"], p["dimension"], stream("problem"))]
    else:
        cases = known_digits(p["images"], p["aim"] == "targeted", trial.seed("init"), stream("problem"))
    found, distance = [course(case, p, stream(f"attack {i}")) for i, case in enumerate(cases)], math.inf
    for budget in (p["queries"] * tenth // 10 for tenth in range(1, 11)):
        reached = [min((d for queries, d in each if queries <= budget), default=math.inf) for each in found]
        if math.isfinite(distance := statistics.median(reached)):
            trial.report(budget, distance=distance)
    return {"distance": distance, "queries": statistics.median(each[-1][0] for each in found)}


def sweep(seeds: int, fixed: dict[str, Scalar], **grid: Any) -> dict[str, Any]:
    """Methods on the same problems."""
    return {"metric": "distance", "direction": "minimize", "seeds": seeds, "grid": grid, "fixed": fixed}


FLAT = sweep(10, {"queries": 1500}, problem=KNOWN[:2], method=METHODS)
CONE = sweep(10, {"problem": "cone", "iterations": 12, "queries": 2000}, method=METHODS[:2])
DIGITS = sweep(5, {"problem": "digits", "queries": 1000, "sigma": 1e-2}, aim=AIMS, method=METHODS)
PLANE: dict[str, Any] = {"problem": "half-space"}
FREE, AIMED = ({"aim": aim} for aim in AIMS)
CLAIMS = (
    Claim("half-space: distance over the least, cgba", FLAT, mean("distance", method="cgba", **PLANE), "below", 1.12),
    *(
        Claim(f"{name}, {a} over {b}", study, ratio("distance", method=(a, b), **where), "below", limit, remark)
        for name, study, where, a, b, limit, remark in (
            ("half-space: distance", FLAT, PLANE, "cgba", "line", 0.85, ""),
            ("half-space: distance", FLAT, PLANE, "cgba", "boundary", 1.0, "Few dimensions favour walks."),
            ("cone, 12 iterations: distance", CONE, {}, "cgba-h", "cgba", 0.85, ""),
            ("digits: median distance", DIGITS, FREE, "cgba", "line", 1.0, ""),
            ("digits: median distance", DIGITS, FREE, "cgba", "boundary", 1.0, "Few dimensions favour walks."),
            ("digits: median distance", DIGITS, FREE, "cgba", "cgba-h", 1.0, "Boundaries may be too alike."),
            ("digits, targeted: median distance", DIGITS, AIMED, "cgba-h", "cgba", 1.0, "Boundaries may be too alike."),
        )
    ),
)


def figure(*frames: Frames) -> Any:
    """Distance against queries."""
    return progress_figure(frames, by="method", panels=("problem", "aim"), metric="distance", label="queries")


TITLE = "CGBA: Curvature-aware Geometric Black-box Attack"
PAPER = Paper(TITLE, ("Reza", "Rahmati", "Wu", "Dai"), 2023, "2308.03163")
TASK = Task(
    name="cgba",
    summary="Which search finds near adversarial points from labels alone with few queries?",
    train=train,
    metrics=("distance", "queries"),
    space={"problem": Choice(PROBLEMS), "method": Choice(METHODS), "sigma": Float(1e-4, 0.1, log=True)},
    defaults=DEFAULTS,
    smallest={"dimension": 10, "queries": 300},
    paper=PAPER,
    claims=CLAIMS,
    paper_scale={"fixed.dimension": 150_528, "fixed.queries": 20_000, "fixed.n0": 30},
    figure=figure,
)
