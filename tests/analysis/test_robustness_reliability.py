"""Scores over seeds and tasks, on the same numbers as rliable 1.2.0.

Its metrics are called here. Its library (profiles, bootstrap) needs the package arch below version 8, which cannot be
imported beside pandas 3, so `RECORDED` holds what it gave for `ADAM` and `SGD` where that was mended.
"""

import numpy as np
import pandas as pd
import pytest
from rliable import metrics
from scipy import stats

from swathe.analysis import aggregates
from swathe.analysis.reliability import aggregate, improvement, performance_profiles
from swathe.analysis.statistics import clopper_pearson
from swathe.orchestrator.errors import SwatheError

EXACT = 1e-9

ADAM = np.array(
    [
        [0.638, 0.56, 0.792, 0.631, 0.439],
        [0.708, 0.991, 0.884, 0.389, 0.22],
        [0.413, 0.612, -0.098, 0.534, 0.226],
        [0.38, 0.437, 0.505, 0.723, 0.913],
        [0.561, 1.01, 0.4, 0.705, 0.871],
        [0.628, 0.377, 0.323, 0.463, 0.666],
        [0.297, 0.537, 0.552, 0.762, 0.664],
    ]
)
SGD = np.array(
    [
        [0.5, 0.2, 0.4, 0.6, 0.8],
        [0.0, 0.9, 0.8, 0.6, 0.5],
        [0.3, 0.8, 1.0, 0.9, 0.8],
        [0.5, 0.0, 0.4, 0.6, 0.0],
        [0.5, 0.5, 0.6, 0.0, 0.2],
        [0.3, 0.0, 0.9, 0.3, 0.5],
        [0.3, 0.9, 0.8, 0.6, -0.3],
    ]
)
THRESHOLDS = (0.0, 0.3, 0.6, 0.9)
RECORDED = {
    "adam": [0.9714285714285714, 0.8857142857142857, 0.45714285714285713, 0.08571428571428572],
    "sgd": [0.8285714285714286, 0.6571428571428571, 0.2857142857142857, 0.02857142857142857],
    # StratifiedBootstrap(ADAM).conf_int of the IQM, 300 percentile resamples after np.random.seed(5)
    "interval": [0.4976605263157895, 0.6424157894736842],
}


def frame(scores, cost=False, **rest):
    """A trials frame of a mapping from method to scores (runs, tasks)."""
    parts = []
    for method, values in scores.items():
        run, task = (index.ravel() for index in np.indices(values.shape))
        parts.append(
            pd.DataFrame(
                {
                    "cell": [f"{method}-{each}" for each in task],
                    "configuration": 0,
                    "replicate": run,
                    "state": "COMPLETE",
                    "cause": None,
                    "value": -values.ravel() if cost else values.ravel(),
                    "param.optimizer": method,
                    "param.task": [f"t{each}" for each in task],
                }
            )
        )
    return pd.concat(parts, ignore_index=True).assign(**rest)


@pytest.fixture
def scores():
    return {"adam": ADAM, "sgd": SGD}


NAMES = {"method": "optimizer", "task": "task"}


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_aggregates_are_those_of_rliable(scores, direction):
    trials = frame(scores, cost=direction == "minimize")
    sign = 1.0 if direction == "maximize" else -1.0
    for name, oracle in (
        ("iqm", metrics.aggregate_iqm),
        ("mean", metrics.aggregate_mean),
        ("median", metrics.aggregate_median),
    ):
        found = aggregate(trials, **NAMES, direction=direction, statistic=name)
        for method, values in scores.items():
            assert found[method].estimate == pytest.approx(sign * oracle(values), abs=EXACT)
            assert found[method].low < found[method].estimate < found[method].high


def test_the_optimality_gap_and_references_are_those_of_rliable(scores):
    references = {f"t{k}": (0.1 * k, 1.0 + 0.2 * k) for k in range(5)}
    zero, one = (np.array([references[f"t{k}"][end] for k in range(5)]) for end in (0, 1))
    for direction, ends in (("maximize", (zero, one)), ("minimize", (-zero, -one))):
        trials = frame(scores, cost=direction == "minimize")
        given = {f"t{k}": (ends[0][k], ends[1][k]) for k in range(5)}
        found = aggregate(trials, **NAMES, direction=direction, statistic="optimality_gap", references=given)
        for method, values in scores.items():
            oracle = metrics.aggregate_optimality_gap((values - zero) / (one - zero))
            assert found[method].estimate == pytest.approx(oracle, abs=EXACT)


def test_profiles_are_those_of_rliable(scores):
    for profile in performance_profiles(frame(scores), **NAMES, direction="maximize", thresholds=THRESHOLDS):
        assert profile.estimate == pytest.approx(RECORDED[profile.method], abs=EXACT)
        assert profile.thresholds == pytest.approx(THRESHOLDS) and profile.n == 35
        assert all(low <= share <= high for low, share, high in zip(*_lines(profile), strict=True))


def _lines(profile):
    return profile.low, profile.estimate, profile.high


def test_the_probability_of_improvement_is_that_of_rliable(scores):
    found = improvement(frame(scores), "adam", "sgd", **NAMES, direction="maximize")
    oracle = metrics.probability_of_improvement(scores["adam"], scores["sgd"])
    assert found.estimate == pytest.approx(oracle, abs=EXACT)
    assert 0 < found.low < found.estimate < found.high < 1
    other = improvement(frame(scores), "sgd", "adam", **NAMES, direction="maximize")
    assert other.estimate == pytest.approx(1 - oracle, abs=EXACT)


