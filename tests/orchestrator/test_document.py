"""Documents: which YAML is read as what, which is refused and where, and what an override changes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swathe.orchestrator.errors import SpecError
from swathe.orchestrator.spec.document import MAX_VALUES, dump, parse_document, read_text


def value_of(text: str) -> Any:
    return parse_document(f"x: {text}", "doc").data["x"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1e3", 1000.0),
        ("1E3", 1000.0),
        ("+.5", 0.5),
        ("5.", 5.0),
        ("-1.5e+2", -150.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("12", 12),
        ("-12", -12),
        ("017", 17),
        ("0o17", 15),
        ("0xfF", 255),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("off", "off"),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("y", "y"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0b11", "0b11"),
        ("2020-01-01", "2020-01-01"),
        ("1e", "1e"),
        (".", "."),
        ("=", "="),
        ("'3'", "3"),
        ('"true"', "true"),
        ("!!str 3", "3"),
        ("!!float 3", 3.0),
        ("!!int '3'", 3),
        ("[1, 1.0, a]", [1, 1.0, "a"]),
        ("{a: {b: []}}", {"a": {"b": []}}),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_values_follow_the_core_schema(text: str, value: object) -> None:
    read = value_of(text)
    assert (type(read), read) == (type(value), value)


def test_nan_is_read() -> None:
    assert math.isnan(value_of(".nan"))


def test_aliases_repeat_a_value() -> None:
    document = parse_document("a: &x [1, 2]\nb: *x\nc: {d: *x}\n", "doc")
    assert document.data == {"a": [1, 2], "b": [1, 2], "c": {"d": [1, 2]}}
    assert document.data["a"] is not document.data["b"]


def test_every_value_knows_its_line() -> None:
    document = parse_document("# a comment\n\na: 1\nb:\n  c: [1,\n    2]\n  d: {e: 3}\n", "s.yaml")
    assert document.lines == {
        (): 3,
        ("a",): 3,
        ("b",): 4,
        ("b", "c"): 5,
        ("b", "c", 0): 5,
        ("b", "c", 1): 6,
        ("b", "d"): 7,
        ("b", "d", "e"): 7,
    }
    assert document.place(("b", "c", 1)) == "s.yaml:6"
    assert document.place(("b", "unknown", "deeper")) == "s.yaml:4"
    assert document.place(("unknown",)) == "s.yaml:3"


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 10)}]\n" for below, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("", 1, "empty"),
        ("# only a comment\n", 1, "empty"),
        ("---\n...\n", 1, "empty"),
        ("- a\n- b\n", 1, "must be a mapping"),
        ("\n\nplain\n", 3, '"plain"'),
        ("a: 1\nb: 2\na: 3\n", 3, '"a" is given twice (first in line 1)'),
        ("x:\n  a: 1\n  a: 1\n", 3, "remove one"),
        ("a: 1\n---\nb: 2\n", 2, "a second YAML document"),
        ("a: 1\n...\nb\n", 3, "YAML"),
        ("a:\n\tb: 1\n", 2, "spaces, not tabs"),
        ("a: [1, 2\nb: 3\n", 2, "brackets"),
        ("a: b: c\n", 1, "mapping values are not allowed"),
        ("a: 'open\n", 2, "quotes"),
        ("a: !!python/object/apply:os.system [echo]\n", 1, "!!python/object/apply:os.system"),
        ("a: 1\nb: !!python/name:os.system ''\n", 2, "remove it"),
        ("a: !mine 3\n", 1, '"!mine"'),
        ("a: !!set {b, c}\n", 1, "!!set"),
        ("a: !!binary aGk=\n", 1, "!!binary"),
        ("a: !!timestamp 2020-01-01\n", 1, "!!timestamp"),
        ("a: !!map 3\n", 1, "!!map"),
        ("a: !!str [b]\n", 1, "!!str"),
        ("a: !!int three\n", 1, '"three"'),
        ("a: !!bool yes\n", 1, '"yes"'),
        ("a: *nowhere\n", 1, "nowhere"),
        ("a: 1\nb: &b [*b]\n", 2, "inside the value it repeats"),
        (BOMB, 5, f"more than {MAX_VALUES} values"),
        (f"a: {'[' * 60}{']' * 60}\n", 1, "deep"),
        (f"a: {'[' * 5000}{']' * 5000}\n", 1, "deep"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "merges"),
        ("1: a\n", 1, '"1" is no text'),
        ("a: 1\ntrue: b\n", 2, '"true"'),
        ("~: b\n", 1, "quotes"),
        ("? [a, b]\n: c\n", 1, "a list or mapping is no text"),
        ("a: 1\nb: \x07\n", 2, "not allowed"),
        ('a: 1\nb: "\\ud800"\n', 2, "surrogate"),
        (f"a: {'9' * 5000}\n", 1, "400 digits"),
    ],
)
def test_refused_documents(text: str, line: int, told: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_document(text, "s.yaml")
    message = str(caught.value)
    assert message.startswith(f"s.yaml:{line}: ")
    assert told in message
    assert "\n" not in message


@given(st.text(alphabet="ab:-{}[]&*!|>'\"%#,\n\t \\0.1e~<?é\x85\ufeff\x00", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        document = parse_document(text, "s.yaml")
    except SpecError as error:
        assert str(error).startswith("s.yaml:")
        assert len(str(error).split("\n")) == 1
    else:
        assert isinstance(document.data, dict)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(
        ["1e3", "1e-5", "0o17", "off", "null", "", "<<", "- a", "a: b", "#", ".inf", "0x1F", "~", "=", "!a"]
    ),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("abc", min_size=1), below, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1), plain))
def test_what_is_dumped_is_read_back(data: dict[str, Any]) -> None:
    read = parse_document(dump(data), "s.yaml").data if data else {}
    assert repr(read) == repr(data)


TEXT = "a: 1\nb:\n  c: {d: 2}\n  e: 3\nf: null\n"


@pytest.mark.parametrize(
    ("override", "data"),
    [
        ("a=2", {"a": 2, "b": {"c": {"d": 2}, "e": 3}, "f": None}),
        ("b.c.d=1e-5", {"a": 1, "b": {"c": {"d": 1e-5}, "e": 3}, "f": None}),
        ("b.c={low: 1e-4, log: true}", {"a": 1, "b": {"c": {"low": 1e-4, "log": True}, "e": 3}, "f": None}),
        ("b=[64,128]", {"a": 1, "b": [64, 128], "f": None}),
        ("b.c.x.y=off", {"a": 1, "b": {"c": {"d": 2, "x": {"y": "off"}}, "e": 3}, "f": None}),
        ("f=a=b", {"a": 1, "b": {"c": {"d": 2}, "e": 3}, "f": "a=b"}),
        (" g = '3'", {"a": 1, "b": {"c": {"d": 2}, "e": 3}, "f": None, "g": "3"}),
    ],
)
def test_overrides(override: str, data: dict[str, Any]) -> None:
    assert parse_document(TEXT, "s.yaml", [override]).data == data


def test_a_value_set_by_an_override_is_placed_there() -> None:
    document = parse_document(TEXT, "s.yaml", ["b.c={d: 3}", "n.m.k=1", "b.c.d=4"])
    assert document.place(("b", "c")) == "--set b.c={d: 3}"
    assert document.place(("b", "c", "d")) == "--set b.c.d=4"
    assert document.place(("b", "e")) == "s.yaml:4"
    assert document.place(("n",)) == "--set n.m.k=1"
    assert document.place(("n", "m", "other")) == "--set n.m.k=1"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("a", "path.to.key=VALUE"),
        ("=3", "path.to.key=VALUE"),
        ("a..b=3", "path.to.key=VALUE"),
        (".".join("a" * 5000) + "=3", "path.to.key=VALUE"),
        ("a=", "write null"),
        ("a.b=3", "a is 1, no mapping"),
        ("f.x.y=3", "f is null, no mapping"),
        ("b.e.x=3", "set it whole: b.e={x: ...}"),
        ("a=[1", "not valid YAML"),
        ("a=!!python/none ''", "!!python/none"),
        ("a={x: 1, x: 2}", "given twice"),
        ("a=1\n--- 2", "second YAML document"),
    ],
)
def test_refused_overrides(override: str, told: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_document(TEXT, "s.yaml", [override])
    place = override.replace("\n", "\\n")
    assert str(caught.value).startswith(f"--set {place}: ")
    assert "\n" not in str(caught.value)
    assert told in str(caught.value)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes("\ufeffa: é\r\nb: 2\r\n".encode())
    document = parse_document(read_text(path), str(path))
    assert document.data == {"a": "é", "b": 2}
    assert document.lines[("b",)] == 2


def test_unreadable_files(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: caf\xe9\n")
    for path, told in [
        (latin, f"{latin}:2: byte 0xe9 is not UTF-8; save"),
        (tmp_path, "folder"),
        (tmp_path / "none.yaml", "no such file; check"),
        (latin / "below", "check its path"),
        (tmp_path / "a\0b", "check its path"),
    ]:
        with pytest.raises(SpecError) as caught:
            read_text(path)
        assert told in str(caught.value)
        assert str(caught.value).startswith(str(path))
