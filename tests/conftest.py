"""Shared fixtures: tiny sweeps in a folder of their own, and one Ray for the whole session."""

from __future__ import annotations

import os
import shutil
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psutil
import pytest

from swathe.orchestrator import spec
from swathe.orchestrator.spec import Sweep

if TYPE_CHECKING:
    from tests.servers import ObjectStore, Postgres

QUADRATIC = """
import math

def train(trial):
    x = math.log10(trial.params["lr"])
    best = -1.0 - 0.3 * trial.params.get("width", 1)
    for step in range(3):
        loss = (x - best) ** 2 + 1 / (step + 1) + trial.seed("init") / 2**31 / 100
        trial.report(step, loss=loss, accuracy=1 - loss, doubled=2 * loss)
    return {"loss": loss, "accuracy": 1 - loss}
"""

SPEC = """
name: tiny
task: ./train.py:train
metric: loss
direction: minimize
grid: {width: [1, 2]}
search:
  lr: {low: 1e-4, high: 1.0, log: true}
configurations: 12
seeds: 2
sampler: random
"""

MISBEHAVING = """
import math, os, random, sys, threading, time
import numpy as np

WAYS = ["fine", "raise", "nan", "inf", "name", "string", "exit", "thread", "chdir", "print", "none"]

def train(trial):
    way = WAYS[int(trial.params["way"])]
    print("way", way)
    if way == "raise": raise RuntimeError("no such layer")
    if way == "nan": return {"loss": math.nan}
    if way == "inf": trial.report(0, loss=math.inf)
    if way == "name": return {"los": 1.0}
    if way == "string": return {"loss": "low"}
    if way == "exit": sys.exit(1)
    if way == "thread": threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
    if way == "chdir": os.chdir("/"); os.environ["LEFT"] = "over"; random.seed(1); np.random.seed(1)
    if way == "print": print("x" * 3_000_000)
    if way == "none": return None
    alone = os.getcwd() + os.environ.get("LEFT", "")
    return {"loss": 1.0, "trace": random.random() + np.random.rand() + len(alone)}
"""

WAYS_SPEC = """
name: ways
task: ./train.py:train
metric: loss
grid: {way: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}
seeds: 3
limits: {failures: 1.0}
"""

MakeSweep = Callable[..., Sweep]
ENDS: dict[str | None, Callable[[], object]] = {}
"""How the Rays that run are ended, by what `_ray_of` calls them; a second time is to do nothing."""

# Machines are shared: how long an example takes says nothing about the code.
hypothesis.settings.register_profile("swathe", deadline=None)
hypothesis.settings.load_profile("swathe")
# Some processes of xdist are told the width of a terminal that they do not have.
os.environ.pop("COLUMNS", None)
# Ray makes its workers nice, and then tests without Ray that run beside them leave them next to nothing.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What `make test` gives to one of its processes as a whole: a file, or all tests that use Ray.

    One Ray at a time, since each takes the cores that it is told of, and the tests of a file share what it makes. What
    uses Ray takes longest, so it comes first. This hook is called before that of xdist, which reads the groups.
    """
    for item in items:
        group = "ray" if _ray_of(item) else str(item.path.relative_to(item.config.rootpath))
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: ("loopback", "local", None).index(_ray_of(item)))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End a Ray after the last test that uses it: an idle one takes some of a core."""
    kind = _ray_of(item)
    if kind in ENDS and (nextitem is None or _ray_of(nextitem) != kind):
        ENDS.pop(kind)()


def _ray_of(item: pytest.Item) -> str | None:
    """Which Ray a test uses: that of this machine, or the cluster of `tests/clusters`."""
    names = getattr(item, "fixturenames", ())
    if "loopback" in names:
        return "loopback"
    return "local" if item.get_closest_marker("ray") or "ray_session" in names else None


@pytest.fixture
def make_sweep(tmp_path: Path) -> MakeSweep:
    """Writes a spec and its task into a folder and loads it; `overrides` are `path=value` texts."""

    def make(*overrides: str, task: str = QUADRATIC, text: str = SPEC) -> Sweep:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(textwrap.dedent(task), encoding="utf-8")
        path = folder / "sweep.yaml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return spec.load(path, overrides)

    return make


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray for all tests that need one."""
    import ray

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=100 * 2**20)
    ENDS["local"] = ray.shutdown
    yield
    ray.shutdown()


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """Whether all processes of a group end within seconds; what nobody has waited for yet counts as ended."""

    def all_ended(group: int) -> bool:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            members = [each for each in psutil.process_iter(["status"]) if _group_of(each) == group]
            if all(each.info["status"] == psutil.STATUS_ZOMBIE for each in members):
                return True
            time.sleep(0.02)
        return False

    return all_ended


def _group_of(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


@pytest.fixture
def misbehaving(make_sweep: MakeSweep) -> Sweep:
    """One cell a way to misbehave, `ways` naming them; three seeds."""
    return make_sweep(task=MISBEHAVING, text=WAYS_SPEC)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the whole session."""
    from tests.servers import Postgres

    # Not below pytest's folder, which a server that must not be root's cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="swathe-postgres-"))
    server = Postgres(folder)
    yield server
    server.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def running_store() -> Iterator[ObjectStore]:
    """One S3-compatible store for the whole session."""
    from tests.servers import ObjectStore

    store = ObjectStore()
    yield store
    store.stop()


@pytest.fixture
def store(running_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """The store, as it should be, with credentials in the environment."""
    for name, value in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    running_store.seen.clear()
    running_store.refused.clear()
    yield running_store
    running_store.mend()
