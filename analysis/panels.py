"""The panels of the figures, drawn on axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from .curves import Curve, Curves
from .drawing import legend_label
from .study import TransferStudy
from .transfer import LevelOptimum, TransferVerdict
from .words import group_label, interval, signed, spoken

MARKERS = "osD^vPX*"
GROUPS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito, 2008
GREY = "#666666"
TICKS = 12  # named levels along an axis
NAMES = 14  # named lines of a panel
LETTER = 0.019  # the width of a letter of a line's name, as a share of a panel's

Groups = Mapping[tuple[Any, ...], Curves]
Verdicts = Mapping[tuple[Any, ...], TransferVerdict]


def loss_limits(groups: Groups, verdicts: Verdicts) -> tuple[float, float]:
    """Common limits of the metric: what lies at or below the optimum's hyperparameter fits, explosions may leave."""
    seen: list[float] = []
    for key, curves in groups.items():
        argmins = {level.level: level.argmin for level in verdicts[key].levels}
        for curve in curves.curves:
            near = curve.clean & (curve.x <= argmins.get(curve.level, np.inf) + 1e-9)
            seen.extend(curves.metric(cost) for cost in curve.cost[:, near].ravel() if np.isfinite(cost))
    if not seen:
        return (0.1, 1.0)
    low, high = min(seen), max(seen)
    if all(curves.logarithmic for curves in groups.values()):
        pad = (high / low) ** 0.06 if high > low else 1.1
        return low / pad, high * pad
    pad = 0.06 * (high - low) or 0.5
    return low - pad, high + pad


def loss_panel(strip: Axes, axes: Axes, curves: Curves, verdict: TransferVerdict, limits: tuple[float, float]) -> None:
    """One line a level with its optimum in `axes`, and in `strip` above it what diverged, a row a level."""
    levels = {level.level: level for level in verdict.levels}
    colours = level_colours(len(curves.curves))
    # Panels share their limits, and one whose metric turns negative makes them linear for all.
    if curves.logarithmic and limits[0] > 0:
        axes.set_yscale("log")
        _few_ticks(axes, limits)
    axes.set_ylim(*limits)
    for rank, (curve, colour) in enumerate(zip(curves.curves, colours, strict=True)):
        _line(axes, curve, curves, colour, MARKERS[rank % len(MARKERS)])
        if curve.level in levels:
            _mark(axes, curve, curves, levels[curve.level], colour)
        share = np.isinf(curve.cost).mean(axis=0)
        strip.scatter(curve.x, np.full(len(curve.x), rank), s=17 * share, marker="x", color=colour, linewidths=1.2)
    _finish_strip(strip, axes, curves)
    _name_lines(axes, curves, colours, spoken(verdict.axis))
    axes.set_xlabel(f"log2 {spoken(verdict.hyperparameter)}")
    tidy(axes)


def _line(axes: Axes, curve: Curve, curves: Curves, colour: Any, marker: str) -> None:
    """Mean and band where every seed survived, single survivors elsewhere."""
    values = _metric(curves, np.where(np.isinf(curve.cost), np.nan, curve.cost))
    known = curve.clean & ~np.isnan(values).all(axis=0)
    x, inside = curve.x[known], values[:, known]
    axes.fill_between(x, np.nanmin(inside, axis=0), np.nanmax(inside, axis=0), color=colour, alpha=0.16, linewidth=0)
    axes.plot(x, np.nanmean(inside, axis=0), color=colour, linewidth=1.5, marker=marker, markersize=3.2)
    for row in values:
        axes.plot(curve.x[~known], row[~known], linestyle="", marker=".", markersize=3, color=colour, alpha=0.5)


def _mark(axes: Axes, curve: Curve, curves: Curves, level: LevelOptimum, colour: Any) -> None:
    """The optimum on its curve with its interval, or an arrow from its bound."""
    known = np.isfinite(curve.mean)
    place = level.bound if level.optimum is None else level.optimum
    if place is None or not known.any():
        return
    height = curves.metric(float(np.interp(place, curve.x[known], curve.mean[known])))
    if level.optimum is None:
        _arrow(axes, (place, height), (-22 if level.censored == "low" else 22, 0), colour)
        return
    axes.hlines(height, level.low, level.high, color=colour, linewidth=1.1, zorder=4)
    axes.plot(place, height, marker="D", markersize=6.5, color=colour, markeredgecolor="white", zorder=5, clip_on=False)


