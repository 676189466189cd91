"""A simulated sweep in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .bounds import lower_bound
from .course import Workload
from .history import History
from .quality import Quality, judge


@dataclass(frozen=True, slots=True)
class Summary:
    """A simulated sweep in numbers. Times are seconds, of all workers together for `work`, `lost` and `unpruned`.

    No schedule is shorter than `bound`. `work` is the training that led to decisions, `lost` what died with its
    worker, `unpruned` what training every trial to its end would take. `utilisation` is the share of the workers'
    time that was work, `mailbox` the share of its time in which the scheduler handled messages.
    """

    workers: int
    closed: str
    makespan: float
    bound: float
    work: float
    lost: float
    unpruned: float
    utilisation: float
    mailbox: float
    messages: int
    retried: int
    epochs: int
    states: Mapping[str, int]
    causes: Mapping[str, int]
    quality: Quality

    @classmethod
    def of(cls, history: History, workload: Workload) -> Summary:
        """The numbers of one simulation over `workload`."""
        return cls(
            workers=history.cluster.workers,
            closed=history.closed,
            makespan=history.makespan,
            bound=lower_bound(history),
            work=history.work,
            lost=history.lost,
            unpruned=_unpruned(history, workload),
            utilisation=history.utilisation,
            mailbox=history.mailbox,
            messages=history.messages,
            retried=history.retried,
            epochs=history.epochs,
            states={state.value: count for state, count in sorted(history.states.items())},
            causes={cause.value: count for cause, count in sorted(history.causes.items())},
            quality=judge(history, workload),
        )


def _unpruned(history: History, workload: Workload) -> float:
    """The seconds of all trials, were they trained to their ends."""
    shared = {cell.key: cell.params for cell in history.plan.cells}
    params = history.params
    return sum(
        workload.course({**shared[cell], **params[cell][configuration]}, replicate).total
        for cell, configuration, replicate in history.decisions
    )
