"""Optimizers are those of torch.optim, for one lane and for many with settings of their own."""

from __future__ import annotations

import math

import pytest
import torch

from swathe.orchestrator.fusion import ProgramError, adagrad, adam, adamw, constant, cosine, linear, sgd
from swathe.orchestrator.fusion.optim import Hyper
from swathe.orchestrator.fusion.trees import each

F64 = torch.float64
CASES = {
    "sgd": (sgd(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    "decay": (sgd(0.1, weight_decay=0.3), lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.3)),
    "momentum": (sgd(0.1, 0.9, weight_decay=0.1), lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.1)),
    "dampening": (sgd(0.1, 0.9, dampening=0.4), lambda p: torch.optim.SGD(p, 0.1, 0.9, dampening=0.4)),
    "nesterov": (sgd(0.1, 0.9, nesterov=True), lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True)),
    "adam": (adam(0.1), lambda p: torch.optim.Adam(p, 0.1)),
    "adam settings": (
        adam(0.1, (0.5, 0.7), 1e-3, 0.2),
        lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.7), 1e-3, 0.2),
    ),
    "adagrad": (adagrad(0.1, 1e-3), lambda p: torch.optim.Adagrad(p, 0.1, eps=1e-3)),
    "adamw": (adamw(0.1, weight_decay=0.2), lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.2)),
}


def tree(lanes: int | None = None, seed: int = 0) -> dict[str, torch.Tensor]:
    shapes = {"matrix": (3, 4), "vector": (5,), "scalar": ()}
    z = torch.Generator().manual_seed(seed)
    return {n: torch.randn(s if lanes is None else (lanes, *s), generator=z, dtype=F64) for n, s in shapes.items()}


def gradient(p: torch.Tensor, step: int) -> torch.Tensor:
    return torch.sin((step + 1) * p) + p**3


def ours(optimizer, params, lanes=None, steps: int = 20):
    """The tree after some updates; one parameter set per lane, or one without a lane axis."""
    x = tree(lanes)
    hyper = optimizer.hyper(params, list(x))
    if lanes is None:
        hyper = Hyper(*each(lambda h: h[0], (hyper.base, hyper.scale)))
    state = optimizer.init(x, lanes)
    for step in range(steps):
        x, state = optimizer.update({n: gradient(p, step) for n, p in x.items()}, state, x, hyper)
    return x


def theirs(make, x, steps: int = 20, clip: float | None = None, schedule=None):
    leaves = [p.clone().requires_grad_() for p in x.values()]
    optimizer = make(leaves)
    scheduler = schedule(optimizer) if schedule else None
    for step in range(steps):
        for p in leaves:
            p.grad = gradient(p.detach(), step)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(leaves, clip)
        optimizer.step()
        if scheduler:
            scheduler.step()
    return dict(zip(x, (p.detach() for p in leaves), strict=True))


def agree(a, b, tolerance: float = 1e-12) -> None:
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("name", CASES)
def test_one_lane_is_torch_optim(name: str) -> None:
    optimizer, make = CASES[name]
    expected = theirs(make, tree())
    agree(ours(optimizer, [{}]), expected)
    stacked = ours(optimizer, [{}], lanes=1)
    agree(stacked, theirs(make, tree(1)))


@pytest.mark.parametrize("clip", [0.1, 1.0, 1e6])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_clipping_is_torch_s(name: str, clip: float) -> None:
    made = {"sgd": sgd(0.1, clip=clip), "adamw": adamw(0.1, weight_decay=0.2, clip=clip)}[name]
    agree(ours(made, [{}]), theirs(CASES[name][1], tree(), clip=clip))


@pytest.mark.parametrize(
    "ours_", [constant(5), cosine(18, 4), linear(18, 4), cosine(10, 0, 0.1), linear(30, floor=0.5), cosine(1, 1)]
)
def test_schedules_as_factors_of_the_learning_rate(ours_) -> None:
    settings = {name: torch.tensor(float(value), dtype=F64) for name, value in ours_.settings.items()}

    def factor(t: int) -> float:
        return float(ours_.factor(torch.tensor(float(t), dtype=F64), settings))

    def make(p):
        return torch.optim.SGD(p, 0.1)

    agree(
        ours(sgd(0.1, schedule=ours_), [{}], steps=25),
        theirs(make, tree(), 25, schedule=lambda o: torch.optim.lr_scheduler.LambdaLR(o, factor)),
    )
    warmup, steps, floor = (float(ours_.settings[name]) for name in ("warmup", "steps", "floor"))
    for t in range(int(warmup)):
        assert factor(t) == (t + 1) / warmup
    assert factor(int(warmup)) == pytest.approx(1.0) or steps <= warmup
    if warmup < steps < math.inf:
        assert factor(int(steps)) == factor(1000) == pytest.approx(floor)


