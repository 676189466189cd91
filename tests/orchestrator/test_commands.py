"""Commands as tasks: placeholders, metrics as JSON lines, logs, ends."""

from __future__ import annotations

import importlib.util
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swathe.orchestrator import compaction
from swathe.orchestrator.commands import Command, command_task
from swathe.orchestrator.deadlines import NO_DEADLINES, Deadlines
from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.errors import TaskError
from swathe.orchestrator.layout import log_path
from swathe.orchestrator.messages import Assignment, Cause, Outcome, State, TrialKey
from swathe.orchestrator.runner import RunContext, Runner
from swathe.orchestrator.schema import MetricRow
from swathe.orchestrator.spec import load, parse
from swathe.orchestrator.spec.commands import fill, words_of

KEY = TrialKey("cell", 3, 1)

ARGPARSE = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--width", type=int)
parser.add_argument("--seed", type=int)
args = parser.parse_args()
print("training with", args)
for step in range(3):
    print(json.dumps({"step": step, "val_loss": (args.lr - 0.1) ** 2 + args.width + step, "phase": "train"}))
print(json.dumps({"accuracy": 0.5, "model": "mlp"}))
"""

SPEC = """
name: outside
command: python train.py --lr {lr} --width {width} --seed {seed:init}
metric: val_loss
grid: {width: [1, 2]}
search: {lr: {low: 1e-3, high: 1.0, log: true}}
configurations: 2
sampler: random
"""

Execute = Callable[..., tuple[Outcome, list[MetricRow]]]


@pytest.fixture
def execute(tmp_path: Path) -> Execute:
    """Runs a Python script as the command of one trial."""

    def run_script(
        script: str, deadlines: Deadlines = NO_DEADLINES, **assigned: Any
    ) -> tuple[Outcome, list[MetricRow]]:
        (tmp_path / "script.py").write_text(textwrap.dedent(script), encoding="utf-8")
        command = Command("python script.py {lr}", tmp_path, ("loss",), deadlines)
        rows: list[MetricRow] = []
        context = RunContext(command, ("loss",), ("loss",), seed=7, folder=tmp_path)
        assignment = Assignment(KEY, 1, {"lr": 0.1}, **assigned)
        return Runner(context).run(assignment, rows.append)[0], rows

    return run_script


def test_words_are_filled_without_a_shell() -> None:
    words = words_of("""python "my train.py" --lr={lr:.1e} --name {name} {trial} 'a;{{b}}' {seed:init} --d={d}""")
    values = {"lr": 0.001, "name": "two words; $HOME", "trial": "c/0/0"}
    filled = fill(words, values, {"init": 11}.__getitem__)
    # The inactive parameter's word is left out.
    assert filled == ["python", "my train.py", "--lr=1.0e-03", "--name", "two words; $HOME", "c/0/0", "a;{b}", "11"]


def test_metrics_come_from_lines_of_output_and_from_the_report_file(execute: Execute, tmp_path: Path) -> None:
    outcome, rows = execute("""
        import json, os, sys
        print("begin", os.environ["SWATHE_TRIAL"], sys.argv[1], os.getcwd())
        print('{"step": 0, "loss": 2.0, "note": "ignored", "state": 1}')
        print("50%\\r100%", file=sys.stderr, end="")
        with open(os.environ["SWATHE_REPORT"], "a") as file:
            for step in (1, 2):
                file.write(json.dumps({"step": step, "loss": 2.0 - step}) + "\\n")
                file.flush()
        print('{"config": {"lr": 1}}'); print('{"accuracy": 0.75}')
    """)
    assert (outcome.state, outcome.value, outcome.steps) == (State.COMPLETE, 0.0, 2)
    assert [(r.step, r.metric, r.value) for r in rows if not r.final] == [(k, "loss", 2.0 - k) for k in range(3)]
    assert [(row.metric, row.value) for row in rows if row.final] == [("accuracy", 0.75)]
    log = log_path(tmp_path, KEY).read_text(encoding="utf-8")
    assert f"begin cell/3/1 0.1 {tmp_path}" in log and '{"config"' in log and "\n100%\n" in log and "loss" not in log


def test_another_exit_status_is_a_user_error_with_the_last_lines(execute: Execute) -> None:
    outcome, _ = execute("import sys\nfor k in range(50): print('line', k)\nsys.exit(3)")
    assert outcome.cause is Cause.USER_ERROR
    assert "exit status 3" in outcome.error and "line 49" in outcome.error and "line 29" not in outcome.error
    assert "Traceback" not in outcome.error
    assert execute("raise MemoryError")[0].cause is Cause.OUT_OF_MEMORY


def test_death_by_a_signal_is_no_user_error(execute: Execute) -> None:
    outcome, _ = execute("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert outcome.cause is Cause.WORKER_LOST and "SIGSEGV" in outcome.error


def test_a_rung_ends_the_group_and_no_grandchild_survives(execute: Execute, gone, tmp_path: Path) -> None:
    outcome, rows = execute(
        """
        import os, pathlib, subprocess, time
        subprocess.Popen(["sleep", "600"])
        apart = subprocess.Popen(["sleep", "600"], start_new_session=True)
        pathlib.Path("groups").write_text(f"{os.getpid()} {apart.pid}")
        for step in range(1000):
            print('{"step": %d, "loss": 1.0}' % step, flush=True)
            time.sleep(0.02)
        """,
        pause_at=3,
    )
    assert (outcome.state, outcome.steps, len(rows)) == (State.WAITING, 3, 4)
    assert all(gone(int(group)) for group in (tmp_path / "groups").read_text().split())


@pytest.mark.parametrize(
    ("deadlines", "cause"), [(Deadlines(trial=0.5), Cause.TIMEOUT), (Deadlines(stall=0.5), Cause.STALLED)]
)
def test_a_command_past_its_limit_is_ended(deadlines: Deadlines, cause: Cause, execute: Execute) -> None:
    begun = time.monotonic()
    outcome, _ = execute("import time; time.sleep(60)", deadlines)
    assert outcome.cause is cause and "limits." in outcome.error
    assert time.monotonic() - begun < 5


def test_output_that_is_closed_early_does_not_end_the_command(execute: Execute) -> None:
    outcome, _ = execute("""
        import os, time
        print('{"loss": 1.5}', flush=True)
        os.close(1); os.close(2)
        time.sleep(0.3)
        os._exit(0)
    """)
    assert outcome.value == 1.5


def test_an_unknown_program_is_refused_before_anything_runs() -> None:
    sweep = parse("name: n\ncommand: no-such-program {trial}\nmetric: loss\n")
    with pytest.raises(TaskError, match="no program 'no-such-program'"):
        command_task(sweep)


def test_an_argparse_script_is_swept_unchanged(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(ARGPARSE, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(SPEC, encoding="utf-8")
    finished = run(load(tmp_path / "sweep.yaml"), Launch(tmp_path / "sweeps", "inline"))
    tables = compaction.read_tables(finished.folder)
    trials = tables.trials.to_pandas()
    assert finished.exit_code == 0 and set(trials["state"]) == {"COMPLETE"} and set(trials["steps"]) == {2}
    assert ((trials["param.lr"] - 0.1) ** 2 + trials["param.width"] + 2 == trials["value"]).all()
    assert (tables.metrics.to_pandas()["metric"] == "accuracy").sum() == 4


HYDRA = """
import json
import hydra

@hydra.main(version_base=None, config_path=None, config_name=None)
def main(config):
    print(json.dumps({"step": 0, "val_loss": float(config.optimizer.lr) + int(config.width)}))

main()
"""


@pytest.mark.skipif(importlib.util.find_spec("hydra") is None, reason="hydra-core is not installed")
def test_a_hydra_application_is_swept_unchanged(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(HYDRA, encoding="utf-8")
    words = "command: python train.py +optimizer.lr={lr} +width={width} hydra.run.dir=outputs/{trial}"
    (tmp_path / "sweep.yaml").write_text("\n".join(("name: hydra", words, *SPEC.splitlines()[3:])), encoding="utf-8")
    finished = run(load(tmp_path / "sweep.yaml"), Launch(tmp_path / "sweeps", "inline"))
    trials = compaction.read_tables(finished.folder).trials.to_pandas()
    assert (trials["value"] == trials["param.lr"] + trials["param.width"]).all()
