"""A sweep that starts from earlier ones: its model knows their results, whatever becomes of them later."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_pruning import frames, hash_of

from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.errors import SpecError

LAUNCH = "inline"


def pilot(make_sweep, directory: Path, *overrides: str) -> None:
    run(make_sweep("name=pilot", *overrides), Launch(directory, LAUNCH))


def warm(make_sweep, *overrides: str):
    return make_sweep("name=warm", "warm_start=pilot", "sampler=tpe", "configurations=8", *overrides)


def test_the_model_proposes_from_the_first_generation(make_sweep, tmp_path: Path) -> None:
    pilot(make_sweep, tmp_path)
    trials, _ = frames(run(warm(make_sweep), Launch(tmp_path, LAUNCH)).folder)
    assert set(trials["proposed_by"]) == {"model"} and len(trials) == 32
    # The pilot's 12 random points a cell have shown where it is worth looking.
    earlier, _ = frames(tmp_path / "pilot")
    means = [each.groupby("param.width")["value"].mean() for each in (trials, earlier)]
    assert (means[0] < means[1] - 0.3).all()


def test_it_goes_on_the_same_when_the_earlier_sweep_is_gone(make_sweep, tmp_path: Path) -> None:
    from test_driver import Killed, run_with_deaths

    pilot(make_sweep, tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    sweep = warm(make_sweep)
    straight = hash_of(run(sweep, Launch(tmp_path / "a", LAUNCH)).folder)
    with pytest.raises(Killed):
        run_with_deaths(sweep, tmp_path / "b", [], after=3)
    shutil.rmtree(tmp_path / "b" / "pilot")
    assert hash_of(run(sweep, Launch(tmp_path / "b", LAUNCH, takeover=True)).folder) == straight


def test_a_cell_knows_what_agrees_with_it(make_sweep, tmp_path: Path) -> None:
    pilot(make_sweep, tmp_path)
    sweep = warm(make_sweep, "grid.width=[2, 4]")
    trials, _ = frames(run(sweep, Launch(tmp_path, LAUNCH)).folder)
    by = trials.groupby("param.width")["proposed_by"].agg(set)
    assert by[2] == {"model"} and "random" in by[4]


def test_points_outside_the_new_space_are_left_out(make_sweep, tmp_path: Path) -> None:
    pilot(make_sweep, tmp_path)
    sweep = warm(make_sweep, "search.lr.low=0.05")
    trials, _ = frames(run(sweep, Launch(tmp_path, LAUNCH)).folder)
    assert trials["param.lr"].min() >= 0.05


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["warm_start=pilott"], "there is no sweep in"),
        (["metric=doubled"], "whose metrics are loss"),
        (["grid.width=[8, 16]"], "none of its 24 configurations"),
    ],
)
def test_what_cannot_be_started_from_is_told(overrides: list[str], words: str, make_sweep, tmp_path: Path) -> None:
    pilot(make_sweep, tmp_path)
    with pytest.raises(SpecError, match=words):
        run(warm(make_sweep, *overrides), Launch(tmp_path, LAUNCH))
    assert not (tmp_path / "warm").exists()
