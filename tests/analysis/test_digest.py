import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swathe.analysis.digest import digest
from swathe.orchestrator import schema
from swathe.orchestrator.errors import SwatheError

LAYOUT = schema.trials({"width": "int", "lr": "float", "form": "str", "bias": "bool"}, ["accuracy"])
CELLS = ("aa", "b")
NANS = np.array([0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8000000000000], dtype=np.uint64).view(np.float64)


def trial_rows(count=6):
    """Rows of `trials`, all columns set, deterministic."""
    rows = []
    for k in range(count):
        cell, configuration, replicate = CELLS[k % 2], k // 4, (k // 2) % 2
        rows.append(
            {
                "sweep": "s", "cell": cell, "configuration": configuration, "replicate": replicate, "generation": 0,
                "trial": f"{cell}/{configuration}/{replicate}", "proposed_by": "random",
                "state": "FAIL" if k == 1 else "COMPLETE", "cause": "diverged" if k == 1 else None,
                "attempt": 1, "value": None if k == 1 else 0.5 + k, "param.width": 64, "param.lr": 0.1 * k,
                "param.form": "mup", "param.bias": True, "metric.accuracy": float("nan") if k == 1 else 0.25 * k,
                "steps": 10 + k, "started": 1_000_000 + k, "ended": 2_000_000 + k, "worker": f"w{k}", "node": "n",
                "device": "cpu", "lanes": 1, "lease": k, "error": "",
            }
        )  # fmt: skip
    return rows


def metric_rows(trials):
    return [
        {"trial": row["trial"], "attempt": 1, "step": step, "time": 5, "metric": metric, "value": place + 0.5,
         "final": step is None}
        for row in trials
        for place, (step, metric) in enumerate([(0, "loss"), (0, "accuracy"), (1, "loss"), (None, "score")])
    ]  # fmt: skip


def tables(trials, metrics):
    return pa.Table.from_pylist(trials, schema=LAYOUT), pa.Table.from_pylist(metrics, schema=schema.METRICS)


def hashed(trials, metrics, amendments=()):
    return digest(*tables(trials, metrics), amendments)


TRIALS = trial_rows()
METRICS = metric_rows(TRIALS)
REFERENCE = hashed(TRIALS, METRICS)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_order_chunks_and_encodings_do_not_matter(data):
    trials, metrics = tables(data.draw(st.permutations(TRIALS)), data.draw(st.permutations(METRICS)))
    cut = data.draw(st.integers(0, len(TRIALS)))
    trials = pa.concat_tables([trials.slice(0, cut), trials.slice(cut)]).select(
        data.draw(st.permutations(LAYOUT.names))
    )
    cut = data.draw(st.integers(0, len(METRICS)))
    parts = [
        pa.Table.from_pylist(part.to_pylist(), schema=schema.METRICS)
        for part in (metrics.slice(0, cut), metrics.slice(cut))
    ]
    metrics = pa.concat_tables(parts)
    if data.draw(st.booleans()):
        metrics = metrics.unify_dictionaries().combine_chunks()
    if data.draw(st.booleans()):
        plain = {f.name: pa.string() if pa.types.is_dictionary(f.type) else f.type for f in LAYOUT}
        trials = trials.cast(pa.schema([(name, plain[name]) for name in trials.column_names]))
    assert digest(trials, metrics) == REFERENCE


CHANGES = {
    "cell": "c", "configuration": 7, "replicate": 5, "generation": 1, "state": "PRUNED", "cause": "user_error",
    "value": 0.25, "param.width": 65, "param.lr": 0.3, "param.form": "sp", "param.bias": False,
    "metric.accuracy": -0.0, "steps": 3,
}  # fmt: skip
IGNORED = {
    "sweep": "t", "proposed_by": "grid", "attempt": 3, "started": 1, "ended": 1, "worker": "x", "node": "x",
    "device": "cuda", "lanes": 8, "lease": 99, "error": "boom",
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CHANGES)), st.integers(0, len(TRIALS) - 1))
def test_every_included_number_counts(column, row):
    changed = [dict(each) for each in TRIALS]
    changed[row][column] = CHANGES[column]
    if changed[row] != TRIALS[row]:
        assert hashed(changed, METRICS).hexdigest != REFERENCE.hexdigest


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(IGNORED)), st.integers(0, len(TRIALS) - 1))
def test_what_depends_on_the_surroundings_does_not_count(column, row):
    changed = [dict(each) for each in TRIALS]
    changed[row][column] = IGNORED[column]
    assert hashed(changed, METRICS) == REFERENCE


