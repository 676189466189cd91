"""The number of lanes is a function of a measurement; measurements are sane; running out of memory halves."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from swathe.orchestrator.fusion import Data, Lanes, Program, adam, capacity
from swathe.orchestrator.fusion.capacity import FEW, LONG, MANY, Bench, Measurement, halving, measure, plan

GB = 2**30
X, Y = torch.randn(64, 10), torch.randint(0, 3, (64,))


def measured(fixed: float, each: float, plain: float, lane_bytes: int = 1, free: int = GB) -> Measurement:
    """Of a device on which K lanes take fixed + K each."""
    return Measurement(plain, fixed + FEW * each, fixed + MANY * each, lane_bytes, free)


def test_lanes_make_the_fixed_cost_a_tenth() -> None:
    assert plan(measured(fixed=1.0, each=0.1, plain=1.1), trials=10_000) == 128
    assert plan(measured(fixed=1.0, each=0.1, plain=1.1), trials=100) == 100
    assert plan(measured(fixed=0.5, each=0.5, plain=1.0), trials=10_000) == 12
    assert plan(measured(fixed=100.0, each=0.1, plain=200.0), trials=10_000) == 1024


def test_where_lanes_do_not_pay_trials_run_plain() -> None:
    assert plan(measured(fixed=0.1, each=1.0, plain=1.0), trials=100) == 0
    assert plan(measured(fixed=0.1, each=0.98, plain=1.0), trials=100) == 0
    assert plan(measured(fixed=0.1, each=0.8, plain=1.0), trials=100) > 1
    assert plan(measured(fixed=5.0, each=0.5, plain=1.0), trials=100) > 1
    assert plan(measured(fixed=5.0, each=0.5, plain=1.0), trials=3) == 0


def test_lanes_fit_into_memory() -> None:
    roomy = measured(fixed=1.0, each=0.1, plain=1.1)
    for lane_bytes, lanes in ((GB // 2000, 128), (GB // 200, 96), (GB // 20, 8), (GB // 3, 0), (GB, 0)):
        assert plan(dataclasses.replace(roomy, lane_bytes=lane_bytes), trials=10_000) == lanes


def test_any_measurement_gives_a_plan() -> None:
    for few, many in ((1.0, 0.5), (0.0, 0.0), (1e-9, 1.0), (1.0, 1.0)):
        for trials in (0, 1, 7, 5000):
            assert 0 <= plan(Measurement(1.0, few, many, 0, GB), trials) <= max(trials, 0)


def program() -> Program:
    def loss(model, batch, p):
        return F.cross_entropy(model(batch[0]), batch[1])

    def model(p, seeds):
        return nn.Sequential(nn.Linear(10, int(p["width"])), nn.ReLU(), nn.Linear(int(p["width"]), 3))

    return Program(model, loss, adam("lr"), lambda p: Data((X, Y), (), 32, shared=0), shapes=("width",))


def test_measuring_a_program() -> None:
    params = {"width": 16, "lr": 0.1}
    found = measure(Bench(program(), params, lambda stream: 1))
    assert all(0 < seconds < 5 for seconds in (found.plain, found.few, found.many))
    entries = 10 * 16 + 16 + 16 * 3 + 3
    assert 4 * 4 * entries < found.lane_bytes < 20 * 4 * entries  # weights, two moments, gradients; activations
    assert found.free_bytes > 0
    assert 0 <= plan(found, 50) <= 50


def test_nothing_is_trained_where_weights_are_too_large_to_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    def pack(*_: object, **__: object) -> Lanes:
        raise AssertionError("a pack was made")

    monkeypatch.setattr(Bench, "pack", pack)
    found = measure(Bench(program(), {"width": 400_000, "lr": 0.1}, lambda stream: 1))
    assert plan(found, 50) == 0 and found.lane_bytes > 3 * 4 * 13 * 400_000


@pytest.mark.parametrize(("width", "steps"), [(16, 10), (60_000, 10**6)])
def test_no_lanes_are_measured_where_they_cannot_pay(width: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little work, or steps beside which overhead is nothing: only a few plain steps are made."""
    made: list[int] = []
    pack = Bench.pack

    def watched(bench: Bench, lanes: int, *, fused: bool = True) -> Lanes:
        made.append(lanes)
        return pack(bench, lanes, fused=fused)

    monkeypatch.setattr(Bench, "pack", watched)
    found = measure(Bench(program(), {"width": width, "lr": 0.1}, lambda stream: 1, length=steps), 1)
    assert made == [1] and plan(found, 50) == 0


