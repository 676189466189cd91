"""The examination as a whole: this machine, or a profile's cluster from here to its nodes."""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from ...orchestrator.errors import SwatheError
from ...orchestrator.spec import Sweep
from .. import submission
from ..asking import SubmissionFailed, asked
from ..profile import Profile
from . import findings, probing, visiting
from .findings import Finding, broken, well
from .visiting import Request, version_of

ASK_SECONDS = 10.0
JOB_SECONDS = 150.0


def examine_here(directory: Path, sweep: Sweep | None) -> Iterator[Finding]:
    """Whether sweeps can run on this machine: its disk, its Ray, its GPUs, and the task of `sweep`."""
    request = _request(str(directory.absolute()), None, (), sweep, str(sweep.root) if sweep else ".")
    try:
        told = _visit_here(request)
    except Exception as error:
        # A bare one where Ray's processes die while it waits for them.
        fault = next(iter(str(error).strip().splitlines()), type(error).__name__)
        yield broken(
            "Ray", probing.here(), f"Ray does not start: {fault}", "check memory, /dev/shm and free space in /tmp"
        )
        found = (
            probing.storage(request.results, probing.here()),
            probing.ledger(None, request.results, probing.here()),
        )
        yield from found
        return
    yield well("Ray", probing.here(), f"Ray {version_of('ray')} starts")
    wanted = _wants_gpu(sweep)
    yield from _nodes(told, wanted)
    if sweep is not None:
        yield from _fits(sweep, told)


def _wants_gpu(sweep: Sweep | None) -> bool:
    return sweep is not None and any(share.gpus for share in sweep.shares.values())


def _visit_here(request: Request) -> list[dict[str, Any]]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ours = not ray.is_initialized()
    if ours:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=100 * 2**20,
        )
    try:
        return visiting.visit(request)
    finally:
        if ours:
            ray.shutdown()


def examine_cluster(profile: Profile, sweep: Sweep | None) -> Iterator[Finding]:
    """Whether sweeps can run on the cluster of `profile`: from here to its nodes."""
    yield _own_variables(profile)
    report = _address(profile)
    yield report
    if not report.well:
        # What can be seen from here all the same.
        results = profile.results or ""
        yield probing.ledger(profile.ledger, results, probing.here())
        yield probing.storage(results, probing.here())
        return
    yield from _from_here(profile)
    try:
        told = _visit(profile, sweep)
    except SwatheError as error:
        yield broken("job", str(profile.address), str(error), "install Swathe and its packages on the nodes")
        return
    wanted = any(pool.gpus for pool in profile.pools.values()) or _wants_gpu(sweep)
    yield from _nodes(told, wanted)
    nodes = {f"{number}: {node['node']}": node["resources"] for number, node in enumerate(told)}
    for name, pool in profile.pools.items():
        yield findings.pool(name, pool, nodes)
    if sweep is not None:
        yield from _fits(sweep, told)


def _own_variables(profile: Profile) -> Finding:
    missing = [name for name in profile.environment.variables if name not in os.environ]
    if not missing:
        return well("variables", "here", "all that are passed on are set")
    return broken(
        "variables",
        "here",
        f"{', '.join(missing)} not set",
        "set it before you submit, or remove it from environment.variables in the profile",
    )


def _address(profile: Profile) -> Finding:
    try:
        submission.client_of(profile)
    except SwatheError as error:
        fault, _, remedy = str(error).partition("; ")
        return broken("address", str(profile.address), fault, remedy)
    return well("address", str(profile.address), "takes jobs")


def _from_here(profile: Profile) -> Iterator[Finding]:
    """What Ray's dashboard says without a job: its version, and the time."""
    before = time.time()
    try:
        with urlopen(f"{profile.address}/api/version", timeout=ASK_SECONDS) as answer:
            told, date = json.load(answer), answer.headers.get("Date")
    except (URLError, OSError, ValueError):
        return  # it wants a token even for that; the nodes say it, too
    after = time.time()
    yield findings.versions("head", "Ray", version_of("ray"), str(told.get("ray_version", "unknown")))
    if date:
        # In whole seconds.
        there = parsedate_to_datetime(date).timestamp() + 0.5
        yield findings.clock("head", there - (before + after) / 2, (after - before) / 2 + 0.5)


def _visit(profile: Profile, sweep: Sweep | None) -> list[dict[str, Any]]:
    """What the nodes say, through a job. Raises `SubmissionFailed`."""
    results = profile.results or ""
    if "://" not in results:
        results = str(Path(results).expanduser().absolute())
    root = "."
    environment: dict[str, Any] = {"env_vars": {"RAY_USAGE_STATS_ENABLED": "0"}}
    if sweep is not None:
        code = submission.working_directory(profile, sweep)
        root = str(sweep.root.resolve().relative_to(code))
        environment = submission.environment_of(profile, code)
    request = _request(results, profile.ledger, profile.environment.secrets, sweep, root)
    client = submission.client_of(profile)
    command = f"python -m swathe.clusters.doctor.visiting {shlex.quote(request.as_json())}"
    try:
        job = asked(str(profile.address), client.submit_job, entrypoint=command, runtime_env=environment)
    except (RuntimeError, ValueError) as error:
        raise SubmissionFailed(str(error)) from None
    deadline = time.monotonic() + JOB_SECONDS

    def waiting() -> None:
        if time.monotonic() > deadline:
            client.stop_job(job)
            raise SubmissionFailed(
                f"a job has not ended within {JOB_SECONDS:.0f} s; `ray job logs {job}` shows what it waits for"
            )

    said = submission.ended(client, job, waiting)
    if not said.startswith(visiting.MARKER):
        raise SubmissionFailed(f"the job on the cluster said {said[:200]!r}")
    return json.loads(said.removeprefix(visiting.MARKER))


def _request(results: str, ledger: str | None, names: Sequence[str], sweep: Sweep | None, root: str) -> Request:
    task = sweep.task if sweep is not None else None
    return Request(results, secrets.token_hex(8), ledger, tuple(names), task, root)


def _nodes(told: Sequence[Mapping[str, Any]], wanted: bool) -> Iterator[Finding]:
    """What is said of each node; names that are not unique are numbered."""
    for number, node in enumerate(told):
        alike = sum(each["node"] == node["node"] for each in told) > 1
        place = f"{node['node']} #{number}" if alike else node["node"]
        if "silent" in node:
            yield broken("node", place, f"it does not answer: {node['silent']}", "look at Ray's logs on that node")
            continue
        yield findings.versions(place, "Python", platform.python_version(), node["python"])
        yield findings.versions(place, "Ray", version_of("ray"), node["ray"])
        asked, answered = node["asked"], node["answered"]
        yield findings.clock(place, node["time"] - (asked + answered) / 2, (answered - asked) / 2)
        yield findings.variables(place, node["missing"])
        for each in node["findings"]:
            yield Finding(**{**each, "place": place})
        yield findings.imports(place, node)
        if (seen := findings.gpus(place, node["resources"].get("GPU", 0.0), node["gpus"], wanted)) is not None:
            yield seen


def _fits(sweep: Sweep, told: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    from ..profile import Pool

    nodes = {str(number): node["resources"] for number, node in enumerate(told)}
    for name, trial_share in sweep.shares.items():
        trial = Pool(cpus=trial_share.cpus, gpus=trial_share.gpus, memory=trial_share.memory)
        found, place = findings.pool("of a trial", trial, nodes), f"a trial of {name}" if name else "a trial"
        if found.well:
            yield well("resources", place, "fits on a node")
        else:
            yield broken("resources", place, found.fault, "lower resources in the spec, or start larger nodes")
