"""Results on disk or in an object store: the one file that imports `pyarrow.fs`.

A `Place` is a folder or, under the same operations, a prefix of a bucket. What is written there is whole before it has
its name: on a disk by a rename, in a store because an upload shows when it is completed, and a torn one never is.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pyarrow as pa
from pyarrow import fs, parquet

from .errors import StorageError
from .faultpoints import reach

# A full or broken disk: no fault of whoever writes.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss")
# Of one request to a store; whoever calls tries again for longer.
CONNECT_SECONDS, REQUEST_SECONDS, ATTEMPTS = 5.0, 30.0, 2
# What a URI may say of an S3 store besides the place; anything else might be a secret.
_OPTIONS = {"region", "scheme", "endpoint_override", "allow_bucket_creation"}


@dataclass(frozen=True, slots=True)
class Remote:
    """A prefix of a bucket, or an object in it; `uri` as pyarrow has it, such as s3://bucket/prefix."""

    uri: str

    def __truediv__(self, name: str) -> Remote:
        parts = urlsplit(self.uri)
        return Remote(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}")))

    def __str__(self) -> str:
        return self.uri.partition("?")[0]


Place = Path | Remote


def place_of(text: str) -> Place:
    """The place that a path or URI names. Raises `StorageError` for a URI that is unknown or holds a secret."""
    if "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme == "file":
        return Path(parts.path)
    bare = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise StorageError(f"results {bare} are nowhere; write a folder, s3://BUCKET/PREFIX, gs://... or abfs://...")
    named = parts.scheme.startswith("abfs")
    if parts.password is not None or (parts.username is not None and not named):
        raise StorageError(f"results {bare} hold a secret; give it in the environment (AWS_ACCESS_KEY_ID, ...) instead")
    if strange := (parse_qs(parts.query).keys() - _OPTIONS if not named else set[str]()):
        known = ", ".join(sorted(_OPTIONS))
        raise StorageError(f"results {bare} have the option {min(strange)}, which is none of {known}")
    return Remote(text.rstrip("/"))


def write_table(folder: Place, name: str, table: pa.Table) -> None:
    """Write `table` as the Parquet file `folder/name`, durable and whole before it has that name.

    Raises `StorageError`, and `FileNotFoundError` when another process has removed the unfinished file.
    """
    if isinstance(folder, Remote):
        encoded = pa.BufferOutputStream()
        parquet.write_table(table, encoded, compression="zstd")
        _upload(folder / name, encoded.getvalue())
        return
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


def read_table(folder: Place, name: str, schema: pa.Schema | None) -> pa.Table:
    """Read what `write_table` wrote, with exactly `schema`. Raises `StorageError` when the file is damaged."""
    try:
        if isinstance(folder, Remote):
            return parquet.read_table(pa.BufferReader(_download(folder / name)), schema=schema)
        return parquet.read_table(str(folder / name), filesystem=fs.LocalFileSystem(), schema=schema)
    except (OSError, pa.ArrowException) as error:
        said = " ".join(str(error).split())
        raise StorageError(f"{folder / name} cannot be read: {said}; restore it from a copy") from error


def lost_tables(folder: Place, wanted: Collection[str]) -> set[str]:
    """Which of these tables are not in `folder`, or on a disk are damaged: a torn file has no end that can be read."""
    if isinstance(folder, Remote):
        return set(wanted) - set(names(folder))
    return {name for name in wanted if not _is_table(folder / name)}


def _is_table(path: Path) -> bool:
    try:
        parquet.read_metadata(str(path), filesystem=fs.LocalFileSystem())
    except (OSError, pa.ArrowException):
        return False
    return True


def remove_remains(folder: Place, prefix: str, but: Collection[str]) -> None:
    """Delete what writers who died have left: files `prefix*` and their temporary ones, except those in `but`."""
    if isinstance(folder, Remote):
        for name in names(folder):
            if name.startswith(prefix) and name not in but:
                _delete(folder / name)
        return
    for pattern in (f"{prefix}*", f".{prefix}*.tmp"):
        for path in folder.glob(pattern):
            if path.name not in but:
                path.unlink(missing_ok=True)


