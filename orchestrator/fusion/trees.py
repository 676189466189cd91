"""Trees of tensors: dicts and tuples, nested, of tensors. Small on purpose: they are walked at every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor


def leaves(tree: Any) -> list[Tensor]:
    """The tensors of a tree, depth first, dicts in their own order."""
    if isinstance(tree, Tensor):
        return [tree]
    found: list[Tensor] = []
    for part in tree.values() if isinstance(tree, dict) else tree:
        found.extend(leaves(part))
    return found


def refilled(like: Any, tensors: Iterator[Any]) -> Any:
    """A tree with the structure of `like`, and `tensors` where it has leaves."""
    if isinstance(like, dict):
        return {name: refilled(part, tensors) for name, part in like.items()}
    if isinstance(like, tuple | list):
        return tuple(refilled(part, tensors) for part in like)
    return next(tensors)


def each(f: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """f of every leaf, and of the leaves of `others` in its place."""
    return refilled(tree, map(f, leaves(tree), *map(leaves, others)))
