"""How close a sweep comes to the shortest makespan that any schedule could have, from 1 worker to 10,000.

    python -m tests.benchmarks.makespan                 about three minutes on one core
    python -m tests.benchmarks.makespan --trials 100000

The schedule is the real one; time is simulated. A trial's cost is log-normal: in `long` a trial takes a minute in the
median and an hour at the worst, in `short` a second. `failing` is `long` on workers that die twice a day and of whose
leases one in a hundred runs five times slower; `halving` is `long` with two in three trials stopped at each rung. A
message takes a millisecond, and the scheduler's mailbox takes 750 a second (a Ray actor's rate), reports of running
trials included. No schedule of the same trials is shorter than `at best`: the larger of the work divided by the workers
and the longest chain of things that wait for each other.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

from swathe.orchestrator.schedule import CellPlan, Plan, Rungs
from swathe.orchestrator.search import Search
from swathe.orchestrator.simulation import Cluster, Knobs, Synthetic, lower_bound, simulate
from swathe.orchestrator.task import Float

WORKERS = (1, 4, 64, 1024, 10_000)
SPACE = {f"x{axis}": Float(1e-4, 1.0, log=True) for axis in range(3)}


@dataclass(frozen=True)
class Mix:
    """Trials of one kind, and what is special about their workers."""

    step_seconds: float
    tail: float
    rungs: Rungs | None = None
    workers: dict[str, float] = field(default_factory=dict)


MIXES = {
    "long": Mix(60 / 81, 1.0),
    "short": Mix(1 / 81, 1.0),
    "failing": Mix(60 / 81, 1.0, workers={"deaths": 2 / 24, "stragglers": 0.01, "recovery": 60.0}),
    "halving": Mix(60 / 81, 1.0, Rungs(3, 3)),
}


def row(name: str, mix: Mix, workers: int, trials: int) -> str:
    """One line of the table."""
    plan = Plan((CellPlan("a", {}),), trials, generation=27, sequential=False, attempts=10, rungs=mix.rungs)
    workload = Synthetic("pow3", SPACE, 0, Knobs(step_seconds=mix.step_seconds, tail=mix.tail))
    begun = time.perf_counter()
    history = simulate(plan, Search("random", SPACE, 0), workload, Cluster(workers, **mix.workers))  # type: ignore[arg-type]
    taken, bound = time.perf_counter() - begun, lower_bound(history)
    return (
        f"| {name} | {workers:,} | {history.makespan:,.0f} | {bound:,.0f} | {history.makespan / bound:.3f} "
        f"| {history.utilisation:.1%} | {history.mailbox:.1%} | {history.lost:,.0f} | {taken:.1f} |"
    )


def main() -> None:
    """Simulate every mix with every number of workers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="*", default=list(WORKERS))
    parser.add_argument("--mixes", nargs="*", default=list(MIXES), help=f"of {', '.join(MIXES)}")
    given = parser.parse_args()
    print(f"{given.trials:,} trials; seconds are simulated but for the last column\n")
    print("| mix | workers | makespan s | at best s | ratio | workers busy | mailbox busy | lost s | real s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for name in given.mixes:
        for workers in given.workers:
            print(row(name, MIXES[name], workers, given.trials), flush=True)


if __name__ == "__main__":
    main()
