"""AdamP and SGDP: against an independent implementation, the lemma on norms, and the toy of the paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from swathe.orchestrator.fusion import Optimizer, adam, sgd
from swathe.orchestrator.fusion.program import Params
from swathe.tasks.blocks.datasets import digits
from swathe.tasks.optimizers import adamp as module
from swathe.tasks.optimizers.adamp import BETAS, DEFAULTS, EPSILON, MOMENTUM, Invariant, adamp, network, project, sgdp

DOUBLE = torch.float64
Tree = dict[str, Tensor]


def steps(optimizer: Optimizer, p: Params, begin: Tree, gradients: Callable[[Tree], Tree]) -> Iterator[Tree]:
    """The tensors after each update."""
    hyper = optimizer.hyper([p], [*begin])
    tree = {name: x.detach().unsqueeze(0) for name, x in begin.items()}
    state = optimizer.init(tree, 1)
    while True:
        grads = {name: g.unsqueeze(0) for name, g in gradients({name: x[0] for name, x in tree.items()}).items()}
        tree, state = optimizer.update(grads, state, tree, hyper)
        yield {name: x[0] for name, x in tree.items()}


def convolutional() -> nn.Module:
    """Scale-invariant convolution and matrix, vectors, and a head that is not invariant."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 16, bias=False)]
    return nn.Sequential(*parts, nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)).to(DOUBLE)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["adamp", "sgdp"])
def test_updates_agree_with_an_independent_implementation(
    name: str, weight_decay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pytorch_optimizer

    monkeypatch.setattr(module, "EPSILON", 1e-20)  # it is added before the bias correction there, after it here
    p = {**DEFAULTS, "lr": 0.01, "weight_decay": weight_decay}
    common = {"lr": 0.01, "weight_decay": weight_decay, "delta": p["delta"], "wd_ratio": p["wd_ratio"]}
    (x, y), _ = digits()
    x, y = x[:64].view(-1, 1, 8, 8).to(DOUBLE), y[:64]
    model, ours = convolutional(), convolutional()
    if name == "adamp":
        reference = pytorch_optimizer.AdamP(model.parameters(), betas=BETAS, eps=1e-20, **common)
    else:
        reference = pytorch_optimizer.SGDP(model.parameters(), momentum=MOMENTUM, **common)

    def gradients(tree: Tree) -> Tree:
        leaves = {key: value.detach().requires_grad_() for key, value in tree.items()}
        f = torch.func.functional_call(ours, leaves, x)
        return dict(zip(leaves, torch.autograd.grad(cross_entropy(f, y), list(leaves.values())), strict=True))

    own = steps((adamp if name == "adamp" else sgdp)(), p, dict(ours.named_parameters()), gradients)
    for _ in range(20):
        reference.zero_grad()
        cross_entropy(model(x), y).backward()
        reference.step()
        tree = next(own)
        for key, value in model.named_parameters():
            torch.testing.assert_close(tree[key], value.detach(), rtol=1e-6, atol=1e-9)


def random_gradients(seed: int = 0) -> Callable[[Tree], Tree]:
    z = torch.Generator().manual_seed(seed)
    return lambda tree: {k: torch.randn(x.shape, generator=z, dtype=DOUBLE) for k, x in tree.items()}


def start() -> Tree:
    z = torch.Generator().manual_seed(1)
    return {"w": torch.randn(6, 5, generator=z, dtype=DOUBLE), "b": torch.randn(6, generator=z, dtype=DOUBLE)}


@pytest.mark.parametrize(
    ("projected", "plain", "decay"),
    [(adamp, adam("lr", BETAS, EPSILON, "weight_decay", decoupled=True), 0.1), (sgdp, sgd("lr", MOMENTUM), 0.0)],
    ids=["adamw", "sgd"],
)
def test_without_projection_they_are_their_baselines(projected, plain, decay) -> None:
    p = {**DEFAULTS, "delta": 0.0, "lr": 0.01, "weight_decay": decay}
    ours, theirs = (steps(each, p, start(), random_gradients()) for each in (projected(), plain))
    for _ in range(10):
        one, other = next(ours), next(theirs)
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-9, atol=1e-12)


def test_projection_looks_at_channels_then_at_the_whole_and_never_at_vectors() -> None:
    w, p = start()["w"], torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    delta = torch.full((1, 1), 0.1, dtype=DOUBLE)
    by_channel = p - w * (w * p).sum(1, keepdim=True) / w.square().sum(1, keepdim=True)  # tangent in every row
    found, whether = project(w, by_channel, p, delta, 0)
    torch.testing.assert_close(found, by_channel, rtol=1e-7, atol=1e-7)
    assert whether.item() and (found * w).sum(1).abs().max() < 1e-6

    by_whole = p - w * (w * p).sum() / w.square().sum()  # tangent as a whole, not by rows
    found, whether = project(w, by_whole, p, delta, 0)
    torch.testing.assert_close(found, by_whole, rtol=1e-7, atol=1e-7)
    assert whether.item() and (found * w).sum(1).abs().max() > 0.1

    found, whether = project(w, w, p, delta, 0)  # the cosine is that of the gradient, not of p
    assert torch.equal(found, p) and not whether.item()
    found, whether = project(w[0], by_channel[0], p[0], delta[0], 0)
    assert torch.equal(found, p[0]) and not whether.item()


