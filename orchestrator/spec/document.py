"""YAML documents by the 1.2 core schema: plain data, the place of every value, and overrides by dotted path.

PyYAML scans and composes; its own rules for values are those of YAML 1.1 (`1e-5` a word, `off` a truth value), so
they are replaced here. Nothing of Python can be constructed from a document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import Any, cast

import yaml

from ..errors import SpecError
from .faults import Path, dotted, show

MAX_DEPTH = 50
MAX_VALUES = 100_000

_YAML = "tag:yaml.org,2002:"
_STR, _SEQ, _MAP = _YAML + "str", _YAML + "seq", _YAML + "map"
_CORE: dict[str, tuple[re.Pattern[str], Callable[[str], object]]] = {
    _YAML + "null": (re.compile(r"(?:~|null|Null|NULL|)\Z"), lambda text: None),
    _YAML + "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), lambda text: text.lower() == "true"),
    _YAML + "int": (re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), lambda text: _int(text)),
    _YAML + "float": (
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
        lambda text: float(re.sub(r"\.(?=[inIN])", "", text)),
    ),
    _STR: (re.compile(r""), str),
}
# Tried for every plain scalar, whatever its first character.
_RESOLVERS = {None: [(tag, pattern) for tag, (pattern, _) in _CORE.items() if tag != _STR]}


def _int(text: str) -> int:
    if len(text) > 400:  # far above any rule, far below where Python refuses to print it
        raise ValueError("it has more than 400 digits")
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


class _Refused(yaml.MarkedYAMLError):
    """Well-formed YAML that a spec may not contain; `problem` says why and what to do."""

    def __init__(self, problem: str, mark: yaml.Mark) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """Composes nodes with tags of the core schema; bounds nesting and what aliases expand to."""

    yaml_implicit_resolvers = _RESOLVERS

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0
        self._expanded: dict[int, int] = {}  # id of a composed node -> values below it, aliases followed

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = cast("Any", self).peek_event()
        mark, alias, before = event.start_mark, isinstance(event, yaml.AliasEvent), self._values
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Refused(f"values are nested more than {MAX_DEPTH} deep; a spec needs five levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias and id(node) not in self._expanded:
            raise _Refused("an alias stands inside the value it repeats; write the value out", mark)
        self._values += self._expanded[id(node)] if alias else 1
        if self._values > MAX_VALUES:
            raise _Refused(f"aliases and lists expand to more than {MAX_VALUES} values; write fewer", mark)
        if not alias:
            self._expanded[id(node)] = self._values - before
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes by the core schema, so that what it writes is read back as it was; repeats instead of aliasing."""

    yaml_implicit_resolvers = _RESOLVERS

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # The other styles fold line breaks, among them some that only YAML 1.1 knows.
        return cast("Any", self).represent_scalar(_STR, data, style=None if data.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_str)


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data (dict, list, str, int, float, bool, None) and where each value of it was written.

    `lines` maps the path of a value to its line in `source`, counted from 1; `overrides` maps the paths set by an
    override to its text.
    """

    source: str
    data: dict[str, Any]
    lines: Mapping[Path, int]
    overrides: Mapping[Path, str]

    def place(self, path: Path) -> str:
        """`source:line` of the value at `path`, or of the nearest value around it; for overrides `--set TEXT`."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.overrides:
                return _place_of(self.overrides[path[:end]])
            if path[:end] in self.lines:
                return f"{self.source}:{self.lines[path[:end]]}"
        return f"{self.source}:1"


