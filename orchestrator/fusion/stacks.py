"""Trees of tensors with lanes as their first axis: made from single trials, narrowed, frozen, saved and joined.

A saved stack is a flat mapping of tensors, "params/0.weight" for example, as safetensors stores it; a single lane is a
stack of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..task import Scalar
from .errors import ProgramError
from .lane import Tensors, code
from .optim import spread
from .trees import each

STEPS = "steps"  # the one saved tensor without a lane axis: how many updates were made


def stacked(trees: Sequence[Tensors], device: str, dtype: torch.dtype) -> Tensors:
    """One tree whose tensors are those of `trees`, stacked. Raises `ProgramError` where shapes differ."""
    for name, x in trees[0].items():
        for lane, tree in enumerate(trees):
            if name not in tree or tree[name].shape != x.shape:
                shape = tuple(tree[name].shape) if name in tree else "nothing"
                raise ProgramError(
                    f"tensor {name!r} is {tuple(x.shape)} in lane 0 and {shape} in lane {lane}; name the parameter "
                    "that decides this in `shapes`"
                )

    def place(x: Tensor) -> Tensor:
        return x.to(device, dtype if x.is_floating_point() else x.dtype)

    return {name: place(torch.stack([tree[name] for tree in trees])) for name in trees[0]}


def columns(values: Sequence[Mapping[str, bool | float]], device: str, dtype: torch.dtype) -> Tensors:
    """{parameter: (lanes)} of the parameters that all lanes have."""
    names = [name for name in values[0] if all(name in row for row in values)]
    rows = {name: [row[name] for row in values] for name in names}
    kinds = {name: torch.bool if all(isinstance(v, bool) for v in row) else dtype for name, row in rows.items()}
    return {name: torch.tensor(row, dtype=kinds[name], device=device) for name, row in rows.items()}


def agreed(shapes: Sequence[Mapping[str, Scalar]]) -> Mapping[str, Scalar]:
    """The shapes that all lanes have. Raises `ProgramError` where they differ."""
    for lane, own in enumerate(shapes):
        if own != shapes[0]:
            name = next(name for name in own if own[name] != shapes[0][name])
            raise ProgramError(
                f"{name} is {shapes[0][name]!r} in lane 0 and {own[name]!r} in lane {lane}; "
                "trials share a pack only where the parameters in `shapes` are equal"
            )
    return shapes[0]


def check_code(modules: Sequence[nn.Module]) -> None:
    """Raises `ProgramError` where modules differ in more than tensors: all lanes run the code of the first."""
    first = code(modules[0])
    for lane, module in enumerate(modules[1:], 1):
        if (own := code(module)) != first:
            place = next((place for place in first | own if first.get(place) != own.get(place)), "")
            raise ProgramError(
                f"the module's {place} is {first.get(place)!r} in lane 0 and {own.get(place)!r} in lane {lane}; name "
                "the parameter that decides this in `shapes`, or use it in `loss`, where it is a tensor of the lane"
            )


def narrowed(tree: Any, lanes: Tensor) -> Any:
    """The tree of the lanes with these indices, in this order."""
    return each(lambda x: x.index_select(0, lanes), tree)


def chosen(alive: Tensor, new: Any, old: Any) -> Any:
    """`new` for lanes that are alive, `old` for the others; NaN in the one does not reach the other."""
    return each(lambda x, y: torch.where(spread(alive, x), x, y), new, old)


def flat(tree: Mapping[str, Any], prefix: str = "") -> Tensors:
    """{"a/b": tensor} of the tree {"a": {"b": tensor}}; the tensors share no memory with it."""
    found: Tensors = {}
    for name, x in tree.items():
        found |= {prefix + name: x.clone().contiguous()} if isinstance(x, Tensor) else flat(x, f"{prefix}{name}/")
    return found


def unflat(saved: Mapping[str, Tensor], like: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The tree of `saved` with the structure and the devices of `like`. Raises `ProgramError` where they do not fit."""
    tree: dict[str, Any] = {}
    for name, x in like.items():
        path = prefix + name
        if not isinstance(x, Tensor):
            tree[name] = unflat(saved, x, f"{path}/")
        elif path not in saved or saved[path].shape != x.shape:
            shape = tuple(saved[path].shape) if path in saved else "missing"
            raise ProgramError(f"the checkpoint's {path!r} is {shape}, and the program needs {tuple(x.shape)}")
        else:
            tree[name] = saved[path].to(x.device, x.dtype, copy=True)
    return tree


def lane_of(saved: Mapping[str, Tensor], lane: int) -> Tensors:
    """One lane of a saved stack, as a saved stack of one."""
    return {name: (x if name == STEPS else x[lane : lane + 1]).clone() for name, x in saved.items()}


def joined(saved: Sequence[Mapping[str, Tensor]]) -> Tensors:
    """Saved stacks as one. Raises `ProgramError` where they were saved after different numbers of updates."""
    if len(steps := {int(one[STEPS]) for one in saved}) != 1:
        raise ProgramError(f"lanes go in step and cannot be joined after {', '.join(map(str, sorted(steps)))} updates")
    return {
        name: x.clone() if name == STEPS else torch.cat([one[name] for one in saved]) for name, x in saved[0].items()
    }
