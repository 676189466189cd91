"""The Hessian and its parts against closed forms and iterative methods; the measures; how three networks train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev
from torch.nn.functional import cross_entropy, one_hot

from swathe.orchestrator.fusion import Lanes
from swathe.orchestrator.fusion.derivatives import ritz, top_eigenvalue
from swathe.tasks.blocks.probes import lane_by_lane, spectral_density, trace
from swathe.tasks.landscape.hessian_overparametrized import (
    DEFAULTS,
    PROGRAM,
    barrier,
    beginning,
    examples,
    landscape,
    layers,
    logits,
    outliers,
    root,
    span,
)

SMALL = {**DEFAULTS, "width": 4, "inputs": 6, "classes": 3, "examples": 60, "steps": 40, "branch": 20, "batch_size": 8}


class Model:
    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors


def drawn(p: dict[str, Any], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random weights (M) with random biases, and examples."""
    z = torch.Generator().manual_seed(seed)
    x, y = examples(p, z)
    w = beginning(p, z)
    return w + 0.3 * torch.randn(w.shape, generator=z, dtype=w.dtype), x, y


def dense(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return jacrev(jacrev(f))  # forward mode would warn of what it compiles


def parts(p: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Any]:
    """H by autograd, G by its definition and R by that of the paper, each (M x M), and the loss."""
    w, x, y = drawn(p)
    shape, k = layers(p), int(p["classes"])

    def risk(w: Tensor) -> Tensor:
        return cross_entropy(logits(w, x, shape), y)

    f = logits(w, x, shape).softmax(1)
    j = jacrev(lambda w: logits(w, x, shape))(w)
    curved = torch.diag_embed(f) - f.unsqueeze(2) * f.unsqueeze(1)
    g = torch.einsum("ica,icd,idb->ab", j, curved, j) / len(x)
    residual = f - one_hot(y, k)
    r = dense(lambda w: (residual * logits(w, x, shape)).sum() / len(x))(w)
    return dense(risk)(w), g, r, risk


@pytest.mark.parametrize("depth", [1, 2])
def test_the_hessian_is_the_sum_of_its_parts(depth: int) -> None:
    p = {**SMALL, "depth": depth}
    h, g, r, _ = parts(p)
    w, x, _ = drawn(p)
    e = root(w, x, layers(p))
    torch.testing.assert_close(e.T @ e / len(x), g, rtol=0, atol=1e-12)
    torch.testing.assert_close(g + r, h, rtol=0, atol=1e-8)
    torch.testing.assert_close(h, h.T, rtol=0, atol=1e-10)
    assert r.norm() > 0.1 * h.norm(), "there is no remainder to speak of"


def test_a_linear_softmax_has_no_remainder_and_a_known_hessian() -> None:
    p = {**SMALL, "depth": 0}
    h, g, r, _ = parts(p)
    w, x, _ = drawn(p)
    f = logits(w, x, layers(p)).softmax(1)
    inputs = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    closed = torch.zeros_like(h)
    for one, q in zip(inputs, f, strict=True):
        closed += torch.kron(torch.outer(one, one), torch.diag(q) - torch.outer(q, q)) / len(x)
    torch.testing.assert_close(r, torch.zeros_like(r), rtol=0, atol=1e-12)
    torch.testing.assert_close(h, closed, rtol=0, atol=1e-8)
    torch.testing.assert_close(g, closed, rtol=0, atol=1e-8)


def test_the_gauss_newton_part_has_rank_at_most_examples_times_classes_less_one() -> None:
    p = {**SMALL, "width": 10, "examples": 12}
    _, g, _, _ = parts(p)
    values = torch.linalg.eigvalsh(g)
    count, k = len(values), 3
    assert values.min() > -1e-12
    zeros = int((values < 1e-10 * values.max()).sum())
    assert zeros >= count - 12 * (k - 1) > 50
    assert zeros < count - 12, "the count of zeros says nothing if every part has the rank of the examples"


def test_iterative_methods_find_the_ends_the_trace_and_the_density() -> None:
    h, _, _, risk = parts(SMALL)
    (w, *_), values = drawn(SMALL), torch.linalg.eigvalsh(h)
    tree, stack = (lambda tree: risk(tree["w"])), {"w": w.unsqueeze(0)}
    top = top_eigenvalue(tree, stack, iterations=len(w))
    assert top.value.item() == pytest.approx(values[-1].item(), rel=1e-8)
    found, _ = ritz(tree, stack, {"w": torch.ones_like(stack["w"])}, iterations=len(w))
    assert found[0, 0].item() == pytest.approx(values[0].item(), rel=1e-6)
    assert found[0, -1].item() == pytest.approx(values[-1].item(), rel=1e-8)
    mean = trace(tree, stack, samples=40)
    assert abs(mean.value.item() - values.sum().item()) < 4 * mean.error.item()
    density = spectral_density(tree, stack, iterations=15, samples=8)
    bulk = density.weights[0][density.values[0].abs() <= 0.05 * values[-1]].sum().item()
    assert bulk == pytest.approx((values.abs() <= 0.05 * values[-1]).double().mean().item(), abs=0.12)


def test_the_measures_are_those_of_the_dense_spectrum() -> None:
    h, _, r, risk = parts(SMALL)
    (w, x, y), other = drawn(SMALL), drawn(SMALL, 1)[0]
    found = landscape(Model({"w": torch.stack([w, w, other]), "x": x, "y": y}), (), SMALL)
    values, vectors = torch.linalg.eigh(h)
    assert found["top"].item() == pytest.approx(values[-1].item(), rel=1e-9)
    assert found["negative"].item() == pytest.approx((-values[0] / values[-1]).item(), rel=1e-9) and values[0] < 0
    assert found["residual"].item() == pytest.approx((r.norm() / h.norm()).item(), rel=1e-9)
    small = sum(abs(value) <= 0.01 * values[-1].item() for value in values.tolist())
    assert found["bulk"].item() == pytest.approx(small / len(values))
    assert found["train_loss"].item() == pytest.approx(risk(w).item()) and found["barrier"].item() < 1e-12

    f, classes = logits(w, x, layers(SMALL)).softmax(1), range(3)
    j, rows = jacrev(lambda w: logits(w, x, layers(SMALL)))(w), []
    for c in classes:
        for q in classes:
            own = [f[i, q].sqrt() * (torch.eye(3).double()[q] - f[i]) @ j[i] for i in range(len(y)) if y[i] == c]
            rows.append(torch.stack(own).mean(0))
    basis = torch.stack(rows)
    inside = basis.T @ torch.linalg.pinv(basis.T)  # the projection
    overlap = sum((inside @ vectors[:, -1 - i]).square().sum().item() for i in classes) / 3
    assert found["overlap"].item() == pytest.approx(overlap, rel=1e-6)


def test_the_span_of_a_random_subspace_has_an_overlap_by_chance() -> None:
    z = torch.Generator().manual_seed(0)
    e = torch.randn(60 * 3, 400, generator=z, dtype=torch.float64)
    q = span(e, torch.arange(60) % 3, 3)
    torch.testing.assert_close(q.T @ q, torch.eye(9).double(), rtol=0, atol=1e-12)
    u = torch.linalg.qr(torch.randn(400, 200, generator=z, dtype=torch.float64))[0]
    assert ((q.T @ u).square().sum() / 200).item() == pytest.approx(9 / 400, rel=0.2)


def test_outliers_and_barriers_by_hand() -> None:
    values = torch.cat([torch.linspace(-0.1, 0.1, 40), torch.tensor([2.0, 3.0, 4.0])]).double()
    assert outliers(values, 3).item() == 3
    u, v = torch.tensor([-1.0]).double(), torch.tensor([1.0]).double()
    assert barrier(lambda w: (1 - w.square()).sum(), u, v).item() == pytest.approx(1)
    assert barrier(lambda w: w.square().sum(), u, v).item() == pytest.approx(0, abs=1e-12)
    assert barrier(lambda w: 1 - (w - 1).square().sum() / 4, u, v).item() == pytest.approx(0.25)  # chord 1/2 at 0


def pack(**given: Any) -> Lanes:
    p = {**SMALL, **given}
    return Lanes(PROGRAM, [p, p], [lambda s, k=k: k + 10 * len(s) for k in range(2)])


def test_networks_part_at_the_branch_and_stop_at_their_target() -> None:
    lanes = pack(target=0.0)
    lanes.run(20)
    w = lanes.state["params"]["w"]
    assert torch.equal(w[:, 0], w[:, 1]) and not torch.equal(w[:, 0], w[:, 2])
    lanes.run(1)
    w, buffers = lanes.state["params"]["w"], lanes.state["buffers"]
    assert not torch.equal(w[:, 0], w[:, 1])
    lanes.run(5)
    (rows,), before = lanes.batches.at(26), lanes.state["params"]["w"].clone()
    lanes.run(1)
    for k in range(2):  # large: all examples; small: its batch
        x, y = buffers["x"][k], buffers["y"][k]
        for i, chosen in ((0, slice(None)), (1, rows[k]), (2, slice(None))):
            slope = grad(lambda w, x=x[chosen], y=y[chosen]: cross_entropy(logits(w, x, layers(SMALL)), y))
            after = before[k, i] - 0.2 * slope(before[k, i])
            torch.testing.assert_close(lanes.state["params"]["w"][k, i], after, rtol=1e-9, atol=1e-12)

    stopped = pack(target=100.0)
    start = stopped.state["params"]["w"].clone()
    stopped.run(3)
    assert torch.equal(stopped.state["params"]["w"], start)


def test_examples_are_centred_clusters_or_a_teacher_s() -> None:
    x, y = examples({**SMALL, "spread": 0.01, "examples": 300}, torch.Generator().manual_seed(0))
    assert x.mean(0).abs().max() < 1e-12 and y.bincount().tolist() == [100] * 3
    within = torch.stack([x[y == c].std(0) for c in range(3)])
    assert within.mean().item() == pytest.approx(0.01, rel=0.05)
    _, y = examples({**SMALL, "data": "teacher", "examples": 300}, torch.Generator().manual_seed(0))
    assert y.bincount(minlength=3).min() > 10


def test_lapack_gives_a_lane_the_same_bits_in_any_place() -> None:
    x = torch.randn(3, 13, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x + x.mT
    values, vectors = torch.func.vmap(lambda x: lane_by_lane(torch.linalg.eigh, x))(x)
    for k in range(3):
        one = torch.linalg.eigh(x[k].clone())
        assert torch.equal(values[k], one[0]) and torch.equal(vectors[k], one[1])
