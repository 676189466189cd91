"""How a broken rule of a spec is told: the value, the rule, the remedy and the nearest valid name, in one paragraph."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ..errors import NotYetSupported, SpecError

Path = tuple[str | int, ...]

_LONGEST = 80
_RULES = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "finite_number": "a finite number",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
}
_RANK = {"extra_forbidden": 0, "missing": 2}


class Fault(SpecError):
    """A broken rule at `path` (keys and list positions from the top of the spec); where that is written is not known.

    `at` names the place.
    """

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path

    def at(self, place: str) -> SpecError:
        """The same error with `place` (file and line, or an override) in front."""
        return type(self)(f"{place}: {self}", self.path)


class Refusal(Fault, NotYetSupported):
    """Something at `path` that the grammar knows and this version cannot do."""


def show(value: object) -> str:
    """`value` about as a YAML file spells it, on one line, shortened to 80 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError):  # keys that are no text, a value inside itself, thousands of digits
        text = f"a {type(value).__name__}"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _plain(value: object) -> object:
    return value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else repr(value)


def dotted(path: Path) -> str:
    """`path` as users write it: `search.lr.low`; list positions in brackets."""
    words = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(words).removeprefix(".") or "the spec"


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown `name`: the nearest of the `known` ones, and all of them."""
    names = list(known)
    folded = {candidate.casefold(): candidate for candidate in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    listed = ", ".join(names)
    return f"did you mean `{folded[close[0]]}`? Use one of {listed}" if close else f"use one of {listed}"


def broken(path: Path, value: object, rule: str, remedy: str) -> Fault:
    """The error "PATH is VALUE, but RULE; REMEDY"."""
    return Fault(f"{dotted(path)} is {show(value)}, but {rule}; {remedy}", path)


def unknown_key(path: Path, known: Iterable[str]) -> Fault:
    """The error for a key that the mapping around it does not have; `path` ends in that key."""
    owner = dotted(path[:-1])
    return Fault(f"{show(path[-1])} is not a key of {owner}; {nearest(str(path[-1]), known)}", path)


def from_validation(error: ValidationError, model: type[BaseModel], above: Path = ()) -> Fault:
    """The first fault of a pydantic error: unknown keys before wrong values before missing keys.

    `model` is what was validated, `above` the path at which it stands.
    """
    details = min(error.errors(include_url=False), key=lambda each: _RANK.get(each["type"], 1))
    loc = details["loc"]
    path = (*above, *loc)
    if details["type"] == "extra_forbidden":
        return unknown_key(path, _owner(model, loc[:-1]).model_fields)
    if details["type"] == "missing":
        return Fault(f"{dotted(path[:-1])} lacks the key `{path[-1]}`; {_example(model, loc)}", path)
    return broken(path, details["input"], _rule(details), _remedy(model, loc, details))


def _rule(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if details["type"] == "value_error":
        return str(context["error"])
    rule = _RULES.get(details["type"], details["msg"].removeprefix("Input should be "))
    return f"must be {rule.format(**context)}"


def _remedy(model: type[BaseModel], path: Path, details: ErrorDetails) -> str:
    value = details["input"]
    if details["type"] == "string_type" and isinstance(value, int | float):
        return f'put it in quotes: `{path[-1]}: "{show(value)}"`'
    if details["type"] in ("int_type", "float_type") and isinstance(value, str):
        return f"text is never read as a number, remove the quotes or {_example(model, path)}"
    return _example(model, path)


def _owner(model: type[BaseModel], path: Path) -> type[BaseModel]:
    """The model that describes the mapping at `path`; the deepest one known."""
    for part in path:
        field = model.model_fields.get(str(part))
        # An optional section is a union with None.
        kinds = () if field is None else get_args(field.annotation) or (field.annotation,)
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not sections:
            break
        model = sections[0]
    return model


def _example(model: type[BaseModel], path: Path) -> str:
    """What to write instead, from the field's own examples."""
    for end in range(len(path), 0, -1):
        field = _owner(model, path[: end - 1]).model_fields.get(str(path[end - 1]))
        if field is not None and field.examples:
            example = field.examples[0]
            return f"write for example `{path[end - 1]}: {example if isinstance(example, str) else show(example)}`"
    return "correct or remove it"


def require_text_keys(value: Any, path: Path) -> dict[str, Any]:
    """`value` as a mapping with text keys. Raises `Fault`."""
    if not isinstance(value, Mapping):
        raise broken(path, value, "must be a mapping", "write `key: value` lines under it, or leave it out")
    entries: dict[Any, Any] = dict(value)  # pyright: ignore[reportUnknownArgumentType]
    for key in entries:
        if not isinstance(key, str):
            raise broken((*path, str(key)), key, "a key must be text", "put it in quotes")
    return entries


def as_list(value: Any) -> list[Any] | None:
    """The items of a list or tuple; None for anything else."""
    return cast("list[Any]", list(value)) if isinstance(value, list | tuple) else None  # pyright: ignore[reportUnknownArgumentType]
