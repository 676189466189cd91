"""Specs from files and texts, and the JSON Schema of their grammar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import fragments
from .document import parse_document, read_text
from .faults import Fault
from .sections import SAMPLERS
from .sweep import Sweep


def load(path: Path, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep in a spec file, with `overrides` such as `search.lr.low=1e-5`. Raises `SpecError`."""
    return parse(read_text(path), str(path), overrides, path.absolute().parent)


def parse(text: str, source: str = "<spec>", overrides: Sequence[str] = (), root: Path | None = None) -> Sweep:
    """The sweep in the text of a spec. `source` names it in errors, `root` is where relative task paths start.

    Raises `SpecError` whose message starts with `source:line:`, or with `--set TEXT:` where an override is at fault.
    """
    document = parse_document(text, source, overrides)
    try:
        sweep = Sweep(**document.data)
    except Fault as fault:
        raise fault.at(document.place(fault.path)) from None
    return sweep if root is None else sweep.rooted(root)


def json_schema() -> dict[str, Any]:
    """The grammar of a spec as a JSON Schema, draft 2020-12; editors complete from it."""
    return fragments.complete(Sweep.model_json_schema(), SAMPLERS)
