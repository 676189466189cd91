"""The contract of a ledger: one writer, whole ticks, rows that count once."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from swathe.orchestrator.errors import LedgerError, OwnershipLost, SweepLive
from swathe.orchestrator.events import RecordAttempt, RecordOutcome
from swathe.orchestrator.ledger import Batch, Ledger, Owner, PartRange, Reader, ask_driver, editing, names_in, url_of
from swathe.orchestrator.messages import Cause, Outcome, RowBlob, State, Suggestion, TrialKey, WorkerInfo
from swathe.orchestrator.schedule import Decision

INFO = WorkerInfo("w", "node", "cpu", 1)
ELSEWHERE = Owner("another-host", 1, 0.0)
A, B = TrialKey("c", 0, 0), TrialKey("c", 1, 0)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    files = request.param == "sqlite"
    url = url_of(tmp_path) if files else request.getfixturevalue("postgres").database()
    Ledger.create(url, "s", {"spec": "name: s", "root": "/", "metrics": ["loss"]})
    return url


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    made = Ledger(url, "s")
    made.claim(ELSEWHERE)
    yield made
    made.close()


def ask(url: str, statement: str) -> None:
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text(statement))
    finally:
        engine.dispose()


def decided(trial: TrialKey, value: float = 1.0, lease: int = 1) -> tuple[RecordOutcome, WorkerInfo]:
    outcome = Outcome(trial, 1, State.COMPLETE, value=value, metrics={"loss": value})
    suggestion = Suggestion(trial.configuration, {"lr": 0.1}, "random")
    return RecordOutcome(outcome, 0, suggestion, lease, "w", (lease,)), INFO


def test_a_driver_of_an_earlier_sweep_of_the_same_name_and_epoch_is_fenced_off(url: str, ledger: Ledger) -> None:
    ask(url, "DELETE FROM sweep")
    Ledger.create(url, "s", {"spec": "name: s", "root": "/", "metrics": ["loss"]})
    other = Ledger(url, "s")
    other.claim(ELSEWHERE)
    assert other.epoch == ledger.epoch
    with pytest.raises(OwnershipLost, match="taken over"):
        ledger.commit(Batch(outcomes=[decided(A)]))
    other.commit(Batch(outcomes=[decided(B)]))
    assert set(other.snapshot().decisions) == {B}
    other.close()


def test_a_forked_copy_of_a_driver_writes_nothing(url: str, ledger: Ledger) -> None:
    copy = os.fork()
    if copy == 0:
        try:
            ledger.commit(Batch(outcomes=[decided(A)]))
        except OwnershipLost:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 7
    ledger.commit(Batch(outcomes=[decided(B)]))
    assert set(ledger.snapshot().decisions) == {B}


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
    with pytest.raises(Exception, match=r"(?i)unique"):
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
    ask(url, "UPDATE sweep SET heartbeat = heartbeat - 31")
    other = Ledger(url, "s")
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


def test_what_was_written_comes_back_to_the_last_bit(url: str, ledger: Ledger) -> None:
    blob = bytes(range(256)) * 40
    error = "a zero byte \x00, half a character \ud800, and a whole one \N{SNOWMAN}"
    end = Outcome(A, 1, State.FAIL, Cause.USER_ERROR, value=5e-324, metrics={"loss": math.inf}, error=error)
    record = RecordOutcome(end, 0, Suggestion(0, {"name": "\x00\N{SNOWMAN}"}, "random"), 2**40, "w", (1,))
    ledger.commit(Batch(outcomes=[(record, INFO)], rows=[(2**40, RowBlob(blob, 1))], leases=2**40))
    reader = Reader(url, "s")
    tail = reader.tail()
    assert tail.blobs == (blob,) and (tail.trials[0].value, tail.trials[0].lease) == (5e-324, 2**40)
    (failure,) = reader.failures()
    assert failure.params == {"name": "\x00\N{SNOWMAN}"} and "\\x00" in failure.error and "\N{SNOWMAN}" in failure.error
    assert ledger.snapshot(["loss"]).decisions[A].others == (math.inf,)
    reader.close()


def test_a_wish_reaches_the_driver_and_not_its_successor(url: str, ledger: Ledger) -> None:
    ask_driver(url, "s", "drain")
    ledger.heartbeat()
    assert ledger.wish == "drain"
    successor = Ledger(url, "s")
    successor.claim(ELSEWHERE, force=True)
    successor.heartbeat()
    assert successor.wish is None
    successor.close()


def test_an_outcome_taken_back_waits_again_with_all_attempts(url: str, ledger: Ledger) -> None:
    failed = Outcome(A, 1, State.FAIL, Cause.TIMEOUT)
    record = RecordOutcome(failed, 0, Suggestion(0, {"lr": 0.1}, "random"), 1, "w", (1,))
    ledger.commit(Batch(outcomes=[(record, INFO)], attempts=[RecordAttempt(A, 1, Cause.TIMEOUT, 1, "w")]))
    part = ledger.plan_part()
    assert part is not None
    ledger.finish_part(part)
    with editing(url, "s", force=True) as editor:
        editor.retry([A])
        snapshot = editor.snapshot()
        assert (snapshot.decisions, snapshot.charges) == ({}, {})
        assert editor.retired() == {part: frozenset({str(A)})}
        editor.forget_retired(part)
        assert editor.retired() == {}


def test_sweeps_of_one_database_do_not_see_each_other(url: str, ledger: Ledger) -> None:
    Ledger.create(url, "t", {"spec": "name: t", "root": "/", "metrics": ["loss"]})
    with pytest.raises(SweepLive, match="sweep t was begun"):
        Ledger.create(url, "t", {"spec": "name: t", "root": "/", "metrics": ["loss"]})
    other = Ledger(url, "t")
    other.claim(ELSEWHERE)
    assert names_in(url) == ["s", "t"]
    ledger.commit(Batch(proposals=[("c", 0, ())], outcomes=[decided(A, 1.0)], rows=[(1, RowBlob(b"s", 1))]))
    other.commit(Batch(proposals=[("c", 0, ())], outcomes=[decided(A, 2.0)], rows=[(1, RowBlob(b"t", 1))]))
    assert (ledger.plan_part(), other.plan_part()) == (PartRange(1, 1), PartRange(1, 1))
    ledger.finish_part(PartRange(1, 1))
    readers = [Reader(url, name) for name in ("s", "t")]
    assert [each.tail().blobs for each in readers] == [(), (b"t",)]
    assert [each.progress().cells["c"].lowest for each in readers] == [1.0, 2.0]
    with pytest.raises(LedgerError, match="several sweeps"):
        Reader(url)
    for each in (other, *readers):
        each.close()


@pytest.mark.parametrize(
    ("value", "kept"), [(-0.0, "0.0"), (math.nan, "None"), (-math.inf, "-inf"), (-5e-324, "-5e-324")]
)
def test_a_value_is_the_same_in_every_database(value: float, kept: str, url: str, ledger: Ledger) -> None:
    ledger.commit(Batch(outcomes=[decided(A, value)]))
    reader = Reader(url, "s")
    assert repr(reader.tail().trials[0].value) == kept
    reader.close()


def test_a_ledger_of_a_later_version_is_one_line(url: str, ledger: Ledger) -> None:
    files = url.startswith("sqlite")
    ask(url, "PRAGMA user_version = 99" if files else "UPDATE schema_version SET number = 99")
    for opens in (Reader, Ledger, lambda url, name: Ledger.create(url, name, {})):
        with pytest.raises(LedgerError, match="newer Swathe"):
            opens(url, "s")


def test_a_ledger_of_an_earlier_version_is_upgraded_by_a_writer_only(url: str, ledger: Ledger) -> None:
    files = url.startswith("sqlite")
    for statement in ("ALTER TABLE sweep DROP COLUMN warm", "DROP TABLE capacity"):
        ask(url, statement)
    ask(url, "PRAGMA user_version = 0" if files else "DROP TABLE schema_version")
    if files:
        reader = Reader(url, "s")
        assert reader.sweep().warm == () and reader.capacities() == {}
        reader.close()
    else:
        with pytest.raises(LedgerError, match="earlier Swathe; `swathe run`"):
            Reader(url, "s")
    with pytest.raises(Exception, match=r"warm"):
        ask(url, "SELECT warm FROM sweep")
    Ledger(url, "s").close()
    reader = Reader(url, "s")
    assert reader.sweep().warm == () and reader.capacities() == {}
    reader.close()


def test_a_sweep_that_is_deleted_under_its_driver_is_said_to_be(url: str, ledger: Ledger) -> None:
    ask(url, "DELETE FROM sweep")
    with pytest.raises(LedgerError, match="sweep s is gone from its ledger"):
        ledger.heartbeat()
