"""One lane: the user's functions applied to the tensors of one trial, alone or under `vmap`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..task import Scalar
from .errors import ProgramError
from .substitutes import Inside

Tensors = dict[str, Tensor]
# "values": parameters that differ between lanes; "noise": seed; "t": updates made so far; "optimizer": its state, where
# a lane is measured
Given = Mapping[str, Any]
Outcome = tuple[Tensor, Tensors, Tensors, Tensors, dict[str, Tensors]]
"""Loss, metrics, gradients, buffers afterwards, and slots of the optimizer that its probe has filled."""
_PLAIN = (bool, int, float, str, tuple, type(None))


class LaneParams(Mapping[str, Any]):
    """A trial's parameters as `loss` and `metrics` see them: shapes as they are, other numbers as 0-dim tensors."""

    def __init__(self, shapes: Mapping[str, Scalar], values: Mapping[str, Tensor]) -> None:
        self._all: dict[str, Any] = {**values, **shapes}

    def __getitem__(self, name: str) -> Any:
        if name not in self._all:
            known = ", ".join(self._all) or "none"
            raise ProgramError(f"parameter {name!r} is not known here ({known} are); text must be named in `shapes`")
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


class Model:
    """The module with the tensors of one lane: call it as the module. `tensors` holds them all by name.

    Where it is measured, `optimizer` is the optimizer's state: "t" updates made, and a tree a slot.
    """

    def __init__(self, module: nn.Module, tensors: Tensors, optimizer: Mapping[str, Any] | None = None) -> None:
        self._module, self.tensors, self.optimizer = module, tensors, optimizer or {}

    def at(self, tensors: Tensors) -> Model:
        """The same module with these tensors in place of its own, to differentiate with respect to them."""
        return Model(self._module, {**self.tensors, **tensors}, self.optimizer)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return functional_call(self._module, self.tensors, args, kwargs)


@dataclass(frozen=True)
class Lane:
    """The functions of one lane. `module` lends its code only, never its tensors."""

    module: nn.Module
    shapes: Mapping[str, Scalar]
    objective: Callable[[Any, Any, Mapping[str, Any]], Tensor | tuple[Tensor, Mapping[str, Tensor]]]
    metrics: Callable[[Any, Any, Mapping[str, Any]], Mapping[str, Tensor]] | None
    final: Callable[[Any, Any, Mapping[str, Any]], Mapping[str, Tensor]] | None = None

    def __post_init__(self) -> None:
        self.module.train()  # all of it: parts that were left in evaluation mode would come back after a measurement

    def loss(
        self, params: Tensors, buffers: Tensors, batch: Any, given: Given, lanes: bool = False, smooth: bool = False
    ) -> tuple[Tensor, Tensors, Tensors]:
        """The loss, the metrics and the buffers after it, in training mode."""
        buffers = {name: x.clone() for name, x in buffers.items()}  # the module changes them in place
        return *self.trained(Model(self.module, {**params, **buffers}), batch, given, lanes, smooth), buffers

    def trained(
        self, model: Any, batch: Any, given: Given, lanes: bool = False, smooth: bool = False
    ) -> tuple[Tensor, Tensors]:
        """The loss of `model`, which is this module with tensors, and the metrics, in training mode."""
        found = self.inside(self.objective, model, batch, given, lanes=lanes, smooth=smooth)
        loss, metrics = found if isinstance(found, tuple) else (found, {})
        if loss.ndim != 0:
            raise ProgramError(f"the loss has shape {tuple(loss.shape)}; return one number, for example its mean")
        return loss, dict(metrics)

    def inside(
        self,
        f: Callable[..., Any],
        model: Any,
        batch: Any,
        given: Given,
        *others: Any,
        lanes: bool = False,
        smooth: bool = False,
    ) -> Any:
        """f(model, batch, parameters, *others) in training mode; with `smooth` differentiable any number of times."""
        if not self.module.training:
            self.module.train()
        with Inside(given["noise"], given["t"], lanes=lanes, smooth=smooth):
            return f(model, batch, LaneParams(self.shapes, given["values"]), *others)

    def smooth_loss(self, params: Tensors, buffers: Tensors, batch: Any, given: Given) -> Tensor:
        """The loss in evaluation mode, differentiable any number of times."""
        self.module.eval()
        with Inside(given["noise"], given["t"], lanes=True, smooth=True):
            model = Model(self.module, {**params, **buffers})
            found = self.objective(model, batch, LaneParams(self.shapes, given["values"]))
        return found[0] if isinstance(found, tuple) else found

    def measure(
        self, params: Tensors, buffers: Tensors, data: Any, given: Given, lanes: bool = False, final: bool = False
    ) -> Tensors:
        """The metrics on `data`, or the final ones, in evaluation mode."""
        metrics = self.final if final else self.metrics
        if metrics is None:
            return {}
        self.module.eval()
        with torch.no_grad(), Inside(given["noise"], given["t"], lanes=lanes):
            model = Model(self.module, {**params, **buffers}, given["optimizer"])
            return dict(metrics(model, data, LaneParams(self.shapes, given["values"])))

    def gradients(
        self, params: Tensors, buffers: Tensors, batch: Any, given: Given, dims: tuple[Any, ...] | None = None
    ) -> Outcome:
        """Of one lane, or with `dims` (those of the four arguments) of all lanes at once.

        Lanes do not meet, so the gradient of the sum of their losses holds the gradient of each; and autograd works on
        whole stacks outside of `vmap`, where every operation has its gradient.
        """
        leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
        with torch.enable_grad():
            one = self.loss if dims is None else vmap(partial(self.loss, lanes=True), in_dims=dims)
            loss, metrics, buffers = one(leaves, buffers, batch, given)
            grads = torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True)
        metrics, buffers = ({name: x.detach() for name, x in each.items()} for each in (metrics, buffers))
        return loss.detach(), metrics, dict(zip(leaves, owned(grads), strict=True)), buffers, {}


def owned(grads: Sequence[Tensor]) -> list[Tensor]:
    """The gradients as tensors that share no memory, so that each can be used up."""
    found: dict[int, Tensor] = {}
    for g in grads:
        g = g.contiguous()
        g = g.clone() if g.data_ptr() in found else g
        found[g.data_ptr()] = g
    return list(found.values())


def tensors(module: nn.Module) -> tuple[Tensors, Tensors]:
    """What of a module is trained, and what else is its state: buffers and parameters that need no gradient."""
    trained = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    frozen = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    return trained, frozen | {name: b.detach() for name, b in module.named_buffers()}


def code(module: nn.Module) -> dict[str, Any]:
    """What of a module is not in its tensors and hence the same for all lanes: {place: value}."""
    return {
        f"{place}.{name}".lstrip("."): value
        for place, part in module.named_modules()
        for name, value in [("type", type(part).__qualname__), *vars(part).items()]
        if isinstance(value, _PLAIN) and not name.startswith("_") and name != "training"
    }
