"""A cluster of three nodes on loopback with its ledger in PostgreSQL: trials per second, and many workers at once.

    python -m tests.benchmarks.cluster            10,000 trials, 200 workers; about four minutes on two idle cores
    python -m tests.benchmarks.cluster --quick    500 trials, 10 workers

Both nodes that run trials, the scheduler, PostgreSQL and the object store of Ray share the cores of this machine, so a
rate says what the way through all of them costs. Rates count from the first trial to the moment when the sweep is told
to be finished. Two workers everywhere in the first part, as for `throughput`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path

import pandas as pd

from swathe.analysis import load
from tests.benchmarks.contenders import TASK, WORKERS, Load, first
from tests.clusters.loopback import Loopback, started
from tests.servers import Postgres

PROFILE = """
kind: existing
address: {address}
namespace: benchmarks
ledger: {ledger}
results: {results}
"""
SPEC = """
name: load
task: ./train.py:train
metric: loss
search: {{lr: {{low: 1e-4, high: 1.0, log: true}}}}
sampler: random
configurations: {trials}
limits: {{workers: {workers}}}
"""
TUNE_TRIALS = {"tune": 20, "tune-best": 200}
# A trial of the second part lasts so long, with a report a second, and each worker has so many of them.
SECONDS, EACH = 20, 3
HOSTS = 4  # processes of the crowd


@contextmanager
def servers(folder: Path) -> Iterator[tuple[Loopback, Postgres]]:
    """Three nodes of Ray and a database."""
    place = Path(tempfile.mkdtemp(prefix="swathe-postgres-"))
    postgres = Postgres(place)
    try:
        with started(folder, [(2, 0), (2, 0)]) as made:
            yield made, postgres
    finally:
        postgres.close()
        shutil.rmtree(place)


def begin(there: Loopback, folder: Path, name: str, what: Load, workers: int) -> Path:
    """Submit a sweep; its folder."""
    here = folder / name
    here.mkdir()
    found = f"import sys\n\nsys.path.append({str(Path.cwd())!r})\n"
    (here / "train.py").write_text(found + TASK.format(folder=str(here), **asdict(what)), encoding="utf-8")
    spec = here / "sweep.yaml"
    spec.write_text(SPEC.format(trials=what.trials, workers=workers), encoding="utf-8")
    there.submit(spec, f"name={name}")
    return here


def other(name: str, trials: int, address: str) -> float:
    """Trials per second of another contender, by `address` on the cluster."""
    command = [sys.executable, "-m", "tests.benchmarks.contenders", name, "--trials", str(trials), "--address", address]
    token = {"RAY_AUTH_MODE": "token"} if address else {}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env={**os.environ, **token})
    assert done.returncode == 0, done.stderr[-2000:]
    took = json.loads(done.stdout.splitlines()[-1])
    assert took["finished"] == trials
    return trials / (took["end"] - took["first"])


def throughput(there: Loopback, folder: Path, trials: int, share: float) -> None:
    """Print the rates beside each other."""
    here = begin(there, folder, "load", Load(trials, 1, 0.0), WORKERS)
    there.wait(lambda: there.record("load").status == "finished", 600)
    mine = trials / (time.time() - first(here))
    assert (load.trials(there.home("load"))["state"] == "COMPLETE").sum() == trials
    address = there.tell("address")
    rates = {
        f"Swathe on the cluster, PostgreSQL, {trials:,} trials": mine,
        f"Swathe embedded, SQLite, {trials:,} trials": other("swathe", trials, ""),
    }
    for name, title in (("tune", "defaults"), ("tune-best", "best settings")):
        rates[f"Ray Tune on the cluster, {title}"] = other(name, max(4, round(share * TUNE_TRIALS[name])), address)
    print("| no-op trials with one report | trials per second | Swathe on the cluster is |")
    print("|---|---:|---:|")
    for title, rate in rates.items():
        print(f"| {title} | {rate:,.1f} | {mine / rate:,.2f}x |")


def many(there: Loopback, folder: Path, workers: int) -> None:
    """Print what became of the leases of many workers: two processes, the others threads of a few (see `crowd`)."""
    what = Load(EACH * workers, SECONDS, float(SECONDS))
    begun = begin(there, folder, "many", what, WORKERS)
    crowd = [sys.executable, "-m", "tests.benchmarks.crowd", there.tell("address"), "benchmarks", "many"]
    token = {**os.environ, "RAY_AUTH_MODE": "token"}
    rest = workers - WORKERS
    sizes = [rest // HOSTS + (host < rest % HOSTS) for host in range(HOSTS)]
    hosts = [
        subprocess.Popen([*crowd, f"crowd{host}-", str(size), str(SECONDS)], env=token)
        for host, size in enumerate(sizes)
        if size
    ]
    there.wait(lambda: there.record("many").status == "finished", 900)
    end = time.time()
    assert [host.wait(60) for host in hosts] == [0] * len(hosts)
    trials = load.trials(there.home("many"))
    done, again = int((trials["state"] == "COMPLETE").sum()), int((trials["attempt"] > 1).sum())
    print(f"\n{workers} workers, {WORKERS} of them processes and the others threads of {len(hosts)} that speak to the")
    print(f"scheduler like those; {trials['worker'].nunique()} have run trials, {at_once(trials)} at the same moment.")
    print(f"{done} of {what.trials} trials of {SECONDS} s with a report a second are complete, {again} of them in more")
    print(f"than one attempt, which a lost lease costs; all took {end - first(begun):.0f} s from the first trial on.")


def at_once(trials: pd.DataFrame) -> int:
    """The most trials that ran at the same moment."""
    moments = [(each, 1) for each in trials["started"]] + [(each, -1) for each in trials["ended"]]
    return max(accumulate(change for _, change in sorted(moments)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--parts", nargs="*", default=["throughput", "many"], choices=["throughput", "many"])
    given = parser.parse_args()
    trials, workers = (500, 10) if given.quick else (given.trials, given.workers)
    with tempfile.TemporaryDirectory() as place, servers(Path(place)) as (there, postgres):
        url = postgres.database().replace(":***@", "@")
        text = PROFILE.format(address=there.address, ledger=url, results=there.results)
        there = there.known_as("lab", text)
        if "throughput" in given.parts:
            throughput(there, Path(place), trials, 0.2 if given.quick else 1.0)
        if "many" in given.parts:
            many(there, Path(place), workers)


if __name__ == "__main__":
    main()
