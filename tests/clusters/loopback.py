"""A Ray cluster of real raylets on loopback, a profile that points at it, and the command line that uses it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

from swathe.clusters import finding
from swathe.orchestrator.cli import swathe
from swathe.orchestrator.home import Home
from swathe.orchestrator.ledger import Reader, SweepRecord

NAME = "loopback"
STARTS = 4

PROFILE = """
kind: existing
address: {address}
namespace: tests
results: {results}
environment:
  variables: [SWATHE_TEST_VALUE, SWATHE_TEST_RAN]
"""


@dataclass
class Loopback:
    """The cluster: its nodes, the folder of its sweeps, and the command line. Nodes find the programs in `tools`."""

    raylets: subprocess.Popen[str]
    address: str
    results: Path
    profiles: Path
    tools: Path
    nodes: list[str] = field(default_factory=list)
    cluster: str = NAME

    def known_as(self, cluster: str, text: str) -> Loopback:
        """The same nodes by another profile."""
        (self.profiles / f"{cluster}.yaml").write_text(text, encoding="utf-8")
        return replace(self, cluster=cluster)

    def home(self, name: str) -> Home:
        """Where the sweep of this name lives."""
        return finding.profile(self.cluster).home(name)

    def tell(self, *command: object) -> Any:
        """One of the commands of `raylets`."""
        assert self.raylets.stdin is not None and self.raylets.stdout is not None
        print(json.dumps(command), file=self.raylets.stdin, flush=True)
        return json.loads(self.raylets.stdout.readline())

    def call(self, *arguments: object) -> Result:
        """The command line in this process."""
        return CliRunner().invoke(swathe, [str(each) for each in arguments])

    def submit(self, spec: Path, *overrides: str, **options: Any) -> str:
        """Submit a spec; what the command line says."""
        words = [word for each in overrides for word in ("--set", each)]
        words += [word for name, value in options.items() for word in (f"--{name}", value) if word is not True]
        done = self.call("submit", spec, "--cluster", self.cluster, *words)
        assert done.exit_code == 0, done.output
        return done.output

    def record(self, name: str) -> SweepRecord:
        """The sweep's row in its ledger."""
        return self.home(name).record()

    def decided(self, name: str) -> int:
        """How many trials have a final word."""
        reader = Reader(self.home(name).ledger, name)
        try:
            return reader.progress().count()
        finally:
            reader.close()

    def crew(self, name: str) -> list[dict[str, Any]]:
        """The workers as the ledger knows them."""
        return (self.record(name).crew or {}).get("workers", [])

    def wait(self, condition: Callable[[], Any], seconds: float = 120.0) -> Any:
        """Wait until `condition` is true; its value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain\n{self._listed()}"
            time.sleep(0.05)
        return value

    def names(self) -> list[str]:
        """The sweeps of this profile."""
        done = self.call("list", "--cluster", self.cluster, "--json")
        return [each["name"] for each in json.loads(done.output)] if done.exit_code == 0 else []

    def _listed(self) -> str:
        return "\n".join(f"{name}: {self.decided(name)} decided, {self.record(name).crew}" for name in self.names())

    def finish(self, name: str, seconds: float = 120.0) -> None:
        """Wait for the end of a sweep, and for its processes to be gone."""
        try:
            self.wait(lambda: self.record(name).status == "finished", seconds)
            self.wait(lambda: not self.processes("ClusterScheduler") + self.processes("ClusterWorker"), 30)
        except AssertionError as error:
            status = self.call("status", name, "--cluster", self.cluster).output
            raise AssertionError(f"{error}\n{status}\n{self.record(name).crew}") from None

    def hash(self, name: str) -> str:
        """What `swathe results NAME --hash` says."""
        done = self.call("results", name, "--cluster", self.cluster, "--hash")
        assert done.exit_code == 0, done.output
        return done.output.strip()

    def scheduler(self) -> psutil.Process:
        """The process of the only scheduler, once there is one; Ray names it when it is at work already."""
        return self.wait(lambda: self.processes("ClusterScheduler"))[0]

    def processes(self, kind: str) -> list[psutil.Process]:
        """Processes of sweeps: `ClusterScheduler`, `ClusterWorker` or `Warden`."""
        found: list[psutil.Process] = []
        for each in psutil.Process(self.raylets.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found += [each] if " ".join(each.cmdline()).startswith(f"ray::{kind}") else []
        return found


@contextmanager
def started(folder: Path, nodes: Sequence[tuple[float, float]]) -> Iterator[Loopback]:
    """A head that runs no trials, and nodes of so many cores and GPUs that are not there; `folder` takes its files."""
    port = _free_port()
    results = folder / "results"
    profiles = folder / "config" / "swathe" / "clusters"
    profiles.mkdir(parents=True)
    address = f"http://127.0.0.1:{port}"
    text = PROFILE.format(address=address, results=results)
    (profiles / f"{NAME}.yaml").write_text(text, encoding="utf-8")
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32), "XDG_CONFIG_HOME": str(folder / "config")}
    tools = folder / "bin"
    tools.mkdir()
    # Jobs run the `python` of the shell that started Ray.
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, **token, "PATH": path, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, str(Path(__file__).with_name("raylets.py")), str(port)]
    raylets, known = _started(command, nodes, environment, folder / "raylets.log")
    patch = pytest.MonkeyPatch()
    for name, value in token.items():
        patch.setenv(name, value)
    made = Loopback(raylets, address, results, profiles, tools, known)
    try:
        yield made
    finally:
        patch.undo()
        assert raylets.stdin is not None and raylets.stdout is not None
        raylets.stdin.close()
        raylets.wait(60)
        raylets.stdout.close()
        shutil.rmtree(Path(tempfile.gettempdir()) / f"swathe-{os.getuid()}", ignore_errors=True)


def _started(
    command: list[str], nodes: Sequence[tuple[float, float]], environment: dict[str, str], told: Path
) -> tuple[subprocess.Popen[str], list[str]]:
    """The process of the nodes, and their ids.

    Ray ends a node whose agent does not start within some 15 s, whatever else the machine has to do: then once more.
    """
    pipe = subprocess.PIPE
    for _ in range(STARTS):
        with told.open("ab") as log:
            raylets = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment)
        assert raylets.stdin is not None and raylets.stdout is not None
        with suppress(BrokenPipeError):
            for cpus, gpus in nodes:
                print(json.dumps(["add", cpus, gpus]), file=raylets.stdin, flush=True)
        answers = [raylets.stdout.readline() for _ in nodes]
        if all(answers):
            return raylets, [json.loads(answer) for answer in answers]
        with suppress(BrokenPipeError):
            raylets.stdin.close()
        raylets.stdout.close()
        raylets.wait(60)
    raise AssertionError(f"Ray did not start {STARTS} times:\n{told.read_text(encoding='utf-8')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
