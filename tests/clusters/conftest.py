"""A Ray cluster of real raylets on loopback, shared by all tests of this folder, and a profile that points at it."""

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result

from swathe.orchestrator.cli import swathe
from swathe.orchestrator.ledger import Reader, SweepRecord
from swathe.orchestrator.ledger.tables import url_of

NAME = "loopback"

PROFILE = """
kind: existing
address: {address}
namespace: tests
results: {results}
environment:
  variables: [SWATHE_TEST_VALUE, SWATHE_TEST_RAN, SWATHE_TEST_STEP]
"""


@dataclass
class Loopback:
    """The cluster: its nodes, the folder of its sweeps, and the command line."""

    raylets: subprocess.Popen[str]
    results: Path
    nodes: list[str] = field(default_factory=list)

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
        words += [word for name, value in options.items() for word in (f"--{name}", value)]
        done = self.call("submit", spec, "--cluster", NAME, *words)
        assert done.exit_code == 0, done.output
        return done.output

    def record(self, name: str) -> SweepRecord:
        """The sweep's row in its ledger."""
        reader = Reader(url_of(self.results / name), name)
        try:
            return reader.sweep()
        finally:
            reader.close()

    def decided(self, name: str) -> int:
        """How many trials have a final word."""
        reader = Reader(url_of(self.results / name), name)
        try:
            return reader.progress().count()
        finally:
            reader.close()

    def crew(self, name: str) -> list[dict[str, Any]]:
        """The workers as the ledger knows them."""
        return (self.record(name).crew or {}).get("workers", [])

    def wait(self, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Wait until `condition` is true; its value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain"
            time.sleep(0.05)
        return value

    def finish(self, name: str, seconds: float = 90.0) -> None:
        """Wait for the end of a sweep, and for its processes to be gone."""
        try:
            self.wait(lambda: self.record(name).status == "finished", seconds)
            self.wait(lambda: not self.processes("ClusterScheduler") + self.processes("ClusterWorker"), 30)
        except AssertionError as error:
            status = self.call("status", name, "--cluster", NAME).output
            raise AssertionError(f"{error}\n{status}\n{self.record(name).crew}") from None

    def hash(self, name: str) -> str:
        """What `swathe results NAME --hash` says."""
        done = self.call("results", name, "--cluster", NAME, "--hash")
        assert done.exit_code == 0, done.output
        return done.output.strip()

    def processes(self, kind: str) -> list[psutil.Process]:
        """Processes of sweeps: `ClusterScheduler`, `ClusterWorker` or `Warden`."""
        found = psutil.process_iter(["cmdline"])
        return [each for each in found if " ".join(each.info["cmdline"] or []).startswith(f"ray::{kind}")]


@pytest.fixture(scope="session")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A head that runs no trials, and two nodes of two cores, one with two GPUs that are not there."""
    folder = tmp_path_factory.mktemp("loopback")
    port = _free_port()
    results = folder / "results"
    profiles = folder / "config" / "swathe" / "clusters"
    profiles.mkdir(parents=True)
    text = PROFILE.format(address=f"http://127.0.0.1:{port}", results=results)
    (profiles / f"{NAME}.yaml").write_text(text, encoding="utf-8")
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32), "XDG_CONFIG_HOME": str(folder / "config")}
    environment = {**os.environ, **token, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, str(Path(__file__).with_name("raylets.py")), str(port)]
    with (folder / "raylets.log").open("wb") as log:
        raylets = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
    patch = pytest.MonkeyPatch()
    for name, value in token.items():
        patch.setenv(name, value)
    made = Loopback(raylets, results)
    made.nodes = [made.tell("add", 2, 0), made.tell("add", 2, 2)]
    try:
        yield made
    finally:
        patch.undo()
        assert raylets.stdin is not None and raylets.stdout is not None
        raylets.stdin.close()
        raylets.wait(60)
        raylets.stdout.close()
        shutil.rmtree(Path(tempfile.gettempdir()) / f"swathe-{os.getuid()}", ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
