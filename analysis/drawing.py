"""Drawing a figure whose words are others': names of metrics, values of parameters. None of them is a formula."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter, LogFormatter

from ..orchestrator.sanitizing import visible

MOST_LETTERS = 200  # of one line: longer ones would be wider than any page
MOST_LINES = 8


def drawn(figure: Figure, form: str, metadata: Mapping[str, Any], settings: Any = None) -> bytes:
    """The figure in a format of matplotlib's, under some of its settings; the same figure gives the same bytes."""
    take_literally(figure)
    target = io.BytesIO()
    with matplotlib.rc_context(settings or {}), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes, and words that need more room than there is are cut.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        warnings.filterwarnings("ignore", ".*(constrained_layout|tight_layout|layout) not applied")
        figure.savefig(target, format=form, metadata=dict(metadata))
    return target.getvalue()


def take_literally(figure: Figure) -> None:
    """Turn off formulas (`$...$`) in all words of a figure but numbers of axes, and cut what is too long."""
    # Looking for words makes ticks, so the numbers among them are found afterwards.
    words = [each for each in figure.findobj(Text) if isinstance(each, Text)]
    axes = [axis for each in figure.axes for axis in (each.xaxis, each.yaxis)]
    numbers = {id(each) for axis in axes for each in _numbers(axis)}
    for each in words:
        if id(each) not in numbers:
            each.set_parse_math(False)
            each.set_text(bounded(each.get_text()))
    for axis in axes:
        _bound_ticks(axis)


def bounded(text: str) -> str:
    """A text of few and short lines, without control characters."""
    lines = visible(text).replace("\t", " ").split("\n")
    lines = [each if len(each) <= MOST_LETTERS else f"{each[: MOST_LETTERS - 1]}…" for each in lines]
    return "\n".join(lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], "…"])


def legend_label(label: str) -> str:
    """A label as matplotlib shows it in a legend, where one that begins with an underscore is left out."""
    return f" {label}" if label.startswith("_") else label


def _numbers(axis: Any) -> list[Text]:
    """The words of an axis that may be formulas because matplotlib makes them: powers of ten."""
    found = [axis.get_offset_text()]
    for ticks, formatter in (
        (axis.majorTicks, axis.get_major_formatter()),
        (axis.minorTicks, axis.get_minor_formatter()),
    ):
        if isinstance(formatter, LogFormatter):
            found += [label for tick in ticks for label in (tick.label1, tick.label2)]
    return found


def _bound_ticks(axis: Any) -> None:
    """Ticks with words get them anew from a formatter each time that they are drawn."""
    words = axis.get_major_formatter()
    if isinstance(words, FixedFormatter | FuncFormatter):
        axis.set_major_formatter(FuncFormatter(lambda value, place: bounded(words(value, place))))
