"""Results on disk: the one file that imports `pyarrow.fs`."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import fs, parquet

from .errors import StorageError
from .faultpoints import reach

# A full or broken disk: no fault of whoever writes.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def write_table(folder: Path, name: str, table: pa.Table) -> None:
    """Write `table` as the Parquet file `folder/name`, durable and whole before it has that name.

    Raises `StorageError`, and `FileNotFoundError` when another process has removed the unfinished file.
    """
    temporary = folder / f".{name}.{os.getpid()}.tmp"
    with told(folder / name):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                parquet.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            reach("table.written")
            temporary.rename(folder / name)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(folder)
    # What it took to encode the table would stay with this process.
    pa.default_memory_pool().release_unused()
    reach("table.renamed")


def read_table(folder: Path, name: str, schema: pa.Schema) -> pa.Table:
    """Read what `write_table` wrote, with exactly `schema`. Raises `StorageError` when the file is damaged."""
    try:
        return parquet.read_table(str(folder / name), filesystem=fs.LocalFileSystem(), schema=schema)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{folder / name} cannot be read: {error}; restore it from a copy") from error


def remove_remains(folder: Path, prefix: str, but: Collection[str]) -> None:
    """Delete what writers who died have left: files `prefix*` and their temporary ones, except those in `but`."""
    for pattern in (f"{prefix}*", f".{prefix}*.tmp"):
        for path in folder.glob(pattern):
            if path.name not in but:
                path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Delete a folder; one that is not there is fine."""
    shutil.rmtree(folder, ignore_errors=True)


def remove_earlier(folder: Path, number: int) -> None:
    """Delete the folders below `folder` whose names are lower numbers.

    Higher ones may be the work of a later driver, should this one have slept since its last commit.
    """
    for each in folder.iterdir() if folder.is_dir() else ():
        if each.name.isdigit() and int(each.name) < number:
            shutil.rmtree(each, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replace the file at `path` in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            reach("text.written")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    reach("text.renamed")


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Whatever the disk does not take inside the block is a `StorageError` about `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise StorageError(
            f"{path} cannot be written: {error.strerror}; mend that, and the same command goes on"
        ) from error


def _sync_folder(folder: Path) -> None:
    # A rename is durable only when its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
