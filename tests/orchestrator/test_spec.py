"""The sweep that a spec describes: its cells, counts and identity, and that writing and reading it loses nothing."""

from __future__ import annotations

import itertools
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from swathe.orchestrator.errors import SpecError
from swathe.orchestrator.spec import Cell, Sweep, cell_key, json_schema, load, parse
from swathe.orchestrator.spec import sweep as spec_module
from swathe.orchestrator.spec.document import parse_document
from swathe.orchestrator.task import Choice, Float, Int, Lattice

EXAMPLE = """\
name: lr-transfer-mnist
task: train.py:train
metric: val_loss
direction: minimize
grid:                          # axes: every combination is a cell; each cell has its own search
  parameterization: [standard, mup]
  width: [64, 128, 256, 512]
search:                        # what Optuna proposes inside each cell
  lr: {low: 1e-4, high: 1.0, log: true}
fixed: {depth: 3, steps: 500}
seeds: 3                       # replicates; replicate k has the same seeds in every configuration (paired)
configurations: 24             # per cell
sampler: {name: tpe, generation: 4}
pruner: null
resources: {cpus: 1, gpus: 0}  # of one trial
limits: {trial: null, stall: null, sweep: null, attempts: 3, workers: null, orphan: 10m, failures: 0.1}
fuse: auto                     # auto | off | a number of lanes
seed: 0
"""
CONDITIONAL = """\
name: a.b_c-1
task: pkg.mod:train
metric: val/accuracy
direction: maximize
grid: {width: {log2: [6, 8], num: 3}, flag: [true, 1, 1.0, "1"]}
search:
  opt: {choices: [sgd, adam, 3, 3.0, true, off]}
  momentum: {low: 0, high: 1, step: 0.25, when: {opt: sgd}}
  beta: {log2: [-3, 0], num: 4, when: {opt: adam, layers: 2}}
  layers: {low: 1, high: 3, int: true}
sampler: grid
resources: {cpus: 0.5, gpus: 0.25, memory: 1.5GiB}
limits: {orphan: 90s, workers: 4, failures: 1}
fuse: off
seed: 9223372036854775807
"""
SMALLEST = "name: n\ntask: t\nmetric: m\n"


def sweep(**values: Any) -> Sweep:
    return Sweep(**{"name": "n", "task": "t", "metric": "m", **values})


LR = {"low": 1e-4, "high": 1.0, "log": True}


def test_the_example() -> None:
    example = parse(EXAMPLE)
    assert (example.name, example.task, example.metric) == ("lr-transfer-mnist", "train.py:train", "val_loss")
    assert example.grid == {"parameterization": ("standard", "mup"), "width": (64, 128, 256, 512)}
    assert example.search == {"lr": Float(1e-4, 1.0, log=True)}
    assert example.fixed == {"depth": 3, "steps": 500}
    assert (example.seeds, example.configurations, example.per_cell) == (3, 24, 24)
    assert (example.generation_size, example.lag, example.startup) == (4, 1, 8)
    assert (example.limits.attempts, example.limits.orphan, example.limits.failures) == (3, 600.0, 0.1)
    assert example.model_share == 0.5
    assert example.warnings == ()


def test_the_defaults() -> None:
    smallest = parse(SMALLEST)
    assert smallest == sweep()
    assert (smallest.direction, smallest.seeds, smallest.seed, smallest.fuse) == ("minimize", 1, 0, "auto")
    assert (smallest.per_cell, smallest.generation_size, smallest.lag, smallest.model_share) == (1, 1, 0, 0.0)
    assert (smallest.limits.trial, smallest.limits.stall, smallest.limits.sweep) == (None, None, None)
    assert (smallest.resources.cpus, smallest.resources.gpus, smallest.resources.memory) == (1.0, 0.0, None)
    assert smallest.cells == (Cell(0, cell_key({}), {}),)
    assert smallest.warnings == ()


def test_a_conditional_spec() -> None:
    conditional = parse(CONDITIONAL)
    assert conditional.grid["width"] == (64.0, 128.0, 256.0)
    assert list(conditional.search) == ["layers", "opt", "beta", "momentum"]
    assert conditional.search["momentum"] == Float(0.0, 1.0, step=0.25, when={"opt": "sgd"})
    # sgd has 5 momenta, adam 4 betas in one of three depths, and four other choices have none
    assert conditional.per_cell == 3 * 5 + (4 + 2) + 3 * 4
    assert conditional.resources.memory == 3 * 2**29
    assert (conditional.limits.orphan, conditional.limits.failures, conditional.fuse) == (90.0, 1.0, "off")
    assert len({cell.key for cell in conditional.cells}) == 12


