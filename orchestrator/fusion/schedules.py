"""How the learning rate moves over a run: a warm-up, then constant, a cosine or a line.

A schedule is a factor of the learning rate, a function of the number of updates made so far; all its settings may
differ from lane to lane.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..task import Scalar

Value = float | str | Callable[[Mapping[str, Scalar]], float]
"""A setting: a number, the name of a parameter of the trial, or a function of the trial's parameters."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`shape(progress, floor)` after the warm-up, where progress goes from 0 to 1 at update `steps`."""

    shape: Callable[[Tensor, Tensor], Tensor]
    settings: Mapping[str, Value]

    def factor(self, t: Tensor, h: Mapping[str, Tensor]) -> Tensor:
        """The factor of update t = 0, 1, ...; t and all h have one shape, () or (lanes).

        During the warm-up it is (t + 1) / warmup.
        """
        after = (t - h["warmup"]) / (h["steps"] - h["warmup"]).clamp(min=1)
        rising = (t + 1) / h["warmup"].clamp(min=1)
        return torch.where(t < h["warmup"], rising, self.shape(after.clamp(0, 1), h["floor"]))


def constant(warmup: Value = 0) -> Schedule:
    """1, after `warmup` updates of a linear rise."""
    return Schedule(lambda progress, _: torch.ones_like(progress), {"warmup": warmup, "steps": math.inf, "floor": 1.0})


def cosine(steps: Value, warmup: Value = 0, floor: Value = 0.0) -> Schedule:
    """Half a cosine from 1 at the end of the warm-up to `floor` at update `steps` (Loshchilov and Hutter 2017)."""
    return Schedule(
        lambda progress, low: low + (1 - low) * (1 + torch.cos(math.pi * progress)) / 2,
        {"warmup": warmup, "steps": steps, "floor": floor},
    )


def linear(steps: Value, warmup: Value = 0, floor: Value = 0.0) -> Schedule:
    """A line from 1 at the end of the warm-up to `floor` at update `steps`."""
    return Schedule(lambda progress, low: 1 - (1 - low) * progress, {"warmup": warmup, "steps": steps, "floor": floor})
