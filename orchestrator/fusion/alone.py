"""The plain trial's gradients, without what `vmap` and `functional_call` cost at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .lane import Given, Lane, Outcome, Tensors, owned


class Alone:
    """One lane whose module holds the tensors of the stack `params` (1 x ...) itself, and sees them change in place.

    The operations are those of `Lane.gradients`. For modules without buffers: those would be replaced at each step.
    """

    def __init__(self, lane: Lane, params: Tensors, values: Mapping[str, Tensor], noise: Tensor) -> None:
        self.params = params
        self._lane = lane
        self.tensors: Tensors = {name: p for name, p in lane.module.named_parameters() if p.requires_grad}
        for name, p in self.tensors.items():
            p.data = params[name][0]
        self._given = {"values": {name: x[0] for name, x in values.items()}, "noise": noise[0]}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output; with `tensors` this makes it the model that objectives are given."""
        return self._lane.module(*args, **kwargs)

    def gradients(self, batch: Any, t: Tensor) -> Outcome:
        """As `Lane.gradients` of all lanes, of which there is one, after `t` (1) updates."""
        given: Given = {**self._given, "t": t[0]}
        with torch.enable_grad():
            loss, metrics = self._lane.trained(self, batch, given)
            grads = torch.autograd.grad(loss, list(self.tensors.values()), allow_unused=True, materialize_grads=True)
        stacked = [g.unsqueeze(0) for g in owned(grads)]
        metrics = {name: x.detach().unsqueeze(0) for name, x in metrics.items()}
        return loss.detach().unsqueeze(0), metrics, dict(zip(self.tensors, stacked, strict=True)), {}, {}
