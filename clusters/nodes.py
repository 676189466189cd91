"""What Ray says of nodes, and who holds what on them. What is private in Ray stands here alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray._raylet import GcsClient
from ray.util import state as ray_state

NAMES = {"CPU": ("cpus", 1.0), "GPU": ("gpus", 1.0), "memory": ("GiB of memory", 2.0**30)}
FEW_HOLDERS = 3


def alive() -> dict[str, Mapping[str, Any]]:
    """The living nodes by id, each with `Resources` and `NodeManagerAddress`."""
    return {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}


def leaving() -> set[str]:
    """The ids of nodes that have been told to go."""
    # Ray has no public way to learn of drain notices; this is what its own libraries use.
    client = GcsClient(address=ray.get_runtime_context().gcs_address)
    return {node.hex() if isinstance(node, bytes) else str(node) for node in client.get_draining_nodes()}


def shortage(asked: Mapping[str, float]) -> str:
    """Why a worker that asks for these resources is not placed: what is missing, and who holds it. "" if nothing is."""
    nodes = list(alive().values())
    able = [node for node in nodes if all(node["Resources"].get(name, 0.0) >= much for name, much in asked.items())]
    if not able:
        most = {name: max((node["Resources"].get(name, 0.0) for node in nodes), default=0.0) for name in asked}
        lacking = min(asked, key=lambda name: most[name] / asked[name] if asked[name] else 1.0)
        return f"no node has {told(lacking, asked[lacking])}, the largest has {told(lacking, most[lacking])}"
    free = [_free().get(node["NodeID"], {}) for node in able]
    if any(all(node.get(name, 0.0) >= much for name, much in asked.items()) for node in free):
        # It has a place, and its process is about to start.
        return ""
    lacking = min(asked, key=lambda name: max(node.get(name, 0.0) for node in free) / asked[name])
    holders = _holders(lacking)
    held = ", ".join(f"{who} ({told(lacking, much)})" for who, much in holders[:FEW_HOLDERS])
    rest = f" and {len(holders) - FEW_HOLDERS} others" if len(holders) > FEW_HOLDERS else ""
    name = NAMES.get(lacking, (lacking, 1.0))[0]
    return f"waits for {told(lacking, asked[lacking])}; the {name} of the cluster are held by {held or 'nobody'}{rest}"


def _free() -> Mapping[str, Mapping[str, float]]:
    """What nobody holds, by node. Public is only the sum over all nodes, where nothing may fit though it is enough."""
    return available_resources_per_node()


def told(resource: str, amount: float) -> str:
    """An amount of a resource for people: `2 gpus`, `1.5 GiB of memory`."""
    name, unit = NAMES.get(resource, (resource, 1.0))
    return f"{amount / unit:.3g} {name}"


def _holders(resource: str) -> list[tuple[str, float]]:
    """Who holds a resource, by how much of it: sweeps by their names, other actors by theirs or their class."""
    found: dict[str, float] = {}
    here = ray.get_runtime_context().gcs_address
    for actor in ray_state.list_actors(here, filters=[("state", "=", "ALIVE")], detail=True, limit=1000):
        much = (actor.required_resources or {}).get(resource, 0.0)
        if much:
            parts = (actor.name or "").split("/")
            who = f"sweep {parts[1]}" if parts[0] == "swathe" and len(parts) > 1 else actor.name or actor.class_name
            found[str(who)] = found.get(str(who), 0.0) + much
    return sorted(found.items(), key=lambda pair: -pair[1])
