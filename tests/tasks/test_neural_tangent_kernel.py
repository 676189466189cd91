"""The tangent kernel: against explicit Jacobians, quadrature, the limit at large width, and integrated flows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial.hermite_e import hermegauss
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.func import jacrev

from swathe.orchestrator.fusion.lane import Model
from swathe.orchestrator.fusion.lanes import Lanes
from swathe.tasks.blocks.probes import tangent_kernel
from swathe.tasks.blocks.tangent import ACTIVATIONS, empirical_kernel, limit_kernel, moments
from swathe.tasks.landscape.neural_tangent_kernel import (
    DEFAULTS,
    PROGRAM,
    TRAINED,
    Network,
    final,
    linear,
    outputs,
    points,
    widths,
)

DOUBLE = torch.float64
Tree = dict[str, Tensor]


def tensors(seed: int = 0, **over: Any) -> tuple[dict[str, Any], Tree]:
    """A network's parameters, and all of its tensors in double precision."""
    p = {**DEFAULTS, "width": 7, **over}
    return p, {name: x.detach().double() for name, x in Network(p, lambda stream: seed).state_dict().items()}


def trainable(of: Tree) -> Tree:
    return {name: x for name, x in of.items() if name[0] in "wb" and name[1:].isdigit()}


# --- the kernel of a network ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [*ACTIVATIONS])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_the_kernel_is_that_of_an_explicit_jacobian(activation: str, layers: int) -> None:
    p, of = tensors(activation=activation, layers=layers, beta=0.3)
    x, _ = points("sphere")

    def f(tree: Tree) -> Tensor:
        return outputs({**tree, "beta": of["beta"]}, x, p)

    rows = torch.cat([each.flatten(1) for each in jacrev(f)(trainable(of)).values()], 1)
    found = empirical_kernel(of, x, activation)
    torch.testing.assert_close(found, rows @ rows.mT, rtol=1e-10, atol=1e-10)
    by_probe = tangent_kernel(f, {name: each[None] for name, each in trainable(of).items()})[0]
    torch.testing.assert_close(found, by_probe, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(of["theta"], found)


def standard(of: Tree, p: dict[str, Any], x: Tensor, weights: Tree) -> Tensor:
    """f as matrices without a multiplier give it."""
    a = x
    for layer in range(len(widths(p)) - 1):
        z = a @ weights[f"w{layer}"].mT + of["beta"] * weights[f"b{layer}"]
        a = ACTIVATIONS[p["activation"]][0](z)
    return z[:, 0]


def test_the_standard_parameterisation_has_the_same_functions_another_kernel_and_other_steps() -> None:
    p, of = tensors(parameterization="standard", layers=3, beta=0.3)
    x, y = points("sphere")
    plain = {n: w / w.shape[1] ** 0.5 if n[0] == "w" else w for n, w in trainable(of).items()}
    torch.testing.assert_close(standard(of, p, x, plain), outputs(of, x, p))
    rows = torch.cat([each.flatten(1) for each in jacrev(lambda w: standard(of, p, x, w))(plain).values()], 1)
    torch.testing.assert_close(of["theta"], rows @ rows.mT, rtol=1e-10, atol=1e-10)

    lanes = Lanes(PROGRAM, [{**p, "lr": 0.001}], [lambda stream: 0], dtype=DOUBLE)
    for _ in range(3):
        grads = jacrev(lambda w: 0.5 * (standard(of, p, x, w) - y)[:TRAINED].square().mean())(plain)
        plain = {name: w - 0.001 * grads[name] for name, w in plain.items()}
    lanes.run(3)
    trained = {name: each[0] for name, each in lanes.state["params"].items()}
    torch.testing.assert_close(outputs({**of, **trained}, x, p), standard(of, p, x, plain), rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    layers=st.integers(1, 4),
    width=st.integers(1, 12),
    activation=st.sampled_from([*ACTIVATIONS]),
    beta=st.floats(0, 2),
)
def test_kernels_are_symmetric_and_positive_semidefinite(seed, layers, width, activation, beta) -> None:
    _, of = tensors(seed, layers=layers, width=width, activation=activation, beta=beta)
    for theta in (of["theta"], of["limit"]):
        torch.testing.assert_close(theta, theta.mT, rtol=1e-12, atol=1e-12)
        assert torch.linalg.eigvalsh(theta)[0] > -1e-9 * theta.diagonal().max().clamp(min=1)


@pytest.mark.parametrize(("beta", "rank"), [(0.0, 5), (0.5, 6)])
def test_a_linear_activation_has_no_more_directions_than_inputs_and_a_constant(beta: float, rank: int) -> None:
    _, of = tensors(activation="identity", layers=3, beta=beta)
    for theta in (of["theta"], of["limit"]):
        values = torch.linalg.eigvalsh(theta)
        assert int((values > 1e-9 * values[-1]).sum()) == rank
    assert abs(of["least"].item()) < 1e-9


# --- the limit ------------------------------------------------------------------------------------------------------


def by_quadrature(activation: str, c: np.ndarray) -> tuple[float, float]:
    """E[sigma(u) sigma(v)], E[sigma'(u) sigma'(v)] for covariance c (2 x 2), by 2-D Gauss-Hermite quadrature."""
    nodes, weights = hermegauss(180)
    root = np.linalg.cholesky(c)
    both = np.einsum("i,j->ij", weights, weights) / (2 * math.pi)
    u = root[0, 0] * nodes[:, None] + 0 * nodes
    v = root[1, 0] * nodes[:, None] + root[1, 1] * nodes
    sigma, slope = (lambda z, f=f: f(torch.from_numpy(z)).numpy() for f in ACTIVATIONS[activation])
    return float((both * sigma(u) * sigma(v)).sum()), float((both * slope(u) * slope(v)).sum())


@pytest.mark.parametrize(("activation", "error"), [("erf", 1e-9), ("identity", 1e-9), ("relu", 2e-2)])
@pytest.mark.parametrize("covariance", [[[1.0, 0.3], [0.3, 1.0]], [[0.5, -0.6], [-0.6, 2.0]]])
def test_moments_are_those_of_quadrature(activation: str, error: float, covariance: list[list[float]]) -> None:
    exact = by_quadrature(activation, np.array(covariance))  # coarse at the rectifier's kink
    for found, wanted in zip(moments(torch.tensor(covariance, dtype=DOUBLE), activation), exact, strict=True):
        assert found[0, 1].item() == pytest.approx(wanted, abs=error)
        torch.testing.assert_close(found, found.mT)


def test_moments_of_the_rectifier_where_they_are_known() -> None:
    k = torch.tensor([[1.0, 0, 1, -1], [0, 1, 0, 0], [1, 0, 1, -1], [-1, 0, -1, 1]], dtype=DOUBLE)
    squares, slopes = moments(k, "relu")
    assert squares[0].tolist() == pytest.approx([1, 1 / math.pi, 1, 0], abs=1e-7)
    assert slopes[0].tolist() == pytest.approx([1, 1 / 2, 1, 0], abs=1e-7)


@pytest.mark.parametrize("activation", ["relu", "erf"])
@pytest.mark.parametrize("layers", [2, 4])
def test_wide_networks_have_the_kernel_of_the_limit(activation: str, layers: int) -> None:
    x, _ = points("sphere")
    limit = limit_kernel(x, layers, 0.3, activation)

    def far(width: int) -> float:
        """Of the mean kernel of 8 networks."""
        of = [tensors(seed, layers=layers, width=width, activation=activation, beta=0.3)[1] for seed in range(8)]
        return float((torch.stack([each["theta"] for each in of]).mean(0) - limit).norm() / limit.norm())

    assert far(1024) < 0.04 < far(4)


def test_without_the_kernel_of_earlier_layers_the_limit_is_another() -> None:
    x, _ = points("sphere")
    limit, last = limit_kernel(x, 3, 0.3, "relu"), limit_kernel(x, 1, 0.3, "relu")
    for _ in range(2):  # the last layer's share only: the covariance of outputs
        last = moments(last, "relu")[0] + 0.3**2
    assert (limit - last).norm() / limit.norm() > 0.3


# --- training -------------------------------------------------------------------------------------------------------


def test_the_linear_equation_is_solved_by_the_flow_of_a_linearised_network() -> None:
    p, of = tensors(layers=2, width=7, beta=0.3)
    x, y = points("sphere")
    rows = jacrev(lambda tree: outputs({**tree, "beta": of["beta"]}, x, p))(trainable(of))
    j = torch.cat([each.flatten(1) for each in rows.values()], 1).numpy()
    first, target = of["first"].numpy(), y.numpy()[:TRAINED]

    def flow(_: float, moved: np.ndarray) -> np.ndarray:
        """Of the parameters, from their start."""
        return -j[:TRAINED].T @ (first[:TRAINED] + j[:TRAINED] @ moved - target) / TRAINED

    for t in (0.5, 20.0):
        end = solve_ivp(flow, (0, t), np.zeros(j.shape[1]), rtol=1e-9, atol=1e-10).y[:, -1]
        assert linear(of, y, t).numpy() == pytest.approx(first + j @ end, abs=1e-6)


def test_a_network_that_is_linear_in_its_weights_keeps_its_kernel_and_follows_the_equation() -> None:
    p = {**DEFAULTS, "layers": 1, "beta": 0.3, "lr": 0.002, "steps": 500}
    lanes = Lanes(PROGRAM, [p], [lambda stream: 0], dtype=DOUBLE)
    before = lanes.evaluate(final=True)
    lanes.run(500)
    found = {**lanes.evaluate(), **lanes.evaluate(final=True)}
    assert found["kernel_change"].item() < 1e-12
    assert found["linear_gap"].item() < 1e-3 < 0.1 < before["linear_gap"].item()  # steps in place of a flow: O(lr)
    assert found["rate_gap"].item() < 2e-3


def test_rates_are_those_along_the_eigenvectors_of_largest_value() -> None:
    p, of = tensors(lr=0.1, steps=10)
    x, y = points("sphere")
    v, values = of["vectors"], of["values"]
    error = v.mT @ (of["first"] - y)[:TRAINED]
    f = torch.cat([y[:TRAINED] + v @ (error * (-1.3 * values / TRAINED).exp()), y[TRAINED:]])  # 1.3 times as fast

    class Fixed(Model):
        def __init__(self) -> None:
            self.tensors = of

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("swathe.tasks.landscape.neural_tangent_kernel.outputs", lambda *_: f)
        assert final(Fixed(), (x, y), p)["rate_gap"].item() == pytest.approx(0.3)


def test_points_lie_on_their_spheres() -> None:
    for name, radius, dimension in (("sphere", 5**0.5, 5), ("circle", 1.0, 2)):
        x, y = points(name)
        assert x.shape == (30, dimension) and y.shape == (30,) and len(torch.unique(x, dim=0)) == 30
        torch.testing.assert_close(x.norm(dim=1), torch.full((30,), radius, dtype=DOUBLE))
