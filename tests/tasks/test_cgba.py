"""CGBA: the geometry of its semicircles, exact counts of queries, and boundaries whose nearest point is known."""

from __future__ import annotations

import math
import statistics
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import idctn
from torch import Tensor

from swathe.orchestrator.task import Trial
from swathe.tasks.blocks.hard_label import TRIES, Counted, bisect, noises, unit
from swathe.tasks.blocks.victims import Case, first_point, known, known_digits
from swathe.tasks.robustness.cgba import DEFAULTS, METHODS, attack, cgba, course, normal, semicircle, train

DOUBLE, TOLERANCE = torch.float64, 1e-4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vector(seed: int, size: int = 20) -> Tensor:
    return torch.randn(size, generator=generator(seed), dtype=DOUBLE)


def half_space(u: Tensor, distance: float = 1.0) -> Counted:
    return Counted(lambda x: x @ u > distance)


# --- the geometry -------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), phi=st.floats(0.01, 1.56))
def test_points_lie_on_the_circle_at_their_angle_in_the_plane_and_are_those_of_the_paper(seed, phi) -> None:
    x_s, x_b, eta = vector(seed), vector(seed + 1), unit(vector(seed + 2))
    at, theta = semicircle(x_s, x_b, eta)
    v, radius = unit(x_b - x_s), (x_b - x_s).norm()
    x = at(phi)
    assert (x - (x_s + x_b) / 2).norm().item() == pytest.approx(radius.item() / 2)
    assert (x - x_s).norm().item() == pytest.approx(radius.item() * math.cos(phi))
    assert (unit(x - x_s) @ v).item() == pytest.approx(math.cos(phi))
    assert theta == pytest.approx(math.acos(eta @ v))
    zeta = unit(eta + (math.sin(theta) / math.tan(phi) - math.cos(theta)) * v)
    torch.testing.assert_close(x, x_s + radius * math.cos(phi) * zeta)
    torch.testing.assert_close(at(theta), x_s + radius * math.cos(theta) * eta)
    torch.testing.assert_close(at(0.0), x_b)


@pytest.mark.parametrize("seed", range(5))
def test_with_the_exact_normal_of_a_half_space_one_step_lands_on_the_projection(seed: int) -> None:
    u = unit(vector(seed))
    x_s = 0.3 * vector(seed + 100)
    ask = half_space(u, 1 + (x_s @ u).item())
    x_b = first_point(ask, Case(lambda x: x, x_s, x_s + 3 * u + vector(seed + 200)), 1e-9, generator())
    found = cgba(ask, x_s, x_b, u, TOLERANCE)
    assert ask(found) and (found - x_s - u).norm() < 2 * TOLERANCE


def test_bisection_ends_within_the_tolerance_on_the_adversarial_side() -> None:
    ask = Counted(lambda x: x[:, 0] < 0.3)
    x = bisect(ask, lambda s: torch.tensor([s], dtype=DOUBLE), 0.0, 1.0, TOLERANCE)
    assert 0.3 - TOLERANCE <= x.item() < 0.3
    assert ask.queries == math.ceil(math.log2(1 / TOLERANCE))


def test_where_no_point_of_the_circle_leaves_the_adversarial_side_the_boundary_point_stays() -> None:
    ask, x_b = Counted(lambda x: torch.ones(len(x), dtype=torch.bool)), vector(1)
    assert torch.equal(cgba(ask, torch.zeros(20, dtype=DOUBLE), x_b, unit(vector(2)), TOLERANCE), x_b)
    assert ask.queries == TRIES


# --- the normal ---------------------------------------------------------------------------------------------------


def test_the_cosine_with_the_normal_is_that_of_signs_of_gaussians() -> None:
    d, q, a = 100, 80, 2 / math.pi
    u = unit(vector(0, d))
    found = [normal(half_space(u), u, 0.1, noises(q, d, 1, generator(k))) @ u for k in range(40)]
    assert statistics.mean(map(float, found)) == pytest.approx(math.sqrt(a / (a + d / q)), rel=0.03)


@pytest.mark.parametrize("factor", [2, 4])
def test_low_frequencies_are_those_of_the_inverse_transform(factor: int) -> None:
    corner = torch.zeros(3, 8, 8, dtype=DOUBLE)
    size = 8 // factor
    corner[:, :size, :size] = torch.randn(3, size, size, generator=generator(), dtype=DOUBLE)
    expected = torch.from_numpy(idctn(corner.numpy(), axes=(1, 2), norm="ortho")).flatten(1)
    torch.testing.assert_close(noises(3, 64, factor, generator()), expected)


