"""The verdict of robustness: the width of a basin against a factor of two, in closed form."""

import pytest

from swathe.analysis.estimates import Estimate
from swathe.analysis.robust import decide_width


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (2.1, 3.0, "robust"),
        (2.1, float("inf"), "robust"),
        (1.0, 1.9, "sensitive"),
        (1.5, 2.5, "undecided"),
        (1.5, float("inf"), "undecided"),
        (None, None, "undecided"),
    ],
)
def test_the_rule(low, high, word):
    assert decide_width(Estimate(2.0, low, high, 5)) == word
