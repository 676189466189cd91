"""Names as people read them, for figures and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import pandas as pd

WORDS = {
    "lr": "learning rate",
    "wd": "weight decay",
    "val": "validation",
    "train": "training",
    "acc": "accuracy",
    "eval": "evaluation",
}
MINUS = "\N{MINUS SIGN}"


def spoken(name: str) -> str:
    """A parameter or metric in words: `val_loss` is "validation loss"."""
    return " ".join(WORDS.get(part, part) for part in name.replace(".", "_").split("_") if part)


def group_label(by: Sequence[str], values: Sequence[Any]) -> str:
    """The name of one group: the values alone where they are words, with their parameter where they are numbers."""
    parts = (
        value if isinstance(value, str) else f"{spoken(name)} {value}" for name, value in zip(by, values, strict=True)
    )
    return ", ".join(parts) or "all trials"


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign, the minus as long as the plus; infinities in words."""
    if not isfinite(value):
        return "unbounded"
    text = f"{round(value, digits) + 0.0:+.{digits}f}"  # no minus zero
    return text.replace("-", MINUS)


def plain(value: float, digits: int = 4) -> str:
    """A number with significant digits, no sign when positive."""
    return "unknown" if not isfinite(value) else f"{value:.{digits}g}".replace("-", MINUS)


def interval(low: float, high: float) -> str:
    """An interval in words when an end is infinite."""
    if isfinite(low) and isfinite(high):
        return f"{signed(low)} to {signed(high)}"
    if isfinite(high):
        return f"at most {signed(high)}"
    return f"at least {signed(low)}" if isfinite(low) else "of any size"


def stepped(value: float, digits: int | None = None) -> str:
    """A difference with its sign: to three significant digits, or to `digits` after the point; infinities in words."""
    if digits is not None or not isfinite(value):
        return signed(value, digits or 0)
    return f"{'+' if value > 0 else ''}{plain(value, 3)}"


def shortened(label: str, most: int = 30) -> str:
    """A label that fits beside an axis."""
    return label if len(label) <= most else label[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def estimated(value: float, low: float | None, high: float | None) -> str:
    """A number with its interval, or that it has none."""
    if low is None or high is None:
        return f"{plain(value)} (no interval)"
    return f"{plain(value)} ({plain(low)} to {plain(high)})"


def assignments(params: Mapping[str, Any]) -> str:
    """Parameters with their values, those that are absent left out."""
    shown = ((name, value) for name, value in params.items() if not pd.isna(value))
    return ", ".join(f"{name} = {plain(value) if isinstance(value, float) else value}" for name, value in shown)
