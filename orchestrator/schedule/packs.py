"""The open trials that run in lanes: gathered until all of their kind are there, packed, leased, packed again.

Which trials share a pack is a function of proposals, verdicts and recorded capacities, never of workers: the packs of
a stage are formed when every cell whose trials might belong to them has come to it. A stage is a block of generations
or, where rungs decide who goes on, what lies between two rungs of one generation.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping

from ..events import RecordCapacity
from ..messages import Calibration, Capacity, Scalar, TrialKey
from ..packing import packs, span
from .plan import Plan
from .results import CellResults

Pack = tuple[TrialKey, ...]
Block = tuple[str, int]
_RACE_OVER = 2**31


class Packs:
    """Those of some cells. Without `plan.fusing` every trial runs alone, and nothing is ever here.

    `capacities` is kept as it is, since others may share it: what is recorded of a shape holds for a sweep.
    """

    def __init__(self, plan: Plan, cells: Mapping[str, CellResults], capacities: dict[str, int]) -> None:
        self.capacities = capacities
        self._plan, self._cells, self._fusing = plan, cells, plan.fusing
        self._families: dict[str, list[str]] = {}
        if self._fusing is not None:
            for key, cell in cells.items():
                self._families.setdefault(self._fusing.shape(cell.cell.params), []).append(key)
        self._family = {cell: family for family, members in self._families.items() for cell in members}
        self._gathered: dict[Block, set[TrialKey]] = {}
        self._changed: set[Block] = set()
        self._waiting: deque[Pack] = deque()
        self._packs = 0
        self._leased: dict[TrialKey, int] = {}
        self._returned: dict[int, list[TrialKey]] = {}
        self._split: dict[int, bool] = {}
        self._wanted: dict[str, Calibration] = {}
        self._measuring: dict[str, Calibration] = {}
        self._in_vain: Counter[str] = Counter()
        self._records: list[RecordCapacity] = []

    def __len__(self) -> int:
        return sum(map(len, self._waiting))

    @property
    def leases(self) -> int:
        """How many leases wait: packs, and measurements."""
        return len(self._waiting) + len(self._wanted)

    def __iter__(self) -> Iterator[TrialKey]:
        yield from (trial for gathered in self._gathered.values() for trial in gathered)
        yield from (trial for pack in self._waiting for trial in pack)

    # Trials come and go

    def gather(self, trials: Iterable[TrialKey]) -> list[TrialKey]:
        """Keep those of `trials` that may run in lanes; the others, which run alone, come back."""
        if self._fusing is None:
            return list(trials)
        alone: list[TrialKey] = []
        for trial in trials:
            if self._lanes(self._shape(trial)) == 0:
                alone.append(trial)
                continue
            block = self._block(trial)
            self._gathered.setdefault(block, set()).add(trial)
            self._changed.add(block)
        return alone

    def left(self, trial: TrialKey) -> None:
        """The trial is decided, or has paused: others may have waited for that."""
        self._leased.pop(trial, None)
        if self._fusing is not None:
            self._changed.add(self._block(trial))

    def together(self, trials: Iterable[TrialKey]) -> list[TrialKey]:
        """Those of `trials` that are leased as a pack: all of them were running."""
        return [trial for trial in trials if trial in self._leased]

    def back(self, trials: Iterable[TrialKey]) -> list[TrialKey]:
        """Trials of a lease have not been run, or failed without a verdict: a pack stays one. Others come back."""
        alone: list[TrialKey] = []
        for trial in trials:
            if (pack := self._leased.pop(trial, None)) is None:
                alone.append(trial)
            else:
                self._returned.setdefault(pack, []).append(trial)
        return alone

    def split(self, trial: TrialKey, *, memory: bool) -> None:
        """The pack of `trial` failed as one: half as many go next time, always for lack of `memory`."""
        self._split[self._leased[trial]] = memory
        self.back([trial])

    # Leases

    def take(self) -> Pack | None:
        """The next pack for a worker."""
        if not self._waiting:
            return None
        pack = self._waiting.popleft()
        pack, *rest = packs(pack, max(1, self.capacities[self._shape(pack[0])]))
        self._waiting.extendleft(reversed(rest))
        self._packs += 1
        self._leased.update(dict.fromkeys(pack, self._packs))
        return pack

    def withdraw(self, trials: Collection[TrialKey]) -> set[TrialKey]:
        """Take out those of `trials` that wait here, as the pack that a worker runs already."""
        found = {trial for trial in self if trial in trials}
        if found:
            for gathered in self._gathered.values():
                gathered -= found
            rest = (tuple(trial for trial in pack if trial not in found) for pack in self._waiting)
            self._waiting = deque(pack for pack in rest if pack)
            self._packs += 1
            self._leased.update(dict.fromkeys(found, self._packs))
        return found

    def calibration(self, worker: str) -> Calibration | None:
        """What `worker` is to measure first; trials wait for it."""
        if not self._wanted:
            return None
        shape = next(iter(self._wanted))
        self._measuring[worker] = self._wanted.pop(shape)
        return self._measuring[worker]

    def measured(self, capacity: Capacity) -> None:
        """A shape's lanes are known; what was known before stays, for trials have been run by it."""
        self._measuring = {worker: each for worker, each in self._measuring.items() if each.shape != capacity.shape}
        self._wanted.pop(capacity.shape, None)
        if capacity.shape not in self.capacities:
            self._record(capacity)
        self._changed.update(self._gathered)

    def idle(self, worker: str, *, lost: bool = False) -> None:
        """The worker has come to the end of its lease, or to its own: measure again what it has not measured."""
        order = self._measuring.pop(worker, None)
        if order is None:
            return
        self._in_vain[order.shape] += lost
        if self._in_vain[order.shape] < self._plan.attempts:
            self._wanted[order.shape] = order
        else:
            self._record(Capacity(order.shape, 0, note="workers died while they measured it"))

    # Consequences

    def settle(self) -> tuple[list[RecordCapacity], list[TrialKey]]:
        """Form the packs that are due. What is to be recorded, and the trials that have turned out to run alone."""
        for pack, trials in self._returned.items():
            lanes = len(trials)
            if pack in self._split:
                lanes = max(1, lanes // 2)
                shape = self._shape(trials[0])
                if self._split[pack] and lanes < self.capacities[shape]:
                    self._record(Capacity(shape, lanes, note=f"{len(trials)} lanes ran out of memory"))
            self._waiting.extendleft(reversed(packs(sorted(trials), lanes)))
        self._returned, self._split = {}, {}
        alone: list[TrialKey] = []
        while self._changed:
            alone += self._form(self._changed.pop())
        records, self._records = self._records, []
        return records, sorted(alone)

    def _form(self, block: Block) -> list[TrialKey]:
        """Pack what has gathered of a block, if all is there; trials that run alone come back."""
        alone: list[TrialKey] = []
        groups: dict[tuple[str, int | None], list[TrialKey]] = {}
        for trial in sorted(self._ready(block)):
            groups.setdefault((self._shape(trial), self._resumes_at(trial)), []).append(trial)
        for (shape, _), trials in groups.items():
            lanes = self._lanes(shape)
            if lanes is None:
                self._want(shape, trials)
                continue
            self._gathered[block].difference_update(trials)
            if lanes == 0:
                alone += trials
            else:
                self._waiting.extend(packs(trials, lanes))
        if not self._gathered.get(block):
            self._gathered.pop(block, None)
        return alone

    def _resumes_at(self, trial: TrialKey) -> int | None:
        """The step of the checkpoint from which a trial starts, None for the beginning: lanes go in step."""
        pause = self._cells[trial.cell].last_pause(trial)
        return pause.outcome.steps if pause is not None and pause.outcome.kept else None

    def _ready(self, block: Block) -> Iterable[TrialKey]:
        """The gathered trials of the earliest stage that any cell is at, once all cells have proposed the block."""
        family, index = block
        gathered = self._gathered.get(block, set())
        size = self._span(family)
        end = min((index + 1) * size, self._plan.generations)
        members = [self._cells[cell] for cell in self._families[family]]
        if not gathered or any(cell.proposed < end for cell in members):
            return ()
        if self._plan.rungs is None:
            # Cutoffs let a trial wait for the votes of its replicates; whoever then goes on waits for all the others.
            fresh = [t for t in gathered if not self._cells[t.cell].rungs_passed(t.configuration, t.replicate)]
            return fresh or (gathered if self._all_gathered(block) else ())
        rungs = {cell.cell.key: cell.standing(index).rung for cell in members if index in cell.remaining}
        stages = {key: _RACE_OVER if rung is None else rung for key, rung in rungs.items()}
        return [trial for trial in gathered if stages[trial.cell] == min(stages.values())]

    def _all_gathered(self, block: Block) -> bool:
        """Whether every open trial of a block is here, so that none can still come to this stage."""
        cells = (self._cells[cell] for cell in self._families[block[0]])
        return self._gathered[block].issuperset(
            trial for cell in cells for trial in cell.undecided() if self._block(trial) == block
        )

    def _want(self, shape: str, trials: list[TrialKey]) -> None:
        if all(order.shape != shape for order in self._measuring.values()):
            self._wanted.setdefault(shape, Calibration(shape, self._params(trials[0]), len(trials)))

    def _lanes(self, shape: str) -> int | None:
        """The lanes of the shape's packs, None while they are not known."""
        assert self._fusing is not None
        if shape not in self.capacities and self._fusing.lanes is not None:
            self._record(Capacity(shape, self._fusing.lanes, note="as the spec says"))
        return self.capacities.get(shape)

    def _record(self, capacity: Capacity) -> None:
        self.capacities[capacity.shape] = capacity.lanes
        self._records.append(RecordCapacity(capacity))
        self._changed.update(self._gathered)

    def _params(self, trial: TrialKey) -> dict[str, Scalar]:
        cell = self._cells[trial.cell]
        return {**cell.cell.params, **cell.open[trial.configuration].params}

    def _shape(self, trial: TrialKey) -> str:
        assert self._fusing is not None
        return self._fusing.shape(self._params(trial))

    def _block(self, trial: TrialKey) -> Block:
        family = self._family[trial.cell]
        return family, trial.configuration // self._plan.generation // self._span(family)

    def _span(self, family: str) -> int:
        assert self._fusing is not None
        if self._plan.sequential or self._plan.rungs is not None or self._plan.cutoffs is not None:
            return 1
        return span(len(self._families[family]) * self._plan.trials_of(0), self._fusing.lanes)
