"""Optimizers as pure functions over trees of tensors, with settings that differ from lane to lane.

A tree is a mapping from a tensor's name to the tensor. With `lanes` lanes every tensor has them as its first axis and a
setting is a vector (lanes); for one lane a setting has no axis and the same code runs. Settings and what follows from
them (bias corrections, the learning rate at a step) are double precision, as `torch.optim`'s are, and become the
tensors' precision last.

The updates are those of `torch.optim` 2.13; an optimizer of your own is an `Optimizer` with its own `rule`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ..task import Scalar
from .errors import ProgramError
from .probing import Around, Probed
from .schedules import Schedule, Value

Tree = Mapping[str, Tensor]
Settings = Mapping[str, Tensor]
State = dict[str, Any]  # {"t": updates made, slot: tree}
Scale = Callable[[Mapping[str, Scalar]], Mapping[str, Mapping[str, float]]]
"""Parameters of a trial -> {pattern of tensor names: {setting: factor}}, as muP needs them."""


@dataclass(frozen=True, slots=True)
class Hyper:
    """The settings of all lanes: `base` (each of shape (lanes)), and factors for single tensors in `scale`."""

    base: dict[str, Tensor]
    scale: dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Optimizer:
    """An update rule and its settings.

    `slots` are the tensors it remembers for each parameter, zeros at the start. `coefficients(settings, t)` is what the
    rule needs of the settings at update t = 1, 2, ...; `rule(p, g, memory, c)` changes the tensor p in place and
    returns the new memory. It may use up g and the old memory. Coefficients come shaped as factors of p; beside them
    c["t"] is t itself, of shape (lanes), or () where p has no lane axis.

    A rule that needs more of the loss than its gradient has a `probe`, which is asked at updates 0, `every`, ... before
    the rule: what it finds stands in the slots it names until it is asked again, see `probing.Probed`.
    """

    settings: Mapping[str, Value]
    slots: tuple[str, ...]
    coefficients: Callable[[Settings, Tensor], dict[str, Tensor]]
    rule: Callable[[Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]], dict[str, Tensor]]
    schedule: Schedule | None = None
    clip: Value | None = None
    scale: Scale | None = None
    probe: Callable[[Around], Probed] | None = None
    every: int = 1

    def probe_at(self, step: int) -> Callable[[Around], Probed] | None:
        """The probe, at steps 0, 1, ... that have one."""
        return self.probe if step % self.every == 0 else None

    def hyper(self, params: Sequence[Mapping[str, Scalar]], names: Sequence[str], device: str = "cpu") -> Hyper:
        """The settings of one lane for each of `params`; `names` are those of the tensors to be trained."""
        values = {**self.settings, **(self.schedule.settings if self.schedule is not None else {})}
        if self.clip is not None:
            values["clip"] = self.clip
        base = {name: _vector([resolve(value, p) for p in params], device) for name, value in values.items()}
        return Hyper(base, _factors(self.scale, params, names, base))

    def init(self, tree: Tree, lanes: int | None = None) -> State:
        """The state before the first update; `lanes` is None for the tree of one lane without a lane axis."""
        some = next(iter(tree.values()))
        t = torch.zeros(() if lanes is None else (lanes,), dtype=torch.int64, device=some.device)
        return {"t": t} | {slot: {name: torch.zeros_like(p) for name, p in tree.items()} for slot in self.slots}

    def update(self, grads: Tree, state: State, tree: Tree, hyper: Hyper) -> tuple[dict[str, Tensor], State]:
        """The tree and the state after one more update. Changes nothing that it is given."""
        tree, grads = ({name: x.clone() for name, x in each.items()} for each in (tree, grads))
        memory = {slot: {name: x.clone() for name, x in state[slot].items()} for slot in self.slots}
        return tree, self.update_(grads, {"t": state["t"], **memory}, tree, hyper)

    def update_(self, grads: Tree, state: State, tree: Tree, hyper: Hyper) -> State:
        """As `update`, in place on `tree`; uses up `grads` and `state`."""
        t = state["t"] + 1
        base = dict(hyper.base)
        if self.schedule is not None:
            base["lr"] = base["lr"] * self.schedule.factor(state["t"].to(torch.float64), base)
        if self.clip is not None:
            clip_(grads, base["clip"])
        common = self.coefficients(base, t)
        shaped: dict[tuple[torch.dtype, int], dict[str, Tensor]] = {}
        after: State = {"t": t} | {slot: {} for slot in self.slots}
        for name, p in tree.items():
            if name in hyper.scale:
                own = {key: value * hyper.scale[name].get(key, 1.0) for key, value in base.items()}
                c = _spread(self.coefficients(own, t), p) | {"t": t}
            else:
                if (p.dtype, p.ndim) not in shaped:
                    shaped[p.dtype, p.ndim] = _spread(common, p) | {"t": t}
                c = shaped[p.dtype, p.ndim]
            memory = self.rule(p, grads[name], {slot: state[slot][name] for slot in self.slots}, c)
            for slot in self.slots:
                after[slot][name] = memory[slot]
        return after


def resolve(value: Value, params: Mapping[str, Scalar]) -> float:
    """A setting of one trial as a number. Raises `ProgramError` where a parameter is missing or no number."""
    if isinstance(value, str):
        if value not in params:
            raise ProgramError(f"the optimizer's setting {value!r} is no parameter; there are {', '.join(params)}")
        value = params[value]  # pyright: ignore[reportAssignmentType]
    number = value(params) if callable(value) else value
    if isinstance(number, str):
        raise ProgramError(f"{number!r} is no number and cannot be a setting of an optimizer")
    return float(number)


def spread(c: Tensor, p: Tensor) -> Tensor:
    """c of shape () or (lanes) as a factor of p: (lanes x 1 x ... x 1)."""
    return c.view(c.shape + (1,) * (p.ndim - c.ndim))


def _spread(coefficients: Tree, p: Tensor) -> dict[str, Tensor]:
    return {name: spread(c.to(p.dtype), p) for name, c in coefficients.items()}


def clip_(grads: Tree, limit: Tensor) -> None:
    """Scales each lane's gradients in place so that their joint 2-norm is at most `limit`, as
    `torch.nn.utils.clip_grad_norm_` does for one model; `limit` has shape () or (lanes)."""
    squares = [g.square().flatten(limit.ndim).sum(-1) if g.ndim > limit.ndim else g.square() for g in grads.values()]
    norm = reduce(torch.add, (s.to(limit.dtype) for s in squares)).sqrt()  # one by one, so in one order for any lanes
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    for g in grads.values():
        g.mul_(spread(factor.to(g.dtype), g))


def sgd(
    lr: Value,
    momentum: Value = 0.0,
    *,
    nesterov: bool = False,
    dampening: Value = 0.0,
    weight_decay: Value = 0.0,
    **options: Any,
) -> Optimizer:
    """Stochastic gradient descent with momentum; weight decay is added to the gradient.

    `options` are `schedule`, `clip` (the largest norm of a lane's gradient) and `scale`.
    """
    if nesterov and dampening != 0.0:
        raise ProgramError("Nesterov's momentum needs dampening 0")
    heavy, damped, decays = momentum != 0.0, dampening != 0.0, weight_decay != 0.0

    def coefficients(h: Settings, t: Tensor) -> dict[str, Tensor]:
        c = {"rate": -h["lr"], "momentum": h["momentum"], "decay": h["weight_decay"]}
        # The first gradient enters the momentum undamped.
        return c | ({"fresh": torch.where(t == 1, 1.0, 1 - h["dampening"])} if damped else {})

    def rule(p: Tensor, g: Tensor, memory: dict[str, Tensor], c: dict[str, Tensor]) -> dict[str, Tensor]:
        if decays:
            g.addcmul_(p, c["decay"])
        if not heavy:
            p.addcmul_(g, c["rate"])
            return {}
        fresh = g * c["fresh"] if damped else g
        if nesterov:
            momentum = memory["momentum"].mul_(c["momentum"]).add_(fresh)
            p.addcmul_(g.addcmul_(momentum, c["momentum"]), c["rate"])
        else:
            momentum = fresh.addcmul_(memory["momentum"], c["momentum"])  # in the gradient's memory: one pass less
            p.addcmul_(momentum, c["rate"])
        return {"momentum": momentum}

    settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
    return Optimizer(settings, ("momentum",) if heavy else (), coefficients, rule, **options)


def adam(
    lr: Value = 1e-3,
    betas: tuple[Value, Value] = (0.9, 0.999),
    eps: Value = 1e-8,
    weight_decay: Value = 0.0,
    *,
    decoupled: bool = False,
    **options: Any,
) -> Optimizer:
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient, or `decoupled` from it as in AdamW.

    `options` are `schedule`, `clip` (the largest norm of a lane's gradient) and `scale`.
    """
    decays = weight_decay != 0.0

    def coefficients(h: Settings, t: Tensor) -> dict[str, Tensor]:
        # m/c1 / (sqrt(v/c2) + eps) = sqrt(c2)/c1 * m / (sqrt(v) + eps sqrt(c2)): one division a tensor, not three
        c1, root = 1 - h["beta1"] ** t, (1 - h["beta2"] ** t).sqrt()
        c = {"rate": -h["lr"] * root / c1, "eps": h["eps"] * root}
        c |= {"toward1": 1 - h["beta1"], "toward2": 1 - h["beta2"]}
        return c | {"decay": 1 - h["lr"] * h["weight_decay"] if decoupled else h["weight_decay"]}

    def rule(p: Tensor, g: Tensor, memory: dict[str, Tensor], c: dict[str, Tensor]) -> dict[str, Tensor]:
        if decays and decoupled:
            p.mul_(c["decay"])
        elif decays:
            g.addcmul_(p, c["decay"])
        m = memory["m"].lerp_(g, c["toward1"])
        v = memory["v"].lerp_(g.mul_(g), c["toward2"])
        torch.sqrt(v, out=g)  # g is done with: its memory serves for the quotient
        torch.div(m, g.add_(c["eps"]), out=g)
        p.addcmul_(g, c["rate"])
        return {"m": m, "v": v}

    settings = {"lr": lr, "beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": weight_decay}
    return Optimizer(settings, ("m", "v"), coefficients, rule, **options)


def adamw(
    lr: Value = 1e-3,
    betas: tuple[Value, Value] = (0.9, 0.999),
    eps: Value = 1e-8,
    weight_decay: Value = 1e-2,
    **options: Any,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    return adam(lr, betas, eps, weight_decay, decoupled=True, **options)


def _vector(numbers: Sequence[float], device: str) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, device=device)


def _factors(
    scale: Scale | None, params: Sequence[Mapping[str, Scalar]], names: Sequence[str], base: Mapping[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    """{tensor: {setting: (lanes)}} for the tensors that some lane scales."""
    lanes = [scale(p) for p in params] if scale is not None else []
    for pattern, factors in ((pattern, factors) for lane in lanes for pattern, factors in lane.items()):
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ProgramError(f"scale names {pattern!r}, but no tensor is called so; there are {', '.join(names)}")
        if unknown := sorted(factors.keys() - base.keys()):
            raise ProgramError(f"scale changes {unknown[0]!r}, which is no setting; there are {', '.join(base)}")

    def factor(name: str, setting: str) -> list[float]:
        found = [[f.get(setting, 1.0) for pat, f in lane.items() if fnmatchcase(name, pat)] for lane in lanes]
        return [float(torch.tensor(each, dtype=torch.float64).prod()) for each in found]

    some = next(iter(base.values()))
    table = {name: {setting: factor(name, setting) for setting in base} for name in names} if lanes else {}
    return {
        name: {key: _vector(row, str(some.device)) for key, row in rows.items() if any(f != 1.0 for f in row)}
        for name, rows in table.items()
        if any(f != 1.0 for row in rows.values() for f in row)
    }
