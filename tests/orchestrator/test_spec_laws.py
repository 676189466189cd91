"""Laws of the spec over generated sweeps: writing loses nothing, the schema accepts it, counts are right."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from swathe.orchestrator.errors import SpecError
from swathe.orchestrator.spec import Sweep, json_schema, parse
from swathe.orchestrator.spec.conditions import count
from swathe.orchestrator.spec.document import parse_document
from swathe.orchestrator.task import Choice, Float, Int, Lattice, Scalar

SCHEMA = Draft202012Validator(json_schema())
LR = {"low": 1e-4, "high": 1.0, "log": True}


def sweep(**values: Any) -> Sweep:
    return Sweep(**{"name": "n", "task": "t", "metric": "m", **values})


values = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["1e3", "off", "null", "", "0x1F", "- a", "a: b"])
)
axes = st.lists(values, min_size=1, max_size=4, unique_by=lambda value: (type(value), value))
bounds = st.tuples(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
parameters = st.one_of(
    bounds.filter(lambda pair: pair[0] < pair[1]).map(lambda pair: Float(*pair)),
    st.tuples(st.floats(1e-9, 1), st.floats(1.5, 1e9)).map(lambda pair: Float(*pair, log=True)),
    st.integers(1, 9).map(lambda n: Float(0, n, step=0.5)),
    st.tuples(st.integers(-9, 0), st.integers(1, 4)).map(lambda pair: Int(pair[0], pair[0] + 2 * pair[1], step=2)),
    st.integers(2, 99).map(lambda high: Int(1, high, log=True)),
    axes.map(lambda choices: Choice(tuple(choices))),
    st.tuples(st.floats(-20, 0), st.floats(1, 9), st.integers(2, 5)).map(lambda each: Lattice(*each)),
)


@st.composite
def sweeps(draw: st.DrawFn) -> Sweep:
    search: dict[str, Any] = draw(st.dictionaries(st.sampled_from(["lr", "b-1", "ß", "on"]), parameters, max_size=3))
    if search and draw(st.booleans()):
        choices = draw(axes)
        search |= {"opt": Choice(tuple(choices)), "sub": Int(0, 3, when={"opt": draw(st.sampled_from(choices))})}
    conditional, continuous = "sub" in search, any(isinstance(p, Float) and p.step is None for p in search.values())
    names = ["random", "qmc", "tpe", *([] if conditional else ["gp"]), *([] if continuous else ["grid"])]
    name = draw(st.sampled_from(names))
    per_cell = draw(st.integers(99, 500)) if search and name != "grid" else None
    return sweep(
        grid=draw(st.dictionaries(st.sampled_from(["width", "no", "x"]), axes, max_size=2)),
        fixed=draw(st.dictionaries(st.sampled_from(["depth", "y"]), values)),
        search=search,
        configurations=per_cell,
        sampler={"name": name, "generation": draw(st.none() | st.integers(1, 8)), "lag": draw(st.none() | st.just(2))},
        seeds=draw(st.integers(1, 9)),
        resources={"cpus": draw(st.floats(0.1, 64)), "memory": draw(st.none() | st.just("2GiB"))},
        limits={"orphan": draw(st.floats(1, 1e6)), "failures": draw(st.floats(0, 1))},
        fuse=draw(st.sampled_from(["auto", "off"])),
        seed=draw(st.integers(0, 2**63 - 1)),
    )


@given(sweeps())
def test_what_is_written_is_read_back(made: Sweep) -> None:
    read = parse(made.to_yaml())
    assert read == made
    for field in type(made).model_fields:
        assert repr(getattr(read, field)) == repr(getattr(made, field)), field
    assert read.identity() == made.identity()
    assert [cell.key for cell in read.cells] == [cell.key for cell in made.cells]


@given(sweeps())
def test_the_schema_accepts_every_valid_spec(made: Sweep) -> None:
    SCHEMA.validate(parse_document(made.to_yaml(), "spec").data)


SPEC = "name: n\ntask: t\nmetric: m\nsearch: {lr: {low: 0, high: 1}}\nconfigurations: 24\n"


@given(st.floats(min_value=5e-324, max_value=0.5))
def test_an_overridden_float_arrives_identical(low: float) -> None:
    search = parse(SPEC, overrides=[f"search.lr.low={low!r}"]).search["lr"]
    assert isinstance(search, Float)
    assert float.hex(search.low) == float.hex(low)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 3))
def test_the_model_share_counts_configurations_that_see_enough(number: int, size: int, lag: int) -> None:
    seen = [max(0, c // size - lag) * size for c in range(number)]
    modelled = sum(values >= min(10, 2 * size) for values in seen)
    sampler = {"name": "tpe", "generation": size, "lag": lag}
    if not modelled:
        with pytest.raises(SpecError, match="no configuration would see a model"):
            sweep(search={"lr": LR}, configurations=number, sampler=sampler)
        return
    made = sweep(search={"lr": LR}, configurations=number, sampler=sampler)
    assert made.model_share == modelled / number
    assert bool(made.warnings) == (modelled < number / 2)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    """Small finite spaces in which a parameter may hang on one or two earlier ones."""
    search: dict[str, Any] = {}
    for name in "abcde"[: draw(st.integers(1, 5))]:
        choices: list[Scalar] = draw(st.lists(st.sampled_from([1, 2, "x", True]), min_size=1, max_size=3, unique=True))
        above = draw(st.lists(st.sampled_from(sorted(search)), max_size=2, unique=True)) if search else []
        when = {other: draw(st.sampled_from(search[other].choices)) for other in above}
        search[name] = Choice(tuple(choices), when=when or None)
    return search


@given(trees())
def test_combinations_are_counted_once(search: dict[str, Choice]) -> None:
    found: set[tuple[tuple[str, str], ...]] = set()
    for combination in itertools.product(*(each.choices for each in search.values())):
        taken: dict[str, str] = {}
        for (name, each), value in zip(search.items(), combination, strict=True):
            if all(taken.get(other) == repr(wanted) for other, wanted in (each.when or {}).items()):
                taken[name] = repr(value)
        found.add(tuple(taken.items()))
    assert count(search) == len(found)


def test_many_independent_conditions_are_counted_quickly() -> None:
    search: dict[str, Any] = {f"p{n}": Choice((1, 2)) for n in range(40)}
    search |= {f"q{n}": Choice((1, 2), when={f"p{n}": 1}) for n in range(40)}
    assert count(search) == 3**40
    with pytest.raises(SpecError, match="too many trials"):
        sweep(search=search, sampler="grid")
