"""What an earlier or small sweep tells of a larger one: its trials, and what they cost beside training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

from ..ledger import Reader
from ..ledger.tables import url_of
from ..messages import Scalar
from ..spec import Sweep, parse
from .neighbours import is_number
from .recorded import RecordedTrial, read_trials

# A cluster that was drained and went on later says nothing about how long it takes to start.
_LONGEST_START = 120.0


@dataclass(frozen=True, slots=True)
class Pilot:
    """A sweep that has been run. Times are seconds.

    `startup` passed before its first trial began, `overhead` between two trials of a worker. `inline` says that it
    ran in one process, without a cluster.
    """

    sweep: Sweep
    trials: tuple[RecordedTrial, ...]
    startup: float
    overhead: float

    @classmethod
    def read(cls, folder: Path) -> Pilot:
        """The pilot in `folder`. Raises `SwatheError` when no trial of it has a result."""
        reader = Reader(url_of(folder))
        try:
            record = reader.sweep()
        finally:
            reader.close()
        sweep = parse(record.spec, source=str(folder / "spec.yaml"), root=Path(record.root))
        trials = tuple(sorted(read_trials(folder, sweep), key=lambda each: each.started))
        startup = min(_LONGEST_START, max(0.0, trials[0].started - record.created))
        return cls(sweep, trials, startup, _overhead(sweep, trials))

    @property
    def work(self) -> float:
        """Seconds of training in all."""
        return sum(each.total for each in self.trials)

    @property
    def inline(self) -> bool:
        """Whether it ran in one process, without a cluster."""
        return {each.worker for each in self.trials} == {"inline"}

    @property
    def workers(self) -> int:
        """How many workers ran it."""
        return len({each.worker for each in self.trials})

    def firsts(self) -> frozenset[float]:
        """When the first trial of each worker began; it may have had to load data."""
        begun: dict[str, float] = {}
        for each in self.trials:
            begun.setdefault(each.worker, each.started)
        return frozenset(begun.values())


def _overhead(sweep: Sweep, trials: Sequence[RecordedTrial]) -> float:
    """Seconds between two trials of a worker. Where workers wait for each other's values, that is left out."""
    by_worker: dict[str, list[RecordedTrial]] = defaultdict(list)
    for each in trials:
        by_worker[each.worker].append(each)
    gaps = sorted(
        later.started - sooner.ended
        for mine in by_worker.values()
        for sooner, later in pairwise(mine)
        if 0.0 <= later.started - sooner.ended < _LONGEST_START
    )
    if not gaps:
        return 0.0
    if len(by_worker) == 1:
        return fmean(gaps)
    waits = sweep.pruner is not None or sweep.sampler.name in ("tpe", "gp")
    return median(gaps) if waits else fmean(gaps[: max(1, round(0.9 * len(gaps)))])


@dataclass(frozen=True, slots=True)
class Horizon:
    """The parameter that says how long a trial trains, and its value in the pilot, where it was the same for all.

    `setup` is the share of a trial's seconds that does not grow with it.
    """

    name: str
    value: float
    setup: float

    def steps(self, params: Mapping[str, Scalar]) -> float:
        """How many times as many steps as in the pilot."""
        return float(params.get(self.name, self.value)) / self.value

    def seconds(self, params: Mapping[str, Scalar]) -> float:
        """How many times as many seconds as in the pilot."""
        return self.setup + (1.0 - self.setup) * self.steps(params)


def horizon(trials: Sequence[RecordedTrial]) -> Horizon | None:
    """The parameter that says how many steps a trial reports, when it was the same in all trials of a pilot.

    It is recognised by its value: the last step lies within a fifth below it.
    """
    lasts = {each.last for each in trials}
    if len(lasts) != 1 or (last := lasts.pop()) is None or last < 1:
        return None
    found: list[tuple[float, str, float]] = []
    for name, value in trials[0].params.items():
        same = {repr(each.params.get(name)) for each in trials} == {repr(value)}
        if same and is_number(value) and 0.8 <= (last + 1) / max(float(value), 1e-9) <= 1.05:
            found.append((abs((last + 1) / float(value) - 1.0), name, float(value)))
    if not found:
        return None
    _, name, value = min(found)
    return Horizon(name, value, median(_setup_share(each) for each in trials))


def _setup_share(trial: RecordedTrial) -> float:
    """The share of its seconds that a trial spends beside the steps between its first and last report."""
    if len(trial.steps) < 2 or not trial.total:
        return 0.0
    pace = (trial.seconds[-1] - trial.seconds[0]) / (trial.steps[-1] - trial.steps[0])
    return min(1.0, max(0.0, 1.0 - pace * (trial.steps[-1] + 1) / trial.total))