def test_percentiles_of_the_same_resamples_are_those_of_rliable():
    legacy = np.random.RandomState(5)  # rliable draws from numpy's global generator; these are the same numbers
    draws = [legacy.choice(7, ADAM.shape, replace=True) for _ in range(300)]
    resamples = np.array([np.take_along_axis(ADAM, draw, axis=0) for draw in draws])
    found = aggregates.percentiles(aggregates.iqm([resamples[:, :, k] for k in range(5)]), 0.95)
    assert found == pytest.approx(RECORDED["interval"], abs=EXACT)


def test_intervals_cover_with_few_seeds():
    rng = np.random.default_rng(1)
    for tasks, runs, least in ((1, 3, 0.90), (1, 5, 0.92), (4, 3, 0.90)):
        drawn = rng.normal(size=(300, tasks, runs))
        truth, hits = 0.0, 0
        for sample in drawn:
            replicates = aggregates.iqm(aggregates.resampled(list(sample), rng, 300))
            value = aggregates.iqm(list(sample))
            low, high = aggregates.widened(replicates, value, runs, tasks * (runs - 1), 0.95)
            hits += bool(low <= truth <= high)
        assert clopper_pearson(hits, 300, 0.99)[1] >= 0.95 and hits >= least * 300


def test_the_probability_of_improvement_covers():
    rng = np.random.default_rng(2)
    truth, hits = float(stats.norm.cdf(0.5 / np.sqrt(2))), 0
    for _ in range(150):
        trials = frame({"a": rng.normal(0.5, 1, size=(5, 1)), "b": rng.normal(0, 1, size=(5, 1))})
        found = improvement(trials, "a", "b", method="optimizer", direction="maximize")
        hits += bool(found.low <= truth <= found.high)
    assert hits >= 0.92 * 150


def test_a_quarter_of_divergences_leaves_an_interquartile_mean_more_leave_none(scores):
    trials = frame(scores, cost=True)
    mine = trials.index[trials["param.optimizer"] == "adam"]
    worse = trials.assign(
        state=trials["state"].where(~trials.index.isin(mine[:5]), "FAIL"),
        cause=trials["cause"].where(~trials.index.isin(mine[:5]), "diverged"),
        value=trials["value"].where(~trials.index.isin(mine[:5])),
    )
    found = aggregate(worse, **NAMES)["adam"]
    assert np.isfinite(found.estimate) and found.estimate > aggregate(trials, **NAMES)["adam"].estimate
    assert "5 of 35 runs diverged; they count as infinitely bad." in found.reasons
    every = trials.assign(state="FAIL", cause="diverged", value=np.nan)
    assert aggregate(every, **NAMES)["adam"].estimate == np.inf
    assert improvement(worse, "sgd", "adam", **NAMES).estimate > improvement(trials, "sgd", "adam", **NAMES).estimate


def test_separated_runs_have_an_interval_and_two_seeds_have_none():
    apart = frame({"a": np.arange(4.0)[:, None] + 9, "b": np.arange(4.0)[:, None]})
    found = improvement(apart, "a", "b", method="optimizer", direction="maximize")
    assert found.estimate == 1.0 and (found.low, found.high) == pytest.approx(clopper_pearson(4, 4))
    few = improvement(apart[apart["replicate"] < 2], "a", "b", method="optimizer", direction="maximize")
    assert few.low is None and few.reasons == ("2 seed(s): at least 3 are needed for an interval.",)
    assert aggregate(apart[apart["replicate"] < 2], method="optimizer")["a"].low is None


def test_the_configuration_is_chosen_and_the_answer_says_on_what(scores):
    good, bad = frame(scores), frame({name: values - 1 for name, values in scores.items()}, configuration=1)
    both = pd.concat([good, bad], ignore_index=True)
    same = aggregate(both, **NAMES, direction="maximize")["adam"]
    assert same.estimate == pytest.approx(metrics.aggregate_iqm(scores["adam"]))
    assert any("chosen on the same seeds, so values are optimistic" in reason for reason in same.reasons)
    split = aggregate(both, **NAMES, direction="maximize", choose_on=(0, 1, 2))["adam"]
    assert split.estimate == pytest.approx(metrics.aggregate_iqm(scores["adam"][3:])) and split.n == 4
    assert any("was chosen on replicates 0, 1, 2, which are left out" in reason for reason in split.reasons)


def test_mistakes_are_told(scores):
    trials = frame(scores)
    with pytest.raises(SwatheError, match="'sgd' has no runs on 't0'"):
        aggregate(
            trials.drop(trials.index[(trials["param.task"] == "t0") & (trials["param.optimizer"] == "sgd")]), **NAMES
        )
    with pytest.raises(SwatheError, match="no parameter 'optimiser'"):
        aggregate(trials, method="optimiser")
    with pytest.raises(SwatheError, match="no trials of 'muon'"):
        improvement(trials, "muon", "sgd", **NAMES)
    with pytest.raises(SwatheError, match="statistic 'mode' is unknown"):
        aggregate(trials, **NAMES, statistic="mode")
    with pytest.raises(SwatheError, match="'t1' has no reference"):
        aggregate(trials, **NAMES, references={"t0": (0, 1)})
