"""Points at which a test can make this process die, stop or find the disk full: one beside every write.

`SWATHE_FAULTS=ledger.commit.before:7,table.written:1:full` acts at the seventh arrival at the first point and at the
first at the second. Arrivals are counted in each process for itself; with `SWATHE_FAULTS_SEEN=FOLDER` over all
processes that share the folder, now and later, so that each planned fault comes about once. There a point's file has
one byte for each arrival. Without the two variables a point costs one call.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

POINTS = (
    "text.written",  # a small file, spec.yaml or provenance.json, under its temporary name
    "text.renamed",
    "ledger.made",  # the ledger has tables and no sweep
    "ledger.created",
    "ledger.claimed",
    "ledger.capacity",  # inside the transaction, the lanes of a shape are written
    "ledger.commit.before",  # inside the transaction, everything written
    "ledger.commit.after",
    "part.planned",  # its range is recorded, nothing of it written
    "table.written",  # one of a part's two files, under its temporary name
    "table.renamed",
    "part.written",  # both files are durable, the ledger does not know yet
    "part.finished",
    "checkpoint.written",  # under its temporary name
    "checkpoint.renamed",
    "scheduler.started",
    "worker.started",
    "lease.granted",  # committed, not sent
    "reply.before",  # the tick is committed, nobody has been told
    "worker.taken",  # outcomes and reports are out of the worker's hands and in a push
    "worker.pushing",
    "worker.pushed",  # the reply has come
    "trial.ended",
)
ACTIONS = ("kill", "stop", "full")

_armed = False
_planned: dict[tuple[str, int], str] = {}
_folder: Path | None = None
_seen: dict[str, int] = {}
_counting = threading.Lock()


def reach(point: str) -> None:
    """This process has come to `point`; raises `OSError` where the plan says that the disk is full."""
    if _armed:
        _act(point, _planned.get((point, _count(point))))


def arm(environment: Mapping[str, str]) -> None:
    """Take the plan from `environment`; called once with the process's own when this module is imported."""
    global _armed, _planned, _folder, _seen
    text, folder = environment.get("SWATHE_FAULTS", ""), environment.get("SWATHE_FAULTS_SEEN", "")
    _planned = dict(_parse(each) for each in text.split(",") if each)
    _folder = Path(folder) if folder else None
    _seen = {}
    _armed = bool(_planned or _folder)


def _parse(text: str) -> tuple[tuple[str, int], str]:
    point, number, *rest = text.split(":")
    action = rest[0] if rest else "kill"
    if point not in POINTS or action not in ACTIONS or not number.isdigit():
        raise ValueError(
            f"SWATHE_FAULTS has {text!r}; write point:arrival or point:arrival:action, where point is one of "
            f"{', '.join(POINTS)} and action one of {', '.join(ACTIONS)}"
        )
    return (point, int(number)), action


def _count(point: str) -> int:
    """The number of this arrival, from 1."""
    assert point in POINTS, f"{point} is no point"
    if _folder is None:
        with _counting:
            _seen[point] = _seen.get(point, 0) + 1
            return _seen[point]
    # Appending moves the descriptor to the end of what this process has written: its own number, without a lock.
    descriptor = os.open(_folder / point, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, b".")
        return os.lseek(descriptor, 0, os.SEEK_CUR)
    finally:
        os.close(descriptor)


def _act(point: str, action: str | None) -> None:
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            # To this thread, so that it stops here; the others stop with it.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        case "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), point)
        case _:
            pass


arm(os.environ)
