"""Sends a sweep to a cluster: a snapshot of the code and a job that starts the scheduler there."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..orchestrator.spec import Resources, Sweep
from .asking import SubmissionFailed, asked, first_line
from .profile import Profile

POLL_SECONDS = 0.2
LAST_LINES = 20
AGENT_SECONDS = 60.0
# Packages of `environment.pip` are installed in this time, too.
SUBMIT_SECONDS = 600.0
UPLOAD_SECONDS = 300.0
# What no training code needs; Ray leaves out what .gitignore names, too.
EXCLUDED = (".git", ".venv", "__pycache__", "*.pyc", ".pytest_cache", ".ruff_cache", ".hypothesis")


@dataclass(frozen=True, slots=True)
class Asked:
    """How a sweep is to be started: its workers at most, and what `swathe run` takes, too.

    A cluster that has not taken it within `seconds` is not waited for.
    """

    workers: int | None = None
    takeover: bool = False
    accept: bool = False
    origin: str | None = None
    seconds: float = SUBMIT_SECONDS


def submit(profile: Profile, sweep: Sweep, wish: Asked) -> str:
    """Submit `sweep`; returns what `entry.submit` does, when its scheduler owns it. Raises `SubmissionFailed`."""
    from .entry import Request

    code = working_directory(profile, sweep)
    root = sweep.root.resolve()
    if not root.is_relative_to(code):
        raise SubmissionFailed(f"the spec lies in {root}, outside the working_directory {code} that is shipped")
    request = Request(
        spec=sweep.to_yaml(),
        root=str(root.relative_to(code)),
        directory=str(profile.directory),
        ledger=profile.ledger,
        store=profile.store,
        namespace=profile.namespace,
        staffing=staffing(profile, sweep, wish.workers),
        takeover=wish.takeover,
        accept=wish.accept,
        origin=wish.origin,
    )
    client = client_of(profile)
    command = f"python -m swathe.clusters.entry {shlex.quote(request.as_json())}"
    deadline = time.monotonic() + wish.seconds
    job = _begun(client, command, environment_of(profile, code))

    def waiting() -> None:
        if time.monotonic() > deadline:
            raise _late(client, job, wish.seconds)

    return ended(client, job, waiting)


def _late(client: Any, job: str, seconds: float) -> SubmissionFailed:
    """What to say of a job that has not begun or ended in its time; it is stopped."""
    address = client.get_address()
    info = asked(address, client.get_job_info, job)
    asked(address, client.stop_job, job)
    said = f"it is {str(info.status.value).lower()}" + (f", {first_line(info.message)}" if info.message else "")
    return SubmissionFailed(
        f"the cluster at {address} has not taken the sweep within {seconds:.0f} s: {said}; look at it with "
        f"`ray status` and `ray job logs {job}`, mend what it waits for, or give it longer with --timeout"
    )


def staffing(profile: Profile, sweep: Sweep, workers: int | None) -> dict[str, Any]:
    """What workers ask for, as `posts.Staffing.read` takes it. Raises `SubmissionFailed` when no pool holds a trial."""
    return {
        "shares": {name: _share(profile, share) for name, share in sweep.shares.items()},
        "workers": workers or sweep.limits.workers,
        "threads": sweep.threads,
        "secrets": profile.environment.secrets,
    }


def _share(profile: Profile, trial: Resources) -> dict[str, Any]:
    """One share of a node, on a kind of node that holds it."""
    plain: dict[str, Any] = {"cpus": trial.cpus, "gpus": trial.gpus, "memory": trial.memory or 0}
    if not profile.pools:
        return plain
    for pool in profile.pools.values():
        if pool.holds(trial.cpus, trial.gpus, trial.memory):
            return {**plain, "workers": pool.workers, "resources": dict(pool.resources)}
    shapes = ", ".join(f"{name} {pool.cpus:g} cpus and {pool.gpus:g} gpus" for name, pool in profile.pools.items())
    raise SubmissionFailed(
        f"a trial asks for {trial.cpus:g} cpus and {trial.gpus:g} gpus, and no pool has nodes of that size: {shapes}; "
        "lower resources in the spec, or mend pools in the profile"
    )


def working_directory(profile: Profile, sweep: Sweep) -> Path:
    """The folder that is shipped with a sweep."""
    named = profile.environment.working_directory
    return sweep.root.resolve() if named is None else Path(named).expanduser().resolve()


def environment_of(profile: Profile, code: Path) -> dict[str, Any]:
    """Ray's `runtime_env` for jobs of this profile, whose code lies in the folder `code`."""
    environment = profile.environment
    passed = {name: os.environ[name] for name in environment.variables if name in os.environ}
    results = profile.directory
    own = [str(results.relative_to(code))] if results.is_relative_to(code) else []
    found: dict[str, Any] = {
        "working_dir": str(code),
        "excludes": [*EXCLUDED, "sweeps", *own, *environment.excludes],
        "env_vars": {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", **passed},
    }
    if environment.pip:
        found["pip"] = list(environment.pip)
    return found


def client_of(profile: Profile) -> Any:
    """Ray's `JobSubmissionClient` for the cluster. Raises `SubmissionFailed` when it cannot be reached."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.job_submission import JobSubmissionClient

    # Ray would look at RAY_AUTH_MODE once, when it is imported; a profile says it for each cluster.
    headers = {"Authorization": f"Bearer {_token()}"} if profile.authentication == "token" else None
    try:
        return asked(str(profile.address), JobSubmissionClient, profile.address, headers=headers)
    except (ConnectionError, RuntimeError) as error:
        raise SubmissionFailed(
            f"there is no Ray at {profile.address}: {first_line(str(error))}; check `address` in the profile, that the "
            "cluster runs, that its dashboard is forwarded, and that the token is the same"
        ) from None


def _begun(client: Any, command: str, environment: dict[str, Any]) -> str:
    """The id of the job that runs `command`. Raises `SubmissionFailed`."""
    deadline = time.monotonic() + AGENT_SECONDS
    while True:
        try:
            submit_job, given = client.submit_job, {"entrypoint": command, "runtime_env": environment}
            # It sends the snapshot of the code, too.
            return asked(client.get_address(), submit_job, seconds=UPLOAD_SECONDS, **given)
        except (RuntimeError, ValueError, ConnectionError) as error:
            # The cluster may just have been started.
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise SubmissionFailed(f"the cluster did not take the sweep: {first_line(str(error))}") from None
            time.sleep(1.0)


def _token() -> str:
    """Ray's token, from where Ray looks for it. Raises `SubmissionFailed`."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        raise SubmissionFailed(
            f"the cluster wants a token, and there is none in RAY_AUTH_TOKEN or {path}; copy that of the cluster "
            "there, or write `authentication: off` in the profile if it has none"
        ) from None


def ended(client: Any, job: str, waiting: Callable[[], None]) -> str:
    """The last line that a job prints; `waiting` is called until it ends. Raises `SubmissionFailed`."""
    address = client.get_address()
    while (status := str(asked(address, client.get_job_status, job).value)) not in ("SUCCEEDED", "FAILED", "STOPPED"):
        waiting()
        time.sleep(POLL_SECONDS)
    lines = [line for line in asked(address, client.get_job_logs, job).splitlines() if line.strip()]
    if status == "SUCCEEDED":
        return lines[-1].strip()
    told = [line for line in lines if line.startswith("Error: ")]
    if told:
        raise SubmissionFailed(told[-1].removeprefix("Error: "))
    message = asked(address, client.get_job_info, job).message or status
    raise SubmissionFailed("\n".join([f"the cluster did not take the sweep: {message}", *lines[-LAST_LINES:]]))
