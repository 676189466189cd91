"""The live display: pace, frames that fit, lines for pipes."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from swathe.orchestrator.cli.live import Lines
from swathe.orchestrator.cli.pace import Pace, View
from swathe.orchestrator.cli.picture import STOPPING, frame
from swathe.orchestrator.cli.printing import Terminal
from swathe.orchestrator.cli.standing import least_finished, remainder, standing
from swathe.orchestrator.ledger import CellProgress, Progress
from swathe.orchestrator.messages import Cause, State
from swathe.orchestrator.spec import Sweep

COMPLETE, DIVERGED, FAILED = (State.COMPLETE, None), (State.FAIL, Cause.DIVERGED), (State.FAIL, Cause.USER_ERROR)


def sweep(cells: int, **changes: object) -> Sweep:
    asked = {
        "name": "a-sweep",
        "task": "train.py:train",
        "metric": "loss",
        "grid": {"parameterization": ["standard", "maximal-update"], "width": [2**n for n in range(cells // 2)]},
        "search": {"lr": {"log2": [-8, 0], "num": 10}},
        "sampler": "grid",
    }
    return Sweep(**{**asked, **changes})


def view(asked: Sweep, done: list[int], *, failed: int = 0, stopping: bool = False) -> View:
    """A view in which the first cells have `done` trials, the last `failed` of which failed."""
    cells = {
        cell.key: CellProgress(cell.key, {COMPLETE: count - failed, FAILED: failed}, -1.25e-7, 123456.789, 10.0)
        for cell, count in zip(asked.cells, done, strict=False)
        if count
    }
    now = standing(asked, Progress(cells, 0, "running"))
    return View(asked.name, now, 1.23, 8, 75.0, stopping)


def drawn(shown: View, height: int, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(frame(shown, height, width))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("cells", [2, 14, 100])
@pytest.mark.parametrize(("height", "width"), [(24, 80), (50, 200), (12, 60)])
@pytest.mark.parametrize("stopping", [False, True])
def test_a_frame_fits_the_terminal(cells: int, height: int, width: int, stopping: bool) -> None:
    lines = drawn(view(sweep(cells), [10, 10, 4, 7, 1], failed=1, stopping=stopping), height, width)
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    # A line that is full would be wrapped by the echo of ^C.
    assert not lines[-1].strip()


def test_a_frame_says_it_all() -> None:
    text = "\n".join(drawn(view(sweep(16), [10, 10, 4, 7, 1], failed=1, stopping=True), 24, 80))
    assert "a-sweep" in text
    assert "32/160" in text
    assert "27 complete, 5 failed, 128 waiting or running" in text
    assert "1.2 trials/s, about 1 min 44 s left, 8 workers" in text
    assert "maximal-update" in text
    assert "best -1.25e-07" in text
    assert STOPPING in text
    assert "and 2 more cells: 2 finished" in text


def test_the_least_finished_cells_are_shown_in_their_order() -> None:
    now = view(sweep(8), [10, 10, 4, 7, 1]).now
    assert [cell.counts.decided for cell in least_finished(now.cells, 3)] == [4, 7, 1]
    shown = least_finished(now.cells, 5)
    assert [cell.counts.decided for cell in shown] == [4, 7, 1, 0, 0]
    assert remainder(now.cells, shown) == "and 3 more cells: 2 finished, 1 not begun"
    assert least_finished(now.cells, 100) == [*now.cells]
    assert remainder(now.cells, now.cells) == ""


def test_a_sweep_without_grid_is_one_bar() -> None:
    lines = drawn(view(sweep(2, grid={}), [4]), 24, 80)
    assert len(lines) == 4
    assert "4/10" in lines[0]


def test_standing_counts_divergence_apart_and_knows_the_best() -> None:
    asked = sweep(2, direction="maximize")
    keys = [cell.key for cell in asked.cells]
    progress = Progress(
        {
            keys[0]: CellProgress(keys[0], {COMPLETE: 3, DIVERGED: 2, FAILED: 1}, 0.1, 0.5, 1.0),
            keys[1]: CellProgress(keys[1], {COMPLETE: 1}, 0.2, 0.7, 1.0),
        },
        4,
        "running",
    )
    now = standing(asked, progress)
    assert (now.counts.complete, now.counts.diverged, now.counts.failed, now.counts.open) == (4, 2, 1, 13)
    assert now.best is not None and (now.best.key, now.best.best) == (keys[1], 0.7)
    assert (now.causes, now.retried, now.seconds) == ({"user_error": 1}, 4, 2.0)


# Pace


def test_pace_leaves_out_the_time_before_the_first_trial_began() -> None:
    pace = Pace(workers=2)
    for second in range(30):
        pace.observe(float(second), 0, 0.0)
        assert pace.rate is None
    pace.observe(30.0, 4, 20.0)  # two workers, ten seconds each
    assert pace.rate == pytest.approx(0.4)


def test_pace_of_slow_trials_is_not_that_of_one_burst() -> None:
    pace = Pace(workers=4)
    for minute in range(1, 61):
        pace.observe(60.0 * minute, 4 * (minute // 10), 2400.0 * (minute // 10))
    assert pace.rate == pytest.approx(4 / 600, rel=0.25)


def test_pace_follows_a_change_within_a_minute_or_so() -> None:
    pace = Pace(workers=1)
    decided = 0
    for second in range(600):
        decided += 1 if second < 500 else 5
        pace.observe(float(second), decided, float(decided))
    assert pace.rate == pytest.approx(5, rel=0.1)


# Lines


@pytest.fixture
def clock() -> Iterator[list[float]]:
    yield [0.0]


def test_lines_come_every_ten_seconds_and_at_the_end(clock: list[float]) -> None:
    out = io.StringIO()
    lines = Lines(Terminal(file=out, width=1000), clock=lambda: clock[0])
    asked = sweep(4)
    for second in range(25):
        clock[0] = float(second)
        lines.show(view(asked, [second]))
    lines.close()
    assert [line.split("  ")[-1].split(" ")[0] for line in out.getvalue().splitlines()] == ["10/40", "20/40", "24/40"]


def test_lines_say_once_that_the_sweep_drains(clock: list[float]) -> None:
    out = io.StringIO()
    lines = Lines(Terminal(file=out, width=1000), clock=lambda: clock[0])
    for _ in range(3):
        lines.show(view(sweep(4), [3], stopping=True))
    lines.close()
    assert out.getvalue().splitlines()[0] == STOPPING
    assert out.getvalue().count(STOPPING) == 1
    assert out.getvalue().count("3/40 trials") == 1
