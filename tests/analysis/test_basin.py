import numpy as np
import pytest

from swathe.analysis.basin import centres, dense, grid_error, natural_depth

X = np.arange(-3.0, 3.01, 0.5)


def test_the_centre_of_a_parabola_is_its_minimum():
    for optimum in (-0.6, 0.0, 0.17, 0.25, 0.8):
        assert centres(X, 0.3 * (X[None] - optimum) ** 2, 0.4)[0] == pytest.approx(optimum, abs=0.02)


def test_a_cliff_of_any_height_moves_the_centre_alike():
    low, high = (np.where(X > 1.2, wall, 0.2 * (X - 0.1) ** 2) for wall in (5.0, 5000.0))
    assert centres(X, low[None], 0.5)[0] == pytest.approx(centres(X, high[None], 0.5)[0], abs=0.05)


def test_two_depths_take_the_lean_of_a_kink_away():
    """A kink leans in proportion to the depth, which the extrapolation removes; on a fine grid exactly."""
    x = np.arange(-3, 3, 0.01)
    kink = np.where(x < 0.3, 0.3 * (0.3 - x), 0.9 * (x - 0.3))
    assert centres(x, kink[None], 0.4)[0] == pytest.approx(0.3, abs=0.02)


def test_the_centre_moves_with_the_curve_whatever_the_grid():
    def curve(shift: float) -> np.ndarray:
        u = X - shift
        return np.where(u > 0.9, 6.0, 0.25 * u**2 + 0.05 * u**3)

    shifts = np.linspace(0, 0.5, 6)
    found = centres(X, np.stack([curve(shift) for shift in shifts]), 0.4)
    assert found - found[0] == pytest.approx(shifts, abs=0.12)


def test_centres_stay_inside_the_basin():
    rising = np.array([[0.0, 1.0, 2.0, 3.0, 4.0]])
    assert 0.0 <= centres(np.arange(5.0), rising, 0.5)[0] <= 0.5


def test_natural_depth_of_a_parabola():
    assert natural_depth(X, 0.5 * X**2) == pytest.approx(0.5 * 1.25**2, rel=0.1)


def test_natural_depth_ignores_divergence():
    curve = 0.5 * X**2
    curve[X > 0.6] = np.inf
    assert natural_depth(X, curve) == pytest.approx(0.5 * 2.0**2, rel=0.15)
    assert natural_depth(X, np.full(len(X), np.inf)) == 0.0
    assert natural_depth(np.arange(3.0), np.array([1.0, np.inf, 0.0])) == 1.0


def test_grid_error_is_small_on_a_smooth_curve_and_large_beside_a_wall():
    smooth = grid_error(X, 0.3 * (X - 0.1) ** 2, 0.5, scattered=False)
    wall = np.where(X > 0.1, 4.0, -0.3 * X)
    assert smooth < 0.04 < grid_error(X, wall, 0.5, scattered=False)
    assert grid_error(X, 0.3 * X**2, 0.5, scattered=True) < 0.06 < grid_error(X, wall, 0.5, scattered=True)
    assert grid_error(X[:3], X[:3], 0.5, scattered=False) == pytest.approx(0.5 / np.sqrt(12))


def test_dense_passes_through_the_points():
    grid, values = dense(np.array([0.0, 1.0, 2.0]), np.array([[1.0, 0.0, 4.0]]))
    assert values[0, 0] == 1.0 and values[0, -1] == 4.0 and values.min() == pytest.approx(0.0)
    assert len(grid) == 65
