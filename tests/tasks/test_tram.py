"""TRAM and its kin: step by step against an independent SAM, the equations by hand, distances and their graph."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy

from swathe.orchestrator.fusion import Lanes
from swathe.tasks.blocks.transfer import CLASSES, INPUTS, cka, domains, logits, rotations
from swathe.tasks.optimizers.tram import BOX, DEFAULTS, METHODS, NAMES, PROGRAM, kl, measures, squares

F64 = torch.float64
SMALL = {**DEFAULTS, "width": 8, "examples": 40, "pretraining": 5, "batch_size": 16, "lr": 0.01, "weight_decay": 0.1}
Tree = dict[str, Tensor]


def pack(lanes: int = 1, **given: Any) -> Lanes:
    params = [{**SMALL, **given}] * lanes
    return Lanes(PROGRAM, params, [lambda s, k=k: k + len(s) for k in range(lanes)], dtype=F64, fused=lanes > 1)


def tensors(lanes: Lanes, lane: int = 0) -> Tree:
    return {name: lanes.state["params"][name][lane].clone() for name in NAMES}


def batch_of(lanes: Lanes, lane: int = 0) -> tuple[Tensor, Tensor]:
    (rows,), buffers = lanes.batches.at(lanes.done), lanes.state["buffers"]
    return buffers["x"][lane][rows[lane]], buffers["y"][lane][rows[lane]]


def slope(w: Tree, x: Tensor, y: Tensor) -> Tree:
    return grad(lambda w: cross_entropy(logits(w, x), y))(w)


def norm(tree: Tree) -> float:
    return sum(x.square().sum().item() for x in tree.values()) ** 0.5


@pytest.mark.parametrize("base", ["adam", "sgd"])
@pytest.mark.parametrize("method", ["sam", "asam"])
def test_steps_are_those_of_an_independent_implementation(method: str, base: str) -> None:
    from pytorch_optimizer import SAM

    lanes = pack(2, method=method, base=base)
    w = {name: nn.Parameter(x) for name, x in tensors(lanes, 1).items()}
    kind, options = {"adam": (torch.optim.Adam, {"betas": (0.9, 0.99)}), "sgd": (torch.optim.SGD, {"momentum": 0.9})}[
        base
    ]
    rho = {"sam": 0.05, "asam": 0.5}[method]
    theirs = SAM(w.values(), kind, rho=rho, adaptive=method == "asam", lr=0.01, weight_decay=0.1, **options)
    for _ in range(20):
        x, y = batch_of(lanes, 1)

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            theirs.zero_grad()
            loss = cross_entropy(logits(w, x), y)
            loss.backward()
            return loss

        closure()
        theirs.step(closure)
        lanes.step()
        for name, ours in tensors(lanes, 1).items():
            torch.testing.assert_close(ours, w[name].detach(), rtol=1e-6, atol=1e-9)


def reported(lanes: Lanes) -> dict[str, float]:
    lanes.step(report=True)
    found = lanes.flush()
    return dict(zip(found.metrics, found.values[:, 0].tolist(), strict=True))


def by_hand(w: Tree, x: Tensor, y: Tensor, d: float) -> tuple[Tree, Tree]:
    """eps of ASAM and the gradient at theta + eps."""
    g = slope(w, x, y)
    size = norm({name: w[name] * g[name] for name in w})
    eps = {name: d * w[name].square() * g[name] / size for name in w}
    return eps, slope({name: w[name] + eps[name] for name in w}, x, y)


@pytest.mark.parametrize("method", ["tram_x", "tram_previous", "tram_start"])
def test_tram_is_asam_whose_radius_is_the_distance(method: str) -> None:
    lanes = pack(method=method, base="sgd", lr=0.1, weight_decay=0.0, scale=3.0, sigma=0.5)
    start = before = tensors(lanes)
    momentum = {name: torch.zeros_like(x) for name, x in start.items()}
    for step in range(5):
        theta, (x, y) = tensors(lanes), batch_of(lanes)
        found = reported(lanes)
        d = found["distance"]
        if method != "tram_x":
            other = {"tram_previous": before, "tram_start": start}[method]
            f, old = logits(theta, x).softmax(1), logits(other, x).softmax(1)
            assert d == pytest.approx(3 * (old * (old / f).log()).sum(1).mean().item(), rel=1e-6, abs=1e-12)
        assert (d < 1e-12) == (method != "tram_x" and step == 0)
        eps, g = by_hand(theta, x, y, d)
        assert norm({name: eps[name] / theta[name] for name in theta}) == pytest.approx(d, abs=1e-9)
        assert found["radius_error"] < 1e-9 and (found["climb"] > 0 or d < 1e-12)
        momentum = {name: 0.9 * momentum[name] + g[name] for name in g}
        for name, after in tensors(lanes).items():
            torch.testing.assert_close(after, theta[name] - 0.1 * momentum[name], rtol=1e-7, atol=1e-10)
        before = theta


def test_a_distance_of_nothing_is_a_plain_step() -> None:
    for method, given in (("tram_x", {"sigma": 0.0}), ("tram_start", {"scale": 0.0}), ("sam", {"scale": 0.0})):
        one, plain = pack(method=method, **given), pack(method="plain", **given)
        for _ in range(5):
            one.step()
            plain.step()
        for name, x in tensors(one).items():
            torch.testing.assert_close(x, tensors(plain)[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["fisher_sam", "tram_fisher"])
def test_fisher_s_ascent_by_each_example_s_gradient(method: str) -> None:
    lanes = pack(method=method, base="sgd", weight_decay=0.0, sigma=0.0)
    theta, (x, y) = tensors(lanes), batch_of(lanes)
    each = vmap(lambda x, y: slope(theta, x[None], y[None]))(x, y)
    s = {name: g.square().mean(0) for name, g in each.items()}
    buffers = {name: b[0] for name, b in lanes.state["buffers"].items()}
    (rows,) = lanes.batches.at(0)

    class Model:
        tensors: ClassVar = {**buffers, **theta}

    for name, found in squares(Model, (rows[0],), {"method": "fisher_sam"}).items():
        torch.testing.assert_close(found, s[name], rtol=1e-9, atol=1e-14)
    g = slope(theta, x, y)
    inverse = {name: g[name] / (1 + 0.1 * s[name]) for name in g}
    size = sum((g[name] * inverse[name]).sum() for name in g) ** 0.5
    found = slope({name: theta[name] + 0.1 * inverse[name] / size for name in g}, x, y)
    lanes.step()
    for name, after in tensors(lanes).items():
        torch.testing.assert_close(after, theta[name] - 0.01 * found[name], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("method", ["trpo", "mesa"])
def test_trust_regions_hold_on_to_their_anchor(method: str) -> None:
    lanes = pack(method=method, base="sgd", lr=1.0, weight_decay=0.0)
    anchor, momentum = tensors(lanes), dict.fromkeys(NAMES, 0.0)
    for _ in range(4):
        theta, (x, y) = tensors(lanes), batch_of(lanes)
        target = logits(anchor, x)

        def loss(w: Tree, x: Tensor = x, y: Tensor = y, target: Tensor = target) -> Tensor:
            p = target.softmax(1)
            return cross_entropy(logits(w, x), y) + 0.1 * (p * (p / logits(w, x).softmax(1)).log()).sum(1).mean()

        g = grad(loss)(theta)
        momentum = {name: 0.9 * momentum[name] + g[name] for name in g}
        lanes.step()
        for name, after in tensors(lanes).items():
            torch.testing.assert_close(after, theta[name] - momentum[name], rtol=1e-7, atol=1e-10)
        now = tensors(lanes)
        anchor = theta if method == "trpo" else {k: 0.999 * anchor[k] + 0.001 * now[k] for k in now}


def test_r3f_without_noise_is_plain_and_with_noise_is_not() -> None:
    plain, quiet, noisy = pack(method="plain"), pack(method="r3f", sigma=0.0), pack(method="r3f", sigma=1.0)
    for lanes in (plain, quiet, noisy):
        lanes.run(3)
    a, b, c = (tensors(lanes)["0.weight"] for lanes in (plain, quiet, noisy))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert (a - c).abs().max() > 1e-5


def test_kl_of_two_bernoullis_and_of_a_stack() -> None:
    p, q = torch.tensor(0.3, dtype=F64), torch.tensor(0.6, dtype=F64)
    a, b = (torch.stack([x, 1 - x]).log()[None] + 2.0 for x in (p, q))
    exact = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
    assert kl(a, b).item() == pytest.approx(exact.item(), rel=1e-12)
    assert kl(a, a).item() == 0
    stack = kl(torch.stack([a, b]), torch.stack([b, b]))
    assert stack.tolist() == pytest.approx([exact.item(), 0], abs=1e-12)


def test_measures_by_hand() -> None:
    lanes = pack(method="plain")
    lanes.run(3)
    all_of = {name: x[0] for name, x in [*lanes.state["params"].items(), *lanes.state["buffers"].items()]}

    class Model:
        tensors = all_of

    found, w = measures(Model, (), SMALL), tensors(lanes)
    x, y = all_of["test_x"][1:].flatten(0, 1), all_of["test_y"][1:].flatten()
    right = (logits(w, x).argmax(1) == y).double().mean().item()
    assert found["elsewhere"].item() == pytest.approx(right)
    low, g = cross_entropy(logits(w, x), y), slope(w, x, y)
    first_order = sum((BOX * (w[k].abs() + 1) * g[k].abs()).sum() for k in w)
    assert found["sharpness"].item() == pytest.approx((100 * first_order / (1 + low)).item(), rel=0.1)
    assert 0.5 < found["cka"].item() < 1


def test_cka_does_not_see_rotations_and_scale() -> None:
    z = torch.Generator().manual_seed(0)
    a = torch.randn(500, 6, generator=z, dtype=F64)
    q = torch.linalg.qr(torch.randn(6, 6, generator=z, dtype=F64))[0]
    assert cka(a, 3 * a @ q + 1).item() == pytest.approx(1)
    assert cka(a, torch.randn(500, 6, generator=z, dtype=F64)).item() < 0.05


def test_domains_are_rotations_of_each_other() -> None:
    z = torch.Generator().manual_seed(0)
    turns = rotations((0.0, 0.4, 0.8), 6, z).double()
    torch.testing.assert_close(turns @ turns.mT, torch.eye(6).double().expand(3, 6, 6), rtol=0, atol=1e-5)
    torch.testing.assert_close(turns[1] @ turns[1], turns[2], rtol=0, atol=1e-5)
    v = torch.randn(6, generator=z).double()
    assert ((turns[1] @ v) @ v / (v @ v)).item() == pytest.approx(torch.tensor(0.4).cos().item(), abs=1e-5)
    x, y = domains(z)(4000)
    assert x.shape == (4, 4000, INPUTS) and y.max() == CLASSES - 1
    norms = torch.stack([x[k][y[k] == 0].mean(0).norm() for k in range(4)])
    assert (norms - norms.mean()).abs().max() < 0.2


def test_every_method_trains_and_plain_is_adam() -> None:
    for method in METHODS:
        lanes = pack(method=method, weight_decay=0.0)
        theta, (x, y) = tensors(lanes), batch_of(lanes)
        lanes.step()
        assert not torch.equal(tensors(lanes)["2.weight"], theta["2.weight"]), method
        if method == "plain":
            g = slope(theta, x, y)["2.bias"]
            torch.testing.assert_close(tensors(lanes)["2.bias"], theta["2.bias"] - 0.01 * g.sign(), rtol=0, atol=1e-6)
