"""The types of single values in a spec: how each is written, checked and described."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from ..task import Parameter, Scalar
from . import fragments
from .conditions import in_order
from .faults import as_list, broken, require_text_keys
from .parameters import parse_fixed, parse_grid, parse_search, plain_parameter, scalar

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = r"([0-9]+(?:\.[0-9]+)?)\s*([smhd])"
_BYTES = {
    **{f"{letter}B": 1000**power for power, letter in enumerate(("k", "M", "G", "T"), start=1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate(("K", "M", "G", "T"), start=1)},
}
_SIZE = rf"([0-9]+(?:\.[0-9]+)?)\s*({'|'.join(_BYTES)})"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"
DIRECTIONS = ("minimize", "maximize")
_METRIC = r"[A-Za-z_][A-Za-z0-9_./-]{0,99}"


def plain_name(value: Any) -> Any:
    """The name of a sweep, which is also that of its folder. Raises `ValueError`."""
    if isinstance(value, str) and not re.fullmatch(_NAME, value):
        rule = "a name is no path: it holds letters, digits, . _ and - (at most 100) and starts with none of . and -"
        raise ValueError(rule)
    return value


def seconds(value: Any) -> Any:
    """A duration as seconds: `90s`, `10m`, `1.5h`, `2d`, or a number of seconds. Raises `ValueError`."""
    if isinstance(value, str):
        match = re.fullmatch(_DURATION, value.strip())
        if match is None:
            raise ValueError("a duration is a number with one unit, s, m, h or d, or a number of seconds")
        value = float(match[1]) * _SECONDS[match[2]]
    return value


def size(value: Any) -> Any:
    """An amount of memory in bytes: `4GiB`, `500MB`, or a number of bytes. Raises `ValueError`."""
    if isinstance(value, str):
        match = re.fullmatch(_SIZE, value.strip())
        if match is None:
            raise ValueError("memory is a number with one unit of kB, MB, GB, TB, KiB, MiB, GiB or TiB")
        value = int(Decimal(match[1]) * _BYTES[match[2]])
    return value


def text(value: Any) -> Any:
    """Text that says something. Raises `ValueError`."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("must not be empty")
    return value


def metric_names(value: Any) -> Any:
    """The name of a metric, or a list of different ones. Raises `ValueError` or `Fault`."""
    names = as_list(value)
    for name in [value] if names is None else names:
        if isinstance(name, str) and not re.fullmatch(_METRIC, name):
            rule = "a metric's name starts with a letter or _ and holds letters, digits, _ . / - (at most 100)"
            raise ValueError(rule)
    return value if names is None else _several(names, "metric", "val_loss")


def directions(value: Any) -> Any:
    """minimize or maximize, or a list of them. Raises `ValueError` or `Fault`."""
    names = as_list(value)
    for name in [value] if names is None else names:
        if name not in DIRECTIONS:
            raise ValueError("must be minimize or maximize, or a list of them, one for each metric")
    return value if names is None else tuple(names)


def sweep_names(value: Any) -> Any:
    """The name of a sweep, or a list of different ones. Raises `ValueError` or `Fault`."""
    names = [value] if isinstance(value, str) else as_list(value)
    if names is None:
        raise ValueError("must be the name of a sweep, or a list of names")
    return tuple(plain_name(name) for name in _several(names, "warm_start", "NAME"))


def _several(names: list[Any], field: str, example: str) -> tuple[str, ...]:
    for position, name in enumerate(names):
        if not isinstance(name, str):
            raise broken((field, position), name, "must be a name", f"write for example [{example}]")
        if name in names[:position]:
            raise broken((field, position), name, "it stands there twice", "remove one of them")
    if not names:
        raise broken((field,), names, "a list of names needs one", f"write [{example}]")
    return tuple(names)


def enqueued(value: Any) -> Any:
    """A list of configurations, each a mapping of parameters to values. Raises `Fault`."""
    entries = as_list(value)
    if entries is None:
        raise broken(("enqueue",), value, "must be a list of configurations", "write [{lr: 0.1}]")
    checked = (require_text_keys(entry, ("enqueue", position)) for position, entry in enumerate(entries))
    return [
        {name: scalar(each, ("enqueue", position, name)) for name, each in entry.items()}
        for position, entry in enumerate(checked)
    ]


def fusing(value: Any) -> Any:
    """auto, off or a number of lanes. Raises `ValueError`."""
    lanes = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not lanes and value not in ("auto", "off"):
        raise ValueError("must be auto, off or a number of lanes, at least 1")
    return value


def _search(raw: Any, info: ValidationInfo) -> dict[str, Parameter]:
    elsewhere = {*info.data.get("grid", ()), *info.data.get("fixed", ())}
    return in_order(parse_search(raw), elsewhere)


def _plain_search(search: Mapping[str, Parameter]) -> dict[str, Any]:
    return {name: plain_parameter(parameter) for name, parameter in search.items()}


def _plain_grid(grid: Mapping[str, Sequence[Scalar]]) -> dict[str, list[Scalar]]:
    return {name: list(values) for name, values in grid.items()}


def _plain_list(value: str | tuple[str, ...]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)


Duration = Annotated[
    float,
    BeforeValidator(seconds),
    Field(gt=0),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": rf"^{_DURATION}$"}]}
    ),
]
Size = Annotated[
    int,
    BeforeValidator(size),
    Field(ge=1),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": rf"^{_SIZE}$"}]}),
]
Text = Annotated[str, BeforeValidator(text), Field(min_length=1)]
Name = Annotated[str, BeforeValidator(plain_name), WithJsonSchema({"type": "string", "pattern": rf"^{_NAME}$"})]
_ONE = {"type": "string", "pattern": rf"^{_METRIC}$"}
Metric = Annotated[
    str | tuple[str, ...],
    BeforeValidator(metric_names),
    PlainSerializer(_plain_list),
    WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}),
]
_WAY = {"enum": list(DIRECTIONS)}
Direction = Annotated[
    str | tuple[str, ...],
    PlainValidator(directions),
    PlainSerializer(_plain_list),
    WithJsonSchema({"anyOf": [_WAY, {"type": "array", "items": _WAY, "minItems": 1}]}),
]
_SWEEP = {"type": "string", "pattern": rf"^{_NAME}$"}
SweepNames = Annotated[
    tuple[str, ...],
    PlainValidator(sweep_names),
    PlainSerializer(_plain_list),
    WithJsonSchema({"anyOf": [_SWEEP, {"type": "array", "items": _SWEEP, "minItems": 1}]}),
]
Enqueue = Annotated[
    list[dict[str, Scalar]],
    PlainValidator(enqueued),
    WithJsonSchema({"type": "array", "items": {"type": "object"}}),
]
Fuse = Annotated[Literal["auto", "off"] | int, PlainValidator(fusing), WithJsonSchema(fragments.FUSE)]
Grid = Annotated[
    Mapping[str, tuple[Scalar, ...]],
    PlainValidator(parse_grid),
    PlainSerializer(_plain_grid),
    WithJsonSchema(fragments.GRID),
]
Search = Annotated[
    Mapping[str, Parameter],
    PlainValidator(_search),
    PlainSerializer(_plain_search),
    WithJsonSchema(fragments.SEARCH),
]
Fixed = Annotated[Mapping[str, Scalar], PlainValidator(parse_fixed), WithJsonSchema(fragments.FIXED)]
