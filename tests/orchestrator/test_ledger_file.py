"""A ledger in a file: what cannot be one is refused, reading leaves no trace, and a file that is gone is noticed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.errors import LedgerEmpty, LedgerError
from swathe.orchestrator.ledger import Batch, Ledger, Owner, Reader, copy_as, opening
from swathe.orchestrator.ledger.tables import VERSION, url_of

ROW = {"spec": "name: s\n", "root": ".", "metrics": ["loss"]}
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Ledger.create(url_of(tmp_path), "s", ROW)
    return tmp_path


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


def change(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        for each in statements:
            connection.execute(each)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def read_all(folder: Path) -> str:
    with closing(Reader(url_of(folder), "s")) as reader:
        reader.progress(), reader.failures(), reader.tail(), reader.capacities(), reader.proposals()
        return reader.sweep().spec


@contextmanager
def written(folder: Path) -> Iterator[Ledger]:
    """The ledger with its writer at work, whose last commit is in the write-ahead log alone."""
    with closing(Ledger(url_of(folder), "s")) as ledger:
        ledger.claim(Owner.here())
        ledger.commit(Batch(leases=7))
        yield ledger


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"torn" * 1000)
    with pytest.raises(LedgerError, match="cannot be used as a ledger"):
        Reader(url_of(tmp_path), "s")


def test_a_missing_ledger_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="swathe run"):
        Reader(url_of(tmp_path / "nowhere"), "s")


def test_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    with pytest.raises(LedgerError, match=r"nfs4.*--dir"):
        Ledger.create(url_of(tmp_path), "s", {})


@pytest.mark.parametrize("name", ["what?a=b", "50%", "%41#x", "a b'c\"", "größe 日本", "x&y;z", "file:x", "a\nb"])
def test_a_folder_may_have_any_name(name: str, make_sweep, tmp_path: Path) -> None:
    launch = Launch(tmp_path / name, "inline")
    for _ in range(2):
        folder = run(make_sweep("configurations=1", "seeds=1"), launch).folder
    assert folder == tmp_path / name / "tiny" and (folder / "ledger.db").is_file()
    with closing(Reader(url_of(folder), "tiny")) as reader:
        assert reader.progress().count() == 2
    assert [path.name for path in tmp_path.iterdir() if path.name != "project"] == [name]


def test_reading_leaves_no_trace(folder: Path) -> None:
    before = files(folder)
    assert read_all(folder) and files(folder) == before


def test_reading_beside_a_writer_sees_each_commit(folder: Path) -> None:
    with closing(Reader(url_of(folder), "s")) as reader:
        assert reader.sweep().status == "new"
        with written(folder) as ledger:
            assert reader.sweep().status == "running"
            ledger.commit(Batch(status="finished"))
            assert reader.sweep().status == "finished"
        assert reader.sweep().status == "finished"
    assert [*files(folder)] == ["ledger.db"]


def test_a_read_that_a_writer_came_into_is_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Ledger] = []
    original = opening.one_moment

    @contextmanager
    def interrupted(engine):
        with original(engine) as connection:
            yield connection
            if not begun:
                begun.append(Ledger(url_of(folder), "s"))
                begun[0].claim(Owner.here())

    monkeypatch.setattr("swathe.orchestrator.ledger.reading.one_moment", interrupted)
    with closing(Reader(url_of(folder), "s")) as reader:
        assert reader.sweep().status == "running" and begun
    begun[0].close()


@pytest.mark.parametrize("beside", [["-wal"], ["-wal", "-shm"]])
def test_the_copy_of_a_killed_sweep_is_read_with_its_log(beside: list[str], folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    with written(folder):
        for ending in ("", *beside):
            shutil.copy(folder / f"ledger.db{ending}", copy)
    before = {name: content for name, (content, _) in files(copy).items() if not name.endswith("-shm")}
    with closing(Reader(url_of(copy), "s")) as reader:
        assert reader.sweep().status == "running"
    after = {name: content for name, (content, _) in files(copy).items() if not name.endswith("-shm")}
    assert after == before and len(files(copy)) == 1 + len(beside)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody without rights")
@pytest.mark.parametrize("beside", [[], ["-wal"], ["-wal", "-shm"]])
def test_a_folder_without_write_permission_is_read(beside: list[str], folder: Path, tmp_path: Path) -> None:
    # Below a folder that others can enter, which pytest's is not.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="swathe-test-") as name:
        copy = Path(name)
        with written(folder):
            for ending in ("", *beside):
                shutil.copy(folder / f"ledger.db{ending}", copy)
        for path in (*copy.iterdir(), copy):
            path.chmod(0o555)
        names = sorted(path.name for path in copy.iterdir())
        os.seteuid(NOBODY)
        try:
            assert read_all(copy) == ROW["spec"]
        finally:
            os.seteuid(0)
        assert sorted(path.name for path in copy.iterdir()) == names


def test_an_older_ledger_is_read_as_it_is_and_upgraded_by_a_writer(folder: Path) -> None:
    change(
        folder, "ALTER TABLE sweep DROP COLUMN warm", "ALTER TABLE sweep DROP COLUMN spent",
        "ALTER TABLE attempt DROP COLUMN forgiven", "DROP TABLE capacity", "DROP TABLE heard",
        "PRAGMA user_version = 0",
    )  # fmt: skip
    before = files(folder)
    with closing(Reader(url_of(folder), "s")) as reader:
        record = reader.sweep()
        assert (record.warm, record.spent, reader.capacities(), reader.failures()) == ((), 0.0, {}, ())
    assert files(folder) == before
    copy_as(url_of(folder), folder / "copy.db", "other")
    assert files(folder)["ledger.db"] == before["ledger.db"]
    Ledger(url_of(folder), "s").close()
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert connection.execute("SELECT warm, spent FROM sweep").fetchall() == [("[]", 0.0)]
        assert connection.execute("SELECT count(*) FROM heard").fetchone() == (0,)


def test_a_newer_ledger_is_one_line_for_readers_and_writers(folder: Path) -> None:
    change(folder, f"PRAGMA user_version = {VERSION + 1}")
    before = files(folder)
    for opens in (Reader, Ledger):
        with pytest.raises(LedgerError, match=rf"newer Swathe \(version {VERSION + 1}.*pip install"):
            opens(url_of(folder), "s")
    with pytest.raises(LedgerError, match="newer Swathe"):
        Ledger.create(url_of(folder), "t", ROW)
    assert files(folder) == before


def test_an_empty_file_is_no_sweep_and_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    with pytest.raises(LedgerEmpty):
        Reader(url_of(tmp_path), "s")
    assert (tmp_path / "ledger.db").stat().st_size == 0


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_a_ledger_that_goes_away_is_noticed_at_the_next_heartbeat(how: str, folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    Ledger.create(url_of(home), "s", ROW)
    with written(home) as ledger:
        if how == "moved":
            home.rename(tmp_path / "elsewhere")
        else:
            for path in home.iterdir():
                path.unlink()
        if how == "replaced":
            shutil.copy(folder / "ledger.db", home)
        there = files(home) if home.exists() else None
        with pytest.raises(LedgerError, match=r"ledger\.db is (gone|another file now).*put it back"):
            ledger.heartbeat()
    assert (files(home) if home.exists() else None) == there


def test_a_trial_that_deletes_the_folder_ends_the_sweep_with_the_reason(make_sweep, tmp_path: Path) -> None:
    task = "import shutil\ndef train(trial):\n    shutil.rmtree({!r})\n    return {{'loss': 1.0}}\n"
    sweep = make_sweep("configurations=1", task=task.format(str(tmp_path / "sweeps")))
    with pytest.raises(LedgerError, match="is gone"):
        run(sweep, Launch(tmp_path / "sweeps", "inline"))
    assert not (tmp_path / "sweeps/tiny/ledger.db").exists()
