"""A probe: how large the activations of a network are, layer by layer, as it begins to train at several widths.

Greg Yang et al. (2022), arXiv:2203.03466, appendix D.1, "coordinate checking". `swathe.analysis.coordinates` judges
what it measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn


class Begun(NamedTuple):
    """A network at its start, and what makes one step of training with it."""

    model: nn.Module
    update: Callable[[], None]


Begin = Callable[[int, int], Begun]  # width, seed


def measure(begin: Begin, widths: Sequence[int], seeds: Sequence[int], images: Tensor, steps: int = 3) -> pd.DataFrame:
    """A row for every width, seed, layer and step: the mean absolute value of the layer's output on `images` (N x ...).

    Step 0 is before training. A layer is a module without children that has parameters; columns are width, seed,
    layer, depth (its place), step and size. The widest network is small enough to be trained here and now.
    """
    rows: list[dict[str, object]] = []
    for width in widths:
        for seed in seeds:
            begun = begin(width, seed)
            for step in range(steps + 1):
                found = sizes(begun.model, images)
                rows += [
                    {"width": width, "seed": seed, "layer": layer, "depth": depth, "step": step, "size": size}
                    for depth, (layer, size) in enumerate(found.items())
                ]
                if step < steps:
                    begun.update()
    return pd.DataFrame(rows)


def sizes(model: nn.Module, images: Tensor) -> dict[str, float]:
    """The mean absolute output of every layer, in the order in which they run."""
    found: dict[str, float] = {}
    with torch.no_grad(), _hooked(model, found):
        model(images)
    return found


@contextmanager
def _hooked(model: nn.Module, found: dict[str, float]) -> Iterator[None]:
    def listen(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def take(module: nn.Module, given: object, out: Tensor) -> None:
            found[name] = float(out.abs().mean())

        return take

    layers = [(name, part) for name, part in model.named_modules() if not list(part.children())]
    hooks = [part.register_forward_hook(listen(name)) for name, part in layers if list(part.parameters())]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
