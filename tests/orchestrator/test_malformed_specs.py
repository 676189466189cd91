"""Specs with one mistake each: the error names the line, the value, the rule and the remedy, in one paragraph."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import Any, NamedTuple

import pytest
import yaml
from jsonschema import Draft202012Validator

from swathe.orchestrator.errors import NotYetSupported, SpecError
from swathe.orchestrator.spec import Sweep, json_schema, parse
from swathe.orchestrator.spec.document import parse_document

GOOD = """\
name: good
task: train.py:train
metric: val_loss
direction: minimize
grid:
  width: [64, 128]
  kind: [a, b]
search:
  lr: {low: 1e-4, high: 1.0, log: true}
  momentum: {low: 0, high: 0.9}
fixed: {depth: 3}
seeds: 3
configurations: 24
sampler: {name: tpe, generation: 4}
resources: {cpus: 1, gpus: 0}
limits: {attempts: 3, orphan: 10m}
fuse: auto
seed: 0
"""


class Mistake(NamedTuple):
    """`old` in the good spec becomes `new`; the error stands in `line` and says each of `told`."""

    label: str
    old: str | list[str]
    new: str | list[str]
    line: int
    told: list[str]


MISTAKES = [
    Mistake(*row)
    for row in yaml.safe_load(Path(__file__).with_name("malformed_specs.yaml").read_text(encoding="utf-8"))
]
SAMPLER = "sampler: {name: tpe, generation: 4}"

# The mistakes that a JSON Schema sees: it knows each value, but neither relations between values nor the YAML.
WRONG_TYPES = (
    "unknown key",
    "name missing",
    "name with a path",
    "name as number",
    "no task",
    "task and command",
    "grid as list",
    "empty axis",
    "axis of one value",
    "axis with null",
    "bound as text",
    "bound as truth",
    "unknown parameter key",
    "log as word",
    "parameter as list",
    "parameter as value",
    "choices and low",
    "no choices",
    "high missing",
    "num zero",
    "fixed list",
    "seeds zero",
    "seeds text",
    "seeds truth",
    "unknown sampler",
    "unknown sampler, short",
    "unknown sampler key",
    "generation zero",
    "cpus zero",
    "unknown resource",
    "memory without unit",
    "unknown limit",
    "failures above one",
    "orphan without unit",
    "orphan null",
    "fuse as truth",
    "seed negative",
    "unknown pruner",
    "isolate unknown",
    "top level list",
)
REMEDIES = (
    "write", "remove", "use", "rename", "move", "swap", "raise", "lower", "narrow", "did you mean", "keep", "leave",
    "add", "correct", "check", "put", "indent", "make", "widen", "let",
)  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.label)
def test_a_mistake_is_told_with_line_value_and_remedy(mistake: Mistake) -> None:
    with pytest.raises(SpecError) as caught:
        parse(spoiled(mistake), "sweep.yaml")
    message = str(caught.value)
    assert message.startswith(f"sweep.yaml:{mistake.line}: "), message
    for told in mistake.told:
        assert told in message
    assert any(remedy in message.partition(": ")[2] for remedy in REMEDIES), message
    assert "\n" not in message
    assert len(message) < 500
    assert not isinstance(caught.value, NotYetSupported)


def spoiled(mistake: Mistake) -> str:
    if not mistake.old:
        return str(mistake.new)
    text = GOOD
    olds, news = ([each] if isinstance(each, str) else each for each in (mistake.old, mistake.new))
    for old, new in zip(olds, news, strict=True):
        assert old in text
        text = text.replace(old, new, 1)
    return text


def test_the_unspoiled_spec_is_good() -> None:
    assert parse(GOOD).warnings == ()
    assert len({mistake.label for mistake in MISTAKES}) == len(MISTAKES)


def test_too_many_cells() -> None:
    axis = "{log2: [0, 1], num: 400}"
    with pytest.raises(SpecError, match=r"^sweep.yaml:5: the grid has 160000 cells, .* remove values"):
        parse(GOOD.replace("[64, 128]", axis).replace("[a, b]", axis), "sweep.yaml")


@pytest.mark.parametrize("label", WRONG_TYPES)
def test_the_schema_refuses_wrong_types_and_keys(label: str) -> None:
    schema = Draft202012Validator(json_schema())
    assert schema.is_valid(values_of(GOOD))
    mistake = next(mistake for mistake in MISTAKES if mistake.label == label)
    assert not schema.is_valid(values_of(spoiled(mistake)))


def values_of(text: str) -> Any:
    return parse_document("whole:\n" + indent(text, "  "), "sweep.yaml").data["whole"]


LATER: tuple[tuple[str, str, int], ...] = (
    (SAMPLER, "sampler: nsga2", 14),
    (SAMPLER, "sampler: {name: cmaes}", 14),
    (SAMPLER, "sampler: Hyperband", 14),
    ("seed: 0", "pruner: {name: hyperband}", 18),
)


@pytest.mark.parametrize(("old", "new", "line"), LATER, ids=[new for _, new, _ in LATER])
def test_what_later_versions_do_is_refused(old: str, new: str, line: int) -> None:
    with pytest.raises(NotYetSupported) as caught:
        parse(GOOD.replace(old, new), "sweep.yaml")
    message = str(caught.value)
    assert message.startswith(f"sweep.yaml:{line}: ")
    assert "this version cannot" in message
    assert any(remedy in message for remedy in REMEDIES)
    assert "\n" not in message


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"sedes": 3}, '"sedes"'),
        ({"self": 3}, '"self"'),
        ({"seeds": 0}, "at least 1"),
        ({"seeds": 10**5000}, "too many trials"),
        ({"seed": 10**5000}, "a int"),
        ({"grid": {1: [2]}}, "a key must be text"),
        ({"grid": {("a", "b"): [2]}}, "a key must be text"),
        ({"grid": {"a": [object()]}}, "one number"),
        ({"fixed": {"a": "\ud800"}}, "surrogate"),
        ({"search": {"a": object()}}, "must be a mapping"),
        ({"resources": [{"cpus": "1"}]}, "resources[0].cpus"),
    ],
)
def test_mistakes_in_python(values: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError) as caught:
        Sweep(**{"name": "n", "task": "t", "metric": "m", **values})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
