"""A step recorded once as a flat list of tensor operations, and replayed.

`vmap` and autograd decide anew at every step what to do; for small networks that costs more than doing it. Their
decisions depend on shapes alone, so the operations that reach the kernels are recorded and replayed as plain calls: the
same kernels, the same bits, a fifth of the overhead. What a lane's functions do in Python is done once, at recording.

On the CPU a matrix product of MKL rounds differently for different alignments of its operands, so that a lane's result
would depend on its place in the pack. Products of matrices that are not a multiple of 64 bytes get aligned operands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from .errors import ProgramError
from .trees import leaves, refilled

_LINE = 64  # bytes


@dataclass(frozen=True, slots=True)
class _Whole:
    """A tensor with memory of its own, at the recording."""

    name: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class _Line:
    """`writes = text`: one call."""

    writes: tuple[str, ...]
    text: str
    reads: frozenset[str]
    changes: bool  # something in place
    nbytes: int  # allocated


class Tape:
    """`record(*trees)` as a list of tensor operations, for inputs of the same shapes and strides.

    Inputs and outputs are trees of tensors; what is done in place to an input is replayed in place, and was done once
    by the recording.
    """

    def __init__(self, record: Callable[..., Any], *trees: Any) -> None:
        inputs = leaves(trees)
        with _Recorder(inputs) as recorder:
            outcome = record(*trees)
            outputs = [recorder.name(x) for x in leaves(outcome)]
        self._lines = _used(recorder.lines, outputs)
        recorder.names["strides"] = tuple(x.stride() for x in inputs)
        places = [f"i{i} = {place}" for i, place in enumerate(_places(trees, "trees"))]
        self._play = _compiled(self._lines, recorder.names, places, _literal(refilled(outcome, iter(outputs))), outputs)

    @property
    def peak(self) -> int:
        """Bytes of results and intermediates alive at once, at most; inputs not counted."""
        size = {line.writes[0]: line.nbytes for line in self._lines}
        last = _last_reads(self._lines)
        alive = most = 0
        for i, line in enumerate(self._lines):
            alive += line.nbytes
            most = max(most, alive)
            alive -= sum(size.get(name, 0) for name in line.reads if last[name] == i)
        return most

    def __call__(self, *trees: Any) -> Any:
        """What `record` would return for these inputs."""
        with torch.no_grad():
            return self._play(trees)


class _Recorder(TorchDispatchMode):
    """Writes down each operation that reaches a kernel, below `vmap` and autograd.

    Views become one step from the tensor they are views of, or nothing where they differ from it in nothing.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.lines: list[_Line] = []
        self.names: dict[str, Any] = {"strided": torch.as_strided, "product": aligned_product}
        self._constants: dict[int, str] = {}
        self._slots = WeakTensorKeyDictionary()  # tensor -> (its name, the _Whole that it is a view of)
        self._views: dict[tuple[Any, ...], str] = {}
        for i, x in enumerate(inputs):
            self._own(x, f"i{i}")

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.inplace_view in func.tags:
            return self._reshaped(func, args[0], *args[1:], **kwargs)
        reads: set[str] = set()
        given = [self._text(arg, reads) for arg in args]
        given += [f"{name}={self._text(arg, reads)}" for name, arg in kwargs.items()]
        out = func(*args, **kwargs)
        results = list(out) if isinstance(out, tuple | list) else [out]
        changes = func._schema.is_mutable
        inputs = [] if changes else [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        views = [isinstance(x, Tensor) and self._is_view(x, inputs) for x in results]
        if not all(views):
            product = func is torch.ops.aten.bmm.default and _misaligned(*args, *results)
            call = f"{'product' if product else self._constant(func._op)}({', '.join(given)})"
            writes = [self._result(x, view) for x, view in zip(results, views, strict=True)]
            target = f"({', '.join(writes)},)" if isinstance(out, tuple | list) else writes[0]
            nbytes = 0 if changes else sum(x.nbytes for x in results if isinstance(x, Tensor))
            self.lines.append(_Line(tuple(writes), f"{target} = {call}", frozenset(reads), changes, nbytes))
        return out

    def _reshaped(self, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """`squeeze_` and its like: the same memory, seen otherwise from here on. Nothing is to be done at replay."""
        self.name(x)
        whole = self._slots[x][1]
        out = func(x, *args, **kwargs)
        self._slots[x] = self._viewed(x, whole)
        return out

    def name(self, x: Tensor) -> str:
        """Of a tensor that was recorded, or else found: a constant, kept as it is."""
        if x not in self._slots and not self._is_view(x, list(self._slots.keys())):
            self._own(x, self._constant(x))
        return self._slots[x][0]

    def _own(self, x: Tensor, name: str) -> str:
        self._slots[x] = (name, _Whole(name, tuple(x.shape), x.stride(), int(x.storage_offset())))
        return name

    def _text(self, arg: Any, reads: set[str]) -> str:
        if isinstance(arg, Tensor):
            reads.add(self.name(arg))
            return self.name(arg)
        if isinstance(arg, list | tuple):
            return f"[{', '.join(self._text(part, reads) for part in arg)}]"
        return repr(arg) if arg is None or type(arg) in (bool, int) else self._constant(arg)

    def _constant(self, value: Any) -> str:
        name = self._constants.setdefault(id(value), f"c{len(self._constants)}")
        self.names[name] = value
        return name

    def _result(self, x: Any, view: bool) -> str:
        if not isinstance(x, Tensor) or view:
            return "_"
        return self._slots[x][0] if x in self._slots else self._own(x, f"t{len(self.lines)}_{len(self._slots)}")

    def _is_view(self, x: Tensor, owners: Sequence[Tensor]) -> bool:
        """Whether x is a view of one of `owners`; if so, writes down how to get it."""
        memory = x.untyped_storage().data_ptr()
        for owner in owners:
            if memory and memory == owner.untyped_storage().data_ptr() and owner.dtype == x.dtype:
                self.name(owner)
                self._slots[x] = self._viewed(x, self._slots[owner][1])
                return True
        return False

    def _viewed(self, x: Tensor, whole: _Whole) -> tuple[str, _Whole]:
        shape, stride, after = tuple(x.shape), x.stride(), x.storage_offset() - whole.offset
        if (shape, stride, after) == (whole.shape, whole.stride, 0):
            return whole.name, whole
        where = (whole.name, shape, stride, after)
        if where not in self._views:
            name = self._views[where] = f"v{len(self._views)}"
            place = f", {whole.name}.storage_offset() + {after}" if after else ""
            text = f"{name} = strided({whole.name}, {shape}, {stride}{place})"
            self.lines.append(_Line((name,), text, frozenset({whole.name}), False, 0))
        return self._views[where], whole


def _used(lines: Sequence[_Line], outputs: Sequence[str]) -> list[_Line]:
    """The lines that something in place or an output depends on."""
    needed, kept = set(outputs), list[_Line]()
    for line in reversed(lines):
        if line.changes or needed.intersection(line.writes):
            needed |= line.reads
            kept.append(line)
    return kept[::-1]


def _last_reads(lines: Sequence[_Line]) -> dict[str, int]:
    return {name: i for i, line in enumerate(lines) for name in line.reads}


def described(trees: Any) -> tuple[Any, ...]:
    """What of `trees` a recording depends on; equal for those that can be played from the same tape."""
    return tuple(
        (place, tuple(x.shape), x.stride(), x.dtype, str(x.device))
        for place, x in zip(_places(trees, ""), leaves(trees), strict=True)
    )


def _places(tree: Any, at: str) -> list[str]:
    """How to get at each leaf of a tree that is called `at`."""
    if isinstance(tree, Tensor):
        return [at]
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return [place for key, part in parts for place in _places(part, f"{at}[{key!r}]")]


def _literal(tree: Any) -> str:
    """A tree of names as an expression."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key!r}: {_literal(part)}" for key, part in tree.items()) + "}"
    if isinstance(tree, tuple):
        return "(" + "".join(f"{_literal(part)}, " for part in tree) + ")"
    return tree


def _compiled(
    lines: Sequence[_Line], names: Mapping[str, Any], places: Sequence[str], result: str, outputs: Sequence[str]
) -> Any:
    """The lines as a function of the trees, so that nothing is walked; a tensor is let go after its last use."""
    last, body = _last_reads(lines), [f"    {place}" for place in places]
    # Views of inputs are replayed by their strides.
    body.append(f"    if ({''.join(f'i{i}.stride(), ' for i in range(len(places)))}) != strides: refuse()")
    for i, line in enumerate(lines):
        done = [name for name in line.reads if last[name] == i and name not in outputs and name not in names]
        body.append(f"    {line.text}" + (f"; {' = '.join(done)} = None" if done else ""))
    made = {**names, "refuse": _refuse}
    exec("\n".join(["def play(trees):", *body, f"    return {result}"]), made)  # as namedtuple and dataclass do
    return made["play"]


def _refuse() -> None:
    raise ProgramError("tensors of other shapes than the recorded ones need a recording of their own")


def _misaligned(*stacks: Any) -> bool:
    """Whether the matrices of these stacks do not all begin at a multiple of 64 bytes, on a CPU."""
    return stacks[0].device.type == "cpu" and any(x.stride(0) * x.itemsize % _LINE for x in stacks)


def _padded(like: Tensor, shape: Sequence[int]) -> Tensor:
    """An empty stack (count x rows x columns) whose matrices begin at multiples of 64 bytes."""
    size = shape[1] * shape[2]
    step = math.ceil(size * like.itemsize / _LINE) * _LINE // like.itemsize
    return like.new_empty(shape[0], step)[:, :size].unflatten(1, tuple(shape[1:]))


def aligned_product(a: Tensor, b: Tensor) -> Tensor:
    """`bmm(a, b)` of matrices that are aligned, operands and results."""
    a, b = (_padded(x, x.shape).copy_(x) for x in (a, b))
    return torch.bmm(a, b, out=_padded(a, (*a.shape[:2], b.shape[2]))).contiguous()
