"""A hundred thousand no-op trials: how the rate and the scheduler's memory change as they accumulate.

    python -m tests.benchmarks.growth                   about three minutes on two idle cores
    python -m tests.benchmarks.growth --trials 10000    a tenth of it

Trials report once; the sampler is random, the cluster embedded with two workers. The goals, fixed beforehand: the
scheduler's resident memory grows by less than 50 MB from the first tenth of the trials to the end, and the rate of the
last tenth is at least 0.8 of the first's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from swathe.orchestrator import compaction
from swathe.orchestrator.spec import Sweep

TASK = """
def train(trial):
    trial.report(0, loss=trial.params["lr"])
    return {"loss": trial.params["lr"]}
"""
SLICES = 10
MOST_MEGABYTES = 50.0
LEAST_RATE = 0.8


@dataclass(frozen=True)
class Sample:
    """The scheduler's resident memory, in MB, at a Unix time."""

    at: float
    megabytes: float


def spec_in(folder: Path, trials: int) -> Path:
    """Write the sweep and its task; returns the spec's path."""
    (folder / "train.py").write_text(TASK, encoding="utf-8")
    sweep = Sweep(
        name="load",
        task="train.py:train",
        metric="loss",
        search={"lr": {"low": 1e-4, "high": 1.0, "log": True}},
        configurations=trials,
        sampler="random",
    )
    (folder / "sweep.yaml").write_text(sweep.to_yaml(), encoding="utf-8")
    return folder / "sweep.yaml"


def scheduler_of(driver: psutil.Process) -> psutil.Process | None:
    """The scheduler's process, once there is one."""
    for each in driver.children(recursive=True):
        try:
            if each.cmdline() and each.cmdline()[0].startswith("ray::SchedulerActor"):
                return each
        except psutil.NoSuchProcess:
            pass
    return None


def run(folder: Path, trials: int) -> list[Sample]:
    """Run the sweep; the scheduler's memory meanwhile."""
    command = [sys.executable, "-m", "swathe.orchestrator.cli", "run", str(spec_in(folder, trials)), "--workers", "2"]
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen([*command, "--dir", str(folder / "sweeps")], stdout=log, stderr=log)
    samples: list[Sample] = []
    scheduler: psutil.Process | None = None
    while process.poll() is None:
        time.sleep(0.5)
        try:
            scheduler = scheduler or scheduler_of(psutil.Process(process.pid))
            if scheduler is not None:
                samples.append(Sample(time.time(), scheduler.memory_info().rss / 1e6))
        except psutil.NoSuchProcess:
            pass
    if process.returncode:
        raise SystemExit((folder / "log").read_text(encoding="utf-8"))
    return samples


def show(ended: np.ndarray, samples: list[Sample]) -> None:
    """Print the table and the verdicts. `ended` are the trials' ends, in order, as Unix seconds (trials,)."""
    edges = [round(len(ended) * k / SLICES) for k in range(SLICES + 1)]
    times = [float(ended[max(0, edge - 1)]) for edge in edges]
    rates = [(edges[k + 1] - edges[k]) / (times[k + 1] - times[k]) for k in range(SLICES)]
    memory = [max((each.megabytes for each in samples if each.at <= at), default=np.nan) for at in times[1:]]
    print("| trials | trials per second | scheduler, peak MB so far |")
    print("|---:|---:|---:|")
    for edge, rate, peak in zip(edges[1:], rates, memory, strict=True):
        print(f"| {edge:,} | {rate:,.0f} | {peak:.0f} |")
    growth = max(each.megabytes for each in samples) - memory[0]
    steady = rates[-1] / rates[0]
    print(f"\n- memory grows by {growth:.0f} MB; goal below {MOST_MEGABYTES:g}: {said(growth < MOST_MEGABYTES)}")
    print(f"- rate at the end / at the start: {steady:.2f}; goal at least {LEAST_RATE:g}: {said(steady >= LEAST_RATE)}")


def said(met: bool) -> str:
    """The verdict in a word."""
    return "met" if met else "missed"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    given = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with tempfile.TemporaryDirectory() as place:
        samples = run(Path(place), given.trials)
        trials = compaction.read_tables(Path(place) / "sweeps" / "load").trials
        ended = np.sort(trials["ended"].cast("int64").to_numpy()) / 1e6
    show(ended, samples)


if __name__ == "__main__":
    main()
