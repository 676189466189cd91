"""What an optimizer may ask of a step beside its gradient: curvature, gradients at other tensors, other functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from . import noise
from .errors import ProgramError
from .lane import Given, Lane, Model, Outcome, Tensors, owned

GRADIENT = "gradient"
Dims = tuple[int | None, ...]
Function = Callable[..., Any]
"""f(model, batch, params, *others) of one lane, as a program's `loss` is."""


class Probed(NamedTuple):
    """What a probe found: trees for slots of the optimizer, in place of what they held before its rule runs, and under
    `GRADIENT` in place of the gradient; and metrics, (lanes) each, reported with those of the loss."""

    slots: Mapping[str, Tensors]
    metrics: Mapping[str, Tensor] = MappingProxyType({})


class Around:
    """The loss of one step on its batch: of all lanes, stacked, or of one trial whose tensors have no lane axis.

    `tensors` is where the step begins and `grads` its gradient; `memory` is the optimizer's state ("t", updates made,
    and its slots) and `settings`, in the tensors' precision, are those that all tensors share, without the schedule.
    Everything that is asked for sees the batch, dropout and parameters of the step; buffers stay as they were before.
    """

    def __init__(
        self, lane: Lane, context: tuple[Tensors, Tensors, Any, Given], dims: Dims | None, memory: Any, settings: Any
    ) -> None:
        self._lane, self._dims = lane, dims
        self.tensors, *self._rest = context
        dtype = next(iter(self.tensors.values())).dtype
        self.memory, self.settings = memory, {name: x.to(dtype) for name, x in settings.items()}
        self._leaves = {name: p.detach().requires_grad_() for name, p in self.tensors.items()}
        with torch.enable_grad():
            first = partial(lane.loss, lanes=dims is not None, smooth=True)
            self.loss, self.metrics, self.buffers = self._each(first, self._leaves)
            # With its graph, so that the curvature costs no pass of its own.
            self._slope = _gradient(self.loss, self._leaves, create_graph=True)
        self.grads = {name: g.detach() for name, g in self._slope.items()}

    def curvature(self, v: Tensors) -> Tensors:
        """H v, H the Hessian of the loss at `tensors`."""
        curved = [name for name, g in self._slope.items() if g.requires_grad]
        if not curved:  # the loss is linear
            return {name: torch.zeros_like(x) for name, x in v.items()}
        slope = [self._slope[name] for name in curved]
        return _gradient(slope, self._leaves, [v[name] for name in curved], retain_graph=True)

    def gradient(self, at: Tensors, f: Function | None = None, *others: Any) -> Tensors:
        """The gradient at other tensors of the loss, or of f(model, batch, params, *others); others are stacked too."""
        leaves = {name: p.detach().requires_grad_() for name, p in at.items()}
        with torch.enable_grad():
            found = self._each(self._called(f or self._lane.objective), leaves, *others)
            return _gradient(found[0] if isinstance(found, tuple) else found, leaves)

    def value(self, f: Function, at: Tensors, *others: Any) -> Any:
        """f(model, batch, params, *others) at other tensors: a tensor, or a tree of them, without a graph."""
        with torch.no_grad():
            return self._each(self._called(f), at, *others)

    def signs(self, draw: int = 0) -> Tensors:
        """A random sign for every entry of `tensors`: a function of seed, step and `draw` alone."""
        given, found = self._rest[2], Tensors()
        for place, (name, p) in enumerate(self.tensors.items()):
            # Numbers below zero; the layers' own draws count from one.
            start = noise.key(given["noise"], given["t"], -1 - draw * len(self.tensors) - place)
            axes = p.ndim - start.ndim
            found[name] = noise.signs(start.view(start.shape + (1,) * axes), p.shape[start.ndim :], p.dtype)
        return found

    def inner(self, a: Tensors, b: Tensors) -> Tensor:
        """The sum of a b over all entries of all tensors: (lanes), or () for one trial."""
        axes = self.loss.ndim
        products = ((a[name] * b[name]).unsqueeze(-1).flatten(axes).sum(-1) for name in self.tensors)
        return reduce(torch.add, products)  # one by one, so in one order for any number of lanes

    def _called(self, f: Function) -> Function:
        def one(tensors: Tensors, buffers: Tensors, batch: Any, given: Given, *others: Any) -> Any:
            model = Model(self._lane.module, {**tensors, **{name: x.clone() for name, x in buffers.items()}})
            return self._lane.inside(f, model, batch, given, *others, lanes=self._dims is not None)

        return one

    def _each(self, one: Function, tensors: Tensors, *others: Any) -> Any:
        dims = None if self._dims is None else (*self._dims, *[0] * len(others))
        run = one if dims is None else vmap(one, in_dims=dims)
        return run(tensors, *self._rest, *others)


def _gradient(found: Any, leaves: Tensors, along: Any = None, **options: bool) -> Tensors:
    """Of the sum of `found` (or its products with `along`): lanes do not meet, so this holds the gradient of each."""
    total = found.sum() if isinstance(found, Tensor) else found
    grads = torch.autograd.grad(
        total, list(leaves.values()), along, allow_unused=True, materialize_grads=True, **options
    )
    return dict(zip(leaves, grads, strict=True))


def probed(
    lane: Lane,
    probe: Callable[[Around], Probed],
    params: Tensors,
    buffers: Tensors,
    batch: Any,
    given: Given,
    memory: Any,
    settings: Any,
    dims: Dims | None = None,
) -> Outcome:
    """As `Lane.gradients`, and what `probe` finds; `dims` are those of its four arguments, None for one trial."""
    around = Around(lane, (params, buffers, batch, given), dims, memory, settings)
    found = probe(around)
    if unknown := sorted(found.slots.keys() - {*memory, GRADIENT} | found.slots.keys() & {"t"}):
        known = ", ".join(name for name in (*memory, GRADIENT) if name != "t")
        raise ProgramError(f"the probe fills {unknown[0]!r}, which is no slot of its optimizer; there are {known}")
    slots = {name: {key: _own(x) for key, x in tree.items()} for name, tree in found.slots.items()}
    grads = slots.pop(GRADIENT, around.grads)
    metrics, buffers = (
        {name: x.detach() for name, x in each.items()} for each in ({**around.metrics, **found.metrics}, around.buffers)
    )
    return around.loss.detach(), metrics, dict(zip(grads, owned(list(grads.values())), strict=True)), buffers, slots


def _own(x: Tensor) -> Tensor:
    """A copy that a rule may change in place, laid out in one way at every step."""
    return x.detach().clone(memory_format=torch.contiguous_format)
