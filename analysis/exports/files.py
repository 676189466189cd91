"""The two tables of a sweep as files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ...orchestrator.errors import SwatheError
from ...orchestrator.home import Home
from ...orchestrator.storage import write_table, write_text
from .. import load

FORMATS = ("csv", "parquet")


def save_tables(home: Home, form: str, output: Path) -> dict[Path, int]:
    """Write `trials` and `metrics` of the sweep at `home` into the folder `output`; their rows by file.

    Raises `SwatheError` when that cannot be written.
    """
    tables = dict(zip(("trials", "metrics"), load.tables(home), strict=True))
    written: dict[Path, int] = {}
    for name, table in tables.items():
        path = output.absolute() / f"{name}.{form}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if form == "parquet":
                write_table(path.parent, path.name, table)
            else:
                write_text(path, as_csv(load.as_frame(table)))
        except OSError as error:
            raise SwatheError(f"{path} cannot be written: {error.strerror or error}; name another folder") from None
        written[path] = len(table)
    return written


def as_csv(frame: pd.DataFrame) -> str:
    """A frame as CSV with a heading; nothing stands for null, times are ISO 8601."""
    return frame.to_csv(index=False, lineterminator="\n")
