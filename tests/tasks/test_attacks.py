"""FGSM and PGD: on linear models in closed form, the laws of a ball, and in lanes as alone."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.functional import cross_entropy

from swathe.tasks.blocks.attacks import NORMS, fgsm, pgd, worst
from swathe.tasks.blocks.datasets import digits

DOUBLE = torch.float64


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def size(shift: Tensor, norm: str) -> Tensor:
    return shift.flatten(1).norm(dim=1, p=math.inf if norm == "linf" else 2)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A perceptron that knows the digits."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    (x, y), _ = digits()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_of_a_linear_loss_the_rise_is_the_radius_times_the_dual_norm(norm: str, dual: int) -> None:
    w, x = normal(3, 4, seed=1), normal(7, 3, 4)

    def loss(x: Tensor) -> Tensor:
        return (x * w).sum((1, 2))

    rise = 0.3 * w.flatten().norm(p=dual)
    for points in (
        fgsm(loss, x, 0.3, norm),
        pgd(loss, x, 0.3, norm),
        pgd(loss, x, 0.3, norm, steps=100, start=normal(7, 3, 4, seed=2)),
    ):
        torch.testing.assert_close(loss(points) - loss(x), rise.expand(7))


@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_classifier_is_right_under_attack_where_its_margin_says_so(norm: str) -> None:
    w, x = normal(6), normal(500, 6, seed=3)
    y = (x @ w + normal(500, seed=4) > 0).long()

    def model(x: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(x), dtype=DOUBLE), x @ w], 1)

    margins = (2 * y - 1) * (x @ w) / w.norm(p=1 if norm == "linf" else 2)
    for radius in (0.0, 0.2, 0.7):
        points = worst(model, x, y, radius, norm, steps=8, size=0.25)
        assert torch.equal(model(points).argmax(1) == y, margins > radius)


@settings(max_examples=40, deadline=None)
@given(
    norm=st.sampled_from(NORMS),
    radius=st.floats(0, 10),
    steps=st.integers(0, 5),
    away=st.floats(0, 20),
    bounded=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_points_stay_in_the_ball_and_in_the_bounds(norm, radius, steps, away, bounded, seed) -> None:
    x, w = normal(5, 4, seed=seed).clamp(-1, 1), normal(4, 3, seed=seed + 1)
    bounds = (-1.0, 1.0) if bounded else None
    start = away * normal(5, 4, seed=seed + 2)
    points = pgd(lambda x: torch.tanh(x @ w).sum(1), x, radius, norm, steps=steps, start=start, bounds=bounds)
    assert (size(points - x, norm) <= radius * (1 + 1e-12) + 1e-12).all()
    assert not bounded or points.abs().max() <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_a_radius_of_zero_gives_the_inputs_back(norm: str, network: nn.Module) -> None:
    _, (x, y) = digits()
    for radius in (0.0, torch.tensor(0.0)):
        assert torch.equal(worst(network, x, y, radius, norm, start=torch.ones_like(x)), x)


@pytest.mark.parametrize("norm", NORMS)
def test_accuracy_falls_to_zero_as_the_ball_grows_and_gradients_beat_noise(norm: str, network: nn.Module) -> None:
    _, (x, y) = digits()

    def accuracy(points: Tensor) -> float:
        return (network(points).argmax(1) == y).double().mean().item()

    radii = (0.0, 0.1, 0.3, 1.0) if norm == "linf" else (0.0, 0.5, 1.5, 8.0)
    found = [accuracy(worst(network, x, y, radius, norm)) for radius in radii]
    assert found[0] > 0.9 and found[-1] == 0
    assert found == sorted(found, reverse=True)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).sign()
    noise = noise * radii[2] if norm == "linf" else noise * radii[2] / 8
    assert accuracy(x + noise) > accuracy(
        fgsm(lambda at: cross_entropy(network(at), y, reduction="none"), x, radii[2], norm)
    )
    assert accuracy(worst(network, x, y, radii[2], norm, steps=40, size=0.1)) <= found[2] + 0.01


def test_slopes_too_small_to_square_in_single_precision_still_lead_somewhere() -> None:
    x = torch.zeros(2, 3)
    points = fgsm(lambda x: x @ torch.tensor([3e-30, 4e-30, 0.0]), x, 1.0, "l2")
    torch.testing.assert_close(points, torch.tensor([[0.6, 0.8, 0.0]]).expand(2, 3))
    assert torch.equal(fgsm(lambda x: (0 * x).sum(1), x, 1.0, "l2"), x)


@pytest.mark.parametrize("norm", NORMS)
def test_lanes_with_radii_of_their_own_are_as_alone_and_no_gradient_reaches_the_weights(norm: str) -> None:
    x, radii, weights = normal(3, 6, 4), torch.tensor([0.0, 0.1, 2.0], dtype=DOUBLE), normal(3, 4, 2, seed=5)
    weights.requires_grad_()

    def attack(w: Tensor, x: Tensor, radius: Tensor) -> Tensor:
        return pgd(lambda x: torch.tanh(x @ w).sum(1), x, radius, norm)

    together = vmap(attack)(weights, x, radii)
    assert not together.requires_grad
    for lane in range(3):
        torch.testing.assert_close(together[lane], attack(weights[lane], x[lane], radii[lane]))
    torch.testing.assert_close(together[1], attack(weights[1], x[1], 0.1))  # pyright: ignore[reportArgumentType]


def test_an_unknown_norm_is_named() -> None:
    with pytest.raises(ValueError, match=r"'l1' is unknown; it is one of linf, l2"):
        fgsm(lambda x: x.sum(1), normal(1, 1), 0.1, "l1")