# --- whole attacks ------------------------------------------------------------------------------------------------


class Watched:
    """An oracle that counts by itself the points it sees."""

    def __init__(self, case: Case) -> None:
        self.case, self.seen = case, 0

    def __call__(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.case.oracle(x)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["half-space", "ball", "cone", "digits"])
def test_queries_are_counted_exactly_distances_never_rise_and_points_are_adversarial(name: str, method: str) -> None:
    p = {**DEFAULTS, "method": method, "queries": 400}
    case = known_digits(1, True, 0, generator())[0] if name == "digits" else known(name, 30, generator())
    watched = Watched(case)
    ask, z, before = Counted(watched), generator(1), math.inf
    x_b = first_point(ask, case, TOLERANCE, z)
    assert ask.queries == watched.seen > 0
    for x in islice(attack(ask, case.source, x_b, p, z), 8):
        distance = (x - case.source).norm().item()
        assert ask.queries == watched.seen
        assert distance <= before * (1 + 1e-12)
        assert case.oracle(x[None]).item()
        before = distance
    watched.seen = 0
    queries = [spent for spent, _ in course(Case(watched, *case[1:]), p, generator(1))]
    assert queries[-1] == watched.seen and queries == sorted(queries)
    assert queries[-2] < p["queries"] <= queries[-1]


def test_an_iteration_asks_for_the_normal_and_for_its_search() -> None:
    u = unit(vector(0, 30))
    case = Case(lambda x: x @ u > 1, torch.zeros(30, dtype=DOUBLE), 3 * u + 0.5 * vector(1, 30))
    ask = Counted(case.oracle)
    x_b = first_point(ask, case, TOLERANCE, generator())
    walk = attack(ask, case.source, x_b, {**DEFAULTS, "method": "cgba"}, generator())
    for t in range(4):
        before, radius = ask.queries, (x_b - case.source).norm().item()
        x_b = next(walk)
        search = ask.queries - before - int(30 * math.sqrt(t + 1))
        # Some halvings of the angle towards pi / 2, and as many as bring a chord of at most 2 R below the tolerance.
        assert 1 < search <= TRIES + math.ceil(math.log2(math.pi * radius / TOLERANCE))


def distances(seeds: int, **p: object) -> list[float]:
    return [train(Trial(p, sweep_seed=99, replicate=k))["distance"] for k in range(seeds)]  # pyright: ignore


def test_the_figures_of_half_space_and_cone() -> None:
    flat = distances(5, method="cgba")
    assert statistics.mean(flat) <= 1.12
    assert statistics.mean(flat) <= 0.85 * statistics.mean(distances(5, method="line"))
    cone = {"problem": "cone", "iterations": 12, "queries": 2000}
    curved, flat = (statistics.mean(distances(5, method=method, **cone)) for method in ("cgba-h", "cgba"))
    assert curved <= 0.85 * flat


@pytest.mark.parametrize("name", ["half-space", "ball", "cone"])
def test_known_boundaries_are_one_away_in_a_known_direction(name: str) -> None:
    case = known(name, 10, generator())
    u = unit(torch.randn(2, 10, generator=generator(), dtype=DOUBLE)[0])
    assert case.oracle(torch.stack([1.001 * u, 0.999 * u])).tolist() == [True, False]
    shell = torch.nn.functional.normalize(torch.randn(500, 10, generator=generator(1), dtype=DOUBLE), dim=1)
    assert not case.oracle(0.999 * shell).any()
    assert case.start is None or case.oracle(case.start[None]).item()


def test_digits_are_known_to_the_classifier_and_starts_are_of_the_target() -> None:
    for case in known_digits(10, True, 0, generator()):
        assert case.start is not None
        assert case.oracle(torch.stack([case.source, case.start])).tolist() == [False, True]
    for case in known_digits(10, False, 0, generator()):
        assert not case.oracle(case.source[None]).item()


@pytest.mark.parametrize(("name", "value"), [("problem", "torus"), ("method", "hsja"), ("aim", "none")])
def test_an_unknown_choice_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{name} '{value}' is unknown; it is one of"):
        train(Trial({name: value}))
