"""How well a pilot predicts: seven real sweeps, each predicted from a small part of its work and then run.

    python -m tests.benchmarks.pilot            all of them, about nine minutes on two idle cores
    python -m tests.benchmarks.pilot forest mlp only these

Prints a table: predicted and measured wall time, the error, and whether the interval held the truth. The goal, fixed
beforehand, is an error of at most 25% at the median of those whose pilot spent at most a tenth of the work, by the
seconds that trials took; a pilot also pays for what is loaded once, so its share is known only afterwards.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.simulation.forecast import Forecast, forecast
from swathe.orchestrator.simulation.pilot import Pilot
from swathe.orchestrator.spec import load

GOAL = 0.25
SHARE = 0.1

TASKS = '''
import math
import time

import numpy as np


def logistic(trial):
    """Softmax regression by full-batch gradient descent, with checkpoints."""
    rng = np.random.default_rng(trial.seed("data"))
    rows = int(trial.params["rows"])
    x = rng.normal(size=(rows, 64))
    y = np.eye(10)[np.argmax(x[:, :10] + rng.normal(size=(rows, 10)), axis=1)]
    w, start = np.zeros((64, 10)), 1
    if (state := trial.restore()) is not None:
        w, start = np.array(state["w"]), int(state["step"]) + 1
    for step in range(start, int(trial.params["steps"]) + 1):
        logits = x @ w
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        w -= trial.params["lr"] * x.T @ (p - y) / rows
        loss = -np.mean(np.sum(y * np.log(p + 1e-12), axis=1))
        trial.report(step, state=lambda: {"w": w, "step": np.array(step)}, loss=loss)
    return {"loss": loss}


def forest(trial):
    """A random forest: few large ones take most of the time."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier

    x, y = trial.shared("digits", lambda: load_digits(return_X_y=True))
    model = RandomForestClassifier(
        n_estimators=trial.params["trees"],
        max_features=trial.params["features"],
        random_state=trial.seed("init"),
        n_jobs=1,
    )
    model.fit(x[:1200], y[:1200])
    return {"loss": 1 - model.score(x[1200:], y[1200:])}


def boosting(trial):
    """Gradient boosting."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = trial.shared("digits", lambda: load_digits(return_X_y=True))
    p = trial.params
    model = GradientBoostingClassifier(
        n_estimators=p["rounds"], learning_rate=p["lr"], max_depth=p["depth"], subsample=0.3,
        random_state=trial.seed("init"),
    )
    model.fit(x[:600], y[:600])
    return {"loss": 1 - model.score(x[1200:], y[1200:])}


def mlp(trial):
    """An MLP of `depth` hidden layers on digits, by Adam; large learning rates diverge under squared error."""
    import torch
    from sklearn.datasets import load_digits

    def data():
        x, y = load_digits(return_X_y=True)
        return torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)

    x, y = trial.shared("tensors", data)
    torch.manual_seed(trial.seed("init"))
    width, depth = int(trial.params["width"]), int(trial.params["depth"])
    sizes = [64, *[width] * depth, 10]
    layers = [each for a, b in zip(sizes, sizes[1:]) for each in (torch.nn.Linear(a, b), torch.nn.ReLU())][:-1]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.params["lr"])
    order = torch.Generator().manual_seed(trial.seed("data"))
    for step in range(int(trial.params["steps"])):
        batch = torch.randint(0, 1500, (64,), generator=order)
        loss = ((model(x[batch]) - torch.nn.functional.one_hot(y[batch], 10)) ** 2).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            trial.report(step, loss=float(loss))
    return {"loss": float(loss)}


def convolution(trial):
    """A small convolutional network on digits."""
    import torch
    from sklearn.datasets import load_digits

    def data():
        x, y = load_digits(return_X_y=True)
        return torch.tensor(x / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y)

    x, y = trial.shared("images", data)
    torch.manual_seed(trial.seed("init"))
    c = int(trial.params["channels"])
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, c, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(c, c, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(64 * c, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=trial.params["lr"])
    size = int(trial.params["batch"])
    for step in range(trial.params["steps"]):
        batch = torch.arange(step * size, (step + 1) * size) % 1500
        loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trial.report(step, loss=float(loss))
    return {"loss": float(loss)}
'''


@dataclass(frozen=True)
class Case:
    """A sweep, what makes its pilot, and where both run."""

    spec: str
    pilot: tuple[str, ...]
    cluster: str
    workers: int


CASES = {
    "mlp": Case(
        """
        task: tasks.py:mlp
        grid: {width: [64, 128, 256], depth: [2, 4]}
        search: {lr: {low: 1e-3, high: 10.0, log: true}}
        fixed: {steps: 200}
        configurations: 40
        seeds: 2
        sampler: random
        """,
        ("configurations=3", "seeds=1"),
        "inline",
        1,
    ),
    "longer": Case(
        """
        task: tasks.py:mlp
        grid: {width: [64, 256]}
        search: {lr: {low: 1e-3, high: 0.3, log: true}}
        fixed: {steps: 1000, depth: 3}
        configurations: 16
        sampler: random
        """,
        ("configurations=8", "fixed.steps=100"),
        "inline",
        1,
    ),
    "convolution": Case(
        """
        task: tasks.py:convolution
        grid: {channels: [8, 16, 32], batch: [16, 64]}
        search: {lr: {low: 1e-4, high: 0.1, log: true}}
        fixed: {steps: 80}
        configurations: 144
        """,
        ("configurations=4", "sampler=random"),
        "embedded",
        2,
    ),
    "forest": Case(
        """
        task: tasks.py:forest
        search: {trees: {low: 5, high: 500, int: true, log: true}, features: {low: 2, high: 48, int: true, log: true}}
        configurations: 400
        sampler: random
        """,
        ("configurations=16",),
        "embedded",
        2,
    ),
    "boosting": Case(
        """
        task: tasks.py:boosting
        grid: {depth: [1, 3], rounds: [4, 16]}
        search: {lr: {low: 0.01, high: 1.0, log: true}}
        configurations: 24
        seeds: 2
        """,
        ("configurations=4", "seeds=1", "sampler=random"),
        "inline",
        1,
    ),
    "halving": Case(
        """
        task: tasks.py:logistic
        grid: {rows: [500, 2000, 4000]}
        search: {lr: {low: 1e-3, high: 1.0, log: true}}
        fixed: {steps: 270}
        configurations: 162
        sampler: random
        pruner: {name: halving, min_step: 30, reduction: 3}
        """,
        ("configurations=9",),
        "inline",
        1,
    ),
    "workers": Case(
        """
        task: tasks.py:logistic
        grid: {rows: [1000, 4000, 16000]}
        search: {lr: {low: 1e-3, high: 1.0, log: true}}
        fixed: {steps: 80}
        configurations: 80
        sampler: random
        """,
        ("configurations=5",),
        "embedded",
        2,
    ),
}


@dataclass(frozen=True)
class Result:
    """One case: what was predicted and what was measured. Times are seconds."""

    name: str
    told: Forecast
    share: float
    measured: float
    load: float

    @property
    def error(self) -> float:
        """The prediction's relative error."""
        return self.told.wall.middle / self.measured - 1.0

    @property
    def held(self) -> bool:
        """Whether the interval holds the truth."""
        return self.told.wall.low <= self.measured <= self.told.wall.high


