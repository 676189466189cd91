"""Batches on the device: one order for all lanes, or an order of each lane's own by gathering rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import ProgramError

Rows = tuple[Tensor, ...]


@dataclass(frozen=True)
class Data:
    """What a program trains and is evaluated on: tensors with the examples as their first axis.

    A step sees `batch` examples (None: all of them, in their order). Each epoch has an order of its own and leaves out
    the examples that fill no batch. With `shared` None a lane's order is a function of its seed "data". With a number
    all lanes of all packs share the order of that seed, and so their batches, which is faster.

    An order of your own is `rows(seed)`: row numbers (steps x batch) for the whole of a trial's training.
    """

    train: Rows
    held_out: Rows = ()
    batch: int | None = None
    shared: int | None = None
    rows: Callable[[int], Tensor] | None = None

    def __post_init__(self) -> None:
        sizes = {len(x) for x in self.train}
        if len(sizes) != 1:
            raise ProgramError(f"tensors to train on must have equally many rows; they have {sorted(sizes)}")
        if self.batch is not None and not 1 <= self.batch <= min(sizes):
            raise ProgramError(f"a batch of {self.batch} cannot be drawn from {min(sizes)} rows")
        if self.batch is None and self.rows is not None:
            raise ProgramError("an order by `rows` needs `batch`, the number of examples of a step; give both")


def order(seed: int, epoch: int, rows: int) -> Tensor:
    """A permutation of range(rows), a function of its arguments; `seed` has 31 bits."""
    return torch.randperm(rows, generator=torch.Generator().manual_seed(seed + (epoch << 31)))


class Batches:
    """The batches of a pack, by step. `seeds` are the lanes' seeds "data"."""

    def __init__(self, data: Data, seeds: Sequence[int], device: str, dtype: torch.dtype) -> None:
        def placed(rows: Rows) -> Rows:
            moved = (x.to(device, dtype if x.is_floating_point() else x.dtype) for x in rows)
            # What numpy made may begin anywhere, and kernels round by alignment; torch's copies begin at 64 bytes.
            return tuple(x if x.is_contiguous() and x.data_ptr() % 64 == 0 else x.contiguous().clone() for x in moved)

        self.train, self.held_out = placed(data.train), placed(data.held_out)
        self._data, self._device = data, device
        self._seeds = list(seeds)
        self.shared = data.batch is None or data.shared is not None
        """Whether all lanes see the same batches, which then have no lane axis."""
        self._epoch: tuple[int, Tensor] | None = None

    def keep(self, lanes: Sequence[int]) -> None:
        """Go on with these lanes only, in this order."""
        self._seeds = [self._seeds[lane] for lane in lanes]
        self._epoch = None

    def at(self, step: int) -> Rows:
        """The batch of step 0, 1, ...: (batch x ...) if `shared`, else (lanes x batch x ...)."""
        size = self._data.batch
        if size is None:
            return self.train
        whole = self._data.rows is not None  # then the one epoch is the whole of the training
        epoch, place = (0, step) if whole else divmod(step, len(self.train[0]) // size)
        rows = self._order(epoch)[:, place * size : (place + 1) * size]
        chosen = tuple(x.index_select(0, rows.flatten()) for x in self.train)
        return chosen if self.shared else tuple(x.unflatten(0, (-1, size)) for x in chosen)

    def _order(self, epoch: int) -> Tensor:
        """(1 x rows) if `shared`, else (lanes x rows); kept for the epoch."""
        if self._epoch is None or self._epoch[0] != epoch:
            seeds = self._seeds if self._data.shared is None else [self._data.shared]
            unique = {seed: self._drawn(seed, epoch) for seed in set(seeds)}
            self._epoch = epoch, torch.stack([unique[seed] for seed in seeds]).to(self._device)
        return self._epoch[1]

    def _drawn(self, seed: int, epoch: int) -> Tensor:
        rows = self._data.rows
        return order(seed, epoch, len(self.train[0])) if rows is None else rows(seed).flatten()