def test_cosine_and_line_are_torch_s_schedules() -> None:
    for made, theirs_ in (
        (cosine(20), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20)),
        (linear(20, floor=0.25), lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.25, 20)),
    ):
        expected = theirs(lambda p: torch.optim.SGD(p, 0.1, 0.9), tree(), 20, schedule=theirs_)
        agree(ours(sgd(0.1, 0.9, schedule=made), [{}]), expected, 1e-11)


def test_every_lane_has_its_own_settings() -> None:
    params = [
        {"lr": 0.1 * 2.0**-k, "b": 0.5 + 0.1 * k, "wd": 0.1 * k, "clip": 0.1 + k, "warm": k, "steps": 10 + k}
        for k in range(4)
    ]
    optimizer = adamw(
        "lr", ("b", lambda p: 0.9 + p["b"] / 100), weight_decay="wd", clip="clip", schedule=cosine("steps", "warm", 0.1)
    )
    together = ours(optimizer, params, lanes=4)
    for lane, p in enumerate(params):
        alone = optimizer.hyper([p], list(together))
        x = {n: t[lane] for n, t in tree(4).items()}
        state, hyper = optimizer.init(x), Hyper(*each(lambda h: h[0], (alone.base, alone.scale)))
        for step in range(20):
            x, state = optimizer.update({n: gradient(t, step) for n, t in x.items()}, state, x, hyper)
        agree({n: t[lane] for n, t in together.items()}, x)


def test_factors_for_single_tensors_are_parameter_groups() -> None:
    def scale(p):
        return {"m*": {"lr": 1 / p["width"], "weight_decay": p["width"]}, "vector": {"eps": 10.0}}

    def make(leaves):
        matrix, vector, scalar = leaves
        groups = [
            {"params": [matrix], "lr": 0.1 / 4, "weight_decay": 0.05 * 4},
            {"params": [vector], "eps": 1e-2},
            {"params": [scalar]},
        ]
        return torch.optim.AdamW(groups, 0.1, eps=1e-3, weight_decay=0.05)

    made = adamw(0.1, eps=1e-3, weight_decay=0.05, scale=scale)
    agree(ours(made, [{"width": 4}]), theirs(make, tree()))
    mixed = ours(made, [{"width": 4}, {"width": 1}], lanes=2)
    agree({n: t[0] for n, t in mixed.items()}, theirs(make, {n: t[0] for n, t in tree(2).items()}))


@pytest.mark.parametrize("name", CASES)
def test_update_changes_nothing_it_is_given(name: str) -> None:
    optimizer, _ = CASES[name]
    x, grads = tree(2), tree(2, seed=1)
    state = optimizer.init(x, 2)
    before = each(torch.clone, (x, grads, state))
    optimizer.update(grads, state, x, optimizer.hyper([{}, {}], list(x)))
    each(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0), (x, grads, state), before)


@pytest.mark.parametrize("name", CASES)
def test_single_precision_agrees_with_torch_s(name: str) -> None:
    """Bias corrections in double precision: 1 - 0.999 in single precision is off by 1e-5."""
    optimizer, make = CASES[name]
    x = {n: p.float() for n, p in tree().items()}
    hyper = optimizer.hyper([{}], list(x))
    after, _ = optimizer.update(
        {n: gradient(p, 0) for n, p in x.items()},
        optimizer.init(x),
        x,
        Hyper(*each(lambda h: h[0], (hyper.base, hyper.scale))),
    )
    agree(after, theirs(make, x, 1), 3e-7)


def test_mistakes_are_explained() -> None:
    with pytest.raises(ProgramError, match="'lr' is no parameter; there are width"):
        sgd("lr").hyper([{"width": 1}], ["w"])
    with pytest.raises(ProgramError, match="'fast' is no number"):
        sgd("lr").hyper([{"lr": "fast"}], ["w"])
    with pytest.raises(ProgramError, match=r"'hidden\.\*', but no tensor"):
        sgd(0.1, scale=lambda p: {"hidden.*": {"lr": 2.0}}).hyper([{}], ["w"])
    with pytest.raises(ProgramError, match="'rate', which is no setting"):
        sgd(0.1, scale=lambda p: {"w": {"rate": 2.0}}).hyper([{}], ["w"])
    with pytest.raises(ProgramError, match="dampening 0"):
        sgd(0.1, 0.9, nesterov=True, dampening=0.1)
