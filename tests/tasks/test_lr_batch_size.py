"""Curvature of batches against random matrices, dense Hessians and limits; learning rates against closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from swathe.orchestrator.claims import Frames
from swathe.orchestrator.fusion import Lanes
from swathe.orchestrator.fusion.lane import Model
from swathe.orchestrator.task import Trial
from swathe.tasks.blocks.estimators import slope
from swathe.tasks.blocks.students import TRAIN, points, student
from swathe.tasks.scaling.lr_batch_size import (
    BOUND,
    DEFAULTS,
    DIMENSIONS,
    FARTHEST,
    LEVELS,
    POOL,
    PROGRAM,
    TASK,
    hessians,
    largest,
    seen,
    stable,
    top,
)
from tests.contracts.conftest import Reports

F64 = torch.float64


def network(width: int = 3, **over: Any) -> tuple[Model, tuple[torch.Tensor, ...]]:
    p = {**DEFAULTS, "width": width, **over}
    module = student(p, len)
    tensors = {name: x.detach().double() for name, x in module.state_dict().items()}
    return Model(module, tensors), tuple(x.double() for x in points(p).held_out[:2])


# --- curvature ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.5, 0.8, 1.5, 3.0])
def test_the_top_of_a_matrix_with_noise_is_where_the_theorem_has_it(strength: float) -> None:
    """`strength` is lambda / s; at and below 1 the outlier has merged into the edge."""
    size, s, draw = 800, 1.3, np.random.default_rng(0)
    found = []
    for _ in range(3):
        noise = draw.normal(scale=s / size**0.5, size=(size, size))
        noise = (np.triu(noise) + np.triu(noise, 1).T) + np.diag([strength * s, *np.zeros(size - 1)])
        found.append(np.linalg.eigvalsh(noise)[-1])
    predicted = seen(torch.tensor(strength * s), torch.tensor(s**2 * size), size)
    assert float(predicted) == pytest.approx(np.mean(found), rel=0.05)


def test_hessians_are_those_of_the_loss_by_differences() -> None:
    """Second differences of the loss along random directions; the Gauss-Newton part has no negative eigenvalue."""
    model, (z, noise) = network()
    h, g = hessians(model, z[:40], noise[:40])
    names = ["first.weight", "first.bias", "second.weight", "second.bias"]
    draw, step = torch.Generator().manual_seed(0), 1e-4
    for _ in range(4):
        v = {name: torch.randn(model.tensors[name].shape, generator=draw, dtype=F64) for name in names}
        at = [
            cross_entropy(
                *model.at({name: model.tensors[name] + k * step * v[name] for name in names})(z[:40], noise[:40])
            )
            for k in (-1, 0, 1)
        ]
        flat = torch.cat([v[name].flatten() for name in names])
        assert float(flat @ h @ flat) == pytest.approx(float(at[0] - 2 * at[1] + at[2]) / step**2, rel=1e-4)
    assert float(torch.linalg.eigvalsh(g)[0]) > -1e-12
    assert torch.linalg.matrix_rank(g, hermitian=True) <= 40 * 4


def test_without_a_residual_the_hessian_is_its_gauss_newton_part() -> None:
    """Where every output fits its label in the mean, p = y, the rest vanishes: here for a constant output."""
    model, (z, noise) = network()
    flat = model.at({"second.weight": torch.zeros_like(model.tensors["second.weight"])})
    h, g = hessians(flat, z[:50], noise[:50])
    last = slice(-5, None)  # biases of the outputs, in which the outputs are linear
    torch.testing.assert_close(h[last, last], g[last, last], rtol=1e-10, atol=1e-12)
    p = flat(z[:1], noise[:1])[0].softmax(1)[0]
    torch.testing.assert_close(g[last, last], torch.diag(p) - torch.outer(p, p), rtol=1e-10, atol=1e-12)


def test_the_mean_over_equal_parts_is_the_whole_and_its_top_is_no_more_than_theirs() -> None:
    model, (z, noise) = network()
    parts = [hessians(model, z[k : k + 16], noise[k : k + 16]) for k in range(0, 64, 16)]
    whole = hessians(model, z[:64], noise[:64])
    for which in (0, 1):
        torch.testing.assert_close(sum(each[which] for each in parts) / 4, whole[which], rtol=1e-9, atol=1e-12)
        assert float(top(whole[which])) <= float(torch.stack([top(each[which]) for each in parts]).mean()) + 1e-12


def test_all_examples_as_a_batch_see_what_is_there() -> None:
    trial = Trial({**DEFAULTS, "width": 4, "steps": 5, "report_every": 5, "measured": TRAIN}, sink=Reports())
    found = dict(TASK.train(trial) or {})
    assert found["top_batch"] == pytest.approx(found["top"], rel=1e-5)
    assert found["ggn_batch"] == pytest.approx(found["ggn"], rel=1e-5)
    assert found["misfit"] < 1e-4


# --- learning rates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.8, 1.25])
def test_least_squares_is_stable_in_the_mean_up_to_its_bound(share: float) -> None:
    """E |w|^2 after one step over |w|^2, from 4,000 batches: 1 - 2 lr + lr^2 (B + d + 1) / B."""
    size, draw = 16, torch.Generator().manual_seed(0)
    lr = share * 2 * size / (size + DIMENSIONS + 1)
    x = torch.randn(4000, size, DIMENSIONS, generator=draw, dtype=F64)
    w = torch.zeros(DIMENSIONS, dtype=F64)
    w[0] = 1
    after = w - lr / size * torch.einsum("kbi,kb->ki", x, x @ w)
    mean = float(after.square().sum(1).mean())
    assert mean == pytest.approx(1 - 2 * lr + lr**2 * (size + DIMENSIONS + 1) / size, rel=0.02)
    assert (mean < 1) == (share < 1)


def test_steps_of_least_squares_are_those_of_its_formula() -> None:
    p = {**DEFAULTS, "system": "least_squares", "batch_size": 4, "lr": 0.1, "steps": 300}
    lanes = Lanes(PROGRAM, [p], [len], dtype=F64, fused=False)
    w, (x,) = lanes.state["params"]["w"][0].clone(), lanes.batches.at(0)
    lanes.step()
    x = x.reshape(4, DIMENSIONS)
    torch.testing.assert_close(lanes.state["params"]["w"][0], w - 0.1 / 4 * x.T @ (x @ w), rtol=1e-12, atol=1e-12)
    assert max(LEVELS) * 300 <= POOL, "rows are seen twice"


def test_sizes_of_batches_and_both_optimizers_are_what_they_are_called() -> None:
    for name in ("sgd", "adam"):
        p = {**DEFAULTS, "optimizer": name, "batch_size": 8, "lr": 2.0**-6}
        lanes = Lanes(PROGRAM, [p], [len], dtype=F64, fused=False)
        before = lanes.state["params"]["first.weight"][0].clone()
        assert lanes.batches.at(0)[0].shape[-2:] == (8, 20)
        lanes.step()
        moved = (lanes.state["params"]["first.weight"][0] - before).abs()
        # The first step of Adam is lr in every coordinate.
        assert (float(moved.min()) == pytest.approx(2.0**-6, rel=1e-3)) == (name == "adam")


# --- what is read from a sweep --------------------------------------------------------------------------------------

RATES = [2.0**k for k in range(-6, 3)]


def sweep(limits: dict[tuple[str, int], float], seeds: int = 3) -> Frames:
    """Trials whose loss stays at 1 up to these learning rates, by optimizer and B, and is 2 above."""
    trials, reports = [], []
    for (optimizer, size), limit in limits.items():
        for seed in range(seeds):
            for rate in RATES:
                name = f"{optimizer}.{size}.{seed}.{rate}"
                params = {"param.optimizer": optimizer, "param.batch_size": size, "param.lr": rate}
                trials.append({"trial": name, "replicate": seed, **params})
                loss = 1.0 if rate <= limit else 2.0
                reports += [(name, step, "train_loss", loss if step else 9.0, False) for step in (0, 50, 60, 100)]
                reports.append((name, 100, "train_loss", 0.0, True))
    columns = ["trial", "step", "metric", "value", "final"]
    return Frames(pd.DataFrame(trials), pd.DataFrame(reports, columns=columns))


def test_the_largest_rate_is_the_last_that_stays_and_its_power_is_that_of_the_limits() -> None:
    sizes = (2, 4, 8)
    frames = sweep({("sgd", b): b / 32 for b in sizes} | {("adam", b): (b / 32) ** 0.5 for b in (2, 8)})
    table = largest(frames, 1.5).trials
    assert table["metric.sgd"].tolist() == [2 / 32, 4 / 32, 8 / 32] * 3
    found = stable(1.5, slope("sgd", "batch_size"))(frames)
    assert found.estimate == pytest.approx(1.0)
    assert table.loc[table["param.batch_size"] == 8, "metric.gain"].tolist() == [0.5] * 3


def test_a_largest_rate_at_an_end_of_the_grid_is_no_number() -> None:
    table = largest(sweep({("sgd", 2): 100.0, ("sgd", 4): 0.25, ("sgd", 8): RATES[0], ("adam", 2): 0.5}), 1.5).trials
    by_size = table.groupby("param.batch_size")["metric.sgd"].apply(list)
    assert np.isnan(by_size[2]).all()
    assert by_size[4] == [0.25] * 3
    assert 8 not in by_size or np.isnan(by_size[8]).all()


def test_a_trial_that_breaks_off_is_not_stable() -> None:
    frames = sweep({("sgd", 2): 0.25})
    broken = frames.trials.loc[frames.trials["param.lr"] == 0.25, "trial"]
    gone = frames.metrics["trial"].isin(broken) & (frames.metrics["step"] > 60)
    assert set(largest(frames._replace(metrics=frames.metrics[~gone]), 1.5).trials["metric.sgd"]) == {0.125}


def test_the_distance_to_the_bound_is_the_farthest_level_of_any_side() -> None:
    rates = BOUND * np.array([1.0, 1.05, 0.88, 1.0, 1.1])
    table = pd.DataFrame(
        [
            {"replicate": k, "param.batch_size": size, "metric.sgd": rate}
            for k in range(4)
            for size, rate in zip(LEVELS, rates, strict=True)
        ]
    )
    assert FARTHEST(Frames(table, table)).estimate == pytest.approx(0.12)
