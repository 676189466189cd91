"""The Pareto front against optuna's, and as people see it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from swathe.analysis import load, report
from swathe.analysis.pareto import fronts, on_front
from swathe.orchestrator.cli import swathe
from swathe.orchestrator.driver import Launch, run

TASK = """
def train(trial):
    x = trial.params["x"] + 0.01 * trial.seed("noise") / 2**31
    return {"near": x**2 * trial.params["width"], "far": -((x - 1) ** 2)}
"""

SPEC = """
name: two
task: ./train.py:train
metric: [near, far]
direction: [minimize, maximize]
grid: {width: [1, 2]}
search: {x: {low: -1.0, high: 2.0}}
configurations: 20
seeds: 3
sampler: random
"""


@given(arrays(float, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 4).map(float)))
def test_the_front_is_optunas(costs: np.ndarray) -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.add_trials(optuna.trial.create_trial(values=list(row)) for row in costs)
    theirs = {trial.number for trial in study.best_trials}
    assert set(np.flatnonzero(on_front(costs))) == theirs


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from swathe.orchestrator import spec

    folder = tmp_path_factory.mktemp("two")
    (folder / "train.py").write_text(TASK, encoding="utf-8")
    (folder / "spec.yaml").write_text(SPEC, encoding="utf-8")
    return run(spec.load(folder / "spec.yaml"), Launch(folder / "sweeps", "inline")).folder


def test_the_front_lies_between_the_two_optima(swept: Path) -> None:
    rows = fronts(load.trials(swept), {"near": "minimize", "far": "maximize"})
    inside = {round(row.params["x"], 6) for row in rows}
    trials = load.trials(swept)
    for width, cell in trials.groupby("param.width"):
        between = cell[cell["param.x"].between(0.02, 0.98)]["param.x"].round(6)
        assert set(between) <= inside, width
    assert all(-0.4 < x < 1.4 for x in inside) and {row.label for row in rows} == {"width 1", "width 2"}
    assert all(row.seeds == 3 and row.errors["near"] is not None for row in rows)


def test_best_shows_it(swept: Path) -> None:
    done = CliRunner().invoke(swathe, ["best", "two", "--dir", str(swept.parent)], catch_exceptions=False)
    assert done.exit_code == 0 and "near" in done.output and "far" in done.output and "±" in done.output
    told = CliRunner().invoke(swathe, ["best", "two", "--dir", str(swept.parent), "--json"], catch_exceptions=False)
    assert '"front"' in told.output


def test_the_report_has_a_table_and_a_picture(swept: Path) -> None:
    text = report.write(swept).read_text(encoding="utf-8")
    assert (
        "Pareto front" in text
        and "are on the Pareto front of low near and high far" in text
        and text.count("<svg") == 1
    )
