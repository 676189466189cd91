"""Retried trials leave no trace of their failure in the results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swathe.analysis.digest import digest
from swathe.orchestrator import compaction, retrying
from swathe.orchestrator.driver import Finished, Launch, run
from swathe.orchestrator.errors import SwatheError, SweepLive
from swathe.orchestrator.home import Home
from swathe.orchestrator.ledger import Ledger, Owner
from swathe.orchestrator.ledger.tables import url_of
from swathe.orchestrator.messages import Cause, TrialKey

FLAKY = """
import os

def train(trial):
    for step in range(2):
        trial.report(step, loss=trial.params["lr"] + step)
    if trial.params["width"] == 2 and trial.params["lr"] > 0.01 and "SWATHE_TEST_STARVED" in os.environ:
        raise MemoryError("no room")
    return {"loss": trial.params["lr"]}
"""


@pytest.fixture
def sweep(make_sweep):
    return make_sweep("limits.failures=1.0", "limits.attempts=2", task=FLAKY)


@pytest.fixture
def starved(sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finished:
    with monkeypatch.context() as patched:
        patched.setenv("SWATHE_TEST_STARVED", "1")
        return run(sweep, Launch(tmp_path / "starved", "inline"))


def hash_of(folder: Path) -> str:
    return str(digest(*compaction.read_tables(folder)))


def test_what_was_starved_runs_again_and_equals_its_twin(sweep, starved: Finished, tmp_path: Path) -> None:
    assert "partial" in hash_of(starved.folder)
    chosen = retrying.retry(Home.of(starved.folder))
    assert chosen and all(trial.cell == chosen[0].cell for trial in chosen)
    between = compaction.read_tables(starved.folder)
    assert len(between.trials) == 48 - len(chosen)
    last = run(sweep, Launch(starved.folder.parent, "inline"))
    assert last.reason == "finished"
    assert hash_of(last.folder) == hash_of(run(sweep, Launch(tmp_path / "straight", "inline")).folder)
    assert set(compaction.read_tables(last.folder).trials["attempt"].to_pylist()) == {1}


def test_parts_on_disk_lose_the_rows_that_were_taken_back(starved: Finished) -> None:
    import duckdb

    chosen = {str(trial) for trial in retrying.retry(Home.of(starved.folder))}
    for table in ("trials", "metrics"):
        left = duckdb.sql(f"select distinct trial from '{starved.folder}/{table}/*.parquet'").fetchall()
        assert not chosen & {name for (name,) in left}


def test_a_retry_that_dies_before_the_parts_are_rewritten_is_finished_by_the_next_driver(
    sweep, starved: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    calls: list[int] = []

    def dying(*arguments: object) -> int:
        calls.append(1)
        if len(calls) > 1:
            raise Killed
        return compaction.write_parts(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(retrying, "write_parts", dying)
        with pytest.raises(Killed):
            retrying.retry(Home.of(starved.folder))
    trials = compaction.read_tables(starved.folder).trials
    assert "FAIL" not in trials["state"].to_pylist(), "readers leave out what was taken back"
    last = run(sweep, Launch(starved.folder.parent, "inline"))
    assert hash_of(last.folder) == hash_of(run(sweep, Launch(tmp_path / "straight", "inline")).folder)


def test_only_named_trials_or_causes(misbehaving, tmp_path: Path) -> None:
    sweep = misbehaving.model_copy(update={"limits": {"failures": 1.0}})
    folder = run(sweep, Launch(tmp_path, "inline")).folder
    with pytest.raises(SwatheError, match="--cause diverged or --cause user_error"):
        retrying.retry(Home.of(folder))
    trials = compaction.read_tables(folder).trials.to_pylist()
    failed = [TrialKey.parse(row["trial"]) for row in trials if row["cause"] == "user_error"]
    complete = next(TrialKey.parse(row["trial"]) for row in trials if row["state"] == "COMPLETE")
    with pytest.raises(SwatheError, match="is COMPLETE"):
        retrying.retry(Home.of(folder), [complete])
    assert retrying.retry(Home.of(folder), failed[:2]) == sorted(failed[:2])
    assert set(retrying.retry(Home.of(folder), causes=[Cause.USER_ERROR])) == set(failed[2:])
    assert run(sweep, Launch(tmp_path, "inline")).reason == "finished"
    assert sorted(row["trial"] for row in compaction.read_tables(folder).trials.to_pylist()) == sorted(
        row["trial"] for row in trials
    )


def test_a_live_sweep_is_left_alone(starved: Finished) -> None:
    ledger = Ledger(url_of(starved.folder), starved.folder.name)
    ledger.claim(Owner.here())
    with pytest.raises(SweepLive):
        retrying.retry(Home.of(starved.folder))
    ledger.heartbeat()
    ledger.close()
    assert os.environ.get("SWATHE_TEST_STARVED") is None