def test_cells_are_combinations_named_by_their_content() -> None:
    cells = sweep(grid={"a": [1, 2], "b": ["x", "y"]}).cells
    assert [dict(cell.values) for cell in cells] == [{"a": a, "b": b} for a, b in itertools.product([1, 2], ["x", "y"])]
    assert [cell.index for cell in cells] == [0, 1, 2, 3]
    # A key is written into ledgers, so it may never change.
    assert cells[0].key == "ecf9e98ec0"
    assert cell_key({"b": "x", "a": 1}) == cells[0].key
    assert sweep(grid={"b": ["y", "x"], "a": [1]}).cells[1].key == cells[0].key
    assert len({cell_key({"a": value}) for value in (1, 1.0, True, "1")}) == 4


def test_cells_that_share_a_key_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_module, "cell_key", lambda values: "0123456789")
    with pytest.raises(SpecError, match="rename an axis"):
        sweep(grid={"a": [1, 2]})


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        ({"grid": {"a": [1, 2]}}, {"a": "int"}),
        ({"grid": {"a": [1, 2.5]}}, {"a": "float"}),
        ({"grid": {"a": [2**53 + 1, 2.5]}}, {"a": "json"}),
        ({"grid": {"a": [True, False]}}, {"a": "bool"}),
        ({"grid": {"a": [True, 1]}}, {"a": "json"}),
        ({"grid": {"a": ["x", 1]}}, {"a": "json"}),
        ({"grid": {"a": ["x"]}, "fixed": {"b": 2, "c": 0.5, "d": "y", "e": True}},
         {"a": "str", "b": "int", "c": "float", "d": "str", "e": "bool"}),
        ({"search": {"f": Float(0, 1), "i": Int(0, 1), "l": Lattice(-2, 0, 3), "c": Choice((1, "a"))},
          "configurations": 1, "sampler": "random"}, {"c": "json", "f": "float", "i": "int", "l": "float"}),
    ],
)  # fmt: skip
def test_parameter_kinds(values: dict[str, Any], kinds: dict[str, str]) -> None:
    assert sweep(**values).parameter_kinds() == kinds


def test_kinds_come_in_the_order_grid_search_fixed() -> None:
    kinds = sweep(fixed={"a": 1}, search={"c": LR, "b": LR}, grid={"d": [1]}, configurations=24).parameter_kinds()
    assert list(kinds) == ["d", "b", "c", "a"]


def test_parameters_from_python_equal_those_of_a_file() -> None:
    ready = sweep(
        search={"lr": Float(1e-4, 1, log=True), "n": Int(1, 9, step=2), "l": Lattice(0, 2, 3, when={"n": 3})},
        grid={"w": Lattice(6, 7, 2), "v": (1, 2)},
        sampler="random",
        configurations=3,
    )
    assert ready == parse(
        SMALLEST + "search: {n: {low: 1, high: 9, int: true, step: 2}, l: {log2: [0, 2], num: 3, when: {n: 3}},"
        "  lr: {low: 1e-4, high: 1.0, log: true}}\n"
        "grid: {w: [64.0, 128.0], v: [1, 2]}\nsampler: {name: random}\nconfigurations: 3\n"
    )
    assert ready != sweep(**{**ready.model_dump(), "grid": {"w": [64, 128.0], "v": [1, 2]}})


def test_whole_floats_are_whole_numbers_where_those_are_wanted() -> None:
    assert parse(SMALLEST + "search: {n: {low: 1e2, high: 1e3, int: true}}\nsampler: qmc\nconfigurations: 2\n").search[
        "n"
    ] == Int(100, 1000)


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("90s", 90.0), ("10m", 600.0), ("2h", 7200.0), ("1.5h", 5400.0), ("2 d", 172800.0), ("45", 45.0), ("0.5", 0.5)],
)
def test_durations(duration: str, seconds: float) -> None:
    assert parse(SMALLEST, overrides=[f"limits.orphan={duration}"]).limits.orphan == seconds


@pytest.mark.parametrize(
    ("memory", "size"), [("4GiB", 4 * 2**30), ("500MB", 5 * 10**8), ("1.5 kB", 1500), ("4096", 4096)]
)
def test_memory(memory: str, size: int) -> None:
    assert parse(SMALLEST, overrides=[f"resources.memory={memory}"]).resources.memory == size


@pytest.mark.parametrize(
    ("sampler", "size", "lag", "startup"),
    [
        ("tpe", 4, 1, 8),
        ("gp", 4, 1, 8),
        ("random", 16, 0, 10),
        ("qmc", 16, 0, 10),
        ({"name": "tpe", "generation": 1, "lag": 0}, 1, 0, 2),
        ({"name": "tpe", "generation": 8}, 8, 1, 10),
        ({"name": "random", "generation": 3}, 3, 0, 6),
    ],
)
def test_generations(sampler: str | dict[str, Any], size: int, lag: int, startup: int) -> None:
    made = sweep(search={"lr": LR}, configurations=64, sampler=sampler)
    assert (made.generation_size, made.lag, made.startup) == (size, lag, startup)


