"""What a sweep has acknowledged, and whether all of it is still there, unrepeated, in the end."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from swathe.analysis.digest import digest
from swathe.orchestrator import compaction, schema
from swathe.orchestrator.errors import LedgerError
from swathe.orchestrator.messages import Cause, TrialKey


class Execution(NamedTuple):
    """A training function was called for `trial`, to begin with `step`."""

    trial: str
    step: int
    at: float


Report = tuple[str, int | None, str, str]


@dataclass(frozen=True)
class Acknowledged:
    """What a ledger and its parts held at one moment.

    `decided` are the trials with their final words, `paused` the steps up to which a trial need not be computed
    again, `reports` all metric rows: trial, step, metric, bits of the value.
    """

    at: float
    decided: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    paused: Mapping[str, int] = field(default_factory=dict)
    reports: frozenset[Report] = frozenset()


def acknowledged(folder: Path) -> Acknowledged:
    """What the sweep in `folder` holds now; nothing while it has no ledger."""
    try:
        tables = compaction.read_tables(folder)
    except LedgerError:
        return Acknowledged(time.time())
    decided = {row["trial"]: _final(row) for row in tables.trials.to_pylist()}
    running, paused = _open_trials(folder)
    reports = _reports(tables.metrics.to_pylist()) | running
    return Acknowledged(time.time(), decided, paused, reports)


def _final(row: Mapping) -> tuple[str | None, ...]:
    value = row["value"]
    return (row["state"], row["cause"], None if value is None else value.hex(), str(row["steps"]))


def _reports(rows: Sequence[Mapping]) -> frozenset[Report]:
    return frozenset((row["trial"], row["step"], row["metric"], row["value"].hex()) for row in rows)


def _open_trials(folder: Path) -> tuple[frozenset[Report], dict[str, int]]:
    """Reports of trials that have not ended, and where those that paused start again."""
    connection = sqlite3.connect(folder / "ledger.db", timeout=30)
    try:
        blobs = connection.execute('SELECT payload FROM rows WHERE "commit" IS NULL').fetchall()
        pauses = connection.execute("SELECT cell, configuration, replicate, outcome FROM pause ORDER BY id").fetchall()
    finally:
        connection.close()
    reports = [_reports(schema.decode_rows(payload).to_pylist()) for (payload,) in blobs]
    told = [(str(TrialKey(*key)), json.loads(outcome)) for *key, outcome in pauses]
    return frozenset().union(*reports), {trial: each["steps"] for trial, each in told if each["kept"]}


def executions(ran: Path) -> list[Execution]:
    """All calls of the training function, as the task wrote them down."""
    if not ran.exists():
        return []
    lines = [line.split() for line in ran.read_text(encoding="utf-8").splitlines()]
    return [Execution(trial, int(step), float(at)) for trial, step, at in lines]


def hash_of(folder: Path) -> str:
    return str(digest(*compaction.read_tables(folder)))


def judge(folder: Path, twin: Path, moments: Sequence[Acknowledged], ran: Path) -> None:
    """Raise `AssertionError` unless the finished sweep in `folder` has kept all that it ever acknowledged."""
    final = acknowledged(folder)
    lasting = {trial for trial, (_, cause, *_) in final.decided.items() if not cause or Cause(cause).deterministic}
    calls = executions(ran)
    for moment in moments:
        changed = {trial for trial, word in moment.decided.items() if final.decided.get(trial) != word}
        assert not changed, f"acknowledged trials were lost or changed: {sorted(changed)}"
        missing = {report for report in moment.reports - final.reports if report[0] in lasting}
        assert not missing, f"acknowledged reports are missing: {sorted(missing, key=str)[:5]}"
        again = [call for call in calls if call.at > moment.at and _known(moment, call)]
        assert not again, f"acknowledged work was done again: {again[:5]}"
    assert hash_of(folder) == hash_of(twin), _difference(folder, twin)
    check_folder(folder)


def _known(moment: Acknowledged, call: Execution) -> bool:
    return call.trial in moment.decided or call.step <= moment.paused.get(call.trial, -1)


def _difference(folder: Path, twin: Path) -> str:
    mine, other = (acknowledged(each).decided for each in (folder, twin))
    pairs = {trial: (mine.get(trial), other.get(trial)) for trial in mine.keys() | other.keys()}
    differing = {trial: pair for trial, pair in pairs.items() if pair[0] != pair[1]}
    return f"the hash differs from the undisturbed one: {list(differing.items())[:5] or 'in the metric rows'}"


def check_folder(folder: Path) -> None:
    """A finished folder is complete alone: its files are the ledger's parts, and hold every trial once."""
    connection = sqlite3.connect(folder / "ledger.db", timeout=30)
    parts = {
        compaction.part_name(compaction.PartRange(first, last))
        for first, last, done in connection.execute('SELECT "first", "last", done FROM part')
        if done
    }
    left = connection.execute("SELECT count(*) FROM rows").fetchone()[0]
    connection.close()
    assert not left, f"{left} blobs are neither in a part nor forgotten"
    for table in ("trials", "metrics"):
        names = {path.name for path in (folder / table).iterdir()}
        assert names == parts, f"{table} has files that the ledger does not know: {sorted(names ^ parts)}"
    counted = Counter(compaction.read_tables(folder).trials["trial"].to_pylist())
    assert set(counted.values()) <= {1}
