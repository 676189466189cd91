"""A Ray cluster in a process of its own, since Ray reads once whether it uses tokens. Commands come on standard input.

Each is a JSON list, each answer a line of JSON: `["add", cpus, gpus]` -> node id, `["drain", id]`, `["kill", id]`,
`["end", namespace, actor]` for good, `["actors", namespace]` -> names.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from typing import Any

SMALL = 80 * 2**20
PREEMPTION = 2  # ray.protobuf.DRAIN_NODE_REASON_PREEMPTION


def common() -> dict[str, int]:
    """What all nodes have: little memory, and for the agent that starts jobs a port that no other Ray here has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return {"object_store_memory": SMALL, "dashboard_agent_listen_port": probe.getsockname()[1]}


def main(port: int) -> None:
    """Serve until standard input is closed."""
    import ray
    from ray._common.utils import get_default_ray_temp_dir
    from ray._private.utils import write_ray_address
    from ray._raylet import GcsClient
    from ray.cluster_utils import Cluster

    # Its monitors would print to standard output, which is for answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    # Ray tells a job where its cluster is by a file in this folder, or else names any Ray of the machine.
    folder = tempfile.mkdtemp(prefix="swathe-ray-")
    head = {"num_cpus": 0, "include_dashboard": True, "dashboard_port": port, "temp_dir": folder, **common()}
    # `Cluster` writes its address into Ray's default folder too, which does not exist on a new machine.
    os.makedirs(get_default_ray_temp_dir(), exist_ok=True)
    cluster = Cluster(initialize_head=True, head_node_args=head)
    write_ray_address(cluster.address, folder)
    nodes: dict[str, Any] = {}

    def add(cpus: float, gpus: float) -> str:
        node = cluster.add_node(num_cpus=cpus, num_gpus=gpus, **common())
        nodes[node.node_id] = node
        return node.node_id

    def drain(node: str) -> bool:
        client = GcsClient(address=cluster.address)
        return client.drain_node(node, PREEMPTION, "a spot node", 2**62)[0]

    def kill(node: str) -> bool:
        for kind in nodes[node].all_processes.values():
            for each in kind:
                each.process.send_signal(signal.SIGKILL)
        return True

    def within(namespace: str, work: Callable[[], Any]) -> Any:
        ray.init(address=cluster.address, namespace=namespace, log_to_driver=False, logging_level=logging.ERROR)
        try:
            return work()
        finally:
            ray.shutdown()

    def end(namespace: str, actor: str) -> bool:
        within(namespace, lambda: ray.kill(ray.get_actor(actor)))
        return True

    def actors(namespace: str) -> list[str]:
        return within(namespace, lambda: [name for name in ray.util.list_named_actors() if name])

    commands = {
        "add": add,
        "drain": drain,
        "kill": kill,
        "end": end,
        "actors": actors,
        "address": lambda: cluster.address,
    }
    try:
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            print(json.dumps(commands[name](*arguments)), file=answers, flush=True)
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
