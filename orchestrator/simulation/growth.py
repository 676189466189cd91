"""Shapes of learning curves: how much of the way to its final value a trial still has before it.

The families are those of Domhan et al. (2015, IJCAI) and of the prior of Adriaensen et al. (2023, arXiv:2310.20447):

    pow3        (1 + b t)^-a            a power law
    exp4        exp(-(b t)^a)           a stretched exponential, steep at first for a < 1
    ilog2       1 / log2(2 + b t)       nearly flat, never done
    janoschek   exp(-b t^a), a > 1      a plateau, then a fall: a sigmoid

with t the share of training that is done and b the speed. Each is rescaled to fall from 1 at t = 0 to 0 at t = 1, so
that the final value is exactly the one that was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Shape = Callable[[float, float], float]


def _pow3(t: float, speed: float) -> float:
    return (1.0 + speed * t) ** -1.5


def _exp4(t: float, speed: float) -> float:
    return math.exp(-((speed * t) ** 0.7))


def _ilog2(t: float, speed: float) -> float:
    return 1.0 / math.log2(2.0 + speed * t)


def _janoschek(t: float, speed: float) -> float:
    return math.exp(-speed * t**1.8)


_RAW: dict[str, Shape] = {"pow3": _pow3, "exp4": _exp4, "ilog2": _ilog2, "janoschek": _janoschek}
# Speeds at which half of the way is done after about a tenth of training (a third for the sigmoid).
TYPICAL_SPEED: Mapping[str, float] = {"pow3": 6.0, "exp4": 6.0, "ilog2": 30.0, "janoschek": 6.0}
KINDS = tuple(_RAW)


def left(kind: str, t: float, speed: float) -> float:
    """The share of the way to the final value that lies ahead at t in [0, 1], falling from 1 to 0."""
    raw = _RAW[kind]
    end = raw(1.0, speed)
    return (raw(t, speed) - end) / (raw(0.0, speed) - end)
