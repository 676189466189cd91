"""The trials of a sweep as a file or a text."""

from __future__ import annotations

from pathlib import Path

from ...analysis import load
from ...analysis.exports.files import as_csv
from ..errors import SwatheError
from ..home import Home
from ..storage import write_table

__all__ = ["as_csv", "save"]


def save(home: Home, output: Path) -> int:
    """Write the trials of the sweep at `home` to the Parquet file `output`; returns their number.

    Raises `SwatheError` when the file cannot be written.
    """
    content = load.tables(home)[0]
    try:
        write_table(output.absolute().parent, output.name, content)
    except OSError as error:
        raise SwatheError(f"{output} cannot be written: {error.strerror or error}; name another file") from None
    return len(content)
