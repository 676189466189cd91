"""Processes that end for certain: a group of their own, ended as one, also when its starter has died."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from .deadlines import TrialFailed
from .messages import Cause

GRACE_SECONDS = 5.0
LAST_LINES = 20

# Reads a word that is never sent: the pipe closes when its writer lets go, or dies.
_GUARD = 'read -r word || kill -s KILL -- "-$1" 2>/dev/null'
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Start:
    """How to start a process: its words, and what `subprocess.Popen` takes beside them."""

    words: Sequence[str]
    cwd: Path | None = None
    env: Mapping[str, str] | None = None
    pass_fds: Sequence[int] = ()


class Group:
    """A process and everything it starts, as a process group; leaving the block ends them all.

    They end as well, by SIGKILL, when this process dies. What leaves the group (a daemon with a session of its own) is
    found as long as its parents live.
    """

    def __init__(self, start: Start, stdout: Any, stderr: Any) -> None:
        self.process = subprocess.Popen(
            list(start.words),
            cwd=start.cwd,
            env=None if start.env is None else dict(start.env),
            pass_fds=tuple(start.pass_fds),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.process.pid)], stdin=subprocess.PIPE, start_new_session=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A process that ended by itself may have left others behind; they get no grace.
        self.end(GRACE_SECONDS if self.process.poll() is None else 0.0)

    def wait(self, seconds: float) -> int | None:
        """The exit status, negative for a signal, or None when it still runs after `seconds`."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self, grace: float = GRACE_SECONDS) -> None:
        """SIGTERM to all, and SIGKILL to those that are left after `grace` seconds."""
        others = _descendants(self.process.pid)
        try:
            if grace > 0 and self._signal(signal.SIGTERM):
                self._wait_for_group(grace)
        finally:
            self._signal(signal.SIGKILL)
            _kill([*others, *_descendants(self.process.pid)])
            self.process.wait()
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()
            self._release_guard()

    def _signal(self, number: int) -> bool:
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            # Nobody is left in the group (macOS says that it is not permitted).
            return False
        return True

    def _wait_for_group(self, grace: float) -> None:
        end = time.monotonic() + grace
        while time.monotonic() < end:
            self.process.poll()
            if not self._signal(0):
                return
            time.sleep(_POLL_SECONDS)

    def _release_guard(self) -> None:
        assert self._guard.stdin is not None, "the guard was started with a pipe"
        try:
            self._guard.stdin.write(b"\n")
            self._guard.stdin.close()
        except OSError:
            # Somebody killed the guard.
            pass
        self._guard.wait()


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and to all that descends from it."""
    try:
        _kill([psutil.Process(pid), *_descendants(pid)])
    except psutil.NoSuchProcess:
        pass


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed on this machine because memory ran out; 0 where it does not say."""
    try:
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def death(status: int, kills_before: int, last_lines: Sequence[str] = ()) -> TrialFailed:
    """What it means that a trial's process has ended with `status` and without a result."""
    said = "\n".join(("", "its last output was:", *last_lines)) if last_lines else ""
    how = f"exit status {status}" if status >= 0 else f"{_signal_name(-status)} ({signal.strsignal(-status)})"
    if status == -signal.SIGKILL and out_of_memory_kills() > kills_before:
        return TrialFailed(Cause.OUT_OF_MEMORY, f"the trial's process was ended by {how}: memory ran out{said}")
    return TrialFailed(Cause.WORKER_LOST, f"the trial's process ended with {how} before it had a result{said}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Real-time signals have numbers only.
        return f"signal {number}"


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    for each in processes:
        try:
            each.kill()
        except psutil.Error:
            pass
