"""The sweep's own schedule and search under a simulated clock.

Decisions are made by the same `ScheduleState` and `Search` as in a real sweep; here only time passes differently. A
queue of things to come is worked off in the order of time, and ties in the order in which they were planned, so that a
simulation is a pure function of its arguments.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import count, groupby
from random import Random

from ..events import (
    CloseSweep,
    Event,
    GenerationProposed,
    GrantLease,
    LeaseWanted,
    ProposeGeneration,
    RecordAttempt,
    RecordOutcome,
    RecordPause,
    TrialsEnded,
    WorkerLost,
)
from ..messages import Assignment, Lease, Outcome, Scalar, State
from ..schedule import Plan, ScheduleState
from ..search import Request, Search
from .cluster import Cluster, Server
from .course import Workload, stretch
from .history import Arrival, History

# However many workers report, some of the scheduler's time is left for leases.
_CROWDED = 0.95


def simulate(plan: Plan, search: Search, workload: Workload, cluster: Cluster, seed: int = 0) -> History:
    """Run the sweep `plan` on simulated machines. `seed` draws deaths and stragglers."""
    return _Simulation(plan, search, workload, cluster, seed).run()


class _Simulation:
    def __init__(self, plan: Plan, search: Search, workload: Workload, cluster: Cluster, seed: int) -> None:
        self._state = ScheduleState(plan)
        self._search = search
        self._workload = workload
        self._cluster = cluster
        self._random = Random(seed)
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._now = 0.0
        self._mailbox, self._sampler = Server(), Server()
        self._busy, self._leased = 0, 0.0
        self._names = count()
        self._closed: str | None = None
        self._lost = 0.0
        self._retried = 0
        self._params: dict[str, list[Mapping[str, Scalar]]] = {cell.key: [] for cell in plan.cells}
        self._trained: dict[tuple[object, int], tuple[float, int]] = {}
        self._arrivals: list[Arrival] = []

    def run(self) -> History:
        """Let time pass until the sweep closes."""
        for _ in range(self._cluster.workers):
            self._at(self._cluster.startup, self._join)
        while self._coming and self._closed is None:
            self._now, _, happen = heapq.heappop(self._coming)
            happen()
        assert self._closed is not None, "nothing is left to happen, and the sweep is open"
        messages = self._mailbox.served + round(self._leased / self._cluster.pulse)
        return History(
            plan=self._state.plan,
            cluster=self._cluster,
            closed=self._closed,
            makespan=self._now,
            lost=self._lost,
            retried=self._retried,
            messages=messages,
            mailbox=min(1.0, messages * self._cluster.handling / self._now) if self._now else 0.0,
            decisions=self._state.dump().decisions,
            params=self._params,
            arrivals=self._arrivals,
        )

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._coming, (when, next(self._order), happen))

    # Messages

    def _join(self) -> None:
        self._send([LeaseWanted(self._now, f"worker-{next(self._names)}")])

    def _send(self, events: Sequence[Event]) -> None:
        """A worker's message: it travels, waits its turn, and is taken in."""
        self._at(self._now + self._cluster.latency, lambda: self._arrive(events))

    def _arrive(self, events: Sequence[Event]) -> None:
        # Reports of running trials carry nothing that matters here but take their share of the mailbox.
        reports = min(_CROWDED, self._busy * self._cluster.handling / self._cluster.pulse)
        done = self._mailbox.serve(self._now, self._cluster.handling / (1.0 - reports))
        self._at(done, lambda: self._take(events))

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            for each in self._state.handle(event):
                match each:
                    case GrantLease(lease=lease):
                        self._at(self._now + self._cluster.latency, lambda lease=lease: self._begin(lease))
                    case ProposeGeneration():
                        self._propose(each)
                    case RecordPause(pause=pause):
                        self._note(pause.outcome, pause.lease)
                    case RecordOutcome(outcome=outcome, lease=number) if outcome.state is not State.PRUNED:
                        self._note(outcome, number)
                    case RecordAttempt():
                        self._retried += 1
                    case CloseSweep(reason=reason):
                        self._closed = reason
                    case _:
                        pass

    # The search

    def _propose(self, order: ProposeGeneration) -> None:
        numbers = self._state.plan.numbers(order.generation)
        request = Request(order.cell, order.generation, numbers)
        if self._search.sequential:
            history, view = self._params[order.cell][: numbers.start], self._state.view(order.cell, order.generation)
            request = Request(order.cell, order.generation, numbers, history, view)
        seconds = self._cluster.proposal * len(numbers) if self._state.plan.sequential else 0.0
        suggestions = self._search.propose(request)
        self._params[order.cell].extend(each.params for each in suggestions)
        done = self._sampler.serve(self._now, seconds)
        self._at(done, lambda: self._take([GenerationProposed(done, order.cell, order.generation, suggestions)]))

    # Workers

    def _begin(self, lease: Lease) -> None:
        """A worker runs its lease: plan what it will say, and when."""
        self._busy += 1
        slow = self._cluster.slowdown if self._random.random() < self._cluster.stragglers else 1.0
        begun, now = self._now, self._now
        outcomes: list[Outcome] = []
        for assignment in lease.assignments:
            outcomes.append(self._train(assignment, lease.number, now, slow))
            now = outcomes[-1].ended
        death = begun + self._random.expovariate(self._cluster.deaths / 3600) if self._cluster.deaths else math.inf
        survived = death >= now
        self._leased += min(death, now) - begun
        unsaid = self._report(lease, begun, outcomes, now if survived else death, survived)
        if not survived:
            self._at(death, lambda: self._die(lease, begun, outcomes, unsaid))

    def _train(self, assignment: Assignment, lease: int, begin: float, slow: float) -> Outcome:
        trial = assignment.trial
        course = self._workload.course(assignment.params, trial.replicate)
        seen = stretch(course if slow == 1.0 else course.stretched(slow), assignment.resume_from, assignment.pause_at)
        self._trained[trial, lease] = seen.seconds, (seen.steps or 0) - (assignment.resume_from or 0)
        return Outcome(
            trial,
            assignment.attempt,
            seen.state,
            seen.cause,
            seen.value,
            steps=seen.steps,
            started=begin,
            ended=begin + self._cluster.overhead + seen.seconds,
            kept=seen.state is State.WAITING and self._cluster.checkpoints,
        )

    def _report(self, lease: Lease, begun: float, outcomes: list[Outcome], until: float, survived: bool) -> int:
        """Plan the messages of a lease: what has ended goes with the next pulse, the last with the wish for more.

        Returns how many of the outcomes are never sent, because the worker dies at `until`.
        """
        pulse, sent = self._cluster.pulse, 0
        beats = [(beat, tuple(each)) for beat, each in groupby(outcomes, lambda each: self._beat(each, begun))]
        for beat, said in beats[:-1]:
            when = min(begun + beat * pulse, until)
            if survived or when < until:
                self._at(when, lambda said=said: self._send([self._ended(lease, said)]))
                sent += len(said)
        if not survived:
            return len(outcomes) - sent
        self._at(until, lambda: self._finish(lease, beats[-1][1]))
        return 0

    def _beat(self, outcome: Outcome, begun: float) -> int:
        return max(1, math.ceil((outcome.ended - begun) / self._cluster.pulse))

    def _ended(self, lease: Lease, outcomes: tuple[Outcome, ...]) -> TrialsEnded:
        return TrialsEnded(self._now, lease.worker, lease.number, outcomes)

    def _finish(self, lease: Lease, outcomes: tuple[Outcome, ...]) -> None:
        self._busy -= 1
        self._send([self._ended(lease, outcomes), LeaseWanted(self._now, lease.worker)])

    def _die(self, lease: Lease, begun: float, outcomes: Sequence[Outcome], unsaid: int) -> None:
        self._busy -= 1
        said = len(outcomes) - unsaid
        self._lost += self._now - (outcomes[said - 1].ended if said else begun)
        for each in outcomes[said:]:
            del self._trained[each.trial, lease.number]
        running = next(each.trial for each in outcomes if each.ended > self._now)
        self._send([WorkerLost(self._now, lease.worker, running)])
        self._at(self._now + self._cluster.recovery, self._join)

    def _note(self, outcome: Outcome, lease: int) -> None:
        """A pause or an end has been recorded."""
        seconds, epochs = self._trained.pop((outcome.trial, lease), (0.0, 0))
        self._arrivals.append(
            Arrival(self._now, outcome.trial, outcome.state, outcome.steps, outcome.value, seconds, epochs)
        )