def remove_tree(folder: Place) -> None:
    """Delete a folder; one that is not there is fine."""
    if isinstance(folder, Remote):
        with _told(folder), _connected(folder) as (store, path):
            try:
                store.delete_dir(path)
            except FileNotFoundError:
                pass
        return
    shutil.rmtree(folder, ignore_errors=True)


def remove_earlier(folder: Place, number: int) -> None:
    """Delete the folders below `folder` whose names are lower numbers.

    Higher ones may be the work of a later driver, should this one have slept since its last commit.
    """
    for name in {each.partition("/")[0] for each in names(folder)}:
        if name.isdigit() and int(name) < number:
            remove_tree(folder / name)


def write_text(path: Place, text: str) -> None:
    """Replace the file at `path` in one step."""
    if isinstance(path, Remote):
        _upload(path, pa.py_buffer(text.encode()))
        return
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


def read_bytes(path: Place) -> bytes | None:
    """What is in a file; None when there is none."""
    try:
        return _download(path) if isinstance(path, Remote) else path.read_bytes()
    except FileNotFoundError:
        return None


def remove_file(path: Place) -> None:
    """Remove one file."""
    if isinstance(path, Remote):
        _delete(path)
    else:
        path.unlink()


def names(folder: Place) -> list[str]:
    """The files at any depth below a folder, as relative paths in order; none when it is not there."""
    if isinstance(folder, Remote):
        return sorted(_sizes(folder))
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def upload(source: Path, place: Remote) -> None:
    """Make the file or folder `source` the one at `place`; each file of a folder is whole for itself."""
    files = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
    for path in files:
        into = place if path == source else place / path.relative_to(source).as_posix()
        # Mapped, so that a failure to read it cannot come in the middle of the upload.
        _upload(into, pa.memory_map(str(path)).read_buffer() if path.stat().st_size else pa.py_buffer(b""))


def download(place: Remote, target: Path) -> bool:
    """Copy the folder at `place` to `target`; False when there is none."""
    found = names(place)
    for name in found:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(_download(place / name))
    return bool(found)


def upload_what_is_new(source: Path, place: Remote) -> None:
    """Upload all files of a folder that are missing at `place`, or are of another size there."""
    there = _sizes(place)
    for name in names(source):
        if there.get(name) != (source / name).stat().st_size:
            upload(source / name, place / name)


def _upload(place: Remote, content: pa.Buffer) -> None:
    # Handed over in one piece: one PUT when it is small, and parts that are completed together when it is not.
    with _told(place), _connected(place) as (store, path), store.open_output_stream(path) as stream:
        stream.write(content)


def _download(place: Remote) -> bytes:
    with _told(place), _connected(place) as (store, path), store.open_input_stream(path) as stream:
        return stream.read()


def _delete(place: Remote) -> None:
    with _told(place), _connected(place) as (store, path):
        store.delete_file(path)


def _sizes(folder: Remote) -> dict[str, int]:
    with _told(folder), _connected(folder) as (store, path):
        found = store.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    files = (each for each in found if each.type == fs.FileType.File)
    return {each.path[len(path) :].lstrip("/"): each.size for each in files}


@contextmanager
def _connected(place: Remote) -> Iterator[tuple[fs.FileSystem, str]]:
    parts = urlsplit(place.uri)
    if parts.scheme == "s3":
        yield _store_of(urlunsplit(parts._replace(path=""))), f"{parts.hostname}{parts.path}"
    else:
        yield fs.FileSystem.from_uri(place.uri)


@lru_cache(maxsize=16)
def _store_of(root: str) -> fs.S3FileSystem:
    """The store that holds a bucket of S3; credentials come from the environment."""
    parts = urlsplit(root)
    options: dict[str, Any] = {name: values[0] for name, values in parse_qs(parts.query).items()}
    options["allow_bucket_creation"] = options.get("allow_bucket_creation", "").lower() == "true"
    return fs.S3FileSystem(
        **options,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,
    )


@contextmanager
def _told(place: Remote) -> Iterator[None]:
    """Whatever the store does not do inside the block is a `StorageError`, but for a file that is not there."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise StorageError(
            f"{place} cannot be used: {' '.join(str(error).split())}; check the address, the bucket and the "
            "credentials in the environment, and the same command goes on"
        ) from error


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