def measure(name: str, case: Case, folder: Path) -> Result:
    """Run the pilot, predict, run the sweep."""
    (folder / "tasks.py").write_text(TASKS, encoding="utf-8")
    path = folder / f"{name}.yaml"
    path.write_text(f"name: {name}\nmetric: loss\n{textwrap.dedent(case.spec)}", encoding="utf-8")
    launch = Launch(folder / "sweeps", case.cluster, case.workers)
    small = run(load(path, [f"name={name}-pilot", *case.pilot]), launch)
    pilot, sweep = Pilot.read(small.folder), load(path)
    told = forecast(sweep, pilot, case.workers)
    load_before, begun = os.getloadavg()[0], time.perf_counter()
    finished = run(sweep, launch)
    measured = time.perf_counter() - begun
    share = pilot.work / Pilot.read(finished.folder).work
    return Result(name, told, share, measured, load_before)


def row(result: Result) -> str:
    """One line of the table."""
    wall, trials = result.told.wall, result.told.trials
    return (
        f"| {result.name} | {trials} | {result.share:.1%} | {wall.middle:.1f} | {wall.low:.1f}-{wall.high:.1f} "
        f"| {result.measured:.1f} | {result.error:+.0%} | {'yes' if result.held else 'no'} | {result.load:.1f} |"
    )


def main() -> None:
    """Measure the named cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    names = parser.parse_args().cases or list(CASES)
    print("| sweep | trials | pilot's share | predicted s | 90% interval | measured s | error | inside | load before |")
    print("|---|---:|---:|---:|---:|---:|---:|---|---:|", flush=True)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            results.append(measure(name, CASES[name], Path(folder)))
            print(row(results[-1]), flush=True)
    print(f"\n{verdict([each for each in results if each.share <= SHARE])}")
    errors = [abs(each.error) for each in results]
    print(f"all {len(results)}: median error {statistics.median(errors):.0%}, worst {max(errors):.0%}")
    print(f"intervals that held the truth: {sum(each.held for each in results)} of {len(results)}")


def verdict(small: Sequence[Result]) -> str:
    """Whether the goal is met by the sweeps whose pilot was small."""
    if not small:
        return f"no pilot spent at most {SHARE:.0%} of the work, so the goal was not measured"
    errors = [abs(each.error) for each in small]
    middle = statistics.median(errors)
    told = f"{len(small)} pilots of at most {SHARE:.0%} of the work: median error {middle:.0%}, worst {max(errors):.0%}"
    return f"{told} (goal {GOAL:.0%} at the median: {'met' if middle <= GOAL else 'missed'})"


if __name__ == "__main__":
    main()
