"""A sweep that grows in steps ends as the one that was asked for at once."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from swathe.analysis.digest import digest
from swathe.orchestrator import amending, compaction
from swathe.orchestrator.driver import Finished, Launch, run
from swathe.orchestrator.errors import SpecError
from swathe.orchestrator.ledger import Reader
from swathe.orchestrator.ledger.tables import url_of

SMALL = ("configurations=8", "seeds=1")
LARGE = ("configurations=20", "seeds=3", "grid.width=[1, 2, 3]")
LATTICE = ("sampler=grid", 'search.lr={"log2": [-10, 0], "num": 24}')
TPE = ("sampler=tpe", "configurations=24")


def amendments(folder: Path) -> tuple[str, ...]:
    reader = Reader(url_of(folder), folder.name)
    try:
        return reader.sweep().amendments
    finally:
        reader.close()


def hash_of(finished: Finished) -> str:
    return str(digest(*compaction.read_tables(finished.folder)))


def inline(sweep, directory: Path) -> Finished:
    return run(sweep, Launch(directory, "inline"))


def stopped(sweep, directory: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """A run that is drained after so many exchanges."""
    from swathe.orchestrator.scheduler import Scheduler

    counter, tick = itertools.count(1), Scheduler.tick
    with monkeypatch.context() as patched:
        draining = lambda self, *args, **named: tick(self, *args, **{**named, "drain": next(counter) > after})  # noqa: E731
        patched.setattr(Scheduler, "tick", draining)
        return inline(sweep, directory)


@pytest.mark.parametrize("sampler", [("sampler=random",), ("sampler=qmc",), LATTICE], ids=["random", "qmc", "grid"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_growing_in_steps_is_asking_at_once(sampler, order, make_sweep, tmp_path: Path) -> None:
    now = [*SMALL, "grid.width=[1, 2]"]
    inline(make_sweep(*now, *sampler), tmp_path / "steps")
    for step in order:
        now[step] = LARGE[step]
        grown = inline(make_sweep(*now, *sampler), tmp_path / "steps")
        assert grown.reason == "finished"
    assert hash_of(grown) == hash_of(inline(make_sweep(*LARGE, *sampler), tmp_path / "once"))
    assert len(amendments(grown.folder)) == 3
    assert json.loads(amendments(grown.folder)[order.index(1)]) == {"seeds": [1, 3]}
    assert "seeds: 3" in (grown.folder / "spec.yaml").read_text()


@pytest.mark.parametrize("after", [2, 5, 8, 10**6])
def test_a_model_grows_by_configurations_whenever_asked(after: int, make_sweep, tmp_path, monkeypatch) -> None:
    once = inline(make_sweep("sampler=tpe", "configurations=40"), tmp_path / "once")
    stopped(make_sweep(*TPE), tmp_path / "steps", after, monkeypatch)
    grown = inline(make_sweep("sampler=tpe", "configurations=40"), tmp_path / "steps")
    assert hash_of(grown) == hash_of(once)


def test_when_seeds_are_added_to_a_model_does_not_matter(make_sweep, tmp_path, monkeypatch) -> None:
    found = set()
    reasons = []
    for after in (2, 5, 8, 10**6):
        directory = tmp_path / str(after)
        reasons.append(stopped(make_sweep(*TPE), directory, after, monkeypatch).reason)
        more = ("sampler=tpe", "seeds=4")
        stopped(make_sweep(*more, "configurations=24"), directory, after, monkeypatch)
        found.add(hash_of(inline(make_sweep(*more, "configurations=40"), directory)))
    assert len(found) == 1
    assert reasons[:2] == ["drained"] * 2 and reasons[-1] == "finished"


def test_a_seed_added_after_the_race_is_refused_and_configurations_are_not(make_sweep, tmp_path: Path) -> None:
    race = ("sampler=random", 'pruner={"name": "halving", "min_step": 1}')
    inline(make_sweep(*race, "configurations=9"), tmp_path / "steps")
    with pytest.raises(SpecError, match="verdicts"):
        inline(make_sweep(*race, "configurations=9", "seeds=3"), tmp_path / "steps")
    with pytest.raises(SpecError, match="write `configurations: 18`"):
        inline(make_sweep(*race, "configurations=12"), tmp_path / "steps")
    grown = inline(make_sweep(*race, "configurations=18"), tmp_path / "steps")
    assert hash_of(grown) == hash_of(inline(make_sweep(*race, "configurations=18"), tmp_path / "once"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["configurations=4"], "can grow and not shrink"),
        (["seeds=1"], "write seeds: 2 or more"),
        (["grid.width=[1]"], "only be appended"),
        (["grid.width=[2, 1]"], "only be appended"),
        (["grid.width=[0, 1, 2]"], "only be appended"),
        (["grid.width=[1, 2, 2.5]"], "same type"),
        (['grid={"width": [1, 2], "depth": [1]}'], "another sweep"),
    ],
)
def test_what_is_no_extension_is_refused(overrides: list[str], words: str, make_sweep, tmp_path: Path) -> None:
    before = inline(make_sweep(), tmp_path)
    with pytest.raises(SpecError, match=words):
        inline(make_sweep(*overrides), tmp_path)
    assert amendments(before.folder) == () and hash_of(inline(make_sweep(), tmp_path)) == hash_of(before)


def test_limits_are_free_to_change(make_sweep, tmp_path: Path) -> None:
    before = inline(make_sweep(), tmp_path)
    after = inline(make_sweep("limits.attempts=7", "resources.cpus=2"), tmp_path)
    assert (hash_of(after), amendments(after.folder)) == (hash_of(before), ())
    assert "attempts: 7" in (after.folder / "spec.yaml").read_text()


def test_views_show_the_replicates_there_were(make_sweep) -> None:
    sweep = make_sweep(*TPE, "seeds=5")
    told = ['{"seeds": [2, 3]}', '{"configurations": [8, 16], "seeds": [3, 4]}', '{"seeds": [4, 5]}']
    assert amending.views(sweep, told) == ((0, 2), (2, 4))
    assert amending.views(sweep, []) == ((0, 5),)


def test_a_sweep_closes_when_its_time_is_up_and_goes_on_with_more(make_sweep, tmp_path: Path) -> None:
    sweep = make_sweep("limits.sweep=0.000001")
    first = inline(sweep, tmp_path)
    assert (first.reason, first.exit_code) == ("budget", 0)
    assert inline(sweep, tmp_path).reason == "budget"
    last = inline(make_sweep("limits.sweep=1h"), tmp_path)
    assert last.reason == "finished"
    assert hash_of(last) == hash_of(inline(make_sweep(), tmp_path / "once"))


def test_a_sweep_closed_by_its_clock_counts_up_to_its_last_whole_generations(make_sweep, tmp_path, monkeypatch) -> None:
    from swathe.analysis.digest import whole_generations

    sweep = make_sweep("sampler=tpe", "configurations=16", "grid.width=[1]")
    trials = compaction.read_tables(stopped(sweep, tmp_path, 4, monkeypatch).folder).trials
    counted = whole_generations(trials, lambda generation: 8)
    assert len(counted) % 8 == 0 and 0 < len(counted) <= len(trials) < 32
    assert set(counted["generation"].to_pylist()) == set(range(len(counted) // 8))
