"""Widths of basins, what a hyperparameter costs, and which one matters."""

import numpy as np
import optuna
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.analysis.importance import importances
from swathe.analysis.sensitivity import compare_widths, sensitivity
from swathe.analysis.width import above, excess, width
from swathe.orchestrator.errors import SwatheError

X = np.arange(-4, 5) * 0.5


def test_the_width_of_a_parabola_and_of_a_cliff():
    assert width(X, X**2, 0.25).octaves == pytest.approx(1.0)
    assert width(X, 3 + np.abs(X), 0.3).octaves == pytest.approx(0.6, abs=0.1)  # the cubic rounds the kink
    cliff = width(X, np.where(X > 0.6, np.inf, 0.0), 0.1)
    # Open to the low side from -2 on; the cliff is somewhere between 0.5 and 1, as a uniform number.
    assert cliff.octaves == pytest.approx(2.75) and cliff.open_low and not cliff.open_high
    assert cliff.variance == pytest.approx(0.5**2 / 12)
    assert np.isnan(width(X, np.full(9, np.inf), 0.1).octaves)


# Eighths and a depth between them: no point lies at the depth itself, where a rounding error would decide.
@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.one_of(st.integers(0, 40), st.just(np.inf)), min_size=4, max_size=9),
    st.integers(0, 16),
    st.integers(-20, 20),
)
def test_a_width_grows_with_the_depth_and_ignores_the_level(eighths, depths, level):
    costs, depth = np.array(eighths) / 8, depths / 8 + 1 / 16
    mean, x = np.array(costs), np.arange(len(costs)) * 0.5
    found = width(x, mean, depth)
    if np.isfinite(mean).any():
        assert -1e-9 <= found.octaves <= x[-1] + 1e-9
        assert width(x, mean, 1.5 * depth).octaves >= found.octaves - 1e-9
        assert width(x, mean + level, depth).octaves == pytest.approx(found.octaves, abs=1e-5)


def test_excess_and_penalty_are_closed_forms():
    assert excess(X, np.abs(X), 10.0) == pytest.approx(1.0, abs=0.02)
    assert excess(X, np.where(X > 0, np.inf, 0.0), 1.0) == pytest.approx(7 / 16, abs=0.01)
    assert above(X, X**2, 2.0) == 1.0 and above(X, X**2, 2**0.75) == pytest.approx(0.5625, abs=0.02)
    assert above(X, np.where(X > 0, np.inf, 0.0), 1.1) == np.inf
    with pytest.raises(SwatheError, match=r"the default 5 lies outside the values tried, 0\.25 to 4"):
        above(X, X, 5.0)


@pytest.mark.parametrize(("kind", "seeds"), [("bowl", 3), ("bowl", 5), ("descent", 3)])
def test_the_interval_of_a_width_covers(make_study, make_landscape, kind, seeds):
    rng, land, hits = np.random.default_rng(0), make_landscape(kind=kind), 0
    fine = np.linspace(-2.5, 2.5, 20_001)
    cost = np.log(land.loss(fine, np.ones(len(fine))))
    truth = 5 * (cost <= np.nanmin(cost) + np.log(1.1)).mean()
    for _ in range(100):
        trials = make_study(rng, 0.0, seeds=seeds, levels=1, landscape=land).frame()
        found = sensitivity(trials, "lr", tolerance=0.1)[0].width
        hits += bool(found.low <= truth <= found.high)
    assert hits >= 86


