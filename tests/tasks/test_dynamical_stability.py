"""Linear stability of SGD: its operator against enumeration, simulation and closed forms, and dense Hessians."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import jacrev

from swathe.orchestrator.claims import Frames
from swathe.orchestrator.fusion.lane import Model
from swathe.tasks.landscape.dynamical_stability import (
    DEFAULTS,
    DiagonalNetwork,
    coordinates,
    data,
    growth,
    metrics,
    minima,
    moments,
    risk,
    slopes,
)

DOUBLE = torch.float64


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def network(seed: int = 0, **over: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    p = {**DEFAULTS, **over}
    return p, {name: x.detach().double() for name, x in DiagonalNetwork(p, lambda stream: seed).state_dict().items()}


# --- the operator ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2])
def test_moments_are_the_mean_over_all_batches(batch_size: int) -> None:
    a, root = gaussian(4, 3), gaussian(3, 3, seed=1)
    x, lr = root @ root.mT, 0.3
    after = torch.zeros_like(x)
    for batch in product(range(4), repeat=batch_size):
        step = torch.eye(3, dtype=DOUBLE) - lr * a[list(batch)].mT @ a[list(batch)] / batch_size
        after += step @ x @ step.mT / 4**batch_size
    torch.testing.assert_close(moments(x, a, lr, batch_size), after, rtol=1e-12, atol=1e-12)


def test_moments_are_those_of_simulated_steps() -> None:
    a, lr, runs, z = gaussian(6, 2), 0.15, 40_000, torch.Generator().manual_seed(2)
    d, x = torch.ones(runs, 2, dtype=DOUBLE), torch.ones(2, 2, dtype=DOUBLE)
    for _ in range(8):
        seen = a[torch.randint(6, (runs, 2), generator=z)]  # runs x batch x 2
        d = d - lr * ((seen @ d[:, :, None]) * seen).mean(1)
        x = moments(x, a, lr, 2)
    torch.testing.assert_close(d.mT @ d / runs, x, rtol=0.05, atol=0.01)


def dense(a: Tensor, lr: float, batch_size: int) -> float:
    """The spectral radius of the operator as a matrix, from Kronecker products."""
    (n, k), one = a.shape, np.eye(a.shape[1])
    rows = a.numpy()
    h, pairs = rows.T @ rows / n, np.stack([np.kron(row, row) for row in rows])
    noisy = pairs.T @ pairs / n / batch_size + (1 - 1 / batch_size) * np.kron(h, h)
    operator = np.eye(k * k) - lr * (np.kron(h, one) + np.kron(one, h)) + lr**2 * noisy
    return float(np.abs(np.linalg.eigvalsh(operator)).max())


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("lr", [0.05, 0.4, 1.5])
def test_growth_is_the_spectral_radius_of_the_whole_operator(lr: float, batch_size: int) -> None:
    a = gaussian(8, 4)
    assert growth(a, lr, batch_size).item() == pytest.approx(dense(a, lr, batch_size), rel=1e-3)


def test_one_example_is_stable_up_to_two_over_its_square() -> None:
    a = gaussian(1, 5)
    edge = 2 / a.square().sum().item()
    for lr in (0.9 * edge, edge, 1.1 * edge):
        assert growth(coordinates(a), lr, 1).item() == pytest.approx((1 - 2 * lr / edge) ** 2, rel=1e-6)


def threshold(a: Tensor, batch_size: int) -> float:
    """The largest learning rate at which the operator does not grow, by bisection."""
    low, high = 0.0, 4 / (a.square().sum() / len(a)).item() * batch_size
    for _ in range(13):
        middle = (low + high) / 2
        low, high = (middle, high) if growth(a, middle, batch_size) <= 1 else (low, middle)
    return low


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_isotropic_gaussian_gradients_have_their_closed_form(batch_size: int) -> None:
    a, edge = gaussian(20_000, 4), 2 * batch_size / (batch_size + 4 + 1)
    assert growth(a, 0.95 * edge, batch_size) < 1 < growth(a, 1.05 * edge, batch_size)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), n=st.integers(2, 8), k=st.integers(1, 12), batch_size=st.sampled_from([1, 4]))
def test_the_threshold_lies_below_what_the_paper_derives_from_it(seed, n, k, batch_size) -> None:
    a = gaussian(n, k, seed=seed)
    h = a.mT @ a / n
    trace, fourth = h.trace().item(), (a.square().sum(1) ** 2).mean().item()
    first = 2 * trace / (fourth / batch_size + (1 - 1 / batch_size) * h.square().sum().item())
    found = threshold(coordinates(a), batch_size)
    assert found <= 1.002 * first <= 1.003 * 2 * batch_size / trace
    assert found <= 1.002 * 2 / torch.linalg.eigvalsh(h)[-1].item()


@pytest.mark.parametrize("shape", [(3, 7), (7, 3)])
def test_coordinates_keep_scalar_products(shape: tuple[int, int]) -> None:
    a = gaussian(*shape)
    found = coordinates(a)
    assert found.shape == (shape[0], shape[0])
    torch.testing.assert_close(found @ found.mT, a @ a.mT, rtol=1e-9, atol=1e-9)


# --- diagonal networks ----------------------------------------------------------------------------------------------


def test_at_zero_loss_the_hessian_is_that_of_the_gradients() -> None:
    _, of = network(examples=5, inputs=8)
    at = torch.cat([of["truth"] + 0.0, torch.ones(8, dtype=DOUBLE)])  # u * v is the truth

    def loss(w: Tensor) -> Tensor:
        return risk({"u": w[:8], "v": w[8:]}, of["x"], of["x"] @ of["truth"])

    a = slopes({**of, "u": at[:8], "v": at[8:]})
    assert loss(at).item() < 1e-25
    torch.testing.assert_close(jacrev(jacrev(loss))(at), a.mT @ a / 5, rtol=1e-10, atol=1e-10)


def test_slopes_are_an_explicit_jacobian() -> None:
    _, of = network(examples=5, inputs=8)
    rows = jacrev(lambda u, v: of["x"] @ (u * v), (0, 1))(of["u"], of["v"])
    torch.testing.assert_close(slopes(of), torch.cat(rows, 1))


def measured(p: dict[str, Any], of: dict[str, Tensor]) -> dict[str, float]:
    model = Model(torch.nn.Identity(), of)
    return {name: x.item() for name, x in metrics(model, (), p).items()}


def test_what_is_measured_is_of_the_dense_hessian_and_of_unseen_examples() -> None:
    p, of = network(examples=6, inputs=9, lr=0.5)
    a = slopes(of)
    values = torch.linalg.eigvalsh(a.mT @ a / 6)
    found = measured(p, of)
    assert found["trace_share"] == pytest.approx(values.sum().item() * 0.25)
    assert found["top_share"] == pytest.approx(values[-1].item() * 0.25)
    x = gaussian(200_000, 9, seed=3)
    unseen = (x @ (of["u"] * of["v"] - of["truth"])).square().mean().item()
    assert found["test_error"] == pytest.approx(unseen, rel=0.02)


def test_on_many_examples_the_trace_is_that_of_the_norms_and_bounds_the_norm_of_beta() -> None:
    p, of = network(examples=1000, inputs=5)
    balanced = {**of, "u": torch.tensor([1.0, -2, 0.5, 0, 3], dtype=DOUBLE)}
    balanced["v"] = balanced["u"].abs()
    several = {**balanced, "v": gaussian(5, seed=4)}
    small = {**p, "lr": 2.0}  # a share of 1 is a trace of 1
    for tensors in (balanced, several):
        trace = (tensors["u"].square() + tensors["v"].square()).sum().item()
        found = measured(small, tensors)
        assert found["trace_share"] == pytest.approx(trace, rel=0.15)
        assert trace >= 2 * found["l1_norm"] - 1e-9
    assert measured(small, balanced)["trace_gap"] < 0.15 < measured(small, several)["trace_gap"]


def test_examples_are_drawn_with_replacement_and_full_batches_hold_each_once() -> None:
    p = {**DEFAULTS, "examples": 7, "steps": 5000, "batch_size": 2}
    drawn = data(p)
    assert drawn.rows is not None
    rows = drawn.rows(3)
    assert rows.shape == (5000, 2) and torch.equal(rows, drawn.rows(3)) and not torch.equal(rows, drawn.rows(4))
    assert rows.flatten().bincount().tolist() == pytest.approx([10_000 / 7] * 7, rel=0.1)
    assert (rows[:, 0] == rows[:, 1]).double().mean().item() == pytest.approx(1 / 7, abs=0.02)
    whole = data({**p, "batch_size": 7})
    assert whole.batch is None and whole.train[0].tolist() == [*range(7)]


# --- the estimator --------------------------------------------------------------------------------------------------


def test_only_minima_count_and_the_last_is_that_of_the_largest_rate() -> None:
    values = {1: [(0.1, 1.0, True), (0.2, 5.0, True), (0.4, 2.0, True), (0.8, 99.0, False)], 30: [(0.1, 4.0, True)]}
    rows = [
        {
            "replicate": seed,
            "param.batch_size": size,
            "param.lr": lr,
            "metric.train_loss": 1e-9 if there else 0.1,
            "metric.x": value + seed,
        }
        for size, found in values.items()
        for lr, value, there in found
        for seed in range(3)
    ]
    rows.append({"replicate": 3, "param.batch_size": 1, "param.lr": 0.1, "metric.train_loss": None, "metric.x": None})
    frames = Frames(pd.DataFrame(rows).sample(frac=1, random_state=0), pd.DataFrame())
    assert (minima("x", 1)(frames).estimate, minima("x", 1)(frames).n) == (6.0, 3)
    assert minima("x", 1, "last")(frames).estimate == 3.0
    assert minima("x", 1, "last", 30)(frames).estimate == pytest.approx((2 / 4 + 3 / 5 + 4 / 6) / 3)
