"""Whole sweeps whose ledger is a shared database and whose results lie in a store: the same sweep as in a folder."""

from __future__ import annotations

import json
import threading
import time
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner

from swathe.analysis import load
from swathe.analysis.digest import digest
from swathe.orchestrator import cli, driver, storage
from swathe.orchestrator.driver import Launch
from swathe.orchestrator.errors import StorageError
from swathe.orchestrator.home import Home
from swathe.orchestrator.ledger import Reader, writing
from tests.servers import ObjectStore, Postgres

TASK = """
def train(trial):
    state = trial.restore()
    start, total = (0, 0.0) if state is None else (int(state["step"]) + 1, float(state["total"]))
    print("from", start)
    trial.artifact("notes/seen.txt").write_text(f"{trial.params['x']} from {start}")
    for step in range(start, 4):
        total += (trial.params["x"] - 0.3) ** 2 * (step + 1)
        trial.report(step, state=lambda: {"step": step, "total": total}, loss=total)
    return {"loss": total}
"""
SPEC = """
name: tiny
task: ./train.py:train
metric: loss
grid: {width: [1, 2]}
search: {x: {low: 0.0, high: 1.0}}
configurations: 6
sampler: {name: random, generation: 3}
pruner: {name: halving, min_step: 1, reduction: 3}
"""


def hashed(home: Home) -> str:
    return str(digest(*load.tables(home)))


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the same sweep in a folder."""
    from swathe.orchestrator import spec

    folder = tmp_path_factory.mktemp("twin")
    (folder / "train.py").write_text(TASK)
    sweep = spec.parse(SPEC, source="sweep.yaml", root=folder)
    return hashed(Home.of(driver.run(sweep, Launch(folder / "sweeps", "inline")).folder))


@pytest.fixture
def sweep(make_sweep):
    return make_sweep(task=TASK, text=SPEC)


def beneath(uri: str, name: str) -> str:
    base, _, options = uri.partition("?")
    return f"{base}/{name}?{options}"


def test_a_sweep_in_a_database_and_a_store_is_the_same_sweep(
    sweep, twin: str, postgres: Postgres, store: ObjectStore, tmp_path: Path
) -> None:
    url, bucket = postgres.database(), store.bucket()
    launch = Launch(tmp_path / "here", "inline", ledger=url, results=bucket)
    assert driver.run(sweep, launch).exit_code == 0
    assert hashed(launch.home("tiny")) == twin
    # From another machine: by the ledger, and by the results alone.
    assert hashed(Home.at(tmp_path / "elsewhere", "tiny", url)) == twin
    alone = beneath(bucket, "tiny")
    assert str(digest(*load.tables(alone))) == twin and len(load.trials(alone)) == 12
    found = storage.names(storage.place_of(alone))
    kinds = {name.partition("/")[0] for name in found}
    assert kinds == {"spec.yaml", "provenance.json", "trials", "metrics", "artifacts", "logs"}
    assert sum(name.endswith("notes/seen.txt") for name in found) == 12
    promoted = [name for name in found if name.startswith("logs/") and len(_read(alone, name).split(b"\n")) == 3]
    assert promoted and _read(alone, promoted[0]) == b"from 0\nfrom 2\n"
    # Checkpoints were there while they were needed.
    assert any("/checkpoints/" in path for method, path in store.seen if method == "GET")
    # The same command finds it finished.
    assert driver.run(sweep, launch).exit_code == 0


def _read(uri: str, name: str) -> bytes:
    content = storage.read_bytes(storage.place_of(uri) / name)
    assert content is not None
    return content


@pytest.mark.parametrize("way", ["restart", "crash"])
def test_a_database_that_goes_down_in_mid_sweep(
    way: str, sweep, twin: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = Launch(tmp_path / "here", "inline", ledger=postgres.database())
    commits = count()

    def reach(point: str) -> None:
        """In the transactions of some ticks the server goes down; it comes back soon."""
        if point == "ledger.commit.before" and next(commits) in (1, 4):
            postgres.stop() if way == "restart" else postgres.kill()
            threading.Timer(0.5, postgres.start).start()

    monkeypatch.setattr(writing, "reach", reach)
    assert driver.run(sweep, launch).exit_code == 0
    assert next(commits) > 5
    assert hashed(launch.home("tiny")) == twin


@pytest.mark.parametrize("trouble", ["fails", "dawdles", "is away"])
def test_a_store_in_trouble_stops_no_decision(
    trouble: str, sweep, twin: str, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All trials are decided and in the ledger while the store takes no part; then it comes back."""
    monkeypatch.setattr("swathe.orchestrator.scheduler.PART_ROWS", 3)
    monkeypatch.setattr("swathe.orchestrator.states.KEEPING_SECONDS", 0.2)
    bucket = store.bucket()
    launch = Launch(tmp_path / "sweeps", "inline", results=bucket)
    durable: list[list[str]] = []

    def started(folder: Path) -> None:
        {"fails": fail, "dawdles": dawdle, "is away": store.stop}[trouble]()
        watching.start()

    def fail() -> None:
        store.fail = lambda method, path: True

    def dawdle() -> None:
        store.delay = 0.1

    def watch() -> None:
        """Once all is decided the store is mended."""
        reader = Reader(launch.home("tiny").ledger, "tiny")
        while reader.progress().count() < 12:
            time.sleep(0.02)
        durable.append([str(part) for part in reader.tail().parts])
        reader.close()
        store.start() if trouble == "is away" else store.mend()

    watching = threading.Thread(target=watch)
    finished = driver.run(sweep, launch, started)
    watching.join()
    assert finished.exit_code == 0
    assert trouble == "dawdles" or durable == [[]], "nothing can have become durable before"
    assert hashed(launch.home("tiny")) == twin == str(digest(*load.tables(beneath(bucket, "tiny"))))
    found = storage.names(storage.place_of(beneath(bucket, "tiny")))
    assert sum(name.startswith("artifacts/") for name in found) == 12


