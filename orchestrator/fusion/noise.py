"""Randomness by counting: each number is a pure function of (seed, step, layer, index).

A generator with a state would tie a lane's draws to its neighbours' and to their number. Here a 64-bit counter goes
through the finaliser of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), so a
lane draws the same numbers alone, in any pack, on any device and after any restart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def _signed(word: int) -> int:
    """The int64 with the bits of the unsigned 64-bit `word`; products of int64 tensors wrap around, as needed here."""
    return word - (1 << 64) if word >> 63 else word


_GAMMA = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _right(z: Tensor, by: int) -> Tensor:
    """A logical shift; `>>` of int64 would carry the sign along."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def scramble(z: Tensor) -> Tensor:
    """SplitMix64's finaliser, a bijection of 64-bit words. Any shape, int64."""
    z = (z ^ _right(z, 30)) * _FIRST
    z = (z ^ _right(z, 27)) * _SECOND
    return z ^ _right(z, 31)


def key(seed: Tensor, step: Tensor, layer: int) -> Tensor:
    """The word from which draw number `layer` of `step` starts. `seed` and `step` are int64 of equal shape."""
    return scramble(scramble(seed + _signed(layer * 0x9E3779B97F4A7C15 % (1 << 64))) + step * _GAMMA)


def words(start: Tensor, shape: Sequence[int]) -> Tensor:
    """Independent uniform 64-bit words of `shape`, from one 0-dimensional `start`."""
    index = torch.arange(1, math.prod(shape) + 1, device=start.device).view(tuple(shape))
    return scramble(start + index * _GAMMA)


def keep(start: Tensor, shape: Sequence[int], chance: float | Tensor) -> Tensor:
    """True with probability `chance` (a number, or a 0-dimensional tensor); the same for every dtype of the data."""
    return _right(words(start, shape), 11) < chance * (1 << 53)


def signs(start: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """1 or -1 with equal probability. `start` may have lanes in front: (lanes x 1 x ... x 1) for (lanes x shape)."""
    return (1 - 2 * _right(words(start, shape), 63)).to(dtype)


def uniform(start: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uniform on [0, 1), with as many random bits as `dtype` holds (53 or 24)."""
    bits = 53 if dtype == torch.float64 else 24
    return _right(words(start, shape), 64 - bits).to(dtype) * 2.0**-bits


def normal(start: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Standard normal, by Box and Muller (1958)."""
    u, v = uniform(start, (2, *shape), dtype)
    return (-2 * torch.log1p(-u)).sqrt() * torch.cos(2 * math.pi * v)