def test_a_curve_tells_what_it_rests_on(make_study):
    trials = make_study(np.random.default_rng(1), 0.0, seeds=3, levels=2).frame()
    one, two = sensitivity(trials, "lr", method="width", default=0.5, ceiling=0.9)
    assert (one.method, two.method) == ("64", "128") and one.n == 3 and one.logarithmic
    assert one.within == "5% of the best" and len(one.x) == 11 and not one.open_low
    assert np.isposinf(one.estimate[-1]) and np.isnan(one.low[-1])
    best = int(np.argmin(one.estimate))
    assert one.low[best] < one.estimate[best] < one.high[best]
    assert one.penalty.low < one.penalty.estimate < one.penalty.high and one.excess.estimate > 0
    few = sensitivity(trials[trials["replicate"] < 2], "lr")[0]
    assert few.width.low is None and any("at least 3 are needed" in reason for reason in few.width.reasons)
    mixed = sensitivity(trials, "lr")[0]
    assert "Trials also differ in width; their costs are averaged at each value tried." in mixed.reasons
    cut = sensitivity(trials[trials["param.lr"] > 0.9], "lr", method="width")[0]
    assert cut.open_low and cut.width.high == np.inf
    assert "The basin goes on below the range tried, so the width is a lower bound." in cut.width.reasons
    with pytest.raises(SwatheError, match="tolerance of 0"):
        sensitivity(trials, "lr", tolerance=0)


def test_accuracies_are_compared_as_differences():
    x, seed = (index.ravel() for index in np.indices((9, 3)))
    value = 0.9 - 0.1 * X[x] ** 2 + 0.001 * seed
    trials = pd.DataFrame(
        {"cell": "c", "configuration": x, "replicate": seed, "state": "COMPLETE", "cause": None, "value": value}
    ).assign(**{"param.lr": 2.0 ** X[x]})
    (found,) = sensitivity(trials, "lr", direction="maximize", tolerance=0.1, default=2.0)
    assert found.within == "0.1 of the best" and found.width.estimate == pytest.approx(2.0, abs=0.02)
    assert found.penalty.estimate == pytest.approx(0.1) and found.estimate[4] == pytest.approx(0.901)


def test_widths_are_compared_with_paired_seeds(make_study, make_landscape):
    rng = np.random.default_rng(2)
    flat, steep = (
        make_study(rng, 0.0, seeds=5, levels=1, landscape=make_landscape(kind="bowl", steepness=s))
        .frame()
        .assign(**{"param.optimizer": name})
        for s, name in ((0.2, "flat"), (1.0, "steep"))
    )
    both = pd.concat([flat, steep], ignore_index=True)
    found = compare_widths(both, "flat", "steep", "lr", method="optimizer", tolerance=0.1)
    back = compare_widths(both, "steep", "flat", "lr", method="optimizer", tolerance=0.1)
    truth = 2 * np.sqrt(2 * np.log(1.1)) * (1 / np.sqrt(0.2) - 1)
    assert found.low > 0 and found.low <= truth <= found.high and back.estimate == pytest.approx(-found.estimate)
    wide = compare_widths(both, "flat", "steep", "lr", method="optimizer", tolerance=3.0)
    assert wide.low is None and "A basin goes on beyond the range tried." in wide.reasons
    with pytest.raises(SwatheError, match="no trials of 'round'; there are flat, steep"):
        compare_widths(both, "round", "flat", "lr", method="optimizer")


def test_the_difference_of_widths_covers(make_study, make_landscape):
    rng, hits = np.random.default_rng(3), 0
    lands = {s: make_landscape(kind="bowl", steepness=s) for s in (0.4, 0.8)}
    truth = 2 * np.sqrt(2 * np.log(1.1)) * (1 / np.sqrt(0.4) - 1 / np.sqrt(0.8))
    for _ in range(60):
        parts = [
            make_study(rng, 0.0, seeds=5, levels=1, landscape=land).frame().assign(**{"param.optimizer": f"{s}"})
            for s, land in lands.items()
        ]
        found = compare_widths(pd.concat(parts), "0.4", "0.8", "lr", method="optimizer", tolerance=0.1)
        hits += bool(found.low <= truth <= found.high)
    assert hits >= 51


