"""What a doctor does inside Ray: looks at every node. A job on a cluster runs it, and `swathe doctor` on this machine.

`python -m swathe.clusters.doctor.visiting REQUEST` prints what it found as one line of JSON after `MARKER`. The request
holds no secret.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import probing

MARKER = "swathe-doctor: "
NODE_SECONDS = 60.0
CLOCK_SECONDS = 10.0
MOST_NODES = 16


@dataclass(frozen=True, slots=True)
class Request:
    """What to look at: the ledger's URL if any, the results, variables that must be set, a task and its folder."""

    results: str
    token: str
    ledger: str | None = None
    secrets: tuple[str, ...] = ()
    task: str | None = None
    root: str = "."

    def as_json(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))


def look(request: dict[str, Any], gpus: float) -> dict[str, Any]:
    """What one node is like, as plain values. Runs on that node, and raises nothing."""
    asked = Request(**{**request, "secrets": tuple(request["secrets"])})
    place = probing.here()
    found = [probing.storage(asked.results, place), probing.ledger(asked.ledger, asked.results, place)]
    shared = probing.shared(asked.results, asked.token, place)
    return {
        "node": place,
        "python": platform.python_version(),
        "ray": version_of("ray"),
        "swathe": version_of("swathe"),
        "missing": [name for name in asked.secrets if name not in os.environ],
        "findings": [asdict(each) for each in (*found, *([shared] if shared else []))],
        "gpus": visible_gpus() if gpus else None,
        "task": asked.task,
        "import_error": _import_error(asked),
    }


def version_of(package: str) -> str:
    """The version of an installed package, "" when it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def visible_gpus() -> int:
    """How many GPUs PyTorch can use in this process; 0 without PyTorch."""
    try:
        import torch
    except ImportError:
        return 0
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _import_error(asked: Request) -> str:
    from ...orchestrator.errors import SwatheError
    from ...orchestrator.loading import load_task

    if asked.task is None:
        return ""
    try:
        load_task(asked.task, Path(asked.root))
    except SwatheError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return lines[-1].strip() if lines else type(error).__name__
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def visit(request: Request) -> list[dict[str, Any]]:
    """What every living node says, up to `MOST_NODES`. This process is connected to Ray."""
    import ray

    marked = _mark(request)
    request = request if marked else replace(request, token="")
    nodes = [each for each in ray.nodes() if each["Alive"]][:MOST_NODES]
    looking = [_on(node, look).remote(asdict(request), node["Resources"].get("GPU", 0.0)) for node in nodes]
    deadline = time.monotonic() + NODE_SECONDS
    try:
        return [_told(node, answer, deadline) for node, answer in zip(nodes, looking, strict=True)]
    finally:
        if marked is not None:
            marked.unlink(missing_ok=True)


def _on(node: Mapping[str, Any], function: Callable[..., Any]) -> Any:
    """The function as a task of one node, which takes nothing of what it has."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(function).options(num_cpus=0, scheduling_strategy=there)


def _told(node: Mapping[str, Any], answer: Any, deadline: float) -> dict[str, Any]:
    """What a node has to say, `silent` being why it says nothing."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    facts: dict[str, Any] = {"node": node["NodeManagerHostname"], "resources": dict(node["Resources"])}
    try:
        return {**facts, **ray.get(answer, timeout=max(0.1, deadline - time.monotonic())), **_time_of(node)}
    except GetTimeoutError:
        return {**facts, "silent": f"no answer within {NODE_SECONDS:.0f} s"}
    except RayError as error:
        return {**facts, "silent": next(iter(str(error).strip().splitlines()), type(error).__name__)}


def _mark(request: Request) -> Path | None:
    """A file by which other nodes know the folder of results; None where there is no folder, or it takes none."""
    if "://" in request.results:
        return None
    mark = Path(request.results) / f".doctor-{request.token}"
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        return None  # the check of the storage says so
    return mark


def _now() -> float:
    # Ray takes no builtin.
    return time.time()


def _time_of(node: Mapping[str, Any]) -> dict[str, float]:
    """The clock of a node, between two looks at ours. It is asked twice: a process may have to start for the first."""
    import ray

    now = _on(node, _now)
    ray.get(now.remote(), timeout=CLOCK_SECONDS)
    asked = time.time()
    there: Any = ray.get(now.remote(), timeout=CLOCK_SECONDS)
    return {"asked": asked, "time": float(there), "answered": time.time()}


def main() -> None:
    """The job's entry point."""
    import ray

    sys.path.insert(0, os.getcwd())
    values = json.loads(sys.argv[1])
    ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    print(MARKER + json.dumps(visit(Request(**{**values, "secrets": tuple(values["secrets"])}))))


if __name__ == "__main__":
    main()
