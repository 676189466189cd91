"""Whole trials: a program trained from the first step to the last, in lanes or alone, driven by `Trial` handles."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..task import Calibrated, Scalar, StopTrial, Task, Trial, derive_seed
from .capacity import Bench, Measurement, fastest, measure, out_of_memory, plan
from .lane import Tensors
from .lanes import Lanes
from .program import Params, Program
from .stacks import joined, lane_of
from .tape import Tape

Result = dict[str, float]


def as_task(program: Program, **fields: Any) -> Task:
    """`program` as a `Task`; `fields` are the task's other ones, `name` and `summary` among them."""
    training = Training(program)
    return Task(**{"train": training.train, "fusible": training, "defaults": program.defaults, **fields})


@dataclass(frozen=True)
class Training:
    """What the workers of a sweep do with a program; a `task.Fusible`."""

    program: Program

    @property
    def shapes(self) -> Mapping[str, Scalar | None]:
        """See `Fusible`."""
        return self.program.shape_defaults

    def train(self, trial: Trial) -> Result | None:
        """The plain trial: one lane without `vmap`. None when it was stopped at a report, which it then says."""
        (result,) = _Course(self.program, [trial], fused=False).run()
        if result is None:
            raise StopTrial
        return result

    def train_pack(self, trials: Sequence[Trial]) -> list[Result | None]:
        """Trials of one shape as lanes; the final metrics of each, None for one that was stopped at a report."""
        return _Course(self.program, trials, fused=True).run()

    def calibrate(self, params: Params, trials: int, device: str) -> Calibrated:
        """How many lanes packs of this shape have on `device`, for `trials` trials; 0 where plain trials are as fast.

        A program that does not work in lanes runs as plain trials; its trials will say what is wrong with it, if it
        does not work alone either.
        """
        program, params = self.program, self.program.settled(params)
        try:
            data = program.data(program.shape(params))
            length = program.length(params)[0]
            bench = Bench(program, params, lambda stream: derive_seed(0, 0, stream), device, data, length=length)
            found = measure(bench, trials)
        except Exception as error:
            return Calibrated(0, {}, f"it does not work in lanes: {type(error).__name__}: {error}"[:500])
        if torch.device(device).type == "cpu":
            # Other workers take their shares of the same memory.
            share = min(1.0, torch.get_num_threads() / (os.cpu_count() or 1))
            found = replace(found, free_bytes=int(found.free_bytes * share))
        lanes = plan(found, trials)
        if lanes:
            lanes = fastest(bench, found, lanes)
        return Calibrated(lanes, _numbers(found), "" if lanes else "plain trials are as fast")

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether `error` says that the device or the host had no memory left."""
        return out_of_memory(error)


def _numbers(found: Measurement) -> dict[str, float]:
    return {name: getattr(found, name) for name in ("plain", "few", "many", "lane_bytes", "free_bytes")}


class _Course:
    """One pack on its way through its steps. A trial that a report stops leaves it."""

    def __init__(self, program: Program, trials: Sequence[Trial], *, fused: bool) -> None:
        self._program, self._trials = program, list(trials)
        params = [program.settled(trial.params) for trial in trials]
        self._steps, self._every = program.length(params[0])
        shapes = program.shape(params[0])
        # Data depend on shapes only, and are shared by all trials of a worker that have them.
        key = f"of {id(program)} {json.dumps(shapes, sort_keys=True)}"
        data = trials[0].shared(f"data {key}", lambda: program.data(shapes))
        updates: dict[Any, Tape] = trials[0].shared(f"updates {key}", dict)
        seeds = [trial.seed for trial in trials]
        device = trials[0].device
        self._lanes = Lanes(program, params, seeds, device=device, fused=fused, data=data, updates=updates)
        self._places = list(range(len(trials)))  # of each lane, whose trial it is
        self._running = set(self._places)
        self._last: list[Result] = [{} for _ in trials]

    def run(self) -> list[Result | None]:
        """From where the trials were left, or from the beginning, to the end."""
        saved: list[Any] = [trial.restore() for trial in self._trials]
        if saved[0] is not None:
            self._lanes.load(joined(saved))
        elif self._program.metrics is not None:
            self._report()
        while self._running and self._lanes.done < self._steps:
            stop = min(self._steps, (self._lanes.done // self._every + 1) * self._every)
            self._lanes.run(stop - 1 - self._lanes.done)
            self._lanes.step(report=True)
            self._report()
            self._compact()
        if self._running and self._program.final is not None:
            self._lanes.evaluate(final=True)
            self._take()
        return [self._last[place] if place in self._running else None for place in range(len(self._trials))]

    def _report(self) -> None:
        self._lanes.evaluate()
        self._take()
        states = _States(self._lanes)
        for lane, place in enumerate(self._places):
            if place not in self._running:
                continue
            try:
                self._trials[place].report(self._lanes.done, state=states.of(lane), **self._last[place])
            except StopTrial:
                self._running.discard(place)

    def _take(self) -> None:
        """Move what the lanes have measured to the trials; a metric of `metrics` goes before one of the loss."""
        found = self._lanes.flush()
        for lane, place in enumerate(self._places):
            self._last[place] |= dict(zip(found.metrics, found.values[:, lane].tolist(), strict=True))

    def _compact(self) -> None:
        """Leave stopped lanes behind once they are a quarter; a new recording costs as much as some steps."""
        kept = [lane for lane, place in enumerate(self._places) if place in self._running]
        if kept and 4 * len(kept) <= 3 * len(self._places) and self._lanes.done < self._steps:
            self._lanes.keep(kept)
            self._places = [self._places[lane] for lane in kept]


class _States:
    """The states of single lanes at one moment, taken when the first of them is asked for."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._all: Tensors | None = None

    def of(self, lane: int) -> Callable[[], Tensors]:
        """What gives the state of one lane."""

        def state() -> Tensors:
            if self._all is None:
                self._all = self._lanes.save()
            return lane_of(self._all, lane)

        return state
