"""The values of a spec: what stands under `grid`, `search` and `fixed`, read into plain tuples and parameters."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from ..task import Choice, Float, Int, Lattice, Parameter, Scalar
from .faults import Fault, Path, as_list, broken, dotted, require_text_keys, show, unknown_key

MAX_LATTICE = 10_000

_WIDEST = 2**53  # whole numbers farther apart cannot be told apart as floats
_INT64 = range(-(2**63), 2**63)
_NAME = re.compile(r"[^\W\d][\w-]{0,99}")
_FORMS = {
    "choices": ("choices", "when"),
    "log2": ("log2", "num", "when"),
    "low": ("low", "high", "log", "int", "step", "when"),
}
_EVERY_KEY = tuple(dict.fromkeys(key for keys in _FORMS.values() for key in keys))
_FORM_REMEDY = "write {low: 1e-4, high: 1.0}, {choices: [a, b]} or {log2: [-14, -3], num: 12}"


def parse_grid(raw: Any) -> dict[str, tuple[Scalar, ...]]:
    """The axes of `grid`, each with its distinct values in the order written. Raises `Fault`."""
    return {name: _axis(each, ("grid", name)) for name, each in _named(raw, "grid").items()}


def parse_fixed(raw: Any) -> dict[str, Scalar]:
    """The parameters of `fixed`, one value each. Raises `Fault`."""
    return {name: scalar(each, ("fixed", name)) for name, each in _named(raw, "fixed").items()}


def parse_search(raw: Any) -> dict[str, Parameter]:
    """The parameters of `search`, from mappings or ready parameters; conditions are not compared. Raises `Fault`."""
    return {name: _parameter(each, ("search", name)) for name, each in _named(raw, "search").items()}


def plain_parameter(parameter: Parameter) -> dict[str, Any]:
    """`parameter` as the mapping that a spec file holds; keys at their defaults are left out."""
    match parameter:
        case Choice():
            form: dict[str, Any] = {"choices": list(parameter.choices)}
        case Lattice():
            form = {"log2": [parameter.low, parameter.high], "num": parameter.num}
        case Int():
            form = {"low": parameter.low, "high": parameter.high, "int": True}
            form |= {"step": parameter.step} if parameter.step != 1 else {}
        case Float():
            form = {"low": parameter.low, "high": parameter.high}
            form |= {"step": parameter.step} if parameter.step is not None else {}
    if isinstance(parameter, Float | Int) and parameter.log is not False:
        form["log"] = parameter.log
    if parameter.when is not None:
        form["when"] = dict(parameter.when)
    return form


def scalar(value: Any, path: Path) -> Scalar:
    """`value` as a plain truth value, whole number within 64 bits, finite number or text. Raises `Fault`."""
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float):
        return number(value, path)
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise broken(path, value, "holds half a surrogate pair", "write valid Unicode text") from None
        return str.__str__(value)
    rule = "a value must be one number, text, true or false"
    raise broken(path, value, rule, "write a single value, or leave the parameter out")


def number(value: Any, path: Path) -> int | float:
    """`value` as a finite number; whole ones stay whole and fit into 64 bits. Raises `Fault`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        quoted = " without quotes" if isinstance(value, str) else ""
        raise broken(path, value, "must be a number", f"write one{quoted}, such as 1e-4")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise broken(path, value, "must be finite", "write a finite number")
        return float(value)
    if value not in _INT64:
        raise broken(path, value, "a whole number must fit into 64 bits", "write a smaller one, or 1e30 with exponent")
    return int(value)


def whole(value: Any, path: Path) -> int:
    """`value` as a whole number; 1e3 counts as one, 0.5, true and "3" do not. Raises `Fault`."""
    checked = number(value, path)
    if isinstance(checked, float) and not checked.is_integer():
        raise broken(path, value, "must be a whole number", f"write {math.floor(checked)} or {math.ceil(checked)}")
    return int(number(int(checked), path))


def same(one: Scalar, other: Scalar) -> bool:
    """Whether two values are equal and of one type: 1, 1.0 and true are three values."""
    return type(one) is type(other) and one == other


