"""The group of verbs: speed, lazy imports, unknown verbs, errors and exit codes."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from swathe.orchestrator import cli
from swathe.orchestrator.errors import SwatheError

HEAVY = {
    "torch",
    "ray",
    "optuna",
    "pandas",
    "pyarrow",
    "sqlalchemy",
    "pydantic",
    "numpy",
    "rich",
    "matplotlib",
    "scipy",
}


def loaded(arguments: list[str], folder: Path) -> set[str]:
    """The heavy packages that a call imports."""
    code = (
        "import sys\n"
        "from swathe.orchestrator.cli import swathe\n"
        f"try: swathe({arguments!r})\n"
        "except SystemExit: pass\n"
        f"print('loaded', *(name for name in {sorted(HEAVY)} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    return set(done.stderr.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["--version"], ["nonsense"]])
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    assert loaded(arguments, tmp_path) == set()


def test_status_reads_the_ledger_only(finished: Path) -> None:
    assert loaded(["status", "tiny"], finished) <= {"sqlalchemy", "pydantic", "rich"}
    assert loaded(["list"], finished) <= {"sqlalchemy", "pydantic", "rich"}


@pytest.mark.parametrize("verb", ["plan", "schema"])
def test_light_verbs_open_no_database(verb: str, finished: Path) -> None:
    arguments = [verb, "sweep.yaml"] if verb == "plan" else [verb]
    own = {"numpy"} if verb == "plan" else set()  # what the task's own file imports: it may be a program
    assert loaded(arguments, finished) <= {"pydantic", "rich"} | own


def test_help_is_fast() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "swathe.orchestrator.cli", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 0.4


def test_every_verb_has_a_command_and_help() -> None:
    for name in cli.VERBS:
        shown = CliRunner().invoke(cli.swathe, [name, "--help"])
        assert shown.exit_code == 0, shown.output
        assert shown.output.startswith(f"Usage: swathe {name}")


def test_swathe_alone_shows_the_verbs() -> None:
    shown = CliRunner().invoke(cli.swathe, [])
    assert shown.exit_code == 0
    for name, verb in cli.VERBS.items():
        assert re.search(rf"^  {name} +{re.escape(verb.summary)}$", shown.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("typed", "meant"), [("statu", "status"), ("reslts", "results"), ("rn", "run"), ("lst", "list")]
)
def test_an_unknown_verb_gives_the_nearest(typed: str, meant: str) -> None:
    shown = CliRunner().invoke(cli.swathe, [typed])
    assert shown.exit_code == 2
    assert f"did you mean `{meant}`?" in shown.stderr


def test_a_verb_like_no_other_lists_all() -> None:
    shown = CliRunner().invoke(cli.swathe, ["xyzzy"])
    assert shown.exit_code == 2
    assert "it has plan, " in shown.stderr


def test_an_error_of_the_user_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(SwatheError):
        exit_code = 7

    monkeypatch.setattr("swathe.orchestrator.cli.listing.homes", fail_with(Refused("this; do that")))
    shown = CliRunner().invoke(cli.swathe, ["list"])
    assert (shown.exit_code, shown.stderr, shown.stdout) == (7, "Error: this; do that\n", "")


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swathe.orchestrator.cli.listing.homes", fail_with(ZeroDivisionError("a defect")))
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(cli.swathe, ["list"], catch_exceptions=False)


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swathe.orchestrator.cli.listing.homes", fail_with(KeyboardInterrupt()))
    assert CliRunner().invoke(cli.swathe, ["list"]).exit_code == 130


def fail_with(error: BaseException):
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("verb", [["results", "tiny"], ["results", "tiny", "--csv"], ["list"], ["schema"]])
def test_a_broken_pipe_is_silent(verb: list[str], finished: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "swathe.orchestrator.cli", *verb]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=finished)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("verb", ["list", "status tiny", "results tiny", "best tiny", "plan sweep.yaml"])
def test_a_pipe_gets_whole_lines_without_escape_codes(verb: str, finished: Path) -> None:
    command = [sys.executable, "-m", "swathe.orchestrator.cli", *verb.split()]
    environment = {**os.environ, "TERM": "xterm-256color"} | {"COLUMNS": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=finished, env=environment, check=True)
    assert "\x1b" not in done.stdout
    assert "\N{HORIZONTAL ELLIPSIS}" not in done.stdout
    assert all(line == line.rstrip() for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    "verb", ["list", "status mixed", "results mixed", "best mixed", "plan sweep.yaml", "tasks", "schema"]
)
def test_every_listing_speaks_json(verb: str, workplace: Path, call) -> None:
    arguments = verb.split() if verb == "schema" else [*verb.split(), "--json"]
    shown = call(*arguments)
    assert shown.exit_code == 0, shown.output
    json.loads(shown.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