@pytest.mark.parametrize(
    ("column", "value"), [("step", 7), ("step", None), ("metric", "other"), ("value", 0.25), ("value", None)]
)
def test_every_number_of_a_metric_row_counts(column, value):
    for row in range(0, len(METRICS), 5):
        changed = [dict(each) for each in METRICS]
        changed[row][column] = value
        if changed[row] != METRICS[row]:
            assert hashed(TRIALS, changed).hexdigest != REFERENCE.hexdigest


def test_time_and_attempt_of_a_metric_row_do_not_count():
    changed = [{**each, "time": 9, "attempt": 4} for each in METRICS]
    assert hashed(TRIALS, changed) == REFERENCE


def with_value(value):
    changed = [dict(each) for each in TRIALS]
    changed[0]["value"] = value
    return hashed(changed, METRICS).hexdigest


def test_all_nans_are_one_and_none_of_them_is_null_or_zero():
    nans = {with_value(float(nan)) for nan in NANS}
    assert len(nans) == 1
    assert len(nans | {with_value(None), with_value(0.0), with_value(-0.0), with_value(float("inf"))}) == 5


def test_a_null_of_any_column_counts():
    for column in ("generation", "value", "param.form", "param.width", "param.bias", "metric.accuracy", "steps"):
        changed = [dict(each) for each in TRIALS]
        changed[0][column] = None
        assert hashed(changed, METRICS) != REFERENCE
    empty = [dict(each) for each in TRIALS]
    empty[0]["param.form"] = ""
    null = [dict(each) for each in TRIALS]
    null[0]["param.form"] = None
    assert hashed(empty, METRICS) != hashed(null, METRICS)


@pytest.mark.parametrize(
    ("state", "cause"), [("FAIL", "worker_lost"), ("FAIL", "timeout"), ("RUNNING", None), ("WAITING", None)]
)
def test_environmental_outcomes_are_left_out_with_their_rows_and_counted(state, cause):
    lost = [{**TRIALS[0], "state": state, "cause": cause, "value": None}, *TRIALS[1:]]
    found = hashed(lost, METRICS)
    without = hashed(TRIALS[1:], [row for row in METRICS if row["trial"] != TRIALS[0]["trial"]])
    assert found.hexdigest == without.hexdigest
    assert (found.partial, without.partial) == (1, 0)
    assert str(found).endswith("partial (1)") and str(without) == without.hexdigest


def test_amendments_count_in_their_order():
    found = {hashed(TRIALS, METRICS, each).hexdigest for each in ((), ("a", "b"), ("b", "a"), ("ab",), ("a", "b", ""))}
    assert len(found) == 5


def test_empty_tables_have_a_hash():
    assert len(hashed([], []).hexdigest) == 64


def test_a_trial_twice_or_a_missing_column_is_refused():
    with pytest.raises(SwatheError, match="aa/0/0 is in the tables twice"):
        hashed([*TRIALS, TRIALS[0]], METRICS)
    trials, metrics = tables(TRIALS, METRICS)
    with pytest.raises(SwatheError, match="'trials' has no column 'state'"):
        digest(trials.drop_columns(["state"]), metrics)


def test_ten_thousand_trials_take_a_moment():
    rng = np.random.default_rng(0)
    n, steps = 10_000, 10
    cell = np.char.add("c", (np.arange(n) // 100).astype(str))
    number = np.arange(n) % 100
    names = np.char.add(np.char.add(cell, "/"), np.char.add(number.astype(str), "/0"))
    trials = pa.table(
        {
            "cell": cell, "configuration": number, "replicate": np.zeros(n, np.int32), "generation": number // 4,
            "trial": names, "state": np.full(n, "COMPLETE"), "cause": pa.nulls(n, pa.string()),
            "value": rng.normal(size=n), "param.lr": rng.normal(size=n), "steps": np.full(n, steps),
        }
    ).take(rng.permutation(n))  # fmt: skip
    metrics = pa.table(
        {
            "trial": np.repeat(names, steps), "step": np.tile(np.arange(steps), n),
            "metric": pa.array(np.full(n * steps, "loss")).dictionary_encode(), "value": rng.normal(size=n * steps),
        }
    ).take(rng.permutation(n * steps))  # fmt: skip
    began = time.perf_counter()
    assert digest(trials, metrics).partial == 0
    assert time.perf_counter() - began < 5.0
