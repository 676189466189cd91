"""What a page is made of: verdicts, pictures and tables as plain records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Statement:
    """A verdict in words: `word` is its class, `reasons` the sentences below the headline."""

    word: str
    headline: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure, what it shows in words, and the numbers behind it."""

    title: str
    figure: Figure
    caption: str
    data: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Head:
    """A column's heading; numbers are set flush right."""

    text: str
    number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of ready-made texts."""

    title: str
    heads: Sequence[Head]
    rows: Sequence[Sequence[str]]
    lead: str = ""
