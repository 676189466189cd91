"""`swathe run`: exit codes, what it says, what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swathe.orchestrator.ledger import Ledger, Owner
from swathe.orchestrator.ledger.tables import url_of


def overrides(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


def run(call, *texts: str):
    return call("run", "sweep.yaml", "--cluster", "inline", *overrides(*texts))


def test_a_sweep_that_finishes(project: Path, call) -> None:
    shown = run(call)
    assert shown.exit_code == 0, shown.output
    assert "tiny: 2 cells x 7 configurations x 2 seeds = 28 trials, in sweeps/tiny" in shown.stdout
    assert "28/28 trials; 28 complete" in shown.stdout
    assert "tiny finished: 28/28 trials, 28 complete" in shown.stdout
    assert "report: sweeps/tiny/report.html" in shown.stdout
    assert "swathe results tiny  " in shown.stdout
    assert "\x1b" not in shown.stdout
    assert (project / "sweeps" / "tiny" / "report.html").is_file()


def test_running_it_again_changes_nothing(project: Path, call) -> None:
    run(call)
    before = call("results", "tiny", "--hash").stdout
    shown = run(call)
    assert shown.exit_code == 0
    assert "going on: 28 of 28 trials were decided before" in shown.stdout
    assert call("results", "tiny", "--hash").stdout == before


def test_a_sweep_elsewhere_is_named_by_its_path(project: Path, call) -> None:
    shown = call("run", "sweep.yaml", "--cluster", "inline", "--dir", "else where")
    assert "swathe status 'else where/tiny'" in shown.stdout
    assert call("status", "else where/tiny").exit_code == 0


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["seeds=0"], "--set seeds=0: seeds is 0"),
        (["task=nowhere.py:train"], "nowhere.py does not exist"),
        (["task=train.py:trian"], "did you mean train?"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(texts: list[str], message: str, project: Path, call) -> None:
    shown = run(call, *texts)
    assert shown.exit_code == 2
    assert message in shown.stderr
    assert shown.stderr.startswith("Error: ")
    assert shown.stderr.count("\n") == 1
    assert not (project / "sweeps").exists()


def test_a_spec_that_is_not_there(project: Path, call) -> None:
    shown = call("run", "sweeep.yaml")
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert shown.stderr == "Error: sweeep.yaml: there is no such file; check the path of the spec\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cluster", "slurm"], "cluster 'slurm' is unknown"),
        (["--cluster", "inline", "--workers", "2"], "does not go with the inline cluster"),
        (["--workers", "0"], "--workers 0 is below 1"),
    ],
)
def test_a_launch_that_cannot_be(words: list[str], message: str, project: Path, call) -> None:
    shown = call("run", "sweep.yaml", *words)
    assert shown.exit_code == 2
    assert message in shown.stderr
    assert not (project / "sweeps").exists()


def test_failures_beyond_tolerance_exit_with_1(project: Path, call) -> None:
    shown = run(call, "fixed.crash=0.3")
    assert shown.exit_code == 1
    assert "tiny stopped by failures: " in shown.stdout and "user_error. The last ones:" in shown.stdout
    assert "%), and limits.failures allows 10.0%" in shown.stdout
    assert "Most failed by user_error" in shown.stdout and "goes on with the" in shown.stdout
    assert "RuntimeError: the learning rate 1.0 is too large" in shown.stdout
    assert "again: swathe rerun tiny" in shown.stdout


def test_a_sweep_stopped_by_failures_goes_on(project: Path, call) -> None:
    run(call, "fixed.crash=0.3")
    shown = run(call, "fixed.crash=0.3", "limits.failures=1.0")
    assert shown.exit_code == 0
    assert "tiny finished: 28/28 trials, 20 complete, 8 failed" in shown.stdout
    assert "8 trials failed: 8 user_error. The last ones:" in shown.stdout


def test_failures_within_tolerance_exit_with_0(project: Path, call) -> None:
    shown = run(call, "fixed.crash=0.6", "limits.failures=0.2")
    assert shown.exit_code == 0
    assert "4 failed" in shown.stdout


def test_divergence_is_a_result(project: Path, call) -> None:
    shown = run(call, "fixed.explode=0.1")
    assert shown.exit_code == 0
    assert "12 complete, 16 diverged" in shown.stdout
    assert "trials failed" not in shown.stdout


def test_a_sweep_without_any_result_says_so_without_a_report(project: Path, call) -> None:
    shown = run(call, "fixed.crash=0.0")
    assert shown.exit_code == 1
    assert "tiny stopped by failures: " in shown.stdout and " 0 complete" in shown.stdout
    assert "report:" not in shown.stdout
    assert call("best", "tiny").stdout.startswith("No configuration of tiny is complete yet")


def test_environmental_failures_are_retried_and_make_the_hash_partial(project: Path, call) -> None:
    shown = run(call, "fixed.starve=0.6", "limits.attempts=2", "limits.failures=1.0")
    assert shown.exit_code == 0
    told = json.loads(call("status", "tiny", "--json").stdout)
    assert (told["causes"], told["retried"]) == ({"out_of_memory": 4}, 4)
    hashed = call("results", "tiny", "--hash").stdout
    assert hashed.endswith(" partial (4)\n")
    assert len(hashed.split()[0]) == 64


def test_a_transfer_study_ends_with_its_verdict(project: Path, call) -> None:
    grid = 'grid={"width": [64, 128, 256, 512]}'
    search = 'search.lr={"log2": [-10, 0], "num": 21}'
    shown = run(call, grid, search, "seeds=3", "fixed.slope=1.0")
    assert shown.exit_code == 0, shown.output
    assert "Does the best lr transfer along width?" in shown.stdout
    verdict = next(line for line in shown.stdout.splitlines() if line.startswith("drifts"))
    assert "\N{MINUS SIGN}1.0" in verdict
    assert "octaves of learning rate per doubling of width (95% interval" in shown.stdout
    levels = shown.stdout.split("best log2 lr")[1].splitlines()[1:5]
    assert [line.split()[0] for line in levels] == ["64", "128", "256", "512"]


def test_a_censored_optimum_is_no_number(project: Path, call) -> None:
    shown = run(call, 'grid={"width": [64, 128, 256]}', "seeds=3", "fixed.best=3")
    assert shown.exit_code == 0, shown.output
    levels = shown.stdout.split("best log2 lr")[1].splitlines()[1:4]
    assert all("censored" in line and "at or above" in line for line in levels)


def test_warnings_of_the_spec_are_printed(project: Path, call) -> None:
    shown = run(call, "sampler=tpe", "configurations=14")
    assert shown.exit_code == 0, shown.output
    assert shown.stderr.startswith("Warning: only 14% of 14 configurations see a model")


def test_a_live_sweep_is_refused_and_taken_over_on_request(project: Path, call) -> None:
    assert run(call).exit_code == 0
    ledger = Ledger(url_of(project / "sweeps" / "tiny"), "tiny")
    ledger.claim(Owner.here())
    ledger.close()
    assert json.loads(call("list", "--json").stdout)[0]["status"] == "running"
    shown = run(call)
    assert shown.exit_code == 2
    assert "--takeover" in shown.stderr
    assert call("run", "sweep.yaml", "--cluster", "inline", "--takeover").exit_code == 0


def test_a_changed_spec_is_refused(project: Path, call) -> None:
    assert run(call).exit_code == 0
    shown = run(call, "seed=1")
    assert shown.exit_code == 2
    assert "give it another name" in shown.stderr
