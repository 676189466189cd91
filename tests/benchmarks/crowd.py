"""Many workers of one sweep as threads of this process: each speaks to the scheduler as a worker's process does, over
its own calls and with its own pushes, and trains by sleeping.

    python -m tests.benchmarks.crowd ADDRESS NAMESPACE SWEEP PREFIX WORKERS SECONDS

A process a worker is 110 MB, so that 200 of them need a machine of their own.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import ray

from swathe.clusters.workers import Line, scheduler_name
from swathe.orchestrator.link import Link
from swathe.orchestrator.messages import Assignment, Outcome, State
from swathe.orchestrator.schema import MetricRow
from swathe.orchestrator.worker import Worker, this_process

ORPHAN_SECONDS = 120.0


class Sleeper:
    """Runs a trial: a report a second."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    def run(
        self, assignment: Assignment, add: Callable[[MetricRow], None], verdict: Callable[[], object]
    ) -> tuple[Outcome, bool]:
        """Its outcome; it leaves no threads behind."""
        trial, attempt, began = assignment.trial, assignment.attempt, time.time()
        for step in range(self._seconds):
            time.sleep(1)
            add(MetricRow(str(trial), attempt, step, round(time.time() * 1e6), "loss", float(step), False))
        value, last = float(assignment.params["lr"]), self._seconds - 1
        outcome = Outcome(trial, attempt, State.COMPLETE, value=value, steps=last, started=began, ended=time.time())
        return outcome, False


def work(name: str, sweep: str, seconds: int) -> None:
    """One worker, from its introduction until it is dismissed."""
    link = Link(replace(this_process(name, "cpu"), node="crowd"), Line(scheduler_name(sweep), "crowd"), ORPHAN_SECONDS)
    link.join()
    clean = Worker(name, Sleeper(seconds), link.exchange).run()
    link.leave(clean)


def main(address: str, namespace: str, sweep: str, prefix: str, workers: int, seconds: int) -> None:
    """Work until all are dismissed."""
    ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level=logging.ERROR)
    names = [f"{prefix}{number}" for number in range(workers)]
    threads = [threading.Thread(target=work, args=(name, sweep, seconds), name=name) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:5], *map(int, sys.argv[5:]))
