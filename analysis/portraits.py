"""Figures of robustness: a line with its band for each method, told apart by colour, line and marker alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from .drawing import legend_label
from .panels import GREY, GROUPS, MARKERS, tidy
from .reliability import Profile
from .sensitivity import Sensitivity
from .shift import StrengthCurve
from .tuning import TuningCurve
from .words import spoken

Array = NDArray[np.float64]

LINES = ("-", "--", "-.", ":")
SIZE = (4.6, 3.6)
MOST_MARKERS = 12
HEADROOM = 0.35  # of the range of the lines: how far a band may stretch the axis


def sensitivity_figure(found: Sequence[Sensitivity], label: str) -> Figure:
    """The metric `label` against log2 of the hyperparameter, a line a method, and how wide its basin is.

    Crosses at the top mark values at which a seed or more diverged.
    """
    figure, axes = _figure()
    hyperparameter = spoken(found[0].hyperparameter) if found else ""
    for rank, each in enumerate(found):
        _line(axes, rank, each.method, (each.x, each.estimate, each.low, each.high))
        bad = [x for x, value in zip(each.x, each.estimate, strict=True) if not np.isfinite(value)]
        height = 0.98 - 0.035 * rank
        axes.plot(
            bad,
            [height] * len(bad),
            linestyle="",
            marker="x",
            markersize=4,
            color=_colour(rank),
            transform=axes.get_xaxis_transform(),
        )
    if found and all(each.logarithmic for each in found):
        axes.set_yscale("log")
    _limit(axes, [value for each in found for value in each.estimate], [(each.low, each.high) for each in found])
    if axes.get_yscale() == "log":
        _plain_numbers(axes)
    axes.set_xlabel(f"log2 {hyperparameter}")
    axes.set_ylabel(f"final {spoken(label)}")
    widths = [f"{each.method or 'basin'}: {_octaves(each)}" for each in found]
    _finish(figure, axes, f"octaves within {found[0].within}: " + ", ".join(widths) if found else "", len(found))
    return figure


def _octaves(found: Sensitivity) -> str:
    width = found.width
    at_least = "at least " if found.open_low or found.open_high else ""
    ends = "" if width.low is None or width.high is None or at_least else f" ({width.low:.1f} to {width.high:.1f})"
    return f"{at_least}{width.estimate or 0.0:.1f}{ends}"


def tuning_figure(found: Sequence[TuningCurve], label: str) -> Figure:
    """The median of the best of k configurations against k, with bands that hold for all k at once."""
    figure, axes = _figure()
    for rank, each in enumerate(found):
        _line(axes, rank, each.method, (each.budgets, each.estimate, each.low, each.high))
    _limit(axes, [value for each in found for value in each.estimate], [(each.low, each.high) for each in found])
    axes.set_xscale("log", base=2)
    largest = max((each.budgets[-1] for each in found), default=1)
    ticks = [2**k for k in range(int(np.log2(largest)) + 1)]
    axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("configurations tried")
    axes.set_ylabel(f"best {spoken(label)}, median")
    _finish(figure, axes, "bands: 95%, for all budgets at once", len(found))
    return figure


def profile_figure(found: Sequence[Profile], label: str, direction: str = "minimize") -> Figure:
    """The share of runs that are better than each threshold of the metric `label`."""
    figure, axes = _figure()
    for rank, each in enumerate(found):
        _line(axes, rank, each.method, (each.thresholds, each.estimate, each.low, each.high), step=True)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(f"threshold of {spoken(label)}")
    axes.set_ylabel("share of runs " + ("below" if direction == "minimize" else "above"))
    _finish(figure, axes, "bands: 95%, for each threshold by itself", len(found))
    return figure


def strength_figure(found: Sequence[StrengthCurve], label: str, what: str = "attack strength") -> Figure:
    """The metric `label` against the strength of an attack or corruption, `what`."""
    figure, axes = _figure()
    lines = []
    for rank, each in enumerate(found):
        middle, low, high = (
            [np.nan if value is None else value for value in column]
            for column in zip(*((p.estimate, p.low, p.high) for p in each.points), strict=True)
        )
        lines.append((middle, low, high))
        _line(axes, rank, each.method, (each.strengths, middle, low, high))
    _limit(axes, [value for line in lines for value in line[0]], [line[1:] for line in lines])
    axes.set_xlabel(what)
    axes.set_ylabel(spoken(label))
    _finish(figure, axes, "bands: 95% over seeds. " + " ".join({each.selection for each in found}), len(found))
    return figure


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    return figure, figure.add_subplot()


def _colour(rank: int) -> str:
    return GROUPS[rank % len(GROUPS)]


def _line(
    axes: Axes,
    rank: int,
    name: str,
    data: tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]],
    step: bool = False,
) -> None:
    """One method's line and band; what is infinite or unknown leaves a gap in the line, an open end in the band."""
    x, middle, low, high = (np.asarray(each, dtype=float) for each in data)
    huge = 1e6 * max(np.abs(middle[np.isfinite(middle)]).max(initial=1.0), 1.0)
    shape = "mid" if step else None
    inside = ~np.isnan(low) & ~np.isnan(high)
    axes.fill_between(
        x,
        np.where(np.isneginf(low), -huge, low),
        np.where(np.isposinf(high), huge, high),
        where=inside.tolist(),
        color=_colour(rank),
        alpha=0.16,
        linewidth=0,
        step=shape,
    )
    axes.plot(
        x,
        np.where(np.isfinite(middle), middle, np.nan),
        color=_colour(rank),
        linestyle=LINES[rank % len(LINES)],
        linewidth=1.6,
        marker=MARKERS[rank % len(MARKERS)],
        markersize=3.6,
        markevery=max(1, len(x) // MOST_MARKERS),
        drawstyle="steps-mid" if step else "default",
        label=legend_label(name or "all trials"),
    )


def _limit(axes: Axes, lines: Sequence[float], bands: Sequence[tuple[Sequence[float], Sequence[float]]]) -> None:
    """Limits that hold every line, and of the bands what lies near: an open end must not flatten the lines."""
    middle = np.asarray(lines, dtype=float)
    middle = middle[np.isfinite(middle)]
    if not len(middle):
        return
    logarithmic = axes.get_yscale() == "log"
    scale, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    low, high = float(scale(middle.min())), float(scale(middle.max()))
    room = HEADROOM * (high - low) or 0.1 * abs(high) or 0.1
    edges = np.concatenate([np.asarray(end, dtype=float) for band in bands for end in band])
    edges = edges[np.isfinite(edges) & ((edges > 0) | (not logarithmic))]
    near = scale(edges) if len(edges) else np.array([low, high])
    bottom = max(low - room, min(float(near.min()), low)) - 0.04 * (high - low)
    top = min(high + room, max(float(near.max()), high)) + 0.04 * (high - low)
    axes.set_ylim(float(back(bottom)), float(back(top)))


def _plain_numbers(axes: Axes) -> None:
    """Numbers without powers on a logarithmic axis that spans a decade or so."""
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7) if high < 10 * low else (1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _finish(figure: Figure, axes: Axes, note: str, lines: int) -> None:
    if lines > 1:
        axes.legend(frameon=False, fontsize=8.5, handlelength=2.8)
    figure.supxlabel(note, fontsize=7.5, color=GREY, wrap=True)
    tidy(axes)
