"""Parts and tail are one table, whatever was compacted when, and however often."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from swathe.analysis.digest import digest
from swathe.orchestrator import compaction
from swathe.orchestrator.driver import Launch, run
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
