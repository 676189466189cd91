"""Resources by cell: the grammar of rules, and that trials run only where they occupy what their rule says."""

from __future__ import annotations

import random
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.analysis.digest import digest
from swathe.orchestrator import compaction
from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.errors import SpecError
from swathe.orchestrator.events import (
    CloseSweep,
    DismissWorker,
    Event,
    GenerationProposed,
    GrantLease,
    LeaseWanted,
    ProposeGeneration,
    TrialsEnded,
    WorkerLost,
)
from swathe.orchestrator.messages import Lease, Outcome, State, Suggestion
from swathe.orchestrator.packing import Fusing
from swathe.orchestrator.schedule import CellPlan, Plan, ScheduleState
from swathe.orchestrator.spec import Resources, Sweep, json_schema, parse

GRID = "name: n\ntask: t.py:t\nmetric: m\ngrid: {width: [64, 128, 1024], kind: [a, b]}\n"
SEARCH = "search: {lr: {low: 0, high: 1}}\nsampler: random\n"
TEXT = GRID + SEARCH + "configurations: 2\nfixed: {depth: 3}\nresources: "
WHOLE = "[{when: {width: [128, 1024], kind: a}, gpus: 1}, {when: {width: 1024.0}, cpus: 2, memory: 1GiB}, {}]"

# A trial that says how many threads it has, and where it runs.
TELLING = """
import os

def train(trial):
    trial.report(0, loss=trial.params["lr"] * trial.params["width"] + trial.seed("init") / 2**31)
    return {"loss": 1.0, "threads": float(os.environ["OMP_NUM_THREADS"])}
"""
RULES = "resources=[{when: {width: 2}, cpus: 2}, {cpus: 1}]"


def test_the_first_rule_that_fits_a_cell_counts() -> None:
    sweep = parse(TEXT + WHOLE, "x.yaml")
    found = {(cell.values["width"], cell.values["kind"]): sweep.occupied(cell.key) for cell in sweep.cells}
    gpu, large, other = Resources(gpus=1), Resources(cpus=2, memory=2**30), Resources()
    assert found == {
        (64, "a"): other,
        (64, "b"): other,
        (128, "a"): gpu,
        (128, "b"): other,
        (1024, "a"): gpu,
        (1024, "b"): large,
    }
    assert list(sweep.shares) == ["cpus=1", "cpus=1 gpus=1", "cpus=2 memory=1GiB"]
    assert parse(sweep.to_yaml(), "y.yaml") == sweep
    assert sweep.model_copy(update={"seeds": 2}).shares == sweep.shares


def test_resources_are_no_part_of_what_a_sweep_is() -> None:
    one, rules = parse(TEXT + "{cpus: 1}", "x.yaml"), parse(TEXT + WHOLE, "x.yaml")
    assert one.identity() == rules.identity() and one.cells == rules.cells
    assert one.shares == {"": Resources()}


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("[{cpus: 1}, {cpus: 2}]", "resources[0] has no `when`, so that the rules after it are never used; move it"),
        ("[{when: {width: 64}}]", "no rule for cells that fit none; end the list with a rule without `when`, such as"),
        ("[{when: {width: 65}}, {}]", "resources[0].when.width is 65, but the axis width never takes that value; use"),
        ('[{when: {width: "64"}}, {}]', 'is "64", but the axis width never takes that value; use one of 64, 128, 1024'),
        ("[{when: {widht: 64}}, {}]", '"widht", which is no axis of grid; did you mean `width`?'),
        ("[{when: {lr: 1}}, {}]", "stands under search: the trials of a cell occupy the same, whatever is searched"),
        ("[{when: {depth: 3}}, {}]", "stands under fixed; name an axis of grid"),
        ("[{when: {}}, {}]", "resources[0].when is {}, but a condition needs an axis; write for example"),
        ("[{when: {width: []}}, {}]", "resources[0].when.width is [], but a condition needs a value; write one"),
        ("[{when: [64]}, {}]", "resources[0].when is [64], but must be a mapping"),
        ("[{when: {width: [[64]]}}, {}]", "resources[0].when.width is [64], but a value must be one number"),
        ("[{when: {width: 64}, gpus: 1.5}, {}]", "resources[0].gpus is 1.5, but above 1 it must be a whole number"),
    ],
)
def test_a_broken_rule_is_told_with_value_rule_and_remedy(rules: str, told: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse(TEXT + rules, "x.yaml")
    assert str(raised.value).startswith("x.yaml:9: ") and told in str(raised.value)


def test_a_rule_that_counts_for_no_cell_is_pointed_out() -> None:
    sweep = parse(TEXT + "[{when: {width: 64}}, {when: {width: 64, kind: a}, cpus: 2}, {}]", "x.yaml")
    (remark,) = sweep.warnings
    assert remark.startswith("resources[1] counts for no cell")


def test_the_schema_knows_rules() -> None:
    schema = jsonschema.Draft202012Validator(json_schema())
    base = {"name": "n", "task": "t", "metric": "m", "grid": {"width": [64]}}
    good = [{"when": {"width": [64]}, "gpus": 1}, {"when": {"width": 64}}, {"cpus": 2}]
    assert schema.is_valid({**base, "resources": good}) and schema.is_valid({**base, "resources": {"cpus": 1}})
    for bad in ([], [{"when": {}}], [{"when": {"width": []}}], [{"cpu": 1}], [{"when": 3}]):
        assert not schema.is_valid({**base, "resources": bad})


# The schedule

CELLS = (
    CellPlan("a", {"width": 1}, "small"),
    CellPlan("b", {"width": 2}, "large"),
    CellPlan("c", {"width": 1}, "large"),
)
SHARES = {cell.key: cell.share for cell in CELLS}


class Floor:
    """Workers of two shares, driven at random: each is given only what its share may run."""

    def __init__(self, state: ScheduleState, seed: int) -> None:
        self.state, self.draw = state, random.Random(seed)
        self.shares = {f"{share}-{k}": share for share in ("small", "large") for k in range(2)}
        self.dismissed: list[str] = []
        self.over: set[str] = set()
        self.closed: str | None = None

    def drive(self) -> None:
        messages: list[list] = [[LeaseWanted(0.0, worker, share)] for worker, share in self.shares.items()]
        while messages:
            self.draw.shuffle(messages)
            for event in messages.pop():
                messages += self._handle(event)

    def _handle(self, event: Event) -> list[list]:
        said: list[list] = []
        for each in self.state.handle(event):
            match each:
                case ProposeGeneration(cell=cell, generation=generation):
                    numbers = self.state.plan.numbers(generation)
                    made = tuple(Suggestion(number, {}, "random") for number in numbers)
                    said += self._handle(GenerationProposed(0.0, cell, generation, made))
                case GrantLease(lease=lease):
                    said.append(self._run(lease))
                case DismissWorker(worker=worker):
                    self.dismissed.append(worker)
                    self.over.add(self.shares[worker])
                case CloseSweep(reason=reason):
                    self.closed = reason
                case _:
                    pass
        self.state.validate()
        return said

    def _run(self, lease: Lease) -> list:
        share = self.shares[lease.worker]
        assert {SHARES[given.trial.cell] for given in lease.assignments} == {share}
        assert share not in self.over, "who is sent away has left nothing to others"
        if self.draw.random() < 0.1:
            return [WorkerLost(0.0, lease.worker), LeaseWanted(0.0, lease.worker, share)]
        ends = tuple(Outcome(given.trial, given.attempt, State.COMPLETE, value=1.0) for given in lease.assignments)
        return [TrialsEnded(0.0, lease.worker, lease.number, ends), LeaseWanted(0.0, lease.worker, share)]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**16), fused=st.booleans(), sequential=st.booleans())
