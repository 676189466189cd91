"""The tables of a sweep as pandas frames with Arrow types, while it runs and after."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pyarrow as pa

from ..orchestrator import compaction
from ..orchestrator.errors import SwatheError
from ..orchestrator.home import Home
from ..orchestrator.storage import Remote, place_of


def trials(uri: str | Path | Home) -> pd.DataFrame:
    """The ended trials of the sweep at `uri`, one row each, with the columns of `orchestrator.schema`.

    `uri` is a sweep's folder, or the URI of its results in a store (s3://bucket/prefix/NAME), where the parts are that
    have been written so far; a `Home` knows the ledger, too, and gives all that has been committed.
    """
    return as_frame(tables(uri)[0])


def metrics(uri: str | Path | Home) -> pd.DataFrame:
    """The metric rows of the sweep at `uri`, in long format."""
    return as_frame(tables(uri)[1])


def tables(uri: str | Path | Home) -> tuple[pa.Table, pa.Table]:
    """Trials and metrics of one moment, as Arrow tables. Raises `SwatheError` when there is no sweep at `uri`."""
    if isinstance(uri, Home):
        read = compaction.read_tables(uri)
    elif isinstance(place := place_of(str(uri)), Remote):
        read = compaction.read_parts(place)
    else:
        read = compaction.read_tables(folder(uri))
    return read.trials, read.metrics


def as_frame(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as a frame whose columns keep their Arrow types; words lose their dictionaries.

    Plain strings group, compare and merge in pandas like any column; dictionaries of different parts do not.
    """
    plain = [
        pa.field(field.name, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
        for field in table.schema
    ]
    return table.cast(pa.schema(plain)).to_pandas(types_mapper=pd.ArrowDtype)


def folder(uri: str | Path) -> Path:
    """The folder that `uri` names. Raises `SwatheError` when it does not exist or is no sweep."""
    text = str(uri)
    if "://" in text:
        scheme = text.partition("://")[0]
        if scheme != "file":
            raise SwatheError(f"{text!r} is no folder of this machine, which is needed here; not {scheme}://")
        text = unquote(urlsplit(text).path)
    path = Path(text)
    if not path.is_dir():
        raise SwatheError(f"there is no sweep in {text!r}: no such folder; `swathe list` shows the sweeps there are")
    return path
