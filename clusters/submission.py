"""Sends a sweep to a cluster: a snapshot of the code and a job that starts the scheduler there."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..orchestrator.errors import SwatheError
from ..orchestrator.spec import Sweep
from .profile import Profile

POLL_SECONDS = 0.2
LAST_LINES = 20
AGENT_SECONDS = 60.0
# What no training code needs; Ray leaves out what .gitignore names, too.
EXCLUDED = (".git", ".venv", "__pycache__", "*.pyc", ".pytest_cache", ".ruff_cache", ".hypothesis")


class SubmissionFailed(SwatheError):
    """The cluster cannot be reached, or did not take the sweep."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How a sweep is to be started: its workers at most, and what `swathe run` takes, too."""

    workers: int | None = None
    takeover: bool = False
    accept: bool = False
    origin: str | None = None


def submit(profile: Profile, sweep: Sweep, asked: Asked, waiting: Callable[[], None] = lambda: None) -> str:
    """Submit `sweep`; returns what `entry.submit` does, when its scheduler owns it. Raises `SubmissionFailed`.

    `waiting` is called again and again until then.
    """
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
        staffing=staffing(profile, sweep, asked.workers),
        takeover=asked.takeover,
        accept=asked.accept,
        origin=asked.origin,
    )
    client = client_of(profile)
    command = f"python -m swathe.clusters.entry {shlex.quote(request.as_json())}"
    return ended(client, _begun(client, command, environment_of(profile, code)), waiting)


def staffing(profile: Profile, sweep: Sweep, workers: int | None) -> dict[str, Any]:
    """What workers ask for, as `fleet.Staffing` takes it. Raises `SubmissionFailed` when no pool holds a trial."""
    asked = sweep.resources
    plain: dict[str, Any] = {
        "cpus": asked.cpus,
        "gpus": asked.gpus,
        "memory": asked.memory or 0,
        "workers": workers or sweep.limits.workers,
        "secrets": profile.environment.secrets,
    }
    if not profile.pools:
        return plain
    for pool in profile.pools.values():
        if pool.holds(asked.cpus, asked.gpus, asked.memory):
            most = [each for each in (plain["workers"], pool.workers) if each is not None]
            return {**plain, "workers": min(most, default=None), "resources": dict(pool.resources)}
    shapes = ", ".join(f"{name} {pool.cpus:g} cpus and {pool.gpus:g} gpus" for name, pool in profile.pools.items())
    raise SubmissionFailed(
        f"a trial asks for {asked.cpus:g} cpus and {asked.gpus:g} gpus, and no pool has nodes of that size: {shapes}; "
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
        return JobSubmissionClient(profile.address, headers=headers)
    except (ConnectionError, RuntimeError) as error:
        raise SubmissionFailed(
            f"there is no Ray at {profile.address}: {_first(str(error))}; check `address` in the profile, that the "
            "cluster runs, that its dashboard is forwarded, and that the token is the same"
        ) from None


def _begun(client: Any, command: str, environment: dict[str, Any]) -> str:
    """The id of the job that runs `command`. Raises `SubmissionFailed`."""
    deadline = time.monotonic() + AGENT_SECONDS
    while True:
        try:
            return client.submit_job(entrypoint=command, runtime_env=environment)
        except (RuntimeError, ValueError, ConnectionError) as error:
            # The cluster may just have been started.
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise SubmissionFailed(f"the cluster did not take the sweep: {_first(str(error))}") from None
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
    while (status := str(client.get_job_status(job).value)) not in ("SUCCEEDED", "FAILED", "STOPPED"):
        waiting()
        time.sleep(POLL_SECONDS)
    lines = [line for line in client.get_job_logs(job).splitlines() if line.strip()]
    if status == "SUCCEEDED":
        return lines[-1].strip()
    told = [line for line in lines if line.startswith("Error: ")]
    if told:
        raise SubmissionFailed(told[-1].removeprefix("Error: "))
    message = client.get_job_info(job).message or status
    raise SubmissionFailed("\n".join([f"the cluster did not take the sweep: {message}", *lines[-LAST_LINES:]]))


def _first(text: str) -> str:
    return next(iter(text.strip().splitlines()), "no answer")
