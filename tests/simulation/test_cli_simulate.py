"""The verbs `simulate` and `plan --pilot`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from swathe.orchestrator.cli import swathe
from swathe.orchestrator.driver import Launch, run

SPEC = """
name: toy
task: train.py:train
metric: loss
grid: {width: [64, 128]}
search:
  lr: {low: 1e-4, high: 1.0, log: true}
configurations: 18
sampler: {name: random, generation: 9}
pruner: {name: halving, min_step: 3, reduction: 3}
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(swathe, [str(each) for each in arguments])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sweep.yaml").write_text(SPEC, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_simulate_shows_a_column_for_each_number_of_workers(project: Path) -> None:
    shown = call("simulate", "sweep.yaml", "--workers", 1, "--workers", 16, "--knob", "deaths=10")
    assert shown.exit_code == 0, shown.output
    assert "36 trials, random, pruned by halving; synthetic pow3 curves of 81 steps" in shown.stdout
    head = next(line for line in shown.stdout.splitlines() if "1 worker" in line)
    assert head.split() == ["1", "worker", "16", "workers", "what"]
    for name in ("makespan", "at best", "pruned", "regret", "lost with workers"):
        assert f"\n{name}" in shown.stdout
    assert sorted(path.name for path in project.iterdir()) == ["sweep.yaml"]


def test_simulate_for_machines_is_deterministic(project: Path) -> None:
    arguments = ("simulate", "sweep.yaml", "--synthetic", "exp4", "--workers", 3, "--json")
    first, again = call(*arguments), call(*arguments)
    assert first.stdout == again.stdout
    (told,) = json.loads(first.stdout)["simulated"]
    assert told["workers"] == 3 and told["closed"] == "finished"
    assert told["states"] == {"COMPLETE": 4, "PRUNED": 32}
    assert told["bound"] <= told["makespan"] and 0 < told["work"] < told["unpruned"]
    assert json.loads(call(*arguments, "--draw", 1).stdout)["simulated"][0]["makespan"] != told["makespan"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--knob", "noize=1"), "did you mean noise"),
        (("--knob", "noise=loud"), "is no number"),
        (("--knob", "crossing=2"), "between -1 and 1"),
        (("--knob", "noise=nan"), "between 0 and inf"),
        (("--curves", "a", "--synthetic", "pow3"), "two sources"),
        (("--curves", "gone"), "no sweep"),
        (("--curves", "gone", "--knob", "noise=1"), "shapes synthetic trials"),
    ],
)
def test_mistakes_have_remedies(arguments: tuple[str, ...], words: str, project: Path) -> None:
    shown = call("simulate", "sweep.yaml", *arguments)
    assert shown.exit_code == 2 and words in shown.stderr and shown.stderr.count("\n") == 1


def test_recorded_trials_and_a_pilot(make_sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = make_sweep("configurations=4")
    monkeypatch.chdir(sweep.root)
    run(sweep, Launch(Path("sweeps"), "inline"))
    shown = call("simulate", "sweep.yaml", "--curves", "tiny", "--workers", 4)
    assert shown.exit_code == 0 and "16 recorded trials of tiny" in shown.stdout
    assert "stand for others" in shown.stderr
    shown = call("plan", "sweep.yaml", "--pilot", "tiny", "--workers", 1)
    assert shown.exit_code == 0, shown.output
    assert "wall time" in shown.stdout and "(90%) on one worker" in shown.stdout and "of cpu cores" in shown.stdout
    told = json.loads(call("plan", "sweep.yaml", "--pilot", "tiny", "--workers", 2, "--json").stdout)
    assert told["forecast"]["workers"] == 2 and told["trials"] == told["forecast"]["trials"] == 48
    refused = call("plan", "sweep.yaml", "--workers", 2)
    assert refused.exit_code == 2 and "--pilot" in refused.stderr
