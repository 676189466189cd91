"""A cluster that is full, hangs or dies while a sweep is submitted: one line with a remedy, in time."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from requests.exceptions import ConnectionError as Broken

from swathe.clusters import asking, submission
from swathe.clusters.asking import SubmissionFailed, asked
from swathe.orchestrator.cli import swathe

PROFILE = "kind: existing\naddress: {address}\nauthentication: off\nresults: {results}\n"
SPEC = "name: waiting\ntask: train.py:train\nmetric: loss\ngrid: {width: [1]}\n"


class Client:
    """Ray's client of a cluster where jobs never start."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    def get_address(self) -> str:
        return "http://127.0.0.1:1"

    def submit_job(self, **_: Any) -> str:
        return "raysubmit_1"

    def get_job_status(self, job: str) -> Any:
        return SimpleNamespace(value="PENDING")

    def get_job_info(self, job: str) -> Any:
        return SimpleNamespace(status=SimpleNamespace(value="PENDING"), message="Job has not started yet.")

    def stop_job(self, job: str) -> bool:
        self.stopped.append(job)
        return True


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec, and a profile `lab` at an address where nothing is."""
    folder = tmp_path / "config" / "swathe" / "clusters"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (folder / "lab.yaml").write_text(PROFILE.format(address="http://127.0.0.1:1", results=tmp_path / "results"))
    (tmp_path / "train.py").write_text("def train(trial):\n    return 1.0\n")
    (tmp_path / "sweep.yaml").write_text(SPEC)
    return tmp_path / "sweep.yaml"


def submit(spec: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(swathe, ["submit", str(spec), "--cluster", "lab", *words])
    return done.exit_code, done.output


def test_a_full_cluster_is_not_waited_for_without_end(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    monkeypatch.setattr(submission, "client_of", lambda profile: client)
    code, said = submit(spec, "--timeout", "1s")
    assert code == 2 and "Traceback" not in said
    assert "has not taken the sweep within 1 s: it is pending, Job has not started yet.; look at it with" in said
    assert "give it longer with --timeout" in said
    assert client.stopped == ["raysubmit_1"], "it does not start later, when nobody expects it"


def test_a_cluster_that_dies_meanwhile_is_told_in_a_line(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()

    def dead(job: str) -> Any:
        raise Broken("Connection refused")

    monkeypatch.setattr(client, "get_job_status", dead)
    monkeypatch.setattr(submission, "client_of", lambda profile: client)
    code, said = submit(spec)
    assert code == 2 and "the connection to Ray at http://127.0.0.1:1 broke: Connection refused; check that" in said


def test_a_dashboard_that_takes_connections_and_says_nothing(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 1.0)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(SubmissionFailed, match=r"has not answered for 1 s; its head node hangs"):
            submission.client_of(SimpleNamespace(address=address, authentication="off"))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["soon", "10", "-1s"])
def test_a_timeout_is_a_duration(spec: Path, wrong: str) -> None:
    code, said = submit(spec, "--timeout", wrong)
    assert code == 2 and f"--timeout is '{wrong}', but a duration is a number with one unit" in said


def test_answers_and_errors_come_through() -> None:
    assert asked("here", lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(KeyError):
        asked("here", {}.__getitem__, "x")
    slow = threading.Event()
    began = time.monotonic()
    with pytest.raises(SubmissionFailed):
        asked("here", slow.wait, seconds=0.1)
    assert time.monotonic() - began < 10
    slow.set()
