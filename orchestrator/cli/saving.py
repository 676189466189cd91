"""Tables of a sweep as single files and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ...analysis import load
from ..errors import SwatheError
from ..home import Home
from ..storage import write_table, write_text

TABLES = ("trials", "metrics")
TARGETS = ("parquet", "csv")


def save(home: Home, table: str, target: str, output: Path) -> int:
    """Write one table of a sweep to the file `output`; returns its number of rows.

    Raises `SwatheError` when the file cannot be written.
    """
    content = load.tables(home)[TABLES.index(table)]
    try:
        if target == "parquet":
            write_table(output.absolute().parent, output.name, content)
        else:
            write_text(output.absolute(), as_csv(load.as_frame(content)))
    except OSError as error:
        raise SwatheError(f"{output} cannot be written: {error.strerror or error}; name another file") from None
    return len(content)


def as_csv(frame: pd.DataFrame) -> str:
    """A frame as CSV with a heading; nothing stands for null, times are ISO 8601."""
    return frame.to_csv(index=False, lineterminator="\n")


def records(home: Home | Path, table: str = "trials", limit: int | None = None) -> list[dict[str, Any]]:
    """The first `limit` rows of a table as plain mappings."""
    content = load.tables(home)[TABLES.index(table)]
    return content.slice(0, limit).to_pylist()
