"""Ledger rows as plain mappings, and back."""

from __future__ import annotations

from json import dumps, loads
from typing import Any

from ..events import DiscardOutcome, RecordAttempt, RecordOutcome
from ..messages import Capacity, Cause, Outcome, Pause, RowBlob, State, Suggestion, TrialKey, WorkerInfo


def decode_suggestions(text: str) -> tuple[Suggestion, ...]:
    """The inverse of what the ledger keeps of a generation."""
    return tuple(Suggestion(number, params, by) for number, params, by in loads(text))


def generation_row(name: str, cell: str, generation: int, suggestions: tuple[Suggestion, ...]) -> dict[str, Any]:
    plain = [[each.configuration, dict(each.params), each.proposed_by] for each in suggestions]
    return {"sweep": name, "cell": cell, "generation": generation, "suggestions": dumps(plain)}


def pause_row(name: str, pause: Pause) -> dict[str, Any]:
    outcome = pause.outcome
    told = {
        "attempt": outcome.attempt,
        "cause": outcome.cause,
        "value": outcome.value,
        "metrics": dict(outcome.metrics),
        "steps": outcome.steps,
        "started": outcome.started,
        "ended": outcome.ended,
        "kept": outcome.kept,
        "curve": outcome.curve,
        "lanes": outcome.lanes,
    }
    return {
        "sweep": name,
        **outcome.trial._asdict(),
        "lease": pause.lease,
        "worker": pause.worker,
        "lineage": dumps(pause.lineage),
        "outcome": dumps(told),
    }


def decode_pause(row: Any) -> Pause:
    """The inverse of `pause_row`, from a row with its columns as attributes."""
    told = loads(row.outcome)
    told["cause"] = Cause(told["cause"]) if told["cause"] else None
    told["curve"] = tuple((step, value) for step, value in told.get("curve", ()))
    outcome = Outcome(TrialKey(row.cell, row.configuration, row.replicate), state=State.WAITING, **told)
    return Pause(outcome, row.lease, row.worker, tuple(loads(row.lineage)))


def trial_row(name: str, commit: int, record: RecordOutcome, info: WorkerInfo) -> dict[str, Any]:
    outcome = record.outcome
    return {
        "sweep": name,
        **outcome.trial._asdict(),
        "generation": record.generation,
        "params": dumps(dict(record.suggestion.params)),
        "proposed_by": record.suggestion.proposed_by,
        "state": outcome.state.value,
        "cause": outcome.cause.value if outcome.cause else None,
        "attempt": outcome.attempt,
        "value": _number(outcome.value),
        "metrics": dumps(dict(outcome.metrics)),
        "steps": outcome.steps,
        "started": outcome.started,
        "ended": outcome.ended,
        "worker": info.worker,
        "node": info.node,
        "device": info.device,
        "lanes": outcome.lanes,
        "lease": record.lease,
        "error": _storable(outcome.error),
        "commit": commit,
    }


def attempt_row(name: str, now: float, record: RecordAttempt) -> dict[str, Any]:
    return {
        "sweep": name,
        **record.trial._asdict(),
        "attempt": record.attempt,
        "cause": record.cause.value,
        "late": False,
        "lease": record.lease,
        "worker": record.worker,
        "at": now,
    }


def late_row(name: str, now: float, record: DiscardOutcome) -> dict[str, Any]:
    outcome = record.outcome
    return {
        "sweep": name,
        **outcome.trial._asdict(),
        "attempt": outcome.attempt,
        "cause": outcome.cause.value if outcome.cause else None,
        "late": True,
        "lease": record.lease,
        "worker": record.worker,
        "at": now,
    }


def capacity_row(name: str, now: float, capacity: Capacity) -> dict[str, Any]:
    measured = dumps(dict(capacity.measured))
    facts = {"shape": capacity.shape, "lanes": capacity.lanes, "device": capacity.device, "note": capacity.note}
    return {"sweep": name, **facts, "measured": measured, "at": now}


def decode_capacity(row: Any) -> Capacity:
    """The inverse of `capacity_row`, from a row with its columns as attributes."""
    return Capacity(row.shape, row.lanes, row.device, loads(row.measured), row.note)


def blob_row(name: str, commit: int, lease: int, blob: RowBlob) -> dict[str, Any]:
    running = str(blob.running) if blob.running else None
    number = None if blob.running else commit
    return {
        "sweep": name,
        "trial": running,
        "lease": lease,
        "commit": number,
        "count": blob.count,
        "payload": blob.payload,
    }


def _number(value: float | None) -> float | None:
    """A number as every database keeps it: SQLite has no minus zero, and no NaN."""
    return None if value is None or value != value else value + 0.0


def _storable(text: str) -> str:
    """A text that every database takes: PostgreSQL has no place for zero bytes, and none for halves of characters."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
