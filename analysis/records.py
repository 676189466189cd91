"""What a page is made of: verdicts, pictures and tables as plain records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Statement:
    """A verdict in words: `word` is its class, `reasons` the sentences below the headline."""

    word: str
    headline: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as inline SVG."""

    title: str
    svg: Markup
    caption: str


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
