"""`isolate: process`, the trial's side: the main function of a process that runs one trial and ends."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from multiprocessing.connection import Connection

from .errors import StorageError, SwatheError
from .isolation import pinned_threads
from .loading import task_of
from .messages import Verdict
from .runner import RunContext, Runner
from .schema import MetricRow
from .separate import Job, Refused
from .spec import parse


def main(descriptor: int) -> None:
    """Run the trial that comes through the pipe `descriptor`; send its rows and its outcome back."""
    # What the trial starts must not hold the pipe open.
    os.set_inheritable(descriptor, False)
    with Connection(descriptor) as pipe:
        job: Job = pipe.recv()
        sys.path[:] = job.search_path
        sweep = parse(job.spec, source="ledger", root=job.root)
        share = job.share or next(iter(sweep.shares.values()))
        with pinned_threads(share.threads):
            try:
                task = task_of(sweep)
            except SwatheError as error:
                pipe.send(Refused(str(error)))
                return
            context = replace(RunContext.of(sweep, task, job.folder, job.results, share), quiet=job.quiet)
            line = _Line(pipe)
            try:
                outcome, _ = Runner(context).run(job.assignment, line.add, line.verdict)
            except StorageError as error:
                pipe.send(error)
            else:
                pipe.send(outcome)


class _Line:
    """The pipe to the worker, as a runner sees it. Threads of a trial may report, too."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._told = Verdict.CONTINUE

    def add(self, row: MetricRow) -> None:
        """Send a row."""
        with self._lock:
            self._pipe.send(row)

    def verdict(self) -> Verdict:
        """What the worker has said last."""
        with self._lock:
            while self._pipe.poll():
                self._told = self._pipe.recv()
        return self._told
