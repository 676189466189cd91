"""Derivatives of all lanes at once, against dense matrices and finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import jacrev

from swathe.orchestrator.fusion import Data, Lanes, Program, sgd
from swathe.orchestrator.fusion.derivatives import gradient, hessian_vector, jacobian, top_eigenvalue

F64 = torch.float64
Z = torch.Generator().manual_seed(2)
X, Y = torch.randn(20, 3, generator=Z, dtype=F64), torch.randn(20, 2, generator=Z, dtype=F64)
LANES = 4


def f(x: dict[str, Tensor], gain: Tensor) -> Tensor:
    """A small network's squared error, with a factor of the lane's own."""
    return gain * F.mse_loss(torch.tanh(X @ x["a"].T) @ x["b"].T, Y)


def point(lanes: int = LANES) -> tuple[dict[str, Tensor], Tensor]:
    z = torch.Generator().manual_seed(3)
    x = {"a": torch.randn(lanes, 4, 3, generator=z, dtype=F64), "b": torch.randn(lanes, 2, 4, generator=z, dtype=F64)}
    return x, torch.linspace(1, 2, lanes, dtype=F64)


def lane(x: dict[str, Tensor], k: int) -> dict[str, Tensor]:
    return {name: t[k] for name, t in x.items()}


def dense(x: dict[str, Tensor], gain: Tensor) -> Tensor:
    def of_vector(v: Tensor) -> Tensor:
        return f({"a": v[:12].view(4, 3), "b": v[12:].view(2, 4)}, gain)

    return jacrev(jacrev(of_vector))(torch.cat([x["a"].flatten(), x["b"].flatten()]))


def vector(x: dict[str, Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in x.values()])


def test_gradients_and_hessian_vector_products() -> None:
    x, gain = point()
    v = {name: torch.randn_like(t) for name, t in x.items()}
    g, hv = gradient(f, x, gain), hessian_vector(f, x, v, gain)
    for k in range(LANES):
        own = {name: t.clone().requires_grad_() for name, t in lane(x, k).items()}
        expected = torch.autograd.grad(f(own, gain[k]), list(own.values()))
        torch.testing.assert_close(list(lane(g, k).values()), list(expected), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(vector(lane(hv, k)), dense(lane(x, k), gain[k]) @ vector(lane(v, k)))


def test_jacobians() -> None:
    x, gain = point()
    found = jacobian(lambda x, gain: gain * torch.tanh(X @ x["a"].T), x, gain)
    assert found["a"].shape == (LANES, 20, 4, 4, 3) and found["b"].abs().max() == 0
    step = 1e-6
    moved = {**x, "a": x["a"].clone()}
    moved["a"][:, 2, 1] += step
    slope = (torch.tanh(X @ moved["a"].mT) - torch.tanh(X @ x["a"].mT)) * gain.view(-1, 1, 1) / step
    torch.testing.assert_close(found["a"][..., 2, 1], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["none", "numbers", "lanes", "entries"])
def test_the_largest_algebraic_eigenvalue_with_multipliers(kind: str) -> None:
    x, gain = point()
    multipliers = {
        "none": None,
        "numbers": {"a": 4.0, "b": 0.5},
        "lanes": {"b": torch.tensor([0.5, 1.0, 2.0, 4.0])},
        "entries": {name: torch.rand_like(t) + 0.1 for name, t in x.items()},
    }[kind]
    top = top_eigenvalue(f, x, (gain,), multipliers=multipliers, iterations=20)
    for k in range(LANES):
        weights = {}
        for name, t in x.items():
            m = (multipliers or {}).get(name, 1.0)
            m = m if isinstance(m, float) else m[k]
            weights[name] = torch.as_tensor(m, dtype=F64).expand(t[k].shape)
        root = vector(weights).sqrt()
        values, vectors = torch.linalg.eigh(root[:, None] * dense(lane(x, k), gain[k]) * root)
        torch.testing.assert_close(top.value[k], values[-1], rtol=1e-9, atol=1e-12)
        own = vector(lane(top.vector, k))
        torch.testing.assert_close((own @ vectors[:, -1]).abs(), torch.tensor(1.0, dtype=F64), rtol=1e-6, atol=0)
    assert top.residual.max() < 1e-6


def quadratic(x: dict[str, Tensor], curvature: Tensor) -> Tensor:
    return 0.5 * (curvature * x["x"].square()).sum()


def test_the_sign_is_that_of_the_eigenvalue() -> None:
    """Power iteration would say -3, -5 and -2; two curvatures exhaust the Krylov space in two steps."""
    curvature = torch.tensor([[-3.0, 2.0, -3.0, 2.0], [-5.0, -1.0, -1.0, -5.0], [-2.0, -2.0, -2.0, -2.0]], dtype=F64)
    top = top_eigenvalue(quadratic, {"x": torch.ones(3, 4, dtype=F64)}, (curvature,))
    torch.testing.assert_close(top.value, torch.tensor([2.0, -1.0, -2.0], dtype=F64))


def test_a_lane_without_finite_curvature_gets_nan_alone() -> None:
    x, gain = point()
    healthy = top_eigenvalue(f, x, (gain,))
    x["a"][1, 0, 0] = torch.nan
    found = top_eigenvalue(f, x, (gain,))
    assert found.value[1].isnan()
    rest = [0, 2, 3]
    torch.testing.assert_close(found.value[rest], healthy.value[rest], rtol=1e-12, atol=0)


def test_going_on_from_an_earlier_vector_takes_fewer_iterations() -> None:
    x, gain = point()
    exact = top_eigenvalue(f, x, (gain,), iterations=20)
    warm = top_eigenvalue(f, x, (gain,), iterations=2, start=exact.vector)
    torch.testing.assert_close(warm.value, exact.value, rtol=1e-9, atol=0)
    assert (top_eigenvalue(f, x, (gain,), iterations=2).value < exact.value - 1e-3).all()


@pytest.mark.parametrize("batch", [None, 10])
def test_sharpness_of_a_program_s_lanes(batch: int | None) -> None:
    """With attention, BatchNorm and dropout inside: the loss is taken in evaluation mode and twice differentiable."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.norm, self.drop = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            h = self.drop(self.norm(self.into(x))).view(-1, 1, 2, 2)
            return F.scaled_dot_product_attention(h, h, h).flatten(1)[:, :2]

    def loss(model, batch, p):
        return F.mse_loss(model(batch[0]), batch[1]) * p["gain"]

    made = Program(lambda p, s: Net(), loss, sgd(0.1), lambda p: Data((X, Y), (), batch))
    lanes = Lanes(made, [{"gain": 1.0 + k} for k in range(3)], [lambda s, k=k: k for k in range(3)], dtype=F64)
    lanes.run(3)
    g, x, context = lanes.smooth()
    top = top_eigenvalue(g, x, context, iterations=40)
    for k in range(3):
        own = [{name: t[k] for name, t in x.items()}, *[_lane(c, k) for c in context]]
        sizes = [t.numel() for t in own[0].values()]

        def of_vector(v: Tensor, own=own, sizes=sizes) -> Tensor:
            parts = {n: p.view(t.shape) for p, (n, t) in zip(v.split(sizes), own[0].items(), strict=True)}
            return g(parts, *own[1:])

        values = torch.linalg.eigvalsh(jacrev(jacrev(of_vector))(vector(own[0])))
        torch.testing.assert_close(top.value[k], values[-1], rtol=1e-6, atol=1e-9)


def _lane(tree, k: int):
    if isinstance(tree, dict):
        return {name: _lane(part, k) for name, part in tree.items()}
    return tuple(_lane(part, k) for part in tree) if isinstance(tree, tuple) else tree[k]
