"""What a design can be expected to say, against the verdicts it then gets, and the room of its grid in closed form."""

import pytest

from swathe.analysis.power import power, room, wanted
from swathe.analysis.simulated import Design
from swathe.analysis.transfer import RULE, Rule


def test_more_levels_and_seeds_see_more():
    strict = Rule(drifts=0.99, transfers=0.98)
    small, large = power(Design(3, 9, 0.5, 3), strict), power(Design(5, 13, 0.5, 5), RULE)
    assert large.half_width < small.half_width and large.transfers > small.transfers
    assert large.transfers >= 0.9 and large.detectable is not None and large.detectable <= 0.3
    assert small.detectable is None or small.detectable >= large.detectable


@pytest.mark.parametrize(
    ("design", "expected", "points"),
    # 4 octaves hold two on either side of optima that stay; 6 hold two doublings at one octave, or four at a half.
    [(Design(5, 9, 0.5), 0.0, 13), (Design(3, 13, 0.5), 1.0, 13), (Design(3, 13, 0.5, spacing=2.0), 0.5, 13)],
)
def test_the_room_of_a_grid(design, expected, points):
    assert room(design) == pytest.approx(expected) and wanted(design) == points
