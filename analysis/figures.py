"""The figures of a report as files to publish: each as PDF and SVG, and the numbers behind it as CSV."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..orchestrator.errors import SwatheError
from .drawing import bounded, drawn
from .plots import to_svg
from .records import Picture

EMBEDDED: Any = {"pdf.fonttype": 42}  # TrueType: publishers refuse the Type 3 fonts that are the default
MOST_LETTERS = 100  # of a file's name, which may have 255 with its ending


def save_figures(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Write `NAME.pdf`, `NAME.svg` and `NAME.csv` of each picture, named after its title; the paths, in that order.

    The same pictures give the same bytes. Raises `SwatheError` when the folder cannot be written.
    """
    paths: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in zip(file_names([each.title for each in pictures]), pictures, strict=True):
            for kind, content in files_of(picture).items():
                paths.append(folder / f"{name}.{kind}")
                _replace(paths[-1], content)
    except OSError as error:
        remedy = "make room there, or run it where you may write"
        raise SwatheError(f"{folder} cannot be written: {error.strerror or error}; {remedy}") from None
    return paths


def files_of(picture: Picture) -> dict[str, bytes]:
    """A picture by the ending of its file."""
    svg = '<?xml version="1.0" encoding="utf-8"?>\n' + to_svg(picture.figure, salt=picture.title)
    pdf = drawn(picture.figure, "pdf", {"CreationDate": None, "Title": bounded(picture.title)}, EMBEDDED)
    csv = picture.data.to_csv(index=False, lineterminator="\n")
    return {"pdf": pdf, "svg": svg.encode(), "csv": csv.encode()}


def file_names(titles: Sequence[str]) -> list[str]:
    """A name for each title that any file system takes, in small letters; equal ones are numbered."""
    names: list[str] = []
    for title in titles:
        plain = re.sub(r"[^a-z0-9.]+", "-", title.lower())[:MOST_LETTERS].strip("-.") or "figure"
        taken = sum(name == plain or re.fullmatch(rf"{re.escape(plain)}-\d+", name) is not None for name in names)
        names.append(f"{plain}-{taken + 1}" if taken else plain)
    return names


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    partial.write_bytes(content)
    os.replace(partial, path)