def kind(parameter: Parameter | Sequence[Scalar]) -> str:
    """The column type of a parameter's values: int, float, bool, str, or json where no other holds them all."""
    match parameter:
        case Float() | Lattice():
            return "float"
        case Int():
            return "int"
        case Choice(choices=choices):
            return kind(choices)
        case _:
            return _kind_of_values(parameter)


def _kind_of_values(values: Sequence[Scalar]) -> str:
    types = {type(value) for value in values}
    if len(types) == 1:
        return types.pop().__name__
    if types == {int, float} and all(same(int(float(value)), value) for value in values if isinstance(value, int)):
        return "float"
    return "json"


def _named(raw: Any, section: str) -> dict[str, Any]:
    entries = require_text_keys(raw, (section,))
    for name in entries:
        if not _NAME.fullmatch(name):
            rule = "a parameter's name starts with a letter or _ and holds letters, digits, _ and - (at most 100)"
            raise Fault(f"{show(name)} in {section} is no parameter name: {rule}; rename it", (section, name))
    return entries


def _axis(raw: Any, path: Path) -> tuple[Scalar, ...]:
    values = as_list(raw)
    if values is not None:
        return _distinct(values, path)
    if _is_lattice(raw):
        parameter = _parameter(raw, path)
        assert isinstance(parameter, Lattice)
        if parameter.when is not None:
            rule = f"{dotted(path)} is an axis of the grid, which has no condition"
            raise Fault(f"{rule}; remove `when`, or move {path[-1]} to search", (*path, "when"))
        return parameter.values()
    rule = "an axis must be a list of values or {log2: [low, high], num: n}"
    raise broken(path, raw, rule, "write such a list, or move it to search or fixed")


def _is_lattice(raw: Any) -> bool:
    return isinstance(raw, Lattice) or (isinstance(raw, Mapping) and "log2" in raw)


def _distinct(raw: list[Any], path: Path) -> tuple[Scalar, ...]:
    values = tuple(scalar(value, (*path, position)) for position, value in enumerate(raw))
    if not values:
        raise broken(path, raw, "needs at least one value", f"add a value or remove `{path[-1]}`")
    seen: set[tuple[type, Scalar]] = set()
    for position, value in enumerate(values):
        if (type(value), value) in seen:
            raise Fault(f"{dotted(path)} holds the value {show(value)} twice; remove one", (*path, position))
        seen.add((type(value), value))
    return values


def _parameter(raw: Any, path: Path) -> Parameter:
    if isinstance(raw, Float | Int | Choice | Lattice):
        try:
            raw = plain_parameter(raw)
        except (TypeError, ValueError):
            raise broken(path, raw, "its choices or its condition have the wrong type", _FORM_REMEDY) from None
    if (values := as_list(raw)) is not None:
        raise broken(path, values, "a list is no parameter", f"write {{choices: {show(values)}}}")
    if not isinstance(raw, Mapping):
        raise broken(path, raw, "a parameter must be a mapping", f"{_FORM_REMEDY}, or move it to fixed")
    entry = require_text_keys(raw, path)
    return _PARSERS[_form(entry, path)](entry, path)


def _form(entry: Mapping[str, Any], path: Path) -> str:
    """Which of the three forms `entry` takes; its keys are known and fit together."""
    for key in entry:
        if key not in _EVERY_KEY:
            raise unknown_key((*path, key), _EVERY_KEY)
    form = next((form for form in ("choices", "log2", "low") if form in entry), None)
    if form is None:
        raise Fault(f"{dotted(path)} lacks choices, log2 or low; {_FORM_REMEDY}", path)
    for key in entry:
        if key not in _FORMS[form]:
            known = ", ".join(_FORMS[form])
            raise Fault(f"{dotted(path)} has `{form}`, beside which `{key}` has no meaning; keep only {known}", path)
    return form


def _required(entry: Mapping[str, Any], key: str, path: Path) -> Any:
    if key not in entry:
        raise Fault(f"{dotted(path)} lacks the key `{key}`; {_FORM_REMEDY}", path)
    return entry[key]


def _choice(entry: Mapping[str, Any], path: Path) -> Choice:
    here = (*path, "choices")
    values = as_list(entry["choices"])
    if values is None:
        raise broken(here, entry["choices"], "choices must be a list", f"write [{show(entry['choices'])}]")
    return Choice(_distinct(values, here), when=_when(entry, path))


