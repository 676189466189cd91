"""The one owner of a sweep: the schedule, the search's history and the ledger, a tick at a time. Knows nothing of Ray.

A tick takes what workers pushed, lets the pure schedule decide, commits everything in one transaction, and only then
answers. Starting is resuming: the constructor restores whatever the ledger holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any

from . import warming
from .arrivals import Movements, events_of, says
from .compaction import PART_ROWS, Shape, mend_parts, place_of, remove_remains, write_parts
from .cutting import Cutting
from .events import (
    CancelRequested,
    CloseSweep,
    DiscardOutcome,
    DismissWorker,
    DrainRequested,
    Event,
    GenerationProposed,
    GrantLease,
    Instruction,
    ProposeGeneration,
    RecordAttempt,
    RecordCapacity,
    RecordOutcome,
    RecordPause,
    WorkerLost,
)
from .faultpoints import reach
from .home import Home
from .ledger import CANCEL, DRAIN, Batch, Ledger, Owner, Reader
from .messages import Held, Loss, Push, Reply, RowBlob, Scalar, Suggestion, WorkerInfo
from .planning import plan_of, search_of
from .results import Results
from .schedule import ScheduleState
from .search import Request

# Also the longest time until a wish of another process is seen.
HEARTBEAT_SECONDS = 2.0
PART_SECONDS = 30.0
# Proposals of quick samplers share a commit; those of slow ones are not held back.
PROPOSAL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Ticked:
    """What a tick leads to: replies by worker, and generations to be proposed, wherever the caller likes."""

    replies: Mapping[str, Reply] = field(default_factory=dict[str, Reply])
    requests: Sequence[Request] = ()


class Scheduler:
    """Decides, writes and answers for one sweep. Not safe for threads: its caller lets in one at a time."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        owner: Owner | None = None,
        takeover: bool = False,
        clock: Callable[[], float] = time,
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._reader = Reader(url, folder.name)
        self._ledger = Ledger(url, folder.name, clock=clock)
        self._ledger.claim(owner or Owner.here(), force=takeover)
        record = self._reader.sweep()
        self._shape = Shape.read(record)
        self._results = Results(folder, place_of(record, folder))
        sweep = self._shape.sweep
        snapshot = self._ledger.snapshot(sweep.objectives[1:])
        self.search = search_of(sweep)
        self._state = ScheduleState.restore(plan_of(sweep, record.amendments, record.shapes), snapshot)
        self._cutting = Cutting(sweep, self._state, Home(folder.name, folder, url))
        self._warm = warming.remembered(sweep, record.warm)
        self._history: dict[str, list[Mapping[str, Scalar]]] = {
            cell: [each.params for each in found] for cell, found in self._warm.items()
        }
        for cell, _, suggestions in snapshot.proposals:
            self._remember(cell, suggestions)
        self._partial = self._ledger.partial_trials()
        self._keeping = {pause.outcome.trial for pause in snapshot.pauses if pause.outcome.kept}
        self._infos: dict[str, WorkerInfo] = {}
        self._heard = self._ledger.heard()
        self._movements = Movements()
        self._committed = self._clock()
        self._compacted = self._clock()
        self._fresh = 0
        self._finished = False

    @property
    def closed(self) -> str | None:
        """Why the sweep has closed, or None while it goes on."""
        return self._state.closed

    @property
    def undecided(self) -> int:
        """Trials without a final word."""
        return self._state.undecided

    @property
    def epoch(self) -> int:
        """How many schedulers the sweep has had, this one included."""
        return self._ledger.epoch

    @property
    def demand(self) -> Mapping[str, int]:
        """How many workers of each share could be at work."""
        return self._state.demand

    def join(self, info: WorkerInfo) -> int:
        """Introduce a worker before its first push; the number of its last push that an earlier scheduler took in."""
        self._infos[info.worker] = info
        return self._heard.get(info.worker, 0)

    def keep(self, worker: str, held: Held) -> None:
        """A worker of an earlier scheduler goes on with its lease, from the next tick on."""
        self._movements.keep(worker, held)

    def leave(self, worker: str) -> None:
        """A worker is to hand back its trials and go."""
        self._movements.leave(worker)

    def tell(self, crew: Mapping[str, Any]) -> None:
        """Write what the workers do, for those who watch; says that this scheduler lives."""
        self._ledger.heartbeat(crew)

    def tick(
        self,
        pushes: Sequence[Push] = (),
        *,
        proposed: Sequence[tuple[Request, tuple[Suggestion, ...]]] = (),
        lost: Iterable[Loss] = (),
        drain: bool = False,
    ) -> Ticked:
        """Take everything in, decide, commit, answer. Raises `OwnershipLost` when another driver has taken over."""
        instructions: list[Instruction] = []
        rows: list[tuple[int, RowBlob]] = []
        for event in (*self._movements.events(self._clock()), *self._events(proposed, lost, drain)):
            instructions += self._state.handle(event)
        for push in pushes:
            if push.lease is not None and self._state.holds(push.worker, push.lease):
                rows += ((push.lease, blob) for blob in push.rows)
            for event in events_of(push, self._clock(), self._infos.get(push.worker)):
                instructions += self._state.handle(event)
        instructions = self._cutting.take_in(instructions)
        self._partial.update(blob.running for _, blob in rows if blob.running)
        made = [(request.cell, request.generation, suggestions) for request, suggestions in proposed]
        self._commit(instructions, rows, made, pushes)
        for request, suggestions in proposed:
            self._remember(request.cell, suggestions)
        requests = [self._request(each) for each in instructions if isinstance(each, ProposeGeneration)]
        reach("reply.before")
        return Ticked(self._replies(pushes, instructions), requests)

    def due(self, parts: int = 1) -> bool:
        """Whether enough for so many parts has gathered, or some of it has waited for long."""
        late = self._clock() - self._compacted >= PART_SECONDS and self._fresh > 0
        return late or self._fresh >= parts * PART_ROWS

    def compact(self, *, everything: bool = False) -> int:
        """Write the parts that are due (see `write_parts`); may run beside ticks, from another thread."""
        if not (everything or self.due()):
            return 0
        if self._results.behind and not everything:
            return 0
        self._compacted, self._fresh = self._clock(), 0
        return self._results.write(lambda: self._write(everything), everything)

    def _write(self, everything: bool) -> int:
        written = write_parts(self._results.place, self._ledger, self._reader, self._shape)
        if everything:
            mend_parts(self._results.place, self._reader, self._shape)
            remove_remains(self._results.place, self._reader)
        return written

    def close(self) -> None:
        """Let go of the ledger; nothing of a finished sweep is to be started again."""
        self._results.close(finished=self._finished)
        self._ledger.close()
        self._reader.close()

    def propose(self, due: deque[Request]) -> list[tuple[Request, tuple[Suggestion, ...]]]:
        """Answer and take out the first request, and as many more as a moment holds; may run beside ticks."""
        proposed: list[tuple[Request, tuple[Suggestion, ...]]] = []
        begun = monotonic()
        while due and (not proposed or monotonic() - begun < PROPOSAL_SECONDS):
            proposed.append((due[0], self.search.propose(due[0])))
            due.popleft()
        return proposed

    # In

    def _events(
        self, proposed: Sequence[tuple[Request, tuple[Suggestion, ...]]], lost: Iterable[Loss], drain: bool
    ) -> Iterable[Event]:
        now = self._clock()
        for request, suggestions in proposed:
            yield GenerationProposed(now, request.cell, request.generation, suggestions)
        for loss in lost:
            yield WorkerLost(now, loss.worker, loss.trial, loss.cause, now - loss.seconds, loss.error)
        if self._ledger.wish == CANCEL and self._state.closed is None:
            yield CancelRequested(now)
        if drain or self._ledger.wish == DRAIN:
            yield DrainRequested(now)
        limit = self._shape.sweep.limits.sweep
        if limit is not None and self._state.draining is None and self._ledger.spent >= limit:
            yield DrainRequested(now, "budget")

    # Durable

    def _commit(
        self,
        instructions: Sequence[Instruction],
        rows: Sequence[tuple[int, RowBlob]],
        proposals: Sequence[tuple[str, int, tuple[Suggestion, ...]]],
        pushes: Sequence[Push],
    ) -> None:
        outcomes = [(each, self._infos[each.worker]) for each in instructions if isinstance(each, RecordOutcome)]
        closing = [each.reason for each in instructions if isinstance(each, CloseSweep)]
        leases = [each.lease.number for each in instructions if isinstance(each, GrantLease)]
        batch = Batch(
            proposals=proposals,
            outcomes=outcomes,
            pauses=[each.pause for each in instructions if isinstance(each, RecordPause)],
            attempts=[each for each in instructions if isinstance(each, RecordAttempt)],
            late=[each for each in instructions if isinstance(each, DiscardOutcome)],
            rows=rows,
            leases=max(leases, default=0),
            status=closing[0] if closing else None,
            partial=frozenset(self._partial),
            capacities=[each.capacity for each in instructions if isinstance(each, RecordCapacity)],
            heard={push.worker: push.number for push in pushes if push.number and says(push)},
        )
        news = (batch.proposals, outcomes, batch.pauses, batch.attempts, batch.late, rows, leases, closing)
        if any(news) or batch.capacities:
            self._ledger.commit(batch)
        elif not 0.0 <= self._clock() - self._committed < HEARTBEAT_SECONDS:
            # Due, or the clock was set back.
            self._ledger.heartbeat()
        else:
            return
        self._committed = self._clock()
        self._finished = self._finished or batch.status == "finished"
        self._heard.update(batch.heard)
        self._partial -= {record.outcome.trial for record, _ in outcomes}
        self._clear_checkpoints(batch)
        self._fresh += len(outcomes) + sum(blob.count for _, blob in rows)

    def _clear_checkpoints(self, batch: Batch) -> None:
        """Of each trial that waits keep the last state, of decided ones none. What a crash leaves, `close` clears."""
        for pause in batch.pauses:
            if pause.outcome.kept:
                self._keeping.add(pause.outcome.trial)
                assert pause.outcome.steps is not None, "a state is kept at a step"
                self._results.remove_states(pause.outcome.trial, before=pause.outcome.steps)
        for record, _ in batch.outcomes:
            if record.outcome.trial in self._keeping:
                self._keeping.discard(record.outcome.trial)
                self._results.remove_states(record.outcome.trial)

    # Out

    def _request(self, order: ProposeGeneration) -> Request:
        numbers = self._state.plan.numbers(order.generation)
        if not self.search.sequential:
            return Request(order.cell, order.generation, numbers)
        warm = [each.seen for each in self._warm[order.cell]]
        history = self._history[order.cell][: len(warm) + numbers.start]
        view = [*warm, *self._state.view(order.cell, order.generation)]
        return Request(order.cell, order.generation, numbers, history, view)

    def _remember(self, cell: str, suggestions: Iterable[Suggestion]) -> None:
        self._history[cell].extend(each.params for each in suggestions if self.search.sequential)

    def _replies(self, pushes: Sequence[Push], instructions: Sequence[Instruction]) -> dict[str, Reply]:
        """Replies to all pushes but those that want a lease while there is none."""
        stop = self._state.draining is not None or self._state.closed is not None
        here = [push.worker for push in pushes if not push.wants_lease]
        replies = {worker: Reply(returned=stop or self._movements.leaves(worker)) for worker in here}
        for each in instructions:
            match each:
                case GrantLease(lease=lease):
                    reach("lease.granted")
                    replies[lease.worker] = Reply(lease=lease)
                case DismissWorker(worker=worker):
                    replies[worker] = Reply(dismissed=True)
                case _:
                    pass
        return replies
