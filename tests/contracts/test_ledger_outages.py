"""A PostgreSQL ledger through outages: nothing is lost, nothing is written twice, a cut session's owner is fenced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from swathe.orchestrator.errors import LedgerAway, LedgerError, OwnershipLost
from swathe.orchestrator.events import RecordOutcome
from swathe.orchestrator.ledger import Batch, Ledger, Owner, Reader, writing
from swathe.orchestrator.messages import Outcome, RowBlob, State, Suggestion, TrialKey, WorkerInfo
from tests.servers import Postgres, Relay, unix

INFO = WorkerInfo("w", "node", "cpu", 1)
ELSEWHERE = Owner("another-host", 1, 0.0)
RECORD = {"spec": "name: s", "root": "/", "metrics": ["loss"]}


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


@pytest.fixture
def relay(postgres: Postgres) -> Iterator[Relay]:
    made = Relay(lambda: unix(postgres.socket))
    yield made
    made.close()


def through(relay: Relay, url: str, **changes: str) -> str:
    """The same database over the relay."""
    changed = sa.make_url(url).set(host="127.0.0.1", port=relay.port, query={"sslmode": "disable"}, **changes)
    return changed.render_as_string(hide_password=False)


def claimed(url: str, *, create: bool = True) -> Ledger:
    if create:
        Ledger.create(url, "s", RECORD)
    ledger = Ledger(url, "s")
    ledger.claim(ELSEWHERE)
    return ledger


def tick(number: int) -> Batch:
    trial = TrialKey("c", number, 0)
    outcome = Outcome(trial, 1, State.COMPLETE, value=float(number), metrics={"loss": float(number)})
    record = RecordOutcome(outcome, 0, Suggestion(number, {"lr": 0.1}, "random"), number, "w", (number,))
    return Batch(outcomes=[(record, INFO)], rows=[(number, RowBlob(b"%d" % number, 1))], leases=number)


def written(url: str) -> tuple[list[int], list[bytes]]:
    reader = Reader(url, "s")
    tail = reader.tail()
    reader.close()
    return [row.configuration for row in tail.trials], list(tail.blobs)


def disturb(postgres: Postgres, way: str, database: str) -> Callable[[], None]:
    """Break the connections in one way; what is returned mends it."""
    match way:
        case "cut":
            assert postgres.end_sessions(database) > 0
            return lambda: None
        case "restart":
            postgres.stop()
        case _:
            postgres.kill()
    return postgres.start


@pytest.mark.parametrize("way", ["cut", "restart", "crash"])
def test_ticks_survive(way: str, url: str, postgres: Postgres) -> None:
    ledger = claimed(url)
    for number in range(3):
        ledger.commit(tick(number))
    mend = disturb(postgres, way, str(sa.make_url(url).database))
    later = threading.Timer(1.0, mend)
    later.start()
    ledger.commit(tick(3))
    ledger.heartbeat()
    assert ledger.plan_part() is not None
    later.join()
    ledger.commit(tick(4))
    assert written(url) == ([0, 1, 2, 3, 4], [b"0", b"1", b"2", b"3", b"4"])
    assert ledger.snapshot().leases == 4
    ledger.close()


def test_a_commit_whose_acknowledgement_was_lost_is_written_once(url: str, relay: Relay) -> None:
    ledger = claimed(through(relay, url))
    for number in range(3):
        relay.lose_answer_to(b"COMMIT")
        ledger.commit(tick(number))
        assert relay.swallowed == number + 1
    relay.lose_answer_to(b"INSERT INTO trial")
    ledger.commit(tick(3))
    assert relay.swallowed == 4
    assert written(url) == ([0, 1, 2, 3], [b"0", b"1", b"2", b"3"])
    reader = Reader(url, "s")
    assert reader.tail().trials[-1].commit == 4
    reader.close()
    ledger.close()


def test_a_sweep_begun_and_claimed_without_acknowledgement_is_ones_own(url: str, relay: Relay) -> None:
    Ledger.create(through(relay, url), "other", RECORD)
    relay.lose_answer_to(b"INSERT INTO sweep")
    Ledger.create(through(relay, url), "s", RECORD)
    assert relay.swallowed == 1
    ledger = Ledger(through(relay, url), "s")
    relay.lose_answer_to(b"COMMIT")
    ledger.claim(ELSEWHERE)
    assert relay.swallowed == 2
    ledger.commit(tick(0))
    assert written(url) == ([0], [b"0"])
    ledger.close()


def test_a_zombie_whose_session_was_cut_in_mid_transaction_is_fenced(
    url: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    zombie, heir = claimed(url), Ledger(url, "s")

    def asleep(point: str) -> None:
        """In mid-transaction its session is cut, a successor takes over and goes on, and then it wakes."""
        monkeypatch.setattr(writing, "reach", lambda point: None)
        if point == "ledger.commit.before":
            assert postgres.end_sessions(str(sa.make_url(url).database)) > 0
            heir.claim(Owner.here(), force=True)
            heir.commit(tick(1))

    zombie.commit(tick(0))
    monkeypatch.setattr(writing, "reach", asleep)
    with pytest.raises(OwnershipLost, match="taken over"):
        zombie.commit(tick(7))
    for write in (lambda: zombie.commit(tick(8)), zombie.heartbeat, zombie.plan_part):
        with pytest.raises(OwnershipLost, match="taken over"):
            write()
    assert written(url) == ([0, 1], [b"0", b"1"])
    zombie.close()
    heir.close()


def test_a_driver_asleep_in_a_transaction_loses_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swathe.orchestrator.ledger.postgres.ASLEEP_SECONDS", 1.0)
    zombie, heir = claimed(url), Ledger(url, "s")
    taken = threading.Event()

    def asleep(point: str) -> None:
        monkeypatch.setattr(writing, "reach", lambda point: None)
        # The successor waits for the lock until the server ends the session that holds it.
        heir.claim(Owner.here(), force=True)
        taken.set()

    monkeypatch.setattr(writing, "reach", asleep)
    with pytest.raises(OwnershipLost, match="taken over"):
        zombie.commit(tick(7))
    assert taken.is_set()
    zombie.close()
    heir.close()


def test_a_heartbeat_is_of_the_databases_clock(url: str) -> None:
    Ledger.create(url, "s", RECORD)
    wrong = Ledger(url, "s", clock=lambda: 1e9)
    wrong.claim(ELSEWHERE)
    reader = Reader(url, "s", clock=lambda: 5e9)
    record = reader.sweep()
    assert record.live() and 0 <= record.asked - record.heartbeat < 10
    wrong.heartbeat()
    assert 0 <= reader.sweep().heartbeat - record.heartbeat < 10
    reader.close()
    wrong.close()


def test_what_cannot_be_reached_is_named_without_the_password(
    url: str, postgres: Postgres, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swathe.orchestrator.ledger.opening.OPENING_SECONDS", 0.2)
    postgres.guard("guarded", "right")
    wrong = through(relay, url, username="guarded", password="hunter2")
    with pytest.raises(LedgerError, match=r"guarded:\*\*\*@127.*password authentication failed.*PGPASSWORD") as told:
        Reader(wrong, "s")
    assert "hunter2" not in str(told.value)
    with pytest.raises(LedgerError, match="no tables; `swathe run`"):
        Reader(through(relay, url, username="guarded", password="right"), "s")
    with pytest.raises(LedgerError, match='database "absent" does not exist'):
        Reader(through(relay, url, database="absent"), "s")
    with pytest.raises(LedgerError, match="permission denied"):
        Ledger.create(through(relay, url, username="guarded", password="right"), "s", RECORD)
    relay.close()
    with pytest.raises(LedgerAway, match=r"cannot be reached.*check host and port") as told:
        Reader(wrong, "s")
    assert "hunter2" not in str(told.value)
    with pytest.raises(LedgerError, match=r"in mysql.*postgresql://USER"):
        Reader("mysql://root:hunter2@host/db", "s")
