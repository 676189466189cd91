"""Samplers indexed by the configuration's number: how generations are cut does not matter to them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator

from ..messages import Scalar
from .points import lattice, place, seed_for, uniform
from .records import Request, Settings


def _random(search: Settings, request: Request) -> Iterator[dict[str, Scalar]]:
    for number in request.numbers:
        yield place(search.space, lambda name, n=number: uniform(search.seed, request.cell, n, name))


def _qmc(search: Settings, request: Request) -> Iterator[dict[str, Scalar]]:
    from scipy.stats import qmc

    sobol = qmc.Sobol(len(search.space), scramble=True, rng=seed_for(search.seed, request.cell, "qmc"))
    with warnings.catch_warnings():
        # Scipy warns when a draw is no power of two; the points are taken by index, so the balance is the whole set's.
        warnings.simplefilter("ignore", UserWarning)
        if request.numbers.start:
            sobol.fast_forward(request.numbers.start)
        points = sobol.random(len(request.numbers))
    for point in points:
        at = dict(zip(search.space, map(float, point), strict=True))
        yield place(search.space, at.__getitem__)


def _grid(search: Settings, request: Request) -> Iterator[dict[str, Scalar]]:
    points = lattice(search.space)
    return (points[number] for number in request.numbers)


SAMPLERS: dict[str, Callable[[Settings, Request], Iterable[dict[str, Scalar]]]] = {
    "random": _random,
    "qmc": _qmc,
    "grid": _grid,
}