def _lattice(entry: Mapping[str, Any], path: Path) -> Lattice:
    raw, here = as_list(entry["log2"]), (*path, "log2")
    if raw is None or len(raw) != 2:
        raise broken(here, entry["log2"], "log2 must be two exponents", "write [low, high], such as [-14, -3]")
    low, high = (float(number(value, (*here, position))) for position, value in enumerate(raw))
    num = whole(_required(entry, "num", path), (*path, "num"))
    if not -1022 <= low <= high <= 1023:
        raise broken(here, raw, "exponents must rise and lie in [-1022, 1023]", "write the lower one first")
    if not 1 <= num <= MAX_LATTICE:
        raise broken((*path, "num"), num, f"must lie in [1, {MAX_LATTICE}]", "write a number of points in it")
    if (num == 1) != (low == high):
        raise broken((*path, "num"), num, f"log2 is {show(raw)}", "write num: 1 for equal ends, otherwise 2 or more")
    lattice = Lattice(low, high, num, when=_when(entry, path))
    if len(set(lattice.values())) < num:
        raise broken((*path, "num"), num, "some of these points coincide", "write fewer points or move the ends apart")
    return lattice


def _range(entry: Mapping[str, Any], path: Path) -> Float | Int:
    log, is_int = _flag(entry, "log", path), _flag(entry, "int", path)
    read = whole if is_int else number
    low, high = read(entry["low"], (*path, "low")), read(_required(entry, "high", path), (*path, "high"))
    step = entry.get("step")
    step = None if step is None else read(step, (*path, "step"))
    _check_range(low, high, log, path)
    if step is not None:
        _check_step((low, high, step), log and not (is_int and step == 1), path)
    when = _when(entry, path)
    if is_int:
        return Int(int(low), int(high), log, 1 if step is None else int(step), when)
    return Float(float(low), float(high), log, None if step is None else float(step), when)


def _check_range(low: float, high: float, log: bool, path: Path) -> None:
    if low == high:
        rule = f"low must lie below high, which is {show(high)} too"
        raise broken((*path, "low"), low, rule, "widen the range, or move the parameter to fixed")
    if low > high:
        raise broken((*path, "low"), low, f"low must lie below high, which is {show(high)}", "swap the two")
    if high - low > (_WIDEST if isinstance(high - low, int) else sys.float_info.max):
        raise broken((*path, "high"), high, f"high - low is too large (low is {show(low)})", "narrow the range")
    if log and low <= 0:
        raise broken((*path, "low"), low, "log needs low above 0", "raise low, such as to 1e-6, or remove log")


def _check_step(grid: tuple[float, float, float], log: bool, path: Path) -> None:
    low, high, step = grid
    here = (*path, "step")
    if log:
        raise broken(here, step, "step and log exclude each other", "remove one, or write {log2: [-14, -3], num: 12}")
    if step <= 0:
        raise broken(here, step, "must be above 0", "write a positive step or remove it")
    if not step <= high - low <= step * 1e9:
        rule = f"must fit between one and 1e9 times into high - low = {show(high - low)}"
        raise broken(here, step, rule, "write another step or remove it")
    first, width = Decimal(repr(low)), Decimal(repr(step))  # as written: 0.3 is three times 0.1
    if rest := (Decimal(repr(high)) - first) % width:
        rule = f"low + k * step never meets high = {show(high)}"
        raise broken(here, step, rule, f"write high: {Decimal(repr(high)) - rest} or another step")


def _flag(entry: Mapping[str, Any], key: str, path: Path) -> bool:
    value = entry.get(key, False)
    if not isinstance(value, bool):
        raise broken((*path, key), value, "must be true or false", f"write {key}: true, without quotes, or remove it")
    return value


def _when(entry: Mapping[str, Any], path: Path) -> dict[str, Scalar] | None:
    raw, here = entry.get("when"), (*path, "when")
    if raw is None:
        return None
    condition = require_text_keys(raw, here)
    if not condition:
        raise broken(here, condition, "a condition names a parameter and a value", "write {other: value} or remove it")
    return {other: scalar(value, (*here, other)) for other, value in condition.items()}


_PARSERS: dict[str, Callable[[Mapping[str, Any], Path], Parameter]] = {
    "choices": _choice,
    "log2": _lattice,
    "low": _range,
}
