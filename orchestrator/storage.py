"""Results on disk: the one file that imports `pyarrow.fs`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
from pyarrow import fs, parquet


def write_table(folder: Path, name: str, table: pa.Table) -> None:
    """Write `table` as the Parquet file `folder/name`, durable and whole before it has that name."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            parquet.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(folder)


def read_table(folder: Path, name: str, schema: pa.Schema) -> pa.Table:
    """Read what `write_table` wrote, with exactly `schema`."""
    return parquet.read_table(str(folder / name), filesystem=fs.LocalFileSystem(), schema=schema)


def remove_tree(folder: Path, *, but: str | None = None) -> None:
    """Delete a folder, or everything in it but the entry `but`; one that is not there is fine."""
    if but is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for each in folder.iterdir() if folder.is_dir() else ():
        if each.name != but:
            shutil.rmtree(each, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replace the file at `path` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # A rename is durable only when its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
