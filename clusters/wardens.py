"""The wardens of the nodes that have workers of a sweep: asked what a dead worker had run, and what the others use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ..orchestrator.home import Home
from ..orchestrator.messages import Cause, Loss
from . import nodes
from .posts import Post
from .workers import Warden

# Ray asks a node five times, every 3 s, before it takes it for dead.
NODE_SECONDS = 40.0
AGAIN_SECONDS = 1.0
ANSWER_SECONDS = 2.0


class Wardens:
    """One a node, made when it is needed. `posts` are the workers of the sweep, as they are at any time."""

    def __init__(self, home: Home, posts: Mapping[str, Post]) -> None:
        self._home = home
        self._posts = posts
        self._wardens: dict[str, Any] = {}

    def at(self, node: str) -> Any:
        """The warden of a node, by the node's whole id."""
        if node not in self._wardens:
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            made = ray.remote(Warden).options(num_cpus=0, scheduling_strategy=there, max_concurrency=1000)
            self._wardens[node] = made.remote(self._home)
            self._wardens[node].watch.remote()
            for post in self._posts.values():
                if post.info is not None and post.node == node:
                    self._wardens[node].joined.remote(post.info)
        return self._wardens[node]

    async def lost(self, post: Post) -> Loss:
        """What a dead worker had been running; one that died with its node is charged for nothing."""
        if not post.node:
            return Loss(post.name)
        deadline = time.monotonic() + NODE_SECONDS
        while time.monotonic() < deadline:
            alive = await asyncio.to_thread(nodes.alive)
            node = next((each for each in alive if each.startswith(post.node)), None)
            if node is None:
                self._wardens.pop(post.node, None)
                return Loss(post.name, cause=Cause.PREEMPTED, error=f"node {post.node[:8]} has gone")
            try:
                return await asyncio.wait_for(self.at(node).lost.remote(post.name), ANSWER_SECONDS)
            except (RayActorError, TimeoutError):
                # Its node dies at this moment, or the warden does; a new one finds the notes.
                self._wardens.pop(node, None)
                await asyncio.sleep(AGAIN_SECONDS)
        return Loss(post.name)

    async def measure(self) -> None:
        """Write down what each worker uses."""
        for node, warden in list(self._wardens.items()):
            try:
                use = await asyncio.wait_for(warden.use.remote(), 1.0)
            except TimeoutError:
                # It is about to start, or its node is very busy.
                continue
            except RayError:
                self._wardens.pop(node, None)
                continue
            for name, used in use.items():
                if name in self._posts:
                    self._posts[name].cores, self._posts[name].gpus = used
