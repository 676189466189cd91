"""A trial as pure functions, so that many trials of one shape can run as lanes of one program.

The user writes one lane. Parameters named in `shapes` decide shapes or Python code and are the same in all lanes of a
pack; every other number may differ from lane to lane, and is a 0-dimensional tensor inside `loss` and `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..task import Scalar
from .data import Data
from .errors import ProgramError
from .lane import Lane, tensors
from .optim import Hyper, Optimizer
from .trees import each

Params = Mapping[str, Scalar]
Seeds = Callable[[str], int]  # a stream ("init", "data", "noise") -> a 31-bit seed; `Trial.seed` is one
State = dict[str, Any]  # "params", "buffers": trees; "optimizer": its state; "noise": seed


@dataclass(frozen=True)
class Program:
    """One lane of a sweep's training.

    - `model(params, seeds)` builds the module of a trial; torch's global generator is seeded with seeds("init").
    - `loss(model, batch, params)` is the scalar to minimise, or that and a mapping of scalar metrics.
    - `metrics(model, data, params)` measures on the held-out tensors, with the module in evaluation mode.
    - `data(params)` gives the data; it sees the parameters in `shapes` only.

    Buffers (BatchNorm's statistics) are part of a lane's state; dropout and noise depend on (seed, step, layer) alone.
    """

    model: Callable[[Params, Seeds], nn.Module]
    loss: Callable[[Any, Any, Mapping[str, Any]], Tensor | tuple[Tensor, Mapping[str, Tensor]]]
    optimizer: Optimizer
    data: Callable[[Params], Data]
    metrics: Callable[[Any, Any, Mapping[str, Any]], Mapping[str, Tensor]] | None = None
    shapes: tuple[str, ...] = ()

    def shape(self, params: Params) -> dict[str, Scalar]:
        """What trials must agree in to share a pack. Raises `ProgramError` for a shape that is no parameter."""
        if missing := [name for name in self.shapes if name not in params]:
            raise ProgramError(
                f"{missing[0]!r} is named in `shapes` but is no parameter; there are {', '.join(params)}"
            )
        return {name: params[name] for name in self.shapes}

    def values(self, params: Params) -> dict[str, bool | float]:
        """The parameters that may differ from lane to lane, as numbers."""
        free = {name: value for name, value in params.items() if name not in self.shapes and not isinstance(value, str)}
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
        return {"params": tree, "buffers": buffers, "optimizer": self.optimizer.init(tree), "noise": noise}

    def step(self, state: State, batch: Any, params: Params) -> tuple[State, dict[str, Tensor]]:
        """One update of one trial: its next state, and "loss" and the metrics of `batch` before the update."""
        lane, given = self._alone(params, state)
        names = list(state["params"])
        hyper = self.optimizer.hyper([params], names)
        hyper = Hyper(*each(lambda x: x[0], (hyper.base, hyper.scale)))
        loss, metrics, grads, buffers = lane.gradients(state["params"], state["buffers"], batch, given)
        tree, moments = self.optimizer.update(grads, state["optimizer"], state["params"], hyper)
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
        return lane, {"values": values, "noise": state["noise"], "t": state["optimizer"]["t"]}
