"""Parts and tail are one table, whatever was compacted when, and however often."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from swathe.analysis.digest import digest
from swathe.orchestrator import compaction
from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.errors import StorageError
from swathe.orchestrator.ledger import Ledger, Owner, Reader
from swathe.orchestrator.ledger.tables import url_of


@pytest.fixture
def folder(make_sweep, tmp_path: Path) -> Path:
    return run(make_sweep(), Launch(tmp_path / "sweeps", "inline")).folder


def test_a_finished_folder_is_complete_without_its_ledgers_tail(folder: Path) -> None:
    names = [path.name for path in (folder / "trials").iterdir()]
    assert names == [path.name for path in (folder / "metrics").iterdir()] and len(names) == 1
    reader = Reader(url_of(folder), folder.name)
    tail = reader.tail()
    reader.close()
    assert (tail.trials, tail.blobs) == ([], ())


def test_tables_have_the_declared_schema_and_all_rows(folder: Path) -> None:
    trials, metrics = compaction.read_tables(folder)
    assert (trials.num_rows, metrics.num_rows) == (48, 48 * 3 * 3 + 48)
    assert trials.schema.field("param.width").type == pa.int64()
    assert trials.schema.field("param.lr").type == pa.float64()
    assert set(trials.column("state").to_pylist()) == {"COMPLETE"}
    assert metrics.schema.equals(compaction.schema.METRICS)


def test_a_part_written_twice_is_the_same_and_begun_again_after_a_crash(folder: Path, tmp_path: Path) -> None:
    before = digest(*compaction.read_tables(folder))
    ledger, reader = Ledger(url_of(folder), folder.name), Reader(url_of(folder), folder.name)
    ledger.claim(Owner.here(), force=True)
    shape = compaction.Shape.read(reader.sweep())
    assert compaction.write_parts(folder, ledger, reader, shape) == 0
    (path,) = (folder / "trials").iterdir()
    tables = compaction.trials_table(reader.tail(compaction.PartRange(1, 10**6), shape.tables).trials, shape)
    compaction.storage.write_table(folder / "trials", path.name, tables)
    assert digest(*compaction.read_tables(folder)) == before
    ledger.close()
    reader.close()


def test_duckdb_and_polars_read_the_same_folder(folder: Path) -> None:
    import duckdb
    import polars

    counted = duckdb.sql(f"select count(*), min(value) from '{folder}/trials/*.parquet'").fetchall()
    frame = polars.read_parquet(f"{folder}/trials/*.parquet")
    assert counted == [(48, frame["value"].min())] and frame.height == 48


def only_file(folder: Path, table: str) -> Path:
    (path,) = (folder / table).iterdir()
    return path


@pytest.mark.parametrize("damage", ["lost", "torn", "empty", "no folder"])
def test_lost_trials_are_rebuilt_from_the_ledger(damage: str, folder: Path, make_sweep) -> None:
    path, before = only_file(folder, "trials"), compaction.read_tables(folder)
    whole = path.read_bytes()
    match damage:
        case "lost":
            path.unlink()
        case "torn":
            path.write_bytes(whole[: len(whole) // 2])
        case "empty":
            path.write_bytes(b"")
        case _:
            shutil.rmtree(path.parent)
    damaged = path.read_bytes() if path.exists() else None
    assert compaction.read_tables(folder).trials.equals(before.trials)
    assert (path.read_bytes() if path.exists() else None) == damaged, "a reader has written"
    run(make_sweep(), Launch(folder.parent, "inline"))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1torn")])
def test_lost_metrics_are_named_and_never_a_shorter_table(damage, folder: Path) -> None:
    path = only_file(folder, "metrics")
    damage(path)
    with pytest.raises(StorageError, match=rf"{path.name} cannot be read: [^\n]*; restore it from a copy$"):
        compaction.read_tables(folder)


def test_results_alone_are_not_read_across_a_gap(folder: Path, tmp_path: Path) -> None:
    names = ["part-000000000001-000000000004.parquet", "part-000000000005-000000000007.parquet",
             "part-000000000008-000000000009.parquet"]  # fmt: skip
    place = tmp_path / "copied"
    for table in ("trials", "metrics"):
        (place / table).mkdir(parents=True)
        for name in names:
            shutil.copy(only_file(folder, table), place / table / name)
    assert compaction.read_parts(place).trials.num_rows == 3 * 48
    (place / "metrics" / names[1]).unlink()
    with pytest.raises(StorageError, match=names[1]):
        compaction.read_parts(place)
    (place / "trials" / names[1]).unlink()
    with pytest.raises(StorageError, match=f"the one before {names[2]}"):
        compaction.read_parts(place)