def test_counting_operations_makes_no_step_look_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of many small operations takes several times as long while they are counted."""
    counted = 0

    class Slow(capacity._Calls):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal counted
            counted += 1
            return super().__torch_dispatch__(func, types, args, kwargs)

    clock = (counted * LONG + read * 1e-6 for read in itertools.count()).__next__
    monkeypatch.setattr(capacity, "_Calls", Slow)
    found = measure(Bench(program(), {"width": 16, "lr": 0.1}, lambda stream: 1, clock=clock))
    assert counted > 1 and found.plain < LONG
    assert found.lane_bytes > 0 and found.few != FEW * found.plain, "lanes were measured"


def test_measuring_asks_for_no_batch_after_a_trials_last() -> None:
    def rows(seed: int) -> torch.Tensor:
        return torch.arange(15).view(5, 3)  # five batches of three

    short = dataclasses.replace(program(), data=lambda p: Data((X, Y), (), 3, rows=rows), model=finite)
    measure(Bench(short, {"width": 16, "lr": 0.1}, lambda stream: 1, length=5), trials=10**6)


class Finite(nn.Sequential):
    """Refuses an empty batch; what is recorded is refused by its shapes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert len(x)
        return super().forward(x)


def finite(p, seeds):
    return Finite(nn.Linear(10, int(p["width"])), nn.ReLU(), nn.Linear(int(p["width"]), 3))


def test_packs_of_equal_shape_share_the_recorded_update() -> None:
    updates: dict = {}

    def trained(lanes: int, shared: dict | None) -> dict[str, torch.Tensor]:
        pack = Lanes(program(), [{"width": 8, "lr": 0.1}] * lanes, [lambda stream: 1] * lanes, updates=shared)
        pack.run(3)
        return pack.save()

    for lanes, recorded in ((4, 1), (4, 1), (2, 2)):
        alone, sharing = trained(lanes, None), trained(lanes, updates)
        assert len(updates) == recorded
        assert all(torch.equal(sharing[name], x) for name, x in alone.items())


def test_the_memory_of_a_lane_is_proportional() -> None:
    """Bytes are counted from the recording: twice the lanes take twice the memory."""
    params = {"width": 16, "lr": 0.1}

    def peak(lanes: int) -> int:
        pack = Lanes(program(), [params] * lanes, [lambda stream: 1] * lanes)
        pack.step()
        return pack.peak

    assert peak(16) == pytest.approx(2 * peak(8), rel=0.05)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory: x")],
)
def test_running_out_of_memory_halves_the_lanes(error: Exception) -> None:
    tried: list[int] = []

    def run(lanes: int) -> str:
        tried.append(lanes)
        if lanes > 5:
            raise error
        return "done"

    assert halving(run, 48) == ("done", 3)
    assert tried == [48, 24, 12, 6, 3]
    with pytest.raises(type(error)):
        halving(lambda lanes: run(100), 2)


def test_other_errors_are_not_mistaken_for_memory() -> None:
    def run(lanes: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        halving(run, 8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_the_same_lanes() -> None:
    params = [{"width": 16, "lr": 0.01 * (k + 1)} for k in range(4)]
    packs = [Lanes(program(), params, [lambda s, k=k: k for k in range(4)], device=d) for d in ("cpu", "cuda")]
    for pack in packs:
        pack.run(5)
    for path, x in packs[0].save().items():
        torch.testing.assert_close(packs[1].save()[path].cpu(), x, rtol=1e-3, atol=1e-5)
    found = measure(Bench(program(), params[0], lambda stream: 1, device="cuda"))
    assert found.lane_bytes > 0 and not math.isnan(found.many)
