"""`swathe run` in processes that can be killed: a fresh interpreter, or, for speed, a fork of one with warm imports."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from tests.faults.sweeps import RAN, Project

# What `swathe run` imports in its life.
WARM = (
    "optuna.samplers._tpe.sampler",
    "scipy.stats",
    "swathe.analysis.digest",
    "swathe.orchestrator.cli.ending",
    "swathe.orchestrator.cli.run",
)
SECONDS = 120.0
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


@dataclass(frozen=True)
class Tight:
    """Smaller intervals than the product has, so that short sweeps meet every write many times; no report,
    no provenance."""

    push_seconds: float = 0.02
    part_rows: int = 40
    file_bytes: int | None = None


def swathe_here(arguments: Sequence[str], environment: Mapping[str, str], log: Path, tight: Tight | None) -> None:
    """In a fork: become `swathe ARGUMENTS`, with its own output and environment."""
    from swathe.orchestrator import changes, cli, faultpoints, provenance, scheduler, worker
    from swathe.orchestrator.cli import ending

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(environment)
    faultpoints.arm(os.environ)
    if tight is not None:
        ending.tell_ending = lambda opened, finished: None
        provenance.collect = lambda root, code: dict(code)
        changes.packages = dict
        if tight.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (tight.file_bytes, resource.RLIM_INFINITY))
        scheduler.PART_ROWS = tight.part_rows
        worker.Worker.__init__.__kwdefaults__["push_seconds"] = tight.push_seconds
    sys.argv = ["swathe", *arguments]
    cli.main()


def forked(
    arguments: Sequence[str], environment: Mapping[str, str], log: Path, tight: Tight | None = None
) -> BaseProcess:
    """Start `swathe ARGUMENTS` as a fork of a process that has everything imported."""
    context = get_context("forkserver")
    context.set_forkserver_preload([*WARM])
    process = context.Process(target=swathe_here, args=(arguments, dict(environment), log, tight))
    process.start()
    return process


@dataclass
class Life:
    """One `swathe run` of a project into its folder `place`, until it ends or is killed."""

    project: Project
    place: str
    cluster: str = "inline"
    words: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    tight: Tight | None = field(default_factory=Tight)

    def __post_init__(self) -> None:
        directory = self.project.directory(self.place)
        arguments = ["run", str(self.project.spec), "--dir", str(directory), "--cluster", self.cluster, *self.words]
        environment = {**os.environ, RAN: str(self.project.ran), **self.environment}
        self._log = self.project.folder / f"log-{time.monotonic_ns()}.txt"
        self._family: dict[int, psutil.Process] = {}
        self._process: Any
        if self.cluster == "inline":
            self._process = forked(arguments, environment, self._log, self.tight)
        else:
            with self._log.open("a", encoding="utf-8") as log:
                command = [sys.executable, "-m", "swathe.orchestrator.cli", *arguments]
                self._process = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll() if isinstance(self._process, subprocess.Popen) else self._process.exitcode

    def family(self) -> list[psutil.Process]:
        """It and everything that it has started, as far as that lives; remembered, so that strays can be found."""
        try:
            parent = psutil.Process(self.pid)
            for each in [parent, *parent.children(recursive=True)]:
                self._family[each.pid] = each
        except psutil.NoSuchProcess:
            pass
        return [each for each in self._family.values() if alive(each)]

    def wait_until(self, condition: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Wait for `condition`; an end of the process before that is an error."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.code is None, f"it ended too early with {self.code}\n{self.output}"
            assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain\n{self.output}"
            time.sleep(0.005)

    def end(self, seconds: float = SECONDS) -> int:
        """Wait for its end and return the exit code; it is killed when that takes longer than `seconds`."""
        deadline = time.monotonic() + seconds
        looked = 0.0
        while self.code is None:
            if time.monotonic() > looked + 0.3:
                self.family()
                looked = time.monotonic()
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"it hung for {seconds:.0f} s\n{self.output}")
            time.sleep(0.01)
        code = self.code
        assert code is not None
        return code

    def signal(self, number: int) -> None:
        """Send a signal to it and to everything that it has started."""
        for each in self.family():
            try:
                each.send_signal(number)
            except psutil.NoSuchProcess:
                pass

    def ask_to_drain(self) -> None:
        """SIGTERM to it alone: it drains, or ends at once where it has no trials yet or any more."""
        if self.code is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to it and to everything that it has started."""
        self.signal(signal.SIGKILL)
        while self.code is None:
            time.sleep(0.001)

    def strays(self, seconds: float = 30.0) -> list[str]:
        """What of it still runs after `seconds`; killed, as are Ray's two agents, which take a minute to notice."""
        deadline = time.monotonic() + seconds
        while (left := self._working()) and time.monotonic() < deadline:
            time.sleep(0.02)
        names = [f"{each.pid} {name_of(each)}" for each in left]
        self.signal(signal.SIGKILL)
        return names

    def _working(self) -> list[psutil.Process]:
        return [each for each in self.family() if not name_of(each).startswith(AGENTS)]

    def member(self, kind: str, draws: random.Random) -> psutil.Process | None:
        """One of its processes: driver, raylet, scheduler, worker; None while there is no such one."""
        prefix = {"scheduler": "ray::SchedulerActor", "worker": "ray::WorkerActor"}
        if kind == "driver":
            found = [each for each in self.family() if each.pid == self.pid]
        elif kind == "raylet":
            found = [each for each in self.family() if name_of(each).partition(" ")[0].endswith("/raylet")]
        else:
            found = [each for each in self.family() if name_of(each).startswith(prefix[kind])]
        return draws.choice(found) if found else None


def alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and is not yet reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def name_of(process: psutil.Process) -> str:
    """What a process calls itself; Ray's workers have the name of their actor."""
    try:
        return " ".join(process.cmdline()).strip()[:200]
    except psutil.NoSuchProcess:
        return "gone"


def undisturbed(project: Project, **how: Any) -> Path:
    """The folder of the project's sweep, run from beginning to end by one process that nobody troubles."""
    twin = Project(project.folder / "twin", project.sweep)
    twin.folder.mkdir()
    for name in ("sweep.yaml", "train.py"):
        shutil.copy(project.folder / name, twin.folder / name)
    life = Life(twin, "sweeps", **how)
    assert life.end(300) == 0, life.output
    return twin.sweep_in("sweeps")
