"""A full disk and torn files: the sweep stops with one line, and the same command goes on once there is room."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from swathe.orchestrator import compaction
from swathe.orchestrator.errors import StorageError
from tests.faults import judging, sweeps
from tests.faults.launching import Life, Tight, undisturbed

FIELDS = {"configurations": 16, "sampler": "random", "pruner": sweeps.HALVING, "fixed": {"steps": 8}}


@pytest.fixture
def project(tmp_path: Path) -> sweeps.Project:
    return sweeps.make(tmp_path / "project", **FIELDS)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(sweeps.make(tmp_path_factory.mktemp("twin"), **FIELDS))


@pytest.fixture
def small_disk(project: sweeps.Project) -> Iterator[Path]:
    """A filesystem of 2 MiB where the project's sweeps go."""
    directory = project.directory("sweeps")
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small filesystem")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def refused(life: Life) -> None:
    """It has ended as a user can understand it."""
    assert life.end() == 2, life.output
    assert "Traceback" not in life.output and "the same command" in life.output, life.output


def finish(project: sweeps.Project, twin: Path, moments: list[judging.Acknowledged]) -> None:
    last = Life(project, "sweeps")
    assert last.end() == 0, last.output
    judging.judge(project.sweep_in("sweeps"), twin, moments, project.ran)


@pytest.mark.parametrize("free", sweeps.long_but([4, 120, 250, 400, 700], 400))
def test_a_full_disk(free: int, small_disk: Path, project: sweeps.Project, twin: Path) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - free * 1024))
    refused(Life(project, "sweeps"))
    moment = judging.acknowledged(project.sweep_in("sweeps"))
    filler.unlink()
    finish(project, twin, [moment])


@pytest.mark.parametrize("kib", sweeps.long_but([2, 40, 120], 120))
def test_files_that_may_not_grow(kib: int, project: sweeps.Project, twin: Path) -> None:
    refused(Life(project, "sweeps", tight=Tight(file_bytes=kib * 1024)))
    finish(project, twin, [judging.acknowledged(project.sweep_in("sweeps"))])


@pytest.mark.parametrize("point", ["text.written", "table.written", "checkpoint.written"])
def test_no_space_for_one_file(point: str, project: sweeps.Project, twin: Path) -> None:
    refused(Life(project, "sweeps", environment={"SWATHE_FAULTS": f"{point}:1:full"}))
    finish(project, twin, [judging.acknowledged(project.sweep_in("sweeps"))])


def die(project: sweeps.Project, fault: str) -> None:
    life = Life(project, "sweeps", environment={"SWATHE_FAULTS": fault})
    assert life.end() == -9, life.output


def killed_at(project: sweeps.Project, fault: str) -> judging.Acknowledged:
    die(project, fault)
    return judging.acknowledged(project.sweep_in("sweeps"))


def test_a_torn_part(project: sweeps.Project, twin: Path) -> None:
    moment = killed_at(project, "part.written:1")
    folder = project.sweep_in("sweeps")
    for part in [*folder.glob("trials/*.parquet"), *folder.glob("metrics/*.parquet")]:
        whole = part.read_bytes()
        part.write_bytes(whole[: len(whole) // 2])
        part.with_name(f".{part.name}.1.tmp").write_bytes(whole[:100])
    finish(project, twin, [moment])


def test_a_torn_end_of_the_write_ahead_log(project: sweeps.Project, twin: Path) -> None:
    die(project, "ledger.commit.after:9")
    folder = project.sweep_in("sweeps")
    shutil.copytree(folder, project.folder / "whole")
    with (folder / "ledger.db-wal").open("ab") as file:
        file.write(random.Random(1).randbytes(5000))
    moment = judging.acknowledged(project.folder / "whole")
    assert moment.decided and judging.acknowledged(folder).decided == moment.decided
    finish(project, twin, [moment])


@pytest.mark.parametrize("kept", sweeps.long_but([0.0, 0.3, 0.7, 0.99], 0.3))
def test_a_write_ahead_log_that_lost_its_end(kept: float, project: sweeps.Project) -> None:
    """What a disk without a working fsync leaves: older, but whole. (Checkpoints of what was lost may be gone.)"""
    project = sweeps.make(project.folder / "plain", configurations=16, sampler="random")
    twin = undisturbed(project)
    die(project, "part.finished:1")
    log = project.sweep_in("sweeps") / "ledger.db-wal"
    log.write_bytes(log.read_bytes()[: int(kept * log.stat().st_size)])
    finish(project, twin, [])


@pytest.mark.parametrize("content", sweeps.long_but(["nothing", "no tables", "no sweep"], "no tables"))
def test_a_ledger_that_was_begun_and_never_filled(content: str, project: sweeps.Project, twin: Path) -> None:
    folder = project.sweep_in("sweeps")
    folder.mkdir(parents=True)
    if content == "nothing":
        (folder / "ledger.db").touch()
    elif content == "no tables":
        connection = sqlite3.connect(folder / "ledger.db")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    else:
        killed_at(project, "ledger.made:1")
    finish(project, twin, [])


def test_a_damaged_ledger_is_named_and_left_alone(project: sweeps.Project) -> None:
    folder = project.sweep_in("sweeps")
    folder.mkdir(parents=True)
    (folder / "ledger.db").write_bytes(b"no database at all" * 1000)
    life = Life(project, "sweeps")
    assert life.end() == 2 and "restore it" in life.output and "Traceback" not in life.output, life.output
    assert [path.name for path in folder.iterdir()] == ["ledger.db"]


@pytest.mark.parametrize("table", ["trials", "metrics"])
def test_a_damaged_part_is_rebuilt_from_the_ledger_or_named(table: str, project: sweeps.Project) -> None:
    """The ledger keeps the rows of `trials` for good; those of `metrics` are in their part alone."""
    life = Life(project, "sweeps")
    assert life.end() == 0, life.output
    folder = project.sweep_in("sweeps")
    whole = compaction.read_tables(folder)
    (part, *_) = sorted(folder.glob(f"{table}/*.parquet"))
    part.write_bytes(part.read_bytes()[:-20])
    if table == "trials":
        assert compaction.read_tables(folder).trials.equals(whole.trials)
    else:
        with pytest.raises(StorageError, match=part.name):
            compaction.read_tables(folder)
