"""A trial as pure functions, so that many trials of one shape can run as lanes of one program.

The user writes one lane. Parameters named in `shapes` decide shapes or Python code and are the same in all lanes of a
pack; every other number may differ from lane to lane, and is a 0-dimensional tensor inside `loss` and `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..task import Scalar
from .data import Data
from .errors import ProgramError
from .lane import Lane, tensors
from .optim import Hyper, Optimizer
from .probing import probed
from .trees import each

Params = Mapping[str, Scalar]
Seeds = Callable[[str], int]  # a stream ("init", "data", "noise") -> a 31-bit seed; `Trial.seed` is one
Measure = Callable[[Any, Any, Mapping[str, Any]], Mapping[str, Tensor]]
State = dict[str, Any]  # "params", "buffers": trees; "optimizer": its state; "noise": seed


@dataclass(frozen=True)
class Program:
    """One lane of a sweep's training.

    - `model(params, seeds)` builds the module of a trial; torch's global generator is seeded with seeds("init").
    - `loss(model, batch, params)` is the scalar to minimise, or that and a mapping of scalar metrics.
    - `metrics(model, data, params)` measures on the held-out tensors, with the module in evaluation mode.
    - `final(model, data, params)` measures once more at the end of a trial, where that costs too much to repeat.
    - `data(params)` gives the data, `optimizer` may be a function too; both see the parameters in `shapes` only.
    - `steps` and `report_every` are numbers, or names of parameters, which then count as shapes; a trial reports its
      loss and metrics after every so many of its steps (0: ten times) and at the end. `defaults` are values of
      parameters that a spec leaves out.

    Buffers (BatchNorm's statistics) are part of a lane's state; dropout and noise depend on (seed, step, layer) alone.
    """

    model: Callable[[Params, Seeds], nn.Module]
    loss: Callable[[Any, Any, Mapping[str, Any]], Tensor | tuple[Tensor, Mapping[str, Tensor]]]
    optimizer: Optimizer | Callable[[Params], Optimizer]
    data: Callable[[Params], Data]
    metrics: Measure | None = None
    shapes: tuple[str, ...] = ()
    final: Measure | None = None
    steps: int | str = "steps"
    report_every: int | str = "report_every"
    defaults: Params = field(default_factory=dict[str, Scalar])
    dtype: torch.dtype = torch.float32

    @property
    def shape_names(self) -> tuple[str, ...]:
        """The parameters in which trials that share a pack agree."""
        length = [name for name in (self.steps, self.report_every) if isinstance(name, str)]
        return tuple(dict.fromkeys([*self.shapes, *length]))

    @property
    def shape_defaults(self) -> dict[str, Scalar | None]:
        """What each of `shape_names` is where a spec does not say, None where it must."""
        usual = {self.report_every: 0, **self.defaults}
        return {name: usual.get(name) for name in self.shape_names}

    def settled(self, params: Params) -> dict[str, Scalar]:
        """The parameters of a trial, defaults included."""
        return {**self.defaults, **params}

    def shape(self, params: Params) -> dict[str, Scalar]:
        """What trials must agree in to share a pack. Raises `ProgramError` for a shape that is no parameter."""
        if missing := [name for name in self.shapes if name not in params]:
            raise ProgramError(
                f"{missing[0]!r} is named in `shapes` but is no parameter; there are {', '.join(params)}"
            )
        return {name: params[name] for name in self.shape_names if name in params}

    def optimizer_of(self, shapes: Params) -> Optimizer:
        """The optimizer of trials with these shapes."""
        return self.optimizer if isinstance(self.optimizer, Optimizer) else self.optimizer(shapes)

    def length(self, params: Params) -> tuple[int, int]:
        """How many updates a trial makes, and after how many it reports. Raises `ProgramError`."""
        steps = params.get(self.steps) if isinstance(self.steps, str) else self.steps
        every = params.get(self.report_every, 0) if isinstance(self.report_every, str) else self.report_every
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
            raise ProgramError(
                f"a trial makes {steps!r} updates; give the parameter {self.steps!r} as a whole number, or the program "
                "a number as `steps`"
            )
        if not isinstance(every, int) or isinstance(every, bool) or every < 0:
            raise ProgramError(f"a trial reports every {every!r} updates; give a whole number, or 0 for ten reports")
        return steps, every or max(1, steps // 10)

    def values(self, params: Params) -> dict[str, bool | float]:
        """The parameters that may differ from lane to lane, as numbers."""
        same = self.shape_names
        free = {name: value for name, value in params.items() if name not in same and not isinstance(value, str)}
        return {name: value if isinstance(value, bool) else float(value) for name, value in free.items()}

    def build(self, params: Params, seeds: Seeds) -> nn.Module:
        """The trial's module. Leaves torch's global generator as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds("init"))
            return self.model(params, seeds)

    def init(self, params: Params, seeds: Seeds) -> State:
        """The state of one trial before its first step."""
        tree, buffers = tensors(self.build(params, seeds))
        noise = torch.tensor(seeds("noise"))
        moments = self.optimizer_of(self.shape(params)).init(tree)
        return {"params": tree, "buffers": buffers, "optimizer": moments, "noise": noise}

    def step(self, state: State, batch: Any, params: Params) -> tuple[State, dict[str, Tensor]]:
        """One update of one trial: its next state, and "loss" and the metrics of `batch` before the update."""
        lane, given = self._alone(params, state)
        names, optimizer = list(state["params"]), self.optimizer_of(self.shape(params))
        hyper = optimizer.hyper([params], names)
        hyper = Hyper(*each(lambda x: x[0], (hyper.base, hyper.scale)))
        context, moments = (state["params"], state["buffers"], batch, given), state["optimizer"]
        if (probe := optimizer.probe_at(int(moments["t"]))) is not None:
            found = probed(lane, probe, *context, moments, hyper.base)
        else:
            found = lane.gradients(*context)
        loss, metrics, grads, buffers, slots = found
        tree, moments = optimizer.update(grads, {**moments, **slots}, state["params"], hyper)
        return state | {"params": tree, "buffers": buffers, "optimizer": moments}, {"loss": loss, **metrics}

    def evaluate(self, state: State, data: Any, params: Params) -> dict[str, Tensor]:
        """The metrics of one trial on `data`."""
        lane, given = self._alone(params, state)
        return lane.measure(state["params"], state["buffers"], data, given)

    def _alone(self, params: Params, state: State) -> tuple[Lane, dict[str, Any]]:
        """One trial's functions, and what they are given besides tensors and data."""
        lane = Lane(self.build(params, lambda stream: 0), self.shape(params), self.loss, self.metrics)
        some = next(iter(state["params"].values()))
        values = {
            name: torch.tensor(value, dtype=torch.bool if isinstance(value, bool) else some.dtype)
            for name, value in self.values(params).items()
        }
        moments = state["optimizer"]
        return lane, {"values": values, "noise": state["noise"], "t": moments["t"], "optimizer": moments}