def read_text(path: File, what: str = "spec") -> str:
    """The text of a UTF-8 file, which errors call the `what`. Raises `SpecError` when there is none to read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SpecError(f"{path}: there is no such file; check the path of the {what}") from None
    except IsADirectoryError:
        raise SpecError(f"{path}: this is a folder; name the {what} file in it") from None
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: the {what} cannot be read ({error}); check its path and permissions") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"0x{content[error.start]:02x}"
        raise SpecError(f"{path}:{line}: byte {byte} is not UTF-8; save the {what} as UTF-8 text") from None


@dataclass(frozen=True, slots=True)
class Genre:
    """What errors call a document, and the keys that it needs at least."""

    what: str = "spec"
    needs: str = "name, task and metric"


def parse_document(text: str, source: str, overrides: Iterable[str] = (), genre: Genre = Genre()) -> Document:
    """The one YAML document in `text`, a mapping, with `overrides` (`path.to.key=VALUE`) applied in order.

    Raises `SpecError` whose message starts with `source:line:`, or with `--set TEXT:` where an override is at fault.
    """

    def at(line: int) -> str:
        return f"{source}:{line}"

    data, lines = _read(text, at)
    if data is None:
        raise SpecError(f"{at(1)}: the {genre.what} is empty; write at least {genre.needs}")
    if not isinstance(data, dict):
        told = f"the {genre.what} is {show(data)}, but must be a mapping; write `key: value` lines"
        raise SpecError(f"{at(lines[()])}: {told}")
    document = Document(source, data, lines, {})  # pyright: ignore[reportUnknownArgumentType]
    for override in overrides:
        document = _overridden(document, override)
    return document


def dump(data: Mapping[str, Any]) -> str:
    """`data` as a YAML document from which `parse_document` reads exactly the same values."""
    return yaml.dump(
        dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )


def _place_of(override: str) -> str:
    return "--set " + "\\n".join(override.splitlines())


def _overridden(document: Document, text: str) -> Document:
    """`document` with one value replaced; mappings on the way are made where they are missing."""
    place = _place_of(text)
    path, value = _parse_override(text, place)
    data = inner = {**document.data}
    made = path  # the outermost value that was not there before
    for end, key in enumerate(path[:-1], start=1):
        made = path[:end] if key not in inner and made == path else made
        below: Any = inner.get(key, {})
        if not isinstance(below, dict):
            rule = f"{dotted(path[:end])} is {show(below)}, no mapping, so `{path[end]}` cannot be set in it"
            raise SpecError(f"{place}: {rule}; set it whole: {dotted(path[:end])}={{{path[end]}: ...}}")
        inner[key] = {**below}
        inner = inner[key]
    inner[path[-1]] = value
    lines = {p: line for p, line in document.lines.items() if p[: len(path)] != path}
    earlier = {p: old for p, old in document.overrides.items() if p[: len(path)] != path}
    return replace(document, data=data, lines=lines, overrides={**earlier, made: text, path: text})


def _parse_override(text: str, place: str) -> tuple[tuple[str, ...], Any]:
    target, equals, value_text = text.partition("=")
    path = tuple(target.strip().split("."))
    if not equals or not all(path) or len(path) > MAX_DEPTH:
        raise SpecError(f"{place}: this is no override; write path.to.key=VALUE, such as search.lr.low=1e-5")
    if not value_text.strip():
        raise SpecError(f"{place}: there is no value after `=`; write null to remove a value")
    return path, _read(value_text, lambda line: place)[0]


def _read(text: str, at: Callable[[int], str]) -> tuple[Any, dict[Path, int]]:
    """The value in `text` and the line of each part; None when `text` holds no document. `at` names a line."""
    lines: dict[Path, int] = {}
    try:
        node = _Loader(text).get_single_node()
        if node is None:
            return None, {(): 1}
        lines[()] = _line(node)
        return _value(node, (), lines), lines
    except _Refused as error:
        raise SpecError(f"{at(_line_of(error))}: {error.problem}") from None
    except yaml.MarkedYAMLError as error:
        raise SpecError(f"{at(_line_of(error))}: {_explain(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(f"{at(line)}: character {error.character!r} is not allowed; remove it") from None


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _line_of(error: yaml.MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else 1


def _explain(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "it cannot be read"
    if "another document" in problem:
        return "a second YAML document starts here, but a spec is one; remove it and the `---` before it"
    if r"'\t'" in problem:
        return rf"this is not valid YAML: {problem}; indent with spaces, not tabs (\t)"
    if "alias" in problem:
        return f"this is not valid YAML: {problem}; define the anchor first or write the value out"
    return f"this is not valid YAML: {problem}; check the indentation, colons, brackets and quotes here and above"


def _value(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
        return _mapping(node, path, lines)
    if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
        for position, item in enumerate(node.value):
            lines[(*path, position)] = _line(item)
        return [_value(item, (*path, position), lines) for position, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode) and node.tag in _CORE:
        return _scalar(node)
    tag = node.tag.replace(_YAML, "!!")
    raise _Refused(f"the tag {show(tag)} is not allowed here; remove it and write a plain value", node.start_mark)


def _mapping(node: yaml.MappingNode, path: Path, lines: dict[Path, int]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _STR:
            shown = show(key) if isinstance(key, str) else "a list or mapping"
            raise _Refused(f"{shown} is no text, but a key must be; put it in quotes", key_node.start_mark)
        if key == "<<":
            raise _Refused('"<<" merges mappings in YAML 1.1 only; write the values out', key_node.start_mark)
        if key in data:
            first = f"first in line {lines[(*path, key)]}"
            raise _Refused(f"the key {show(key)} is given twice ({first}); remove one", key_node.start_mark)
        lines[(*path, key)] = _line(key_node)
        data[key] = _value(value_node, (*path, key), lines)
    return data


def _scalar(node: yaml.ScalarNode) -> object:
    pattern, construct = _CORE[node.tag]
    text: str = node.value
    try:
        text.encode("utf-8")
        if not pattern.match(text):
            raise ValueError(f"it is not written as {node.tag.replace(_YAML, '!!')} wants it")
        return construct(text)
    except ValueError as error:
        reason = "it holds half a surrogate pair" if isinstance(error, UnicodeEncodeError) else str(error)
        raise _Refused(f"{show(text)} cannot be read: {reason}; write a plain value", node.start_mark) from None
