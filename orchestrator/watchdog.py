"""Watches workers from outside: what each of them runs, and for how long already. Kills those that hang.

A worker writes what it begins into a small file, because it may come to nothing after that: a trial in C code may hold
the interpreter's lock, so that no other thread of its process runs, or end the process at once.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from . import storage
from .deadlines import Deadlines
from .layout import note_path, notes_path
from .messages import Cause, Loss, Push, Running, TrialKey, WorkerInfo
from .processes import GRACE_SECONDS, kill_tree
from .schedule.watch import Watch, latest
from .spec import Sweep

ROUND_SECONDS = 1.0
_LENGTH = 256


def watchdog_of(sweep: Sweep, folder: Path, *, fresh: bool = True) -> Watchdog:
    """The watchdog for the workers of `sweep`, whose notes lie in `folder`; unless `fresh`, they outlive schedulers."""
    deadlines = Deadlines(sweep.limits.trial, sweep.limits.stall)
    # Where a worker watches a trial's process itself, it has time to end it first.
    supervised = sweep.isolate is not None or sweep.command is not None
    return Watchdog(folder, Watch(deadlines, 2 * GRACE_SECONDS if supervised else ROUND_SECONDS), fresh=fresh)


class NoteFile:
    """The worker's side: one record, overwritten in place."""

    def __init__(self, folder: Path, worker: str) -> None:
        path = note_path(folder, worker)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb", buffering=0)

    def __call__(self, running: Running | None) -> None:
        """Say what runs from now on."""
        told = json.dumps([str(running.trial), running.began, running.lanes] if running else None)
        os.pwrite(self._file.fileno(), told.encode().ljust(_LENGTH), 0)

    def close(self) -> None:
        """Nothing more will be said."""
        self._file.close()


class Watchdog:
    """The scheduler's side, for workers on this machine."""

    def __init__(self, folder: Path, watch: Watch, *, fresh: bool = True) -> None:
        self._folder = folder
        self._watch = watch
        self._pids: dict[str, int] = {}
        self._pushed: dict[str, Running | None] = {}
        self._killed: dict[str, Loss] = {}
        self._round = time.monotonic()
        if fresh:
            # Notes of workers that died with an earlier scheduler.
            storage.remove_tree(notes_path(folder))

    def joined(self, info: WorkerInfo) -> None:
        """A worker has come."""
        self._pids[info.worker] = info.pid

    def heard(self, push: Push) -> None:
        """A worker has spoken."""
        self._pushed[push.worker] = push.running

    def bark(self) -> None:
        """Kill the workers whose trials have broken a limit; to be called every `ROUND_SECONDS`."""
        now = time.monotonic()
        late, self._round = now - self._round > 2 * ROUND_SECONDS, now
        if late or not self._watch.deadlines:
            # This process itself was held up, and news of its workers lie unread.
            return
        for worker, pid in list(self._pids.items()):
            loss = self._watch.judge(worker, now, _read(self._folder, worker), self._pushed.get(worker))
            if loss is not None:
                self._killed[worker] = loss
                del self._pids[worker]
                kill_tree(pid)

    def lost(self, worker: str) -> Loss:
        """The worker has died: what is known about it, which is then forgotten."""
        self._pids.pop(worker, None)
        running = latest(_read(self._folder, worker), self._pushed.pop(worker, None))
        if worker in self._killed:
            return self._killed.pop(worker)
        if running is None:
            return Loss(worker)
        return Loss(worker, running.trial, Cause.WORKER_LOST, time.monotonic() - running.began)

    def close(self) -> None:
        """The sweep has ended."""
        storage.remove_tree(notes_path(self._folder))


def _read(folder: Path, worker: str) -> Running | None:
    try:
        told = json.loads(note_path(folder, worker).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return told and Running(TrialKey.parse(told[0]), told[1], told[1], told[2])
