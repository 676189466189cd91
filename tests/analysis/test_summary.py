import numpy as np
import pandas as pd
import pytest

from swathe.analysis.summary import best_configurations, failures, verdict_table
from swathe.analysis.transfer import judge_by
from swathe.analysis.words import group_label, interval, plain, signed, spoken


def trial(cell, configuration, replicate, value, **rest):
    state = "FAIL" if value is None else "COMPLETE"
    columns = {"cell": cell, "configuration": configuration, "replicate": replicate, "value": value, "state": state}
    return {**columns, "trial": f"{cell}/{configuration}/{replicate}", "cause": None, "error": "", **rest}


def frame():
    rows = [
        trial("a", k, r, value, **{"param.width": 8, "param.lr": 0.1 * (k + 1)})
        for k, values in enumerate([(1.0, 1.2), (0.5, 0.7), (0.1, None)])
        for r, value in enumerate(values)
    ]
    rows += [trial("b", 0, r, 2.0 + r, **{"param.width": 4, "param.lr": 0.1}) for r in range(2)]
    return pd.DataFrame(rows)


def test_the_best_configuration_has_all_its_seeds_where_one_has():
    narrow, wide = best_configurations(frame(), "minimize")
    assert (wide.label, wide.configuration, wide.seeds, wide.ended, wide.tried) == ("width 8", 1, 2, 2, 3)
    assert wide.value == pytest.approx(0.6) and wide.error == pytest.approx(0.1)
    assert wide.params == pytest.approx({"lr": 0.2})
    assert (narrow.label, narrow.value) == ("width 4", 2.5)
    assert best_configurations(frame(), "maximize")[1].configuration == 0


def test_without_results_there_is_no_best():
    assert best_configurations(frame().iloc[:0], "minimize") == ()
    assert best_configurations(frame().assign(state="FAIL", value=np.nan), "minimize") == ()


def test_failures_are_counted_with_an_example():
    trials = frame()
    trials.loc[0, ["state", "cause", "error"]] = ["FAIL", "user_error", "Traceback\n  here\nValueError: bad\n"]
    trials.loc[1, ["state", "cause", "error"]] = ["FAIL", "user_error", ""]
    first, second = failures(trials)
    assert (first.cause, first.count, first.example, first.error) == ("user error", 2, "a/0/0", "ValueError: bad")
    assert (second.cause, second.count) == ("fail", 1)


def test_verdict_rows_are_words(make_study):
    trials = make_study(np.random.default_rng(0), 0.0, seeds=5).frame()
    (row,) = verdict_table(judge_by(trials, [], axis="width", hyperparameter="lr"), [])
    assert row.group == "all trials" and row.verdict == "transfers" and row.seeds == 5
    cut = trials[trials["param.lr"] < 0.5]
    (row,) = verdict_table(judge_by(cut, [], axis="width", hyperparameter="lr"), [])
    assert row.drift == "censored" and row.regret == "unknown"


def test_words():
    assert spoken("val_loss") == "validation loss" and spoken("metric.train_acc") == "metric training accuracy"
    assert group_label(["form", "depth"], ["mup", 3]) == "mup, depth 3"
    assert signed(-0.126) == "\N{MINUS SIGN}0.13" and signed(0.0) == "+0.00"
    assert plain(-2.0) == "\N{MINUS SIGN}2" and plain(float("nan")) == "unknown"
    assert interval(-float("inf"), 0.1) == "at most +0.10" and interval(0.1, float("inf")) == "at least +0.10"