def searched(n, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    lr, wd, act = 2.0 ** rng.uniform(-10, 0, n), 2.0 ** rng.uniform(-10, 0, n), rng.choice(["relu", "gelu"], n)
    value = (np.log2(lr) + 5) ** 2 + 0.05 * np.log2(wd) + noise * rng.normal(size=n)
    rows = {"cell": "c", "configuration": np.arange(n), "replicate": 0, "state": "COMPLETE", "cause": None}
    return pd.DataFrame(rows | {"value": value, "param.lr": lr, "param.wd": wd, "param.act": act})


def test_importances_are_those_of_optuna():
    trials = searched(60)
    found = importances(trials, top=0.2, region=0.6)
    study = optuna.create_study()
    low, high = 2.0**-10, 1.0
    for row in trials.to_dict("records"):
        study.add_trial(
            optuna.trial.create_trial(
                params={"lr": row["param.lr"], "wd": row["param.wd"], "act": row["param.act"]},
                distributions={
                    "lr": optuna.distributions.FloatDistribution(
                        trials["param.lr"].min(), trials["param.lr"].max(), log=True
                    ),
                    "wd": optuna.distributions.FloatDistribution(
                        trials["param.wd"].min(), trials["param.wd"].max(), log=True
                    ),
                    "act": optuna.distributions.CategoricalDistribution(["gelu", "relu"]),
                },
                value=row["value"],
            )
        )
    assert low < trials["param.lr"].min() < high
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.2, region_quantile=0.6)
    oracle = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert {name: each.estimate for name, each in found.items()} == pytest.approx(dict(oracle), abs=1e-9)
    assert next(iter(found)) == "lr" and found["lr"].estimate > 0.9
    assert all(each.low <= each.estimate <= each.high and each.n == 60 for each in found.values())


def test_divergence_does_not_decide_the_importance_near_the_optimum():
    trials = searched(80, seed=1)
    diverged = trials["param.lr"] > 0.5
    worse = trials.assign(
        state=trials["state"].where(~diverged, "FAIL"),
        cause=trials["cause"].where(~diverged, "diverged"),
        value=trials["value"].where(~diverged),
    )
    for name, each in importances(worse).items():
        assert each.n == 80 and each.estimate == pytest.approx(importances(trials)[name].estimate, abs=0.05)


def test_too_few_configurations_have_no_importance():
    assert importances(searched(9))["lr"].reasons == ("9 configurations: at least 10 are needed.",)
    few = importances(searched(15))["lr"]
    assert few.estimate is not None and few.low is None
    with pytest.raises(SwatheError, match="shares with 0 < top < region <= 1"):
        importances(searched(20), top=0.6)
    with pytest.raises(SwatheError, match="no parameter 'eta'"):
        importances(searched(20), parameters=["eta"])


def test_the_interval_of_an_importance_covers_its_expectation():
    rng, found = np.random.default_rng(4), []
    for _ in range(40):
        lr, wd = 2.0 ** rng.uniform(-10, 0, 24), 2.0 ** rng.uniform(-10, 0, 24)
        value = (np.log2(lr) + 5) ** 2 + 0.6 * (np.log2(wd) + 5) ** 2 + rng.normal(size=24)
        rows = {"cell": "c", "configuration": np.arange(24), "replicate": 0, "state": "COMPLETE", "cause": None}
        found.append(importances(pd.DataFrame(rows | {"value": value, "param.lr": lr, "param.wd": wd}))["lr"])
    expected = np.mean([each.estimate for each in found])
    assert sum(each.low <= expected <= each.high for each in found) >= 34


def test_points_without_a_seed_are_left_out() -> None:
    x, mean = np.arange(5.0), np.array([2.0, 1.0, 0.0, 1.0, 2.0])
    sparse = np.array([2.0, np.nan, 0.0, np.nan, 2.0])
    assert excess(x, sparse, 9.0) == pytest.approx(excess(x[::2], mean[::2], 9.0))
    assert width(x, sparse, 0.5) == width(x[::2], mean[::2], 0.5)
    assert np.isnan(excess(x, np.array([np.nan, np.nan, 1.0, np.nan, np.nan]), 9.0))
