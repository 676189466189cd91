"""Trials per second beside others, in one run, as ratios: nothing but the orchestration is timed.

    python -m tests.benchmarks.throughput            three repetitions, about half an hour on two idle cores
    python -m tests.benchmarks.throughput --quick    one repetition of small loads

Every measurement has a process of its own, and repetitions go round the contenders, so that a busy neighbour hits all
of them. The rate counts from the moment the first trial begins to the moment all results are in; a second table counts
the start of the cluster as well. Two workers everywhere, medians over repetitions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.contenders import BEST_SETTINGS, WORKERS

NAMES = {
    "swathe": "Swathe embedded, random",
    "swathe-tpe": "Swathe embedded, tpe",
    "tune": "Ray Tune, OptunaSearch (tpe), defaults",
    "tune-best": "Ray Tune, OptunaSearch (random), best settings",
    "optuna": "Optuna, JournalStorage, random",
    "optuna-tpe": "Optuna, JournalStorage, tpe",
    "pool": "bare Ray actors",
}
GIVE_UP_SECONDS = 1200


@dataclass(frozen=True)
class Case:
    """One load, with the number of trials for each contender in it: enough to be timed, few enough to wait for."""

    title: str
    reports: int
    seconds: float
    trials: Mapping[str, int]


CASES = (
    Case(
        "no-op, 1 report",
        1,
        0.0,
        {
            "swathe": 8000,
            "swathe-tpe": 600,
            "tune": 20,
            "tune-best": 200,
            "optuna": 1000,
            "optuna-tpe": 400,
            "pool": 6000,
        },
    ),
    Case(
        "no-op, 100 reports",
        100,
        0.0,
        {
            "swathe": 4000,
            "swathe-tpe": 600,
            "tune": 16,
            "tune-best": 60,
            "optuna": 60,
            "optuna-tpe": 60,
            "pool": 4000,
        },
    ),
    Case(
        "1 second, 1 report",
        1,
        1.0,
        {"swathe": 120, "tune": 30, "tune-best": 60, "optuna": 60, "pool": 120},
    ),
)
# Ratio of the first to the second, and what it is to be at least.
GOALS = (
    ("no-op, 100 reports", "swathe", "tune", 150.0),
    ("no-op, 100 reports", "swathe", "tune-best", 40.0),
    ("no-op, 100 reports", "swathe", "pool", 0.5),
    ("no-op, 1 report", "swathe", "tune", 30.0),
)
MOST_OVERHEAD = 0.02


@dataclass(frozen=True)
class Rate:
    """Trials per second from the first trial on, and with the start of the cluster."""

    running: float
    overall: float


def measure(name: str, case: Case, trials: int) -> Rate | None:
    """One contender once; None when it fails, whose output is then shown."""
    words = ["--trials", str(trials), "--reports", str(case.reports), "--seconds", str(case.seconds)]
    command = [sys.executable, "-m", "tests.benchmarks.contenders", name, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIVE_UP_SECONDS)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        return None
    took = json.loads(done.stdout.splitlines()[-1])
    assert took["finished"] == trials, f"{name} finished {took['finished']} of {trials} trials"
    return Rate(trials / (took["end"] - took["first"]), trials / (took["end"] - took["ready"]))


def measure_all(
    cases: Sequence[Case], chosen: Sequence[str], repetitions: int, scale: float
) -> dict[str, dict[str, list[Rate]]]:
    """Rates by case and contender."""
    found: dict[str, dict[str, list[Rate]]] = {case.title: {name: [] for name in chosen} for case in cases}
    for _ in range(repetitions):
        for case in cases:
            for name in [each for each in chosen if each in case.trials]:
                rate = measure(name, case, max(4, round(scale * case.trials[name])))
                if rate is not None:
                    found[case.title][name].append(rate)
                    print(
                        f"{case.title}: {name} {rate.running:.1f}/s, {rate.overall:.1f}/s", file=sys.stderr, flush=True
                    )
    return found


def median(rates: Sequence[Rate], *, overall: bool) -> float:
    """The median rate; 0 when nothing was measured."""
    return statistics.median([rate.overall if overall else rate.running for rate in rates] or [0.0])


def table(found: Mapping[str, Mapping[str, Sequence[Rate]]], *, overall: bool) -> None:
    """Trials per second, and how many times as fast Swathe is with a random sampler."""
    print(f"| trials per second | {' | '.join(found)} |")
    print(f"|---|{'---:|' * len(found)}")
    names = next(iter(found.values()))
    for name in names:
        cells: list[str] = []
        for rates in found.values():
            mine, its = (median(rates.get(each, ()), overall=overall) for each in ("swathe", name))
            spread = [rate.overall if overall else rate.running for rate in rates[name]]
            if not its:
                cells.append("")
                continue
            shown = f"{its:,.1f} ({min(spread):,.1f} to {max(spread):,.1f})" if len(spread) > 1 else f"{its:,.1f}"
            cells.append(f"{shown}; {mine / its:,.2f}x" if name != "swathe" else shown)
        print(f"| {NAMES[name]} | {' | '.join(cells)} |")


def verdicts(found: Mapping[str, Mapping[str, Sequence[Rate]]]) -> None:
    """Say which goals are met."""
    for title, name, other, least in GOALS:
        rates = found.get(title, {})
        mine, its = (median(rates.get(each, ()), overall=False) for each in (name, other))
        if mine and its:
            outcome = "met" if mine / its >= least else "missed"
            print(f"- {title}: {mine / its:,.2f} times {NAMES[other]}; goal {least:g}: {outcome}")
    for case in CASES:
        rate = median(found.get(case.title, {}).get("swathe", ()), overall=False)
        if case.seconds and rate:
            overhead = WORKERS / case.seconds / rate - 1.0
            outcome = "met" if overhead <= MOST_OVERHEAD else "missed"
            print(f"- {case.title}: overhead {overhead:.1%}; goal at most {MOST_OVERHEAD:.0%}: {outcome}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials, once")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(NAMES), choices=list(NAMES), metavar="NAME")
    parser.add_argument("--cases", nargs="*", type=int, default=list(range(len(CASES))), metavar="INDEX")
    given = parser.parse_args()
    cases = [CASES[index] for index in given.cases]
    found = measure_all(cases, given.only, 1 if given.quick else given.repetitions, 0.1 if given.quick else 1.0)
    print("From the first trial to the last result; in brackets lowest and highest; then how many times as fast Swathe")
    print("is with its random sampler.\n")
    table(found, overall=False)
    print("\nThe same with the start of the cluster and its workers.\n")
    table(found, overall=True)
    print()
    verdicts(found)
    settings = ", ".join(f"{name}={value}" for name, value in BEST_SETTINGS.items())
    print(f"\nRay Tune's best settings: `reuse_actors=True`, `verbose=0`, {settings}.")


if __name__ == "__main__":
    main()
