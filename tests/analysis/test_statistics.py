import numpy as np
import pytest
from scipy import stats

from swathe.analysis.statistics import (
    Spread,
    half_width,
    jackknife_variance,
    leave_one_out_curves,
    mean_curve,
    pool,
    slope_weights,
)


def test_slope_weights_give_the_least_squares_slope():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=6), rng.normal(size=6)
    assert slope_weights(x) @ y == pytest.approx(stats.linregress(x, y).slope)
    assert slope_weights(x).sum() == pytest.approx(0, abs=1e-12)


def test_the_jackknife_of_a_mean_is_its_squared_standard_error():
    data = np.random.default_rng(1).normal(size=(5, 3))
    without = np.stack([np.delete(data, k, axis=0).mean(axis=0) for k in range(5)])
    assert np.sqrt(jackknife_variance(without)) == pytest.approx(stats.sem(data, axis=0))


def test_half_width_is_that_of_a_t_interval():
    data = np.random.default_rng(2).normal(size=4)
    low, high = stats.t.interval(0.9, 3, loc=data.mean(), scale=stats.sem(data))
    assert half_width(Spread(float(stats.sem(data)), 3), 0.9) == pytest.approx((high - low) / 2)
    assert half_width(Spread(0.0, 3), 0.9) == 0.0


def test_pooled_freedom_is_that_of_welch():
    a, b = np.random.default_rng(3).normal(size=5), np.random.default_rng(4).normal(size=9, scale=3)
    spread = pool(np.array([a.var(ddof=1) / 5, b.var(ddof=1) / 9]), np.array([4.0, 8.0]))
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert spread.freedom == pytest.approx(welch.df)
    assert spread.error == pytest.approx(abs((a.mean() - b.mean()) / welch.statistic))
    assert pool(np.zeros(2), np.array([2.0, 3.0])).error == 0.0


def test_mean_curve_without_gaps_is_the_mean():
    cost = np.random.default_rng(5).normal(size=(3, 7))
    assert mean_curve(cost) == pytest.approx(cost.mean(axis=0))
    assert leave_one_out_curves(cost)[1] == pytest.approx(cost[[0, 2]].mean(axis=0))


def test_a_gap_does_not_bend_the_curve():
    shape, lift = np.array([3.0, 2.0, 1.0, 2.0]), np.array([[0.0], [0.5], [1.0]])
    cost = shape + lift
    cost[2, 1] = np.nan
    assert mean_curve(cost) == pytest.approx(shape + 0.5)


def test_a_point_that_no_seed_has_stays_unknown():
    cost = np.array([[1.0, np.nan, 3.0], [2.0, np.nan, np.nan]])
    mean = mean_curve(cost)
    assert np.isnan(mean[1]) and mean[0] == 1.5
