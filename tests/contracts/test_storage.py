"""The contract of a place for results, over a folder and an S3-compatible store."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from swathe.orchestrator import storage
from swathe.orchestrator.errors import StorageError
from swathe.orchestrator.messages import TrialKey
from swathe.orchestrator.states import States
from swathe.orchestrator.storage import Place, Remote, place_of
from tests.servers import ObjectStore

TABLE = pa.table({"a": pa.array(range(1000)), "b": ["x"] * 1000})


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return tmp_path / "sweep"
    return place_of(request.getfixturevalue("store").bucket()) / "some" / "sweep"


def test_a_table_comes_back(place: Place) -> None:
    storage.write_table(place / "trials", "part-1.parquet", TABLE)
    storage.write_table(place / "trials", "part-1.parquet", TABLE)
    assert storage.read_table(place / "trials", "part-1.parquet", TABLE.schema).equals(TABLE)
    assert storage.names(place) == ["trials/part-1.parquet"]


def test_what_is_damaged_or_missing_is_named(place: Place) -> None:
    storage.write_text(place / "trials" / "part-1.parquet", "torn")
    with pytest.raises(StorageError, match=r"part-1\.parquet cannot be read"):
        storage.read_table(place / "trials", "part-1.parquet", TABLE.schema)
    with pytest.raises(StorageError, match=r"part-2\.parquet cannot be read"):
        storage.read_table(place / "trials", "part-2.parquet", TABLE.schema)


def test_texts_are_replaced_and_absent_ones_are_none(place: Place) -> None:
    assert storage.read_bytes(place / "spec.yaml") is None and storage.names(place) == []
    storage.write_text(place / "spec.yaml", "one")
    storage.write_text(place / "spec.yaml", "two \N{SNOWMAN}")
    assert storage.read_bytes(place / "spec.yaml") == "two \N{SNOWMAN}".encode()


def test_remains_and_trees_go(place: Place) -> None:
    for name in ("part-1", "part-2", "other"):
        storage.write_text(place / "trials" / name, name)
    storage.remove_remains(place / "trials", "part-", {"part-2"})
    assert storage.names(place / "trials") == ["other", "part-2"]
    for step in (1, 2, 10):
        storage.write_text(place / "states" / str(step) / "state.bin", "s")
    storage.remove_earlier(place / "states", 10)
    assert storage.names(place / "states") == ["10/state.bin"]
    storage.remove_tree(place / "states")
    storage.remove_tree(place / "states")
    assert storage.names(place) == ["trials/other", "trials/part-2"]


def test_states_come_back(place: Place, tmp_path: Path) -> None:
    states = States(tmp_path / "here", place.uri if isinstance(place, Remote) else None)
    trial = TrialKey("c", 0, 1)
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "deep" / "file").write_text("kept")
    (tmp_path / "mine" / "empty").touch()
    assert states.keep({"step": 3, "big": b"" or "x" * 100}, trial, 3) and states.keep(tmp_path / "mine", trial, 4)
    elsewhere = states if states.results is None else States(tmp_path / "elsewhere", states.results)
    assert elsewhere.load(trial, 3) == {"step": 3, "big": "x" * 100}
    folder = elsewhere.load(trial, 4)
    assert isinstance(folder, Path) and storage.names(folder) == ["deep/file", "empty"]


def test_an_upload_that_fails_leaves_what_was_there(store: ObjectStore) -> None:
    place = place_of(store.bucket()) / "sweep"
    storage.write_text(place / "small", "before")
    storage.write_text(place / "large", "before")
    store.fail = lambda method, path: method == "PUT" or "uploads" in path
    with pytest.raises(StorageError, match="cannot be used"):
        storage.write_text(place / "small", "after")
    # Of a large one some parts get through before the store fails.
    parts = iter(range(1))
    store.fail = lambda method, path: method == "PUT" and next(parts, None) is None
    with pytest.raises(StorageError, match="cannot be used"):
        storage.write_text(place / "large", "x" * (22 * 2**20))
    assert sum(path.endswith("/large") for method, path in store.seen if method == "PUT") > 1
    store.mend()
    assert [storage.read_bytes(place / name) for name in ("small", "large")] == [b"before", b"before"]
    storage.write_text(place / "large", "y" * (22 * 2**20))
    assert storage.read_bytes(place / "large") == b"y" * (22 * 2**20)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("s3://key:hunter2@bucket/prefix", "hold a secret"),
        ("s3://bucket/prefix?secret_key=hunter2", "option secret_key"),
        ("ftp://bucket/prefix", "are nowhere"),
        ("s3:///prefix", "are nowhere"),
    ],
)
def test_a_uri_that_is_none_is_refused_without_its_secret(text: str, words: str) -> None:
    with pytest.raises(StorageError, match=words) as told:
        place_of(text)
    assert "hunter2" not in str(told.value)


def test_a_store_that_cannot_be_used_is_named(store: ObjectStore) -> None:
    absent = place_of(store.bucket().replace("bucket", "absent", 1))
    with pytest.raises(StorageError, match=r"s3://absent.*cannot be used.*check the address, the bucket"):
        storage.write_text(absent / "x", "y")