def test_a_store_that_stays_away_ends_the_command_and_loses_nothing(
    sweep, twin: str, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = Launch(tmp_path / "sweeps", "inline", results=store.bucket())

    def started(folder: Path) -> None:
        store.fail = lambda method, path: True

    with monkeypatch.context() as hasty, pytest.raises(StorageError, match=r"s3://.*the same command goes on"):
        hasty.setattr("swathe.orchestrator.states.KEEPING_SECONDS", 0.2)
        hasty.setattr("swathe.orchestrator.beside.FINISHING_SECONDS", 1.0)
        driver.run(sweep, launch, started)
    reader = Reader(launch.home("tiny").ledger, "tiny")
    assert reader.progress().count() == 12
    reader.close()
    store.mend()
    assert driver.run(sweep, launch).exit_code == 0
    assert hashed(launch.home("tiny")) == twin
    found = storage.names(storage.place_of(beneath(str(launch.results), "tiny")))
    assert sum(name.startswith("artifacts/") for name in found) == 12


def test_the_command_line_reads_through_a_ledger(
    postgres: Postgres, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").write_text(TASK)
    (tmp_path / "sweep.yaml").write_text(SPEC)
    url = postgres.database()

    monkeypatch.setenv("SWATHE_LEDGER", url)
    monkeypatch.chdir(tmp_path)

    def swathe(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli.swathe, words)
        assert done.exit_code == code, done.output
        return done.output

    swathe("run", "sweep.yaml", "--cluster", "inline", "--results", store.bucket())
    (away := tmp_path / "away").mkdir()
    monkeypatch.chdir(away)
    assert json.loads(swathe("list", "--json"))[0]["trials"]["decided"] == 12
    best = json.loads(swathe("best", "tiny", "--json"))
    assert len(best["cells"]) == 2
    trial = f"{best['cells'][0]['cell']}/{best['cells'][0]['configuration']}/0"
    assert "from 0" in swathe("logs", "tiny", trial)
    assert json.loads(swathe("status", "tiny", "--json"))["status"] == "finished"
    assert len(swathe("results", "tiny", "--csv").splitlines()) == 13
    assert "did you mean `tiny`" in swathe("status", "tinny", code=2)
    assert swathe("report", "tiny").strip().endswith("report.html")


EVERY_FLOAT = """
import math, struct

VALUES = [-0.0, 0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -1.7976931348623157e308,
          math.inf, -math.inf, math.nan, struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000123))[0],
          0.1 + 0.2, 1 / 3, math.nextafter(1.0, 2.0), 2.0**53, -1.0, 1e22, 9007199254740993.0, 4.35,
          123456789012345680.0]

def train(trial):
    value = VALUES[trial.params["number"]]
    for step, each in enumerate(VALUES):
        if math.isfinite(each):
            trial.report(step, loss=0.0, other=each)
    return {"loss": value, "other": value}
"""


def test_every_float_gives_the_same_hash_in_a_file_and_in_a_database(
    make_sweep, postgres: Postgres, tmp_path: Path
) -> None:
    spec = "name: floats\ntask: ./train.py:train\nmetric: loss\ndirection: minimize\nlimits: {failures: 1.0}\n"
    sweep = make_sweep(task=EVERY_FLOAT, text=f"{spec}grid: {{number: {[*range(20)]}}}\nseeds: 1\n")
    homes = []
    for name, url in (("file", None), ("database", postgres.database())):
        launch = Launch(tmp_path / name, "inline", ledger=url)
        driver.run(sweep, launch)
        homes.append(launch.home("floats"))
    tables = [load.trials(home).sort_values("param.number") for home in homes]
    # Finite ones complete, with every bit but the sign of zero in `value`, which SQLite does not keep.
    assert [sum(each["state"] == "COMPLETE") for each in tables] == [16, 16]
    assert hashed(homes[0]) == hashed(homes[1])
