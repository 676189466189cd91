"""A worker's line to its scheduler, which may die at any word and have a successor: all is said once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swathe.orchestrator import link
from swathe.orchestrator.link import Link, Unreachable
from swathe.orchestrator.messages import Assignment, Held, Lease, Outcome, Push, Reply, State, TrialKey, WorkerInfo

INFO = WorkerInfo("w", "node", "cpu", 1)
TRIALS = [TrialKey("c", number, 0) for number in range(6)]
FATES = ("answers", "dies before it commits", "dies after it has committed", "has a successor that nobody has noticed")


class Schedulers:
    """One scheduler after another: each call meets the next fate, in the end all is well."""

    def __init__(self, fates: list[str]) -> None:
        self.committed: list[TrialKey] = []
        self.kept: list[Held | None] = []
        self._fates = fates
        self._heard = 0
        self._knows = False

    def __call__(self, method: str, *arguments: Any) -> Any:
        fate = self._fates.pop(0) if self._fates else "answers"
        if fate == FATES[3]:
            self._knows = False
        if fate == FATES[1]:
            raise self._dead()
        answer = getattr(self, method)(*arguments)
        if fate == FATES[2]:
            raise self._dead()
        return answer

    def join(self, info: WorkerInfo) -> int:
        self._knows = True
        return self._heard

    def keep(self, worker: str, held: Held | None) -> None:
        self.kept.append(held)

    def exchange(self, push: Push) -> Reply:
        if not self._knows:
            raise Unreachable("a stranger")
        self.committed += [each.trial for each in push.outcomes]
        self._heard = max(self._heard, push.number)
        wanted = Lease(1, "w", tuple(Assignment(trial, 1, {}) for trial in TRIALS))
        return Reply(lease=wanted if push.wants_lease else None)

    def _dead(self) -> Unreachable:
        self._knows = False
        return Unreachable("it has died")


@given(st.lists(st.sampled_from(FATES), max_size=30))
def test_each_outcome_is_taken_in_once_and_what_is_decided_is_not_held(fates: list[str]) -> None:
    there = Schedulers(list(fates))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(link, "RETRY_SECONDS", 0.0)
        line = Link(INFO, there, orphan=60.0)
        line.join()
        line.exchange(Push("w", None, wants_lease=True))
        for number, trial in enumerate(TRIALS):
            line.exchange(Push("w", 1, (Outcome(trial, 1, State.COMPLETE, value=0.0),)))
            if there.kept[-1] is not None:
                assert set(TRIALS[number + 1 :]) <= set(there.kept[-1].trials)
    assert there.committed == TRIALS
    for held in there.kept:
        assert held is None or held.lease == 1
