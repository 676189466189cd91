"""One self-contained HTML page about a sweep: the verdict in words first, then figures, tables and provenance."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, StrictUndefined
from jinja2.environment import Template
from markupsafe import Markup

from ..orchestrator import spec
from ..orchestrator.compaction import results_of
from ..orchestrator.errors import SwatheError
from ..orchestrator.home import Home
from ..orchestrator.storage import Place, read_bytes
from .compared import Side
from .comparing import comparison
from .figures import save_figures
from .load import folder as existing
from .load import trials as load_trials
from .pages import Page, page
from .plots import to_svg
from .records import Picture

FIGURES = "figures"  # the folder beside a report that holds them as files


class Source(NamedTuple):
    """All that a report is made from: `text` is the spec as it was written, `provenance` what is in provenance.json."""

    trials: pd.DataFrame
    sweep: spec.Sweep
    text: str
    provenance: Mapping[str, Any] | None


def write(source: Home | Path, figures: bool = False) -> Path:
    """Write `report.html` into a sweep's folder on this machine and return its path.

    A running sweep gives a provisional one. With `figures` they are beside it, too, in the folder `figures`.
    Raises `SwatheError` when the folder is missing or holds no spec or no ledger.
    """
    home = source if isinstance(source, Home) else Home.of(existing(source))
    found = read(home)
    shown = page(found.trials, found.sweep)
    if figures:
        save_figures(shown.figures, home.folder / FIGURES)
    return _save(lay_out(shown, {"Spec": found.text}, found.provenance or {}), home.folder / "report.html")


def write_comparison(first: Home, second: Home, labels: tuple[str, str]) -> Path:
    """Write the comparison of two sweeps into the folder of the first, `report-vs-OTHER.html`, and return its path.

    Its figures are beside it in `figures-vs-OTHER`. `labels` are what the sweeps are called. Raises `SwatheError` as
    `write` does, and where their metrics or directions differ.
    """
    found = [read(home) for home in (first, second)]
    sides = [
        Side(label, each.trials, each.sweep, each.provenance or {}) for label, each in zip(labels, found, strict=True)
    ]
    shown = comparison(*sides)
    save_figures(shown.figures, first.folder / f"{FIGURES}-vs-{second.name}")
    specs = {f"Spec of {label}": each.text for label, each in zip(labels, found, strict=True)}
    return _save(lay_out(shown, specs), first.folder / f"report-vs-{second.name}.html")


def read(home: Home) -> Source:
    """What there is of a sweep. Raises `SwatheError` when it has no spec."""
    place = results_of(home)
    text = read_bytes(place / "spec.yaml")
    if text is None:
        raise SwatheError(f"{place} has no spec.yaml, so it is no sweep; `swathe list` shows the sweeps")
    sweep = spec.parse(text.decode(), str(place / "spec.yaml"), root=home.folder)
    return Source(load_trials(home), sweep, text.decode(), _provenance(place / "provenance.json"))


def _save(html: str, target: Path) -> Path:
    """Write a page, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    partial.write_text(html, encoding="utf-8")
    os.replace(partial, target)
    return target


def render(trials: pd.DataFrame, sweep: spec.Sweep, text: str, provenance: Mapping[str, Any] | None) -> str:
    """The page as HTML. `text` is the spec as it was written, `provenance` what is in `provenance.json`."""
    return lay_out(page(trials, sweep), {"Spec": text}, provenance or {})


def lay_out(shown: Page, specs: Mapping[str, str], provenance: Mapping[str, Any] | None = None) -> str:
    """A page as HTML, its figures in it; at its end where it comes from, when that is given, and the specs by title."""
    facts, details = flatten(provenance or {})
    drawn = [(each.title, _drawn(each), each.caption) for each in shown.figures]
    known = {**vars(shown), "figures": drawn, "facts": None if provenance is None else facts, "details": details}
    return _template().render(known, specs=specs)


def _drawn(picture: Picture) -> Markup:
    svg = to_svg(picture.figure, salt=picture.title)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(picture.title)}" ', 1))


def flatten(provenance: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Short facts (name, value) and long passages (title, text) of a provenance record, nested or not."""
    facts: list[tuple[str, str]] = []
    details: list[tuple[str, str]] = []
    for name, value in provenance.items():
        if isinstance(value, Mapping) and len(value) > 12:
            details.append((f"{name} ({len(value)})", "\n".join(f"{key} {each}" for key, each in value.items())))
        elif isinstance(value, Mapping):
            inner, long = flatten({f"{name}.{key}": each for key, each in value.items()})
            facts, details = facts + inner, details + long
        elif isinstance(value, str) and "\n" in value:
            details.append((name, value))
        elif value not in (None, "", []):
            facts.append((name, " ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return facts, details


def _provenance(path: Place) -> Mapping[str, Any] | None:
    try:
        record = json.loads(read_bytes(path) or b"null")
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def _template() -> Template:
    source = resources.files(__package__ or "swathe.analysis").joinpath("report.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(source)
