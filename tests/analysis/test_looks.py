"""Looks at running data: their levels against Pocock's table and a simulation."""

import numpy as np
import pytest

from swathe.analysis.looks import corrected, nominal
from swathe.analysis.transfer import RULE
from swathe.orchestrator.waves import looks


@pytest.mark.parametrize(
    ("count", "level", "table"),
    # Pocock (1977), Table 1; Jennison and Turnbull (2000), Table 2.1.
    [(2, 0.05, 0.0294), (3, 0.05, 0.0221), (4, 0.05, 0.0182), (5, 0.05, 0.0158), (5, 0.01, 0.0028)],
)
def test_equal_waves_give_the_published_levels(count, level, table):
    assert nominal(tuple(range(1, count + 1)), level, two_sided=True) == pytest.approx(table, abs=6e-5)


def test_one_sided_looks_err_as_often_as_they_say():
    at = (3, 5, 7, 8)
    level = nominal(at, 0.05, two_sided=False)
    sums = np.random.default_rng(0).normal(size=(400_000, 8)).cumsum(axis=1)
    from scipy.stats import norm

    crossed = (sums[:, np.array(at) - 1] / np.sqrt(at) > norm.isf(level)).any(axis=1)
    assert crossed.mean() == pytest.approx(0.05, abs=0.0015)


def test_few_looks_after_whole_waves():
    assert looks(3) == (3,) and looks(5) == (3, 4, 5) and looks(6) == (3, 4, 5, 6)
    assert looks(10) == (3, 6, 9, 10) and looks(20) == (3, 9, 15, 20)
    assert all(len(looks(seeds)) <= 4 and looks(seeds)[-1] == seeds for seeds in range(3, 200))
    with pytest.raises(ValueError, match="it takes 3"):
        looks(2)


def test_one_look_needs_no_correction():
    assert corrected(RULE, 3) == RULE
    strict = corrected(RULE, 5)
    assert strict.margin == RULE.margin and strict.drifts > 0.97 and 0.90 < strict.transfers < strict.drifts