def test_a_trial_goes_only_to_workers_of_its_share(seed: int, fused: bool, sequential: bool) -> None:
    fusing = Fusing({"width": None}, 3) if fused else None
    plan = Plan(CELLS, 6, 2, generation=2, sequential=sequential, attempts=50, fusing=fusing)
    floor = Floor(ScheduleState(plan), seed)
    assert floor.state.demand == {"small": 1, "large": 1}
    floor.drive()
    assert floor.closed == "finished" and floor.state.demand == {"small": 0, "large": 0}
    assert set(floor.dismissed) == set(floor.shares)


def test_a_worker_of_a_share_that_nobody_asks_for_is_sent_away() -> None:
    state = ScheduleState(Plan(CELLS, 4))
    assert [each.worker for each in state.handle(LeaseWanted(0.0, "w", "huge")) if isinstance(each, DismissWorker)] == [
        "w"
    ]


# Whole sweeps


def sweep_of(make_sweep, *overrides: str) -> Sweep:
    return make_sweep("configurations=4", "seeds=2", *overrides, task=TELLING)


def test_inline_runs_each_trial_with_the_threads_of_its_rule(make_sweep, tmp_path: Path) -> None:
    alike = run(sweep_of(make_sweep), Launch(tmp_path / "alike", "inline"))
    finished = run(sweep_of(make_sweep, RULES), Launch(tmp_path / "rules", "inline"))
    tables = compaction.read_tables(finished.folder)
    threads = tables.metrics.to_pandas().query("metric == 'threads'").set_index("trial")["value"]
    widths = tables.trials.to_pandas().set_index("trial")["param.width"]
    assert {(widths[trial], number) for trial, number in threads.items()} == {(1, 1.0), (2, 2.0)}
    assert digest(*compaction.read_tables(alike.folder)[:2]) != digest(*tables[:2]), "they return their threads"


@pytest.mark.ray
@pytest.mark.parametrize("workers", [None, 1])
def test_embedded_makes_workers_of_each_share(
    make_sweep, tmp_path: Path, ray_session: None, workers: int | None
) -> None:
    inline = run(sweep_of(make_sweep, RULES), Launch(tmp_path / "inline", "inline"))
    finished = run(sweep_of(make_sweep, RULES), Launch(tmp_path / "embedded", "embedded", workers))
    tables = compaction.read_tables(finished.folder)
    trials = tables.trials.to_pandas()
    assert (finished.reason, len(trials)) == ("finished", 16), trials
    shared = trials.groupby("param.width", observed=True)["worker"].agg(set)
    assert not shared[1] & shared[2], "no worker ran trials of both"
    assert digest(*tables[:2]) == digest(*compaction.read_tables(inline.folder)[:2])
