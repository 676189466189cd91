import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from swathe.analysis.estimates import from_jackknife, from_values
from swathe.analysis.statistics import clopper_pearson, holm, t_interval
from swathe.analysis.streams import difference_interval, variance_interval

probabilities = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (3, 10), (10, 10), (57, 2000)])
def test_clopper_pearson_is_that_of_scipy(successes, trials):
    known = stats.binomtest(successes, trials).proportion_ci(0.95, method="exact")
    assert clopper_pearson(successes, trials) == pytest.approx((known.low, known.high), abs=1e-12)


def test_clopper_pearson_covers_every_probability():
    n = 7
    intervals = [clopper_pearson(k, n) for k in range(n + 1)]
    for p in np.linspace(0, 1, 201):
        inside = [stats.binom.pmf(k, n, p) for k, (low, high) in enumerate(intervals) if low <= p <= high]
        assert sum(inside) >= 0.95


def test_clopper_pearson_refuses_the_impossible():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 successes of 2"):
        clopper_pearson(3, 2)


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(20) ** 4
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1], abs=1e-12)
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])


@given(probabilities)
def test_holm_keeps_the_order_and_lies_between_nothing_and_bonferroni(values):
    p = np.array(values)
    adjusted = holm(p)
    assert (adjusted >= p).all() and (adjusted <= np.minimum(1.0, p * len(p)) + 1e-12).all()
    order = np.argsort(p)
    assert (np.diff(adjusted[order]) >= 0).all()


def test_holm_errs_in_at_most_one_family_of_twenty():
    rng = np.random.default_rng(1)
    wrong = sum(bool((holm(rng.random(10)) < 0.05).any()) for _ in range(4000))
    assert clopper_pearson(wrong, 4000, 0.99)[0] <= 0.05


def test_the_t_interval_is_that_of_scipy():
    data = np.random.default_rng(2).normal(size=6)
    assert t_interval(data, 0.95) == pytest.approx(stats.t.interval(0.95, 5, data.mean(), stats.sem(data)), abs=1e-12)


def test_two_seeds_have_no_interval_and_divergence_no_finite_one():
    two = from_values(np.array([1.0, 2.0]))
    assert (two.estimate, two.low, two.high, two.n) == (1.5, None, None, 2) and not two.decided
    assert two.reasons == ("2 seed(s): at least 3 are needed for an interval.",)
    bad = from_values(np.array([1.0, 2.0, np.inf]))
    assert (bad.estimate, bad.low, bad.high) == (np.inf, -np.inf, np.inf)
    assert bad.reasons == ("1 of 3 seed(s) diverged; they count as infinitely bad.",)
    assert from_values(np.array([])).estimate is None


def test_the_jackknife_of_a_mean_is_the_t_interval():
    data = np.random.default_rng(3).normal(size=5)
    without = np.array([np.delete(data, k).mean() for k in range(5)])
    found = from_jackknife(float(data.mean()), without)
    assert (found.low, found.high) == pytest.approx(t_interval(data, 0.95), abs=1e-12)
    assert from_jackknife(1.0, without[:2]).low is None
    assert from_jackknife(np.inf, without).reasons == ("It diverges.",)


@settings(max_examples=40)
@given(st.floats(0.01, 100), st.floats(0.01, 100), st.integers(2, 30), st.integers(2, 60), st.integers(1, 9))
def test_a_variance_component_lies_in_its_interval(square, rest, freedom, rest_freedom, runs):
    low, high = difference_interval(square, freedom, rest, rest_freedom, runs)
    assert 0.0 <= low <= max(0.0, square - rest) / runs + 1e-12 <= high + 2e-12


def test_without_a_rest_the_interval_is_that_of_chi_square():
    low, high = difference_interval(3.0, 6, 0.0, 1000, 2)
    assert (low, high) == pytest.approx(tuple(each / 2 for each in variance_interval(3.0, 6)), rel=1e-9)
