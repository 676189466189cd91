"""One self-contained HTML page about a sweep: the verdict in words first, then figures, tables and provenance."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from jinja2.environment import Template

from ..orchestrator import spec
from ..orchestrator.compaction import results_of
from ..orchestrator.errors import SwatheError
from ..orchestrator.home import Home
from ..orchestrator.storage import Place, read_bytes
from .load import folder as existing
from .load import trials as load_trials
from .pages import Page, page


def write(source: Home | Path) -> Path:
    """Write `report.html` into a sweep's folder on this machine and return its path.

    A running sweep gives a provisional one.

    Raises `SwatheError` when the folder is missing or holds no spec or no ledger.
    """
    home = source if isinstance(source, Home) else Home.of(existing(source))
    folder, place = home.folder, results_of(home)
    text = read_bytes(place / "spec.yaml")
    if text is None:
        raise SwatheError(f"{place} has no spec.yaml, so it is no sweep; `swathe list` shows the sweeps")
    sweep = spec.parse(text.decode(), str(place / "spec.yaml"), root=folder)
    html = render(load_trials(home), sweep, text.decode(), _provenance(place / "provenance.json"))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "report.html"
    partial = target.with_suffix(f".{os.getpid()}.tmp")
    partial.write_text(html, encoding="utf-8")
    os.replace(partial, target)
    return target


def render(trials: pd.DataFrame, sweep: spec.Sweep, text: str, provenance: Mapping[str, Any] | None) -> str:
    """The page as HTML. `text` is the spec as it was written, `provenance` what is in `provenance.json`."""
    shown: Page = page(trials, sweep)
    facts, details = flatten(provenance or {})
    return _template().render(**vars(shown), facts=facts, details=details, spec=text)


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
