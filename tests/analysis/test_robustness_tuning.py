"""Bands, tuning curves and contests, against opda, closed forms and simulation."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opda import nonparametric
from opda.nonparametric import EmpiricalDistribution
from scipy import stats

from swathe.analysis.bands import cdf_band, stays_inside
from swathe.analysis.statistics import clopper_pearson
from swathe.analysis.tuning import band_of_best, beats, best_weights, contest, tunability, tuning_curves
from swathe.orchestrator.errors import SwatheError

EXACT = 1e-9


def frame(seeds=1, **values):
    """A trials frame of configurations' values by method, the same on every seed."""
    parts = []
    for method, numbers in values.items():
        number, seed = (index.ravel() for index in np.indices((len(numbers), seeds)))
        parts.append(
            pd.DataFrame(
                {
                    "cell": method,
                    "configuration": number,
                    "replicate": seed,
                    "state": "COMPLETE",
                    "cause": None,
                    "value": np.asarray(numbers, dtype=float)[number],
                    "proposed_by": "random",
                    "param.optimizer": method,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_the_probability_to_stay_inside_is_that_of_closed_forms():
    assert stays_inside(np.array([0.1]), np.array([0.8])) == pytest.approx(0.7, abs=EXACT)
    # Two numbers: the lower within (0, a), the higher within (b, 1), b < a: all pairs but both > a or both < b.
    found = stays_inside(np.array([0.0, 0.3]), np.array([0.6, 1.0]))
    assert found == pytest.approx(1 - 0.4**2 - 0.3**2, abs=EXACT)
    n, d = 9, 0.35
    ranks = np.arange(1, n + 1)
    kolmogorov = stays_inside(np.maximum(ranks / n - d, 0), np.minimum((ranks - 1) / n + d, 1))
    assert kolmogorov == pytest.approx(stats.kstwo.cdf(d, n), abs=EXACT)


@pytest.mark.parametrize("n", [1, 2, 7, 40, 400])
def test_the_band_holds_what_it_says(n):
    low, high = cdf_band(n, 0.95)
    assert stays_inside(low[1:], high[:-1]) == pytest.approx(0.95, abs=1e-8)
    assert low[0] == 0.0 and high[-1] == 1.0 and low == pytest.approx(1 - high[::-1])
    tails = stats.beta.cdf(low[1:], np.arange(1, n + 1), n - np.arange(n))
    assert tails == pytest.approx(tails[0], rel=1e-6)


def test_the_band_is_that_of_opda_but_for_its_simulation():
    simulated = nonparametric._ld_band_weights(
        12, 0.95, "equal_tailed", np.random.default_rng(0), n_trials=40_000, n_jobs=1
    )
    for exact, other in zip(cdf_band(12), simulated, strict=True):
        assert other == pytest.approx(exact, abs=4e-3)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.floats(0.5, 0.99))
def test_more_confidence_makes_a_wider_band(n, confidence):
    narrow, wide = cdf_band(n, confidence), cdf_band(n, (1 + confidence) / 2)
    assert (wide[0] <= narrow[0] + EXACT).all() and (wide[1] >= narrow[1] - EXACT).all()
    assert (np.diff(narrow[0]) >= 0).all() and (np.diff(narrow[1]) >= 0).all() and (narrow[0] <= narrow[1]).all()


def test_tuning_curves_are_those_of_opda():
    values = np.random.default_rng(0).gamma(2.0, size=24)
    low, high = cdf_band(24)
    ks = np.array([1, 2, 3, 7, 24])
    for direction, minimize in (("minimize", True), ("maximize", False)):
        (found,) = tuning_curves(frame(a=values), direction=direction, budgets=ks.tolist())
        assert found.estimate == pytest.approx(
            EmpiricalDistribution(values).quantile_tuning_curve(ks, minimize=minimize), abs=EXACT
        )
        ends = np.concatenate([[-np.inf], np.sort(values), [np.inf]])
        bounds = sorted(
            (
                EmpiricalDistribution(ends, ws=np.diff(bound, prepend=0, append=1)).quantile_tuning_curve(
                    ks, minimize=minimize
                )
                for bound in (low, high)
            ),
            key=lambda bound: bound[0],
        )
        assert found.low == pytest.approx(bounds[0], abs=EXACT) and found.high == pytest.approx(bounds[1], abs=EXACT)


def test_the_band_of_the_best_covers_at_all_budgets_at_once():
    rng, ks = np.random.default_rng(1), np.arange(1, 16)
    truth = stats.gamma.ppf(1 - 0.5 ** (1 / ks), 2.0)
    hits = 0
    for _ in range(400):
        _, low, high = band_of_best(rng.gamma(2.0, size=15), ks, (-np.inf, np.inf))
        hits += bool(((low <= truth) & (truth <= high)).all())
    assert clopper_pearson(hits, 400, 0.999)[1] >= 0.95 and hits >= 0.93 * 400


def test_a_support_bounds_the_band_and_is_checked():
    (found,) = tuning_curves(frame(a=np.linspace(0.2, 0.9, 8)), direction="maximize", support=(0.0, 1.0))
    assert max(found.high) == 1.0 and min(found.low) >= 0.0
    with pytest.raises(SwatheError, match="outside"):
        tuning_curves(frame(a=[0.5, 1.5]), direction="maximize", support=(0.0, 1.0))


def test_diverged_and_pruned_configurations_count_as_worst():
    trials = frame(seeds=3, a=[1.0, 2.0, 3.0, 4.0])
    trials.loc[1, ["state", "cause", "value"]] = ["FAIL", "diverged", np.nan]
    trials.loc[10, ["state", "value"]] = ["PRUNED", np.nan]
    trials.loc[3, ["state", "cause", "value"]] = ["FAIL", "worker_lost", np.nan]
    (found,) = tuning_curves(trials, budgets=(1, 4))
    assert found.n == 4 and found.estimate[0] == 3.0 and found.excluded == {"worker lost": 1}
    assert "1 configurations diverged with a seed or more and count as worst." in found.reasons
    assert "1 configurations were pruned with a seed or more and count as worst." in found.reasons
    modelled = tuning_curves(trials.assign(proposed_by="tpe"))[0]
    assert any("proposed by tpe, not drawn independently" in reason for reason in modelled.reasons)


def test_weights_of_the_best_are_those_of_all_draws():
    values = np.array([3.0, 1.0, 2.0, 5.0, 4.0])
    for k in range(1, 6):
        every = [min(draw) for draw in combinations(values, k)]
        assert best_weights(5, k) @ np.sort(values) == pytest.approx(np.mean(every))
    with pytest.raises(SwatheError, match="budget of 6"):
        best_weights(5, 6)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_contest_is_the_share_of_all_draws(k):
    rng = np.random.default_rng(2)
    one, other = rng.integers(0, 6, size=6).astype(float), rng.integers(1, 7, size=5).astype(float)
    wins = [(min(a) < min(b)) + (min(a) == min(b)) / 2 for a in combinations(one, k) for b in combinations(other, k)]
    found = contest(frame(a=one, b=other), "a", "b", method="optimizer", budgets=(k,))
    assert found.estimate[0] == pytest.approx(np.mean(wins))
    assert found.low[0] <= found.estimate[0] <= found.high[0]


def test_a_contest_covers_and_tells_who_is_missing():
    rng, hits = np.random.default_rng(3), 0
    for _ in range(100):
        # The best of k exponential numbers with rates 2 and 1 is exponential: it wins two times of three, for any k.
        trials = frame(a=rng.exponential(0.5, size=12), b=rng.exponential(1.0, size=12))
        found = contest(trials, "a", "b", method="optimizer", budgets=(1, 3, 6))
        hits += all(low <= 2 / 3 <= high for low, high in zip(found.low, found.high, strict=True))
    assert hits >= 95
    with pytest.raises(SwatheError, match="no trials of 'c'; there are a, b"):
        contest(trials, "c", "a", method="optimizer")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_one_wins_what_the_other_loses(one, other):
    x, y = np.array(one, dtype=float), np.array(other, dtype=float)
    first = beats(x, np.full(len(x), 1 / len(x)), y, np.full(len(y), 1 / len(y)))
    second = beats(y, np.full(len(y), 1 / len(y)), x, np.full(len(x), 1 / len(x)))
    assert first + second == pytest.approx(1.0)


def test_tunability_averages_the_expected_best():
    values = np.random.default_rng(4).gamma(2.0, size=10)
    best = [np.mean([min(draw) for draw in combinations(values, k)]) for k in range(1, 5)]
    found = tunability(frame(a=values), budget=4)[""]
    assert found.estimate == pytest.approx(np.average(best, weights=[4, 3, 2, 1]), abs=EXACT)
    assert tunability(frame(a=values), budget=4, weights="uniform")[""].estimate == pytest.approx(np.mean(best))
    up = tunability(frame(a=-values), budget=4, direction="maximize")[""]
    assert (up.estimate, up.low, up.high) == pytest.approx((-found.estimate, -found.high, -found.low))
    with pytest.raises(SwatheError, match="10 configurations cannot show a budget of 10"):
        tunability(frame(a=values), budget=10)


def test_tunability_covers_and_counts_divergence_at_the_ceiling():
    rng, hits = np.random.default_rng(5), 0
    truth = np.average([1 / k for k in range(1, 6)], weights=[5, 4, 3, 2, 1])
    for _ in range(200):
        found = tunability(frame(a=rng.exponential(size=20)), budget=5)[""]
        hits += bool(found.low <= truth <= found.high)
    assert hits >= 0.85 * 200
    trials = frame(a=[1.0, 2.0, 3.0, 4.0])
    trials.loc[3, ["state", "cause", "value"]] = ["FAIL", "diverged", np.nan]
    found = tunability(trials, budget=1, ceiling=10.0)[""]
    assert found.estimate == pytest.approx(4.0) and "1 of 4 count as 10, the ceiling." in found.reasons