@pytest.mark.parametrize("make", [adamp, sgdp])
def test_a_lane_axis_changes_nothing(make) -> None:
    p = {**DEFAULTS, "lr": 0.01, "weight_decay": 0.1, "delta": 0.5}
    optimizer, tree, grads = make(), start(), random_gradients()(start())
    hyper = optimizer.hyper([p, p], [*tree])
    one = type(hyper)({k: v[0] for k, v in hyper.base.items()}, hyper.scale)
    alone, _ = optimizer.update(grads, optimizer.init(tree), tree, one)
    twice = [{name: torch.stack([x, x]) for name, x in each.items()} for each in (grads, tree)]
    lanes, _ = optimizer.update(twice[0], optimizer.init(twice[1], 2), twice[1], hyper)
    for name, x in alone.items():
        torch.testing.assert_close(lanes[name][1], x, rtol=1e-12, atol=1e-12)


# --- the theory ---------------------------------------------------------------------------------------------------


def descend(optimizer: Optimizer, lr: float, slope: Callable[[Tensor], Tensor], w: Tensor, count: int) -> list[Tensor]:
    """w before and after each of `count` updates, as a row."""
    own = steps(optimizer, {**DEFAULTS, "lr": lr}, {"w": w[None]}, lambda tree: {"w": slope(tree["w"][0])[None]})
    return [w, *(next(own)["w"][0] for _ in range(count))]


def test_momentum_lets_norms_grow_by_the_lemma_and_projection_takes_that_back() -> None:
    z = torch.Generator().manual_seed(0)
    w = torch.randn(1000, generator=z, dtype=DOUBLE)

    def tangent(w: Tensor) -> Tensor:
        g = torch.randn(1000, generator=z, dtype=DOUBLE)
        return (g - w * (g @ w) / (w @ w)) / w.norm()

    path = descend(sgd("lr", MOMENTUM), 0.1, tangent, w, 2000)
    squares = torch.stack([(b - a).square().sum() for a, b in pairwise(path)])
    past, memory = torch.zeros((), dtype=DOUBLE), torch.zeros((), dtype=DOUBLE)
    for each in squares:
        past, memory = past + memory, MOMENTUM * (memory + each)
    growth = path[-1].square().sum() - w.square().sum()
    # sum over k < t of beta^(t-k) |p_k|^2: `memory` before step t
    assert growth.item() == pytest.approx((squares.sum() + 2 * past).item(), rel=1e-10)
    assert (growth / squares.sum()).item() == pytest.approx(1 + 2 * MOMENTUM / (1 - MOMENTUM), rel=0.03)
    path = descend(sgdp(), 0.1, tangent, w, 2000)
    squares = torch.stack([(b - a).square().sum() for a, b in pairwise(path)])
    assert ((path[-1].square().sum() - w.square().sum()) / squares.sum()).item() == pytest.approx(1, rel=0.01)


def test_the_toy_of_the_paper() -> None:
    """A function of the direction in three dimensions, 300 steps of rate 0.05; a known prototype gave the numbers."""

    def slope(w: Tensor) -> Tensor:
        w = w.detach().requires_grad_()
        return torch.autograd.grad(value(w), w)[0]

    def value(w: Tensor) -> Tensor:
        u = w / w.norm()
        return (1 - u[0]) ** 2 + (u[1] - u[0] ** 2) ** 2 + (u[2] - u[1] ** 2) ** 2

    w = torch.tensor([-0.5, 0.5, 0.7], dtype=DOUBLE)
    w = w / w.norm()
    ends = [descend(each, 0.05, slope, w, 300)[-1] for each in (sgd("lr"), sgd("lr", MOMENTUM), sgdp())]
    assert [end.norm().item() for end in ends] == pytest.approx([1.06, 4.98, 1.24], abs=0.01)
    assert [value(end).item() for end in ends] == pytest.approx([0.05049] * 3, abs=1e-5)


def test_hidden_matrices_are_scale_invariant_and_the_head_is_not() -> None:
    model = network({**DEFAULTS, "width": 16}, lambda stream: 0).to(DOUBLE)
    (x, y), _ = digits()
    x, y = x[:32].to(DOUBLE), y[:32]
    before = cross_entropy(model(x), y)
    before.backward()
    for matrix in (model[0], model[3], model[6]):
        radial = (matrix.weight.grad * matrix.weight).sum() / matrix.weight.grad.norm() / matrix.weight.norm()
        with torch.no_grad():
            matrix.weight.mul_(3)
            changed = abs(cross_entropy(model(x), y).item() - before.item())
            matrix.weight.div_(3)
        assert (abs(radial.item()) < 1e-3 and changed < 1e-3) == isinstance(matrix, Invariant)


def test_late_steps_are_those_of_the_last_quarter() -> None:
    matrix = Invariant(2, 1, steps=8)
    for turn in range(8):
        with torch.no_grad():
            matrix.weight.copy_(torch.tensor([[math.cos(0.01 * turn), math.sin(0.01 * turn)]]))
        matrix(torch.zeros(1, 2))
    assert matrix.far.item() == pytest.approx(1 * 0.01, rel=1e-3)
