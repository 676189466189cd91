"""The contract of a ledger: one writer, whole ticks, rows that count once."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from swathe.orchestrator.errors import LedgerError, OwnershipLost, SweepLive
from swathe.orchestrator.events import RecordAttempt, RecordOutcome
from swathe.orchestrator.ledger import Batch, Ledger, Owner, Reader
from swathe.orchestrator.ledger import tables as ledger_tables
from swathe.orchestrator.messages import Cause, Outcome, RowBlob, State, Suggestion, TrialKey, WorkerInfo
from swathe.orchestrator.schedule import Decision

INFO = WorkerInfo("w", "node", "cpu", 1)
ELSEWHERE = Owner("another-host", 1, 0.0)
A, B = TrialKey("c", 0, 0), TrialKey("c", 1, 0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = ledger_tables.url_of(tmp_path)
    Ledger.create(url, "s", {"spec": "name: s", "root": "/", "metrics": ["loss"]})
    return url


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    made = Ledger(url, "s")
    made.claim(ELSEWHERE)
    yield made
    made.close()


def decided(trial: TrialKey, value: float = 1.0, lease: int = 1) -> tuple[RecordOutcome, WorkerInfo]:
    outcome = Outcome(trial, 1, State.COMPLETE, value=value, metrics={"loss": value})
    suggestion = Suggestion(trial.configuration, {"lr": 0.1}, "random")
    return RecordOutcome(outcome, 0, suggestion, lease, "w", (lease,)), INFO


def test_a_snapshot_is_what_was_committed(url: str, ledger: Ledger) -> None:
    suggestions = (Suggestion(0, {"lr": 0.1 + 0.2}, "random"), Suggestion(1, {"lr": 1e-300}, "model"))
    lost = RecordAttempt(B, 1, Cause.WORKER_LOST, 1, "w")
    ledger.commit(Batch(proposals=[("c", 0, suggestions)], outcomes=[decided(A)], attempts=[lost], leases=4))
    snapshot = ledger.snapshot()
    assert snapshot.proposals == (("c", 0, suggestions),)
    assert snapshot.decisions == {A: Decision(State.COMPLETE, None, 1.0)}
    assert (snapshot.charges, snapshot.leases) == ({B: 1}, 4)


def test_a_tick_is_all_or_nothing(ledger: Ledger) -> None:
    ledger.commit(Batch(outcomes=[decided(A)]))
    with pytest.raises(Exception, match="UNIQUE"):
        ledger.commit(Batch(proposals=[("c", 0, ())], outcomes=[decided(A)]))
    assert ledger.snapshot().proposals == ()


def test_a_later_claim_fences_the_earlier_owner_off(url: str, ledger: Ledger) -> None:
    successor = Ledger(url, "s")
    successor.claim(ELSEWHERE, force=True)
    for write in (lambda: ledger.commit(Batch(outcomes=[decided(A)])), ledger.heartbeat, ledger.plan_part):
        with pytest.raises(OwnershipLost, match="taken over"):
            write()
    assert successor.snapshot().decisions == {}
    successor.close()


def test_a_live_owner_elsewhere_is_not_replaced(url: str, ledger: Ledger) -> None:
    other = Ledger(url, "s")
    with pytest.raises(SweepLive, match="--takeover"):
        other.claim(Owner.here())
    other.close()


def test_a_silent_owner_elsewhere_is_replaced(url: str, ledger: Ledger) -> None:
    import time

    other = Ledger(url, "s", clock=lambda: time.time() + 31)
    other.claim(Owner.here())
    other.close()


def test_a_dead_owner_here_is_replaced_at_once(url: str, ledger: Ledger) -> None:
    dead = Owner(socket.gethostname(), 2**22 - 1, 0.0)
    reused = Owner(socket.gethostname(), os.getpid(), 0.0)
    assert dead.gone() and reused.gone() and not Owner.here().gone() and not ELSEWHERE.gone()
    ledger.claim(dead, force=True)
    other = Ledger(url, "s")
    other.claim(Owner.here())
    other.close()


def test_rows_of_a_running_trial_count_when_it_ends_and_only_those_of_its_last_lease(url: str, ledger: Ledger) -> None:
    ledger.commit(Batch(rows=[(1, RowBlob(b"lost lease", 1, A))]))
    ledger.commit(Batch(rows=[(2, RowBlob(b"first", 1, A)), (2, RowBlob(b"other trial", 1, B))]))
    reader = Reader(url, "s")
    assert reader.tail().blobs == () and ledger.partial_trials() == {A, B}
    ended = (2, RowBlob(b"last", 1))
    ledger.commit(Batch(outcomes=[decided(A, lease=2)], rows=[ended], partial=frozenset({A, B})))
    assert sorted(reader.tail().blobs) == [b"first", b"last"]
    assert ledger.partial_trials() == {B}
    reader.close()


def test_parts_cover_every_commit_once_and_an_unfinished_one_comes_back(url: str, ledger: Ledger) -> None:
    assert ledger.plan_part() is None
    ledger.commit(Batch(outcomes=[decided(A)], rows=[(1, RowBlob(b"a", 1))]))
    begun = ledger.plan_part()
    ledger.commit(Batch(outcomes=[decided(B)], rows=[(1, RowBlob(b"b", 1))]))
    assert begun is not None and ledger.plan_part() == begun
    reader = Reader(url, "s")
    assert [row.configuration for row in reader.tail(begun).trials] == [0]
    ledger.finish_part(begun)
    tail = reader.tail()
    assert tail.parts == (begun,) and tail.blobs == (b"b",) and [row.configuration for row in tail.trials] == [1]
    following = ledger.plan_part()
    assert following is not None and following.first == begun.last + 1
    reader.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"torn" * 1000)
    with pytest.raises(LedgerError, match="cannot be used as a ledger"):
        Reader(ledger_tables.url_of(tmp_path), "s")


def test_a_missing_ledger_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="swathe run"):
        Reader(ledger_tables.url_of(tmp_path / "nowhere"), "s")


def test_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")]
    monkeypatch.setattr(ledger_tables.psutil, "disk_partitions", lambda all: mounts)
    with pytest.raises(LedgerError, match=r"nfs4.*--dir"):
        Ledger.create(ledger_tables.url_of(tmp_path), "s", {})


def test_progress_counts_by_cell_state_and_cause(url: str, ledger: Ledger) -> None:
    ends = [Outcome(TrialKey("d", n, 0), 1, State.FAIL, c) for n, c in enumerate((Cause.DIVERGED, Cause.USER_ERROR))]
    failed = [(RecordOutcome(end, 0, Suggestion(0, {"lr": 0.1}, "random"), 1, "w"), INFO) for end in ends]
    ledger.commit(Batch(outcomes=[decided(A, 3.0), decided(B, 2.0), *failed]))
    reader = Reader(url, "s")
    progress = reader.progress()
    assert (progress.count(), progress.count(State.COMPLETE), progress.causes()) == (
        4,
        2,
        {Cause.DIVERGED: 1, Cause.USER_ERROR: 1},
    )
    assert (progress.cells["c"].lowest, progress.cells["c"].highest) == (2.0, 3.0)
    (failure,) = reader.failures()
    assert (failure.trial, failure.cause, failure.params) == (TrialKey("d", 1, 0), Cause.USER_ERROR, {"lr": 0.1})
    reader.close()
