"""Other tuners on the same curves: asynchronous, without any overhead, one report an epoch.

A rival proposes a configuration whenever a worker is free and hears of every epoch. Its random configurations are ours,
in the same order, so that only the pruning differs.
"""

from __future__ import annotations

import heapq
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Protocol

import optuna

from swathe.orchestrator.search import Request, Search, Space
from swathe.orchestrator.simulation.course import Course, Workload
from swathe.orchestrator.simulation.quality import Incumbent, Leader
from swathe.orchestrator.task import Float

Params = Mapping[str, Any]


class Rival(Protocol):
    """A tuner. `number` counts its trials."""

    def ask(self, number: int) -> Params:
        """The parameters of the next trial."""
        ...

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Hear of an epoch; whether the trial is to stop."""
        ...

    def end(self, number: int, value: float | None, pruned: bool) -> None:
        """Hear that the trial has ended; without a value when it diverged."""
        ...


def drawn(space: Space, seed: int) -> Callable[[int], Params]:
    """Our random configurations by number."""
    search = Search("random", space, seed)
    return lambda number: search.propose(Request("a", 0, range(number, number + 1)))[0].params


class RayAsha:
    """Ray Tune's ASHA, the class itself driven through `on_trial_result`; Ray's way is to stop, never to pause."""

    def __init__(self, space: Space, seed: int, epochs: int, reduction: int) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self._draw = drawn(space, seed)
        self._asha = AsyncHyperBandScheduler(
            time_attr="epoch", metric="loss", mode="min", max_t=epochs, grace_period=1, reduction_factor=reduction
        )
        self._trials: dict[int, Any] = {}

    def ask(self, number: int) -> Params:
        """A random configuration."""
        self._trials[number] = SimpleNamespace(trial_id=str(number))
        self._asha.on_trial_add(None, self._trials[number])  # type: ignore[arg-type]
        return self._draw(number)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether ASHA stops the trial."""
        result = {"epoch": epoch, "loss": value}
        return self._asha.on_trial_result(None, self._trials[number], result) == self._asha.STOP  # type: ignore[arg-type]

    def end(self, number: int, value: float | None, pruned: bool) -> None:
        """Nothing: the controller tells ASHA the last result again, which changes nothing."""


class OptunaRival:
    """Optuna by plain ask and tell, with one of its pruners; configurations are ours unless `sampler` is given."""

    def __init__(self, space: Space, seed: int, pruner: optuna.pruners.BasePruner, *, tpe: bool = False) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._draw = None if tpe else drawn(space, seed)
        sampler = optuna.samplers.TPESampler(seed=seed) if tpe else optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(sampler=sampler, pruner=pruner)
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self, number: int) -> Params:
        """A configuration of the sampler, or ours."""
        trial = self._trials[number] = self._study.ask()
        if self._draw is not None:
            return self._draw(number)
        return {name: _suggest(trial, name, each) for name, each in self._space.items()}

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether the pruner stops the trial."""
        self._trials[number].report(value, epoch)
        return self._trials[number].should_prune()

    def end(self, number: int, value: float | None, pruned: bool) -> None:
        """Tell the study."""
        trial = self._trials.pop(number)
        if value is None:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif pruned:
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(trial, value)


def _suggest(trial: optuna.Trial, name: str, parameter: Any) -> Any:
    if isinstance(parameter, Float):
        return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log)
    return parameter.choices[trial.suggest_int(name, 0, len(parameter.choices) - 1)]


def trace(rival: Rival, workload: Workload, workers: int, epochs: int, seconds: float) -> Iterator[Incumbent]:
    """Let a rival tune until `epochs` are trained or `seconds` have passed; what looked best after each epoch."""
    leader, truths, spent = Leader(), dict[int, float | None](), 0
    numbers = itertools.count()
    coming: list[tuple[float, int, Course, int, float]] = []

    def begin(now: float) -> None:
        number = next(numbers)
        params = rival.ask(number)
        truths[number], course = workload.truth(params), workload.course(params, 0)
        heapq.heappush(coming, (now + course.seconds(1), number, course, 1, now))

    for _ in range(workers):
        begin(0.0)
    while spent < epochs and coming[0][0] <= seconds:
        now, number, course, epoch, begun = heapq.heappop(coming)
        spent += 1
        diverged = course.cause is not None and epoch == course.last
        stop = False
        if not diverged:
            value = course.value(epoch)
            stop = rival.report(number, epoch, value) and epoch < (course.last or 0)
            if truths[number] is not None:
                leader.update(number, value)
        if diverged or stop or epoch == course.last:
            rival.end(number, None if diverged else course.value(epoch), stop)
            begin(now)
        else:
            heapq.heappush(coming, (begun + course.seconds(epoch + 1), number, course, epoch + 1, begun))
        truth = truths[leader.best] if isinstance(leader.best, int) else None
        if truth is not None:
            yield Incumbent(now, spent, truth)
