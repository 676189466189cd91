"""A trial's state on disk and back, without pickle: bytes, a folder, or a tree of arrays, tensors and plain values.

A tree is nested mappings, lists and tuples. Its arrays and tensors go to one safetensors file, everything else to
JSON beside it, so that reading a checkpoint runs no code.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import storage
from .faultpoints import reach

State = bytes | Path | Mapping[str, Any]

_BYTES, _FOLDER, _ARRAYS, _TENSORS, _TREE = "state.bin", "folder", "numpy.safetensors", "torch.safetensors", "tree.json"
_PLAIN = (str, bool, int, float, type(None))


class StateError(TypeError):
    """A state that cannot be kept; the message is for the user."""


def save(state: State | Callable[[], State], folder: Path) -> None:
    """Keep `state` (or what it returns, when it is callable) as `folder`, whole before it has that name, durable.

    Raises `StateError` for anything but bytes, a folder, or a mapping as described above, and `StorageError` when the
    disk does not take it.
    """
    value = state() if callable(state) else state
    temporary, former = (folder.with_name(f".{folder.name}.{os.getpid()}.{kind}") for kind in ("tmp", "old"))
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with storage.told(folder):
            temporary.mkdir(parents=True)
            _write(value, temporary)
            for path in [*temporary.rglob("*"), temporary]:
                _sync(path)
            reach("checkpoint.written")
            if folder.exists():
                folder.rename(former)
            temporary.rename(folder)
            _sync(folder.parent)
        reach("checkpoint.renamed")
    finally:
        for left in (temporary, former):
            shutil.rmtree(left, ignore_errors=True)


def load(folder: Path) -> State:
    """What `save` kept: bytes as bytes, a folder as its path, a tree with arrays and tensors as they were (on the CPU).

    Raises `FileNotFoundError` when `folder` holds no whole checkpoint.
    """
    if (folder / _BYTES).exists():
        return (folder / _BYTES).read_bytes()
    if (folder / _FOLDER).is_dir():
        return folder / _FOLDER
    leaves: dict[str, Any] = {}
    if (folder / _ARRAYS).exists():
        from safetensors.numpy import load_file

        leaves |= load_file(folder / _ARRAYS)
    if (folder / _TENSORS).exists():
        from safetensors.torch import load_file as load_tensors

        leaves |= load_tensors(folder / _TENSORS)
    return _join(json.loads((folder / _TREE).read_text(encoding="utf-8")), leaves)


def _write(value: Any, folder: Path) -> None:
    match value:
        case bytes() | bytearray() | memoryview():
            (folder / _BYTES).write_bytes(value)
        case Path():
            if not value.is_dir():
                raise StateError(f"state {value} is no folder; give a folder, bytes, or a mapping of arrays")
            shutil.copytree(value, folder / _FOLDER)
        case Mapping():
            _write_tree(value, folder)
        case _:
            raise StateError(
                f"state is a {type(value).__name__}; give bytes, a folder as a Path, or a mapping of arrays and tensors"
            )


def _write_tree(tree: Mapping[Any, Any], folder: Path) -> None:
    leaves: dict[str, Any] = {}
    shape = _split(tree, leaves, "state")
    arrays = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, np.ndarray)}
    tensors = {name: leaf for name, leaf in leaves.items() if not isinstance(leaf, np.ndarray)}
    if arrays:
        from safetensors.numpy import save_file

        # The writer takes the buffer as it lies; one that is no row-major block would be read back scrambled.
        save_file(
            {name: np.ascontiguousarray(leaf).reshape(leaf.shape) for name, leaf in arrays.items()}, folder / _ARRAYS
        )
    if tensors:
        from safetensors.torch import save_file as save_tensors

        # Clones, because tensors that share memory (tied weights) are refused otherwise.
        save_tensors(
            {name: leaf.detach().cpu().contiguous().clone() for name, leaf in tensors.items()}, folder / _TENSORS
        )
    (folder / _TREE).write_text(json.dumps(shape), encoding="utf-8")


def _split(node: Any, leaves: dict[str, Any], place: str) -> list[Any]:
    """The tree as JSON, each node as [kind, content]; arrays and tensors go to `leaves`, numbered."""
    torch = sys.modules.get("torch")
    if isinstance(node, np.ndarray) or (torch is not None and isinstance(node, torch.Tensor)):
        leaves[name := str(len(leaves))] = node
        return ["leaf", name]
    if isinstance(node, np.generic):
        return _split(node.item(), leaves, place)
    if isinstance(node, _PLAIN):
        return ["value", node]
    if isinstance(node, Mapping):
        keys = list(node)
        if wrong := [key for key in keys if not isinstance(key, str | int)]:
            raise StateError(f"{place} has the key {wrong[0]!r}; keys of a state are words or whole numbers")
        return ["mapping", [[key, _split(node[key], leaves, f"{place}.{key}")] for key in keys]]
    if isinstance(node, list | tuple):
        kind = "list" if isinstance(node, list) else "tuple"
        return [kind, [_split(each, leaves, f"{place}.{index}") for index, each in enumerate(node)]]
    raise StateError(
        f"{place} is a {type(node).__name__}, which cannot be kept without pickle; keep arrays, tensors, numbers, "
        "words, and lists and mappings of these"
    )


def _join(node: list[Any], leaves: Mapping[str, Any]) -> Any:
    kind, content = node
    match kind:
        case "leaf":
            return leaves[content]
        case "mapping":
            return {key: _join(each, leaves) for key, each in content}
        case "list":
            return [_join(each, leaves) for each in content]
        case "tuple":
            return tuple(_join(each, leaves) for each in content)
        case _:
            return content


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
