"""Beside the verdict: polynomial fits, what transfer costs, how fast that vanishes, sensitivity, advice on grids."""

import numpy as np
import pytest

from swathe.analysis.advice import Question, beside
from swathe.analysis.drift import Slope
from swathe.analysis.polynomial import optimum
from swathe.analysis.scaling import Transferred
from swathe.analysis.simulated import Design, Landscape, Study, simulate
from swathe.analysis.transfer import Rule, judge

OPTIONS = {"axis": "width", "hyperparameter": "lr"}
X = np.arange(-3.0, 3.5, 0.5)
BOWL = Landscape("bowl", steepness=0.3)


def known(curve, levels=5, seeds=4, noise=0.0):
    """A study whose loss at `levels` is curve(x, k) exactly, but for noise."""
    rng = np.random.default_rng(0)
    loss = np.array([[curve(X, k) for k in range(levels)]] * seeds)
    return Study(X, np.arange(levels) + 6.0, loss * np.exp(noise * rng.normal(size=loss.shape)))


@pytest.mark.parametrize("degree", [2, 3])
def test_polynomials_find_the_minimum_of_a_parabola(degree):
    cost = np.stack([0.2 * (X - 0.3) ** 2 + shift for shift in (0.0, 0.1, 0.2)])
    assert optimum(X, cost, degree) == pytest.approx(0.3, abs=1e-6)


def test_a_cubic_follows_what_a_parabola_cannot():
    cost = np.stack([0.2 * (X - 0.3) ** 2 + 0.02 * (X - 0.3) ** 3] * 3)
    assert optimum(X, cost, 3) == pytest.approx(0.3, abs=1e-6)
    assert abs(optimum(X, cost, 2) - 0.3) > 0.01


def test_without_a_minimum_inside_there_is_none():
    assert np.isnan(optimum(X, np.stack([-X] * 3), 2)) and np.isnan(optimum(X, np.stack([-(X**2)] * 3), 3))
    assert np.isnan(optimum(X[:2], np.zeros((3, 2)), 2))


def test_in_a_bowl_all_estimators_agree():
    found = judge(simulate(np.random.default_rng(0), 0.3, BOWL, Design(points=11)).frame(), **OPTIONS)
    assert [check.name for check in found.checks] == ["weighted parabola", "local cubic"]
    for check in found.checks:
        assert check.drift == pytest.approx(found.drift, abs=0.05)
        assert check.low < check.drift < check.high and len(check.optima) == 5
    assert not any("no polynomial" in reason for reason in found.reasons)


def test_a_contradiction_is_said():
    def turning(x, level):
        """A cliff that closes in on an optimum that stays."""
        return np.exp(0.1 * x**2 * np.where(x > 0, 3.0**level, 1.0)) - 0.9

    found = judge(known(turning, noise=0.001).frame(), **OPTIONS)
    assert any("no polynomial" in reason for reason in found.reasons)


def test_what_transfer_costs_is_known_in_closed_form():
    # Optimum 2^-k and gap 4^-k: the regret k(x_n - x_N)^2 falls as n^-2 against the limit, the gap as n^-1.
    def scaled(x, level):
        return 1.0 + 2.0**-level + 0.05 * (x - 2.0 ** (-level)) ** 2

    found = judge(known(scaled, levels=6).frame(), **OPTIONS)
    first = found.transferred[0]
    assert first.level == 64 and found.regret == first.regret
    assert first.regret == pytest.approx(0.05 * (1 - 2.0**-5) ** 2, rel=0.05)
    assert first.gap == pytest.approx(1 - 2.0**-5, rel=0.01)
    assert first.relative == pytest.approx(first.regret / first.gap)
    assert found.rates.regret > found.rates.gap + 0.5
    assert found.rates.fast is True and any(reason.startswith("Transfer is fast") for reason in found.reasons)


def test_regret_that_does_not_vanish_is_not_fast():
    def steady(x, level):
        return 1.0 + 2.0 ** (-2 * level) + 0.05 * (x - 0.5 + 0.15 * (5 - level)) ** 2

    rates = judge(known(steady, levels=6).frame(), **OPTIONS).rates
    assert rates.regret < rates.gap and rates.fast is False


def test_sensitivity_is_the_mean_excess():
    found = judge(known(lambda x, k: 1.0 + 0.1 * x**2 + 0 * k).frame(), **OPTIONS)
    assert found.levels[0].sensitivity == pytest.approx(0.1 * 3.0, rel=0.01)
    assert len({round(level.sensitivity, 9) for level in found.levels}) == 1


def test_a_censored_level_is_told_how_far_to_extend_the_grid():
    frame = simulate(np.random.default_rng(1), -0.5, BOWL, Design(points=13)).frame()
    found = judge(frame[frame["param.lr"] > 2.0**-0.6], **OPTIONS)
    censored = [level for level in found.levels if level.censored]
    assert censored and all(level.optimum is None for level in censored)
    told = next(reason for reason in found.reasons if "is censored" in reason)
    # The line through the known optima puts the last one near -1; two octaves of room make -3 or -4.
    assert "Extend the grid of learning rate to" in told and ("(2^-3)" in told or "(2^-4)" in told)


def test_a_stricter_rule_widens_the_interval():
    frame = simulate(np.random.default_rng(2), 0.0, Landscape(), Design(seeds=3)).frame()
    plain, strict = judge(frame, **OPTIONS), judge(frame, **OPTIONS, rule=Rule(drifts=0.98, transfers=0.96))
    assert strict.drift == plain.drift and strict.drift_low < plain.drift_low
    assert any("98% interval" in reason for reason in strict.reasons)


@pytest.mark.parametrize(("gap", "share"), [(2.0, "10.00%"), (0.2, "100.00%"), (1e-6, "more than all")])
def test_a_share_of_a_gain_that_is_next_to_nothing_is_no_percentage(gap, share):
    question = Question("width", "lr", 0.15, 3)
    (told,) = beside(
        Slope(0.0, 0.01, 0.01, 3, 3, frozenset()), [], [Transferred(32, regret=0.2, gap=gap)], None, question
    )
    assert told == f"Reusing the optimum of width 32 at the largest gives up {share} of what scaling gains."