def _name_lines(axes: Axes, curves: Curves, colours: Sequence[Any], axis: str) -> None:
    """Label each line at its left end, moved apart where labels would overlap."""
    low, high = axes.get_ylim()
    scale = np.log if curves.logarithmic else np.asarray
    ends: list[tuple[float, float, str, Any]] = []
    for curve, colour in zip(curves.curves, colours, strict=True):
        known = np.flatnonzero(np.isfinite(curve.mean))
        if len(known):
            value = np.clip(curves.metric(float(curve.mean[known[0]])), low, high)
            height = (scale(value) - scale(low)) / (scale(high) - scale(low))
            ends.append((float(height), float(curve.x[known[0]]), f"{curve.level:g}", colour))
    ends.sort(key=lambda end: end[0])
    ends = ends[:: -(-len(ends) // NAMES) or 1]
    heights = _apart([end[0] for end in ends], 0.055)
    left, right = axes.get_xlim()
    letters = max((len(name) + len(axis) + 1 for *_, name, _ in ends), default=0)
    axes.set_xlim(left - (0.02 + LETTER * letters) * (right - left), right)
    for height, (_, x, name, colour) in zip(heights, ends, strict=True):
        axes.annotate(
            f"{axis} {name}" if height == max(heights) else name,
            (x, height),
            (-6, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8.5,
            color=colour,
            annotation_clip=False,
        )


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights moved as little as it takes to lie `gap` apart."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    excess = max(0.0, placed[-1] - 1.0) if placed else 0.0
    return [height - excess for height in placed]


def _finish_strip(strip: Axes, axes: Axes, curves: Curves) -> None:
    strip.sharex(axes)
    strip.set_ylim(-0.8, len(curves.curves) - 0.2)
    strip.set_yticks([(len(curves.curves) - 1) / 2], ["diverged"], fontsize=8, color=GREY)
    strip.tick_params(axis="both", length=0, labelbottom=False)
    strip.set_facecolor("#f4f4f4")
    for spine in strip.spines.values():
        spine.set_visible(False)


def optimum_panel(axes: Axes, verdicts: Verdicts, study: TransferStudy) -> None:
    """The optimum of each level with its 95% interval against the axis, and the fitted drift, per group."""
    levels = sorted({level.level for verdict in verdicts.values() for level in verdict.levels})
    for rank, (key, verdict) in enumerate(verdicts.items()):
        colour = GROUPS[rank % len(GROUPS)]
        nudge = 0.06 * (rank - (len(verdicts) - 1) / 2)
        label = title(key, verdict, study)
        for level in verdict.levels:
            _point(axes, level, nudge, colour, MARKERS[rank % len(MARKERS)])
        axes.plot([], [], color=colour, marker=MARKERS[rank % len(MARKERS)], label=legend_label(label))
        _slope_line(axes, verdict, nudge, colour)
    named = _spaced(levels)
    axes.set_xticks(np.log2(named) if named else [], [f"{level:g}" for level in named])
    axes.set_xlabel(spoken(study.axis))
    axes.set_ylabel(f"best log2 {spoken(study.hyperparameter)}")
    axes.margins(y=0.2)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=8.5, frameon=False, borderaxespad=0.2, handlelength=1.6
    )
    tidy(axes)


def _spaced(levels: Sequence[float]) -> list[float]:
    """The ascending levels whose names have room on a logarithmic axis."""
    named: list[float] = []
    for level in levels:
        if not named or np.log2(level / named[-1]) > np.log2(levels[-1] / levels[0]) / TICKS:
            named.append(level)
    return named


def _point(axes: Axes, level: LevelOptimum, nudge: float, colour: str, marker: str) -> None:
    x = np.log2(level.level) + nudge
    if level.optimum is not None:
        if level.error is not None:
            axes.vlines(x, level.low, level.high, color=colour, linewidth=1.2)
        axes.plot(x, level.optimum, marker=marker, markersize=5.5, color=colour, markeredgecolor="white")
    elif level.bound is not None:
        axes.plot(x, level.bound, marker=marker, markersize=5.5, markerfacecolor="white", color=colour)
        _arrow(axes, (x, level.bound), (0, -22 if level.censored == "low" else 22), colour)


def _arrow(axes: Axes, start: tuple[float, float], shift: tuple[float, float], colour: Any) -> None:
    """An arrow from `start` (data) that points `shift` (points) further: the optimum may be anywhere there."""
    style = {"arrowstyle": "<|-", "color": colour, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 3}
    axes.annotate("", start, shift, textcoords="offset points", arrowprops=style)


def _slope_line(axes: Axes, verdict: TransferVerdict, nudge: float, colour: str) -> None:
    known = [(np.log2(level.level), level.optimum) for level in verdict.levels if level.optimum is not None]
    if verdict.drift is not None and len(known) > 1:
        x, y = np.array(known, dtype=float).T
        axes.plot(x + nudge, y.mean() + verdict.drift * (x - x.mean()), color=colour, linewidth=0.9, linestyle=":")


def title(key: tuple[Any, ...], verdict: TransferVerdict, study: TransferStudy) -> str:
    """What is known about a group, in two lines."""
    bounds = interval(verdict.drift_low, verdict.drift_high)
    drift = bounds if verdict.drift is None else f"{signed(verdict.drift)} ({bounds})"
    return f"{group_label(study.by, key)}: {verdict.verdict}\ndrift {drift} octaves per doubling"


def _metric(curves: Curves, cost: Any) -> Any:
    return np.exp(cost) if curves.logarithmic else curves.sign * cost


def level_colours(count: int) -> list[Any]:
    """Colours from light to dark, told apart in grey and with any colour vision."""
    return list(matplotlib.colormaps["viridis"](np.linspace(0.78, 0.0, count)))


def _few_ticks(axes: Axes, limits: tuple[float, float]) -> None:
    """Readable numbers on a logarithmic axis, also when it spans less than a decade."""
    decades = np.log10(limits[1] / limits[0])
    steps = (1, 2, 3, 5, 7) if decades < 1 else (1, 2, 5) if decades < 2 else (1,)
    ticks = [s * 10.0**k for k in range(-12, 13) for s in steps if limits[0] <= s * 10.0**k <= limits[1]]
    if len(ticks) < 2:
        ticks = [float(f"{tick:.3g}") for tick in np.geomspace(*limits, 5)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)


def tidy(axes: Axes) -> None:
    """Light grid, no box."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)