def test_warnings_name_the_value_and_the_remedy() -> None:
    (warning,) = parse(EXAMPLE, overrides=["configurations=20"]).warnings
    assert "20 configurations" in warning and "configurations: 24" in warning
    (warning,) = parse(SMALLEST, overrides=["sampler=gp"]).warnings
    assert "gp" in warning and "remove" in warning
    (warning,) = parse(EXAMPLE, overrides=["sampler={name: qmc, lag: 2}"]).warnings
    assert "lag 2" in warning and "remove" in warning


AMENDMENTS = ["configurations=48", "seeds=4", "resources.cpus=2", "limits.attempts=1", "fuse=off",
              "grid.width=[64, 1024]", "name=other"]  # fmt: skip
BRANCHES = ["task=other.py:train", "metric=loss", "direction=maximize", "search.lr.low=1e-5", "fixed.depth=3.0",
            "seed=1", "sampler=gp", "sampler.generation=2", "sampler.lag=0", "grid={depth2: [1]}"]  # fmt: skip


def test_identity_is_what_amendments_leave_alone() -> None:
    def identity(*overrides: str) -> str:
        return json.dumps(parse(EXAMPLE, overrides=overrides).identity(), sort_keys=True)

    assert {identity(amendment) for amendment in AMENDMENTS} == {identity()}
    assert len({identity(branch) for branch in BRANCHES} | {identity()}) == len(BRANCHES) + 1
    assert json.loads(identity()) == parse(EXAMPLE).identity()
    assert identity("sampler=tpe") == identity("sampler={name: tpe, generation: 4, lag: 1}")


def test_the_order_in_a_file_changes_nothing_that_is_proposed() -> None:
    one = sweep(search={"b": Choice((1, 2)), "a": Choice((1,), when={"b": 1}), "c": Int(0, 1)}, sampler="grid")
    other = sweep(search={"c": Int(0, 1), "a": Choice((1,), when={"b": 1}), "b": Choice((1, 2))}, sampler="grid")
    assert list(one.search) == list(other.search) == ["b", "c", "a"]
    assert one == other


def test_a_file_knows_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sweep.yaml").write_text(EXAMPLE)
    monkeypatch.chdir(tmp_path)
    loaded = load(Path("sweep.yaml"), ["seeds=5"])
    assert (loaded.root, loaded.seeds) == (tmp_path, 5)
    assert parse(EXAMPLE).root == sweep().root == tmp_path
    assert parse(EXAMPLE, root=Path("/elsewhere")).root == Path("/elsewhere")
    assert parse(EXAMPLE, root=Path("/elsewhere")) == parse(EXAMPLE)
    assert "root" not in json.dumps([parse(EXAMPLE).identity(), json_schema(), parse(EXAMPLE).to_yaml()])
    with pytest.raises(SpecError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_a_sweep_is_a_value() -> None:
    first = parse(CONDITIONAL, root=Path("/elsewhere"))
    again = pickle.loads(pickle.dumps(first))
    assert (again, again.root, hash(again)) == (first, first.root, hash(first))
    with pytest.raises(ValueError, match="frozen"):
        first.seeds = 3  # type: ignore[misc]
    assert first.cells is first.cells
    more = first.model_copy(update={"grid": {"a": [1]}, "seeds": 2})
    assert (len(more.cells), more.seeds, more.root) == (1, 2, Path("/elsewhere"))
    with pytest.raises(SpecError):
        first.model_copy(update={"seeds": 0})
    assert first != 3


def test_the_schema_is_one_and_describes_every_field() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    json.dumps(schema)
    for name, field in schema["properties"].items():
        assert field.get("description"), name
    validator = Draft202012Validator(schema)
    for text in (EXAMPLE, CONDITIONAL, SMALLEST, SMALLEST + "sampler: tpe\n"):
        validator.validate(parse_document(text, "spec").data)


def test_overrides_reach_every_form() -> None:
    overrides = ["search.lr={low: 1e-4, high: 1, log: true}", "grid.width=[64,128]", "fixed.wd=1e-5", "sampler=random"]
    made = parse(EXAMPLE, overrides=overrides)
    assert made.search == parse(EXAMPLE).search
    assert (made.grid["width"], made.fixed["wd"], made.sampler.name) == ((64, 128), 1e-5, "random")
    with pytest.raises(SpecError, match=r"^--set grid.width=\[\]: "):
        parse(EXAMPLE, overrides=["grid.width=[]"])


def test_the_spec_is_light_to_import() -> None:
    program = (
        "import sys, swathe.orchestrator.spec\n"
        "print({'ray', 'torch', 'optuna', 'pandas', 'pyarrow', 'numpy', 'sqlalchemy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
