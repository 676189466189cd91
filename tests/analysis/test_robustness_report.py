"""The tables that a report shows, and the figures."""

import io
import time
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest

from swathe.analysis import load, plots, portraits, robustness
from swathe.orchestrator import driver
from swathe.orchestrator.spec import parse

SPEC = """name: study
task: train.py:train
metric: train_loss
grid: {width: [64, 128]}
search: {lr: {log2: [-2.5, 2.5], num: 11}}
sampler: grid
seeds: 3
"""


@pytest.fixture
def trials(make_study):
    return make_study(np.random.default_rng(0), 0.0, seeds=3, levels=2).frame()


def several(cells, configurations, seeds, rng):
    """A random search of two parameters in several cells."""
    cell, number, seed = (index.ravel() for index in np.indices((cells, configurations, seeds)))
    lr, wd = (2.0 ** rng.uniform(-10, 0, size=(cells, configurations)) for _ in range(2))
    cost = (np.log2(lr) + 5) ** 2 + 0.1 * np.log2(wd)
    value = cost[cell, number] + 0.3 * rng.normal(size=len(cell))
    rows = {"cell": [f"w{each}" for each in cell], "configuration": number, "replicate": seed, "state": "COMPLETE"}
    rows |= {"cause": None, "value": value, "param.lr": lr[cell, number], "param.wd": wd[cell, number]}
    return pd.DataFrame(rows | {"param.width": 64 * 2.0**cell})


def test_a_sweep_over_one_number_has_widths_and_a_winner(trials):
    tables = {table.title: table for table in robustness.robustness_tables(trials, parse(SPEC))}
    assert list(tables) == [
        "The winner, without the luck of being chosen",
        "Reliability over seeds",
        "Sensitivity to the hyperparameter",
    ]
    for table in tables.values():
        assert [row[0] for row in table.rows] == ["width 64", "width 128"]
        assert all(len(row) == len(table.heads) for row in table.rows)
    winner = tables["The winner, without the luck of being chosen"].rows[0]
    assert " to " in winner[1] and winner[3].startswith("lr = ") and winner[4].endswith(" of 3") and winner[5] == "3"
    width = tables["Sensitivity to the hyperparameter"].rows[0]
    assert width[1] == "learning rate" and width[3] == "5% of the best" and width[4].endswith("times the best")


def test_two_searched_numbers_have_importances_in_place_of_widths():
    frame = several(2, 24, 3, np.random.default_rng(1))
    tables = {table.title: table for table in robustness.robustness_tables(frame, parse(SPEC))}
    assert "Sensitivity to the hyperparameter" not in tables
    rows = tables["Importance of hyperparameters"].rows
    assert [row[1] for row in rows] == ["learning rate", "weight decay"] * 2 and rows[0][3] == "24"


def test_fewer_than_three_seeds_say_nothing(trials):
    assert robustness.robustness_tables(trials, parse(SPEC.replace("seeds: 3", "seeds: 2"))) == []
    assert robustness.robustness_tables(trials.iloc[:0], parse(SPEC)) == []


@pytest.mark.parametrize("case", ["diverged", "some diverged", "one seed so far", "failed", "accuracy"])
def test_every_state_of_a_sweep_has_tables(trials, case):
    none = {"state": "FAIL", "value": np.nan}
    rows = {
        "diverged": trials.assign(**none, cause="diverged"),
        "some diverged": trials,
        "one seed so far": trials[trials["replicate"] == 0],
        "failed": trials.assign(**none, cause="user_error"),
        "accuracy": trials.assign(value=1 - trials["value"]),
    }[case]
    spec = SPEC if case != "accuracy" else SPEC.replace("train_loss", "accuracy\ndirection: maximize")
    for table in robustness.robustness_tables(rows, parse(spec)):
        assert all(len(row) == len(table.heads) and all(isinstance(each, str) for each in row) for row in table.rows)


def test_ten_thousand_trials_take_seconds():
    frame = several(20, 100, 5, np.random.default_rng(2))
    start = time.process_time()
    tables = robustness.robustness_tables(frame, parse(SPEC.replace("seeds: 3", "seeds: 5")))
    assert len(tables) == 3 and time.process_time() - start < 20


def test_every_entry_is_there():
    assert all(callable(getattr(robustness, name)) for name in robustness.__all__)


@pytest.fixture
def folder(make_sweep, tmp_path):
    sweep = make_sweep("seeds=3", "configurations=24", "grid.depth=[1, 2]")
    return sweep, driver.run(sweep, driver.Launch(tmp_path / "sweeps", cluster="inline")).folder


def test_every_question_can_be_put_to_a_sweep_that_was_run(folder):
    sweep, place = folder
    trials, metrics = load.trials(place), load.metrics(place)
    assert [len(table.rows) for table in robustness.robustness_tables(trials, sweep)] == [4, 4, 4]
    names = {"method": "width", "task": "depth"}
    assert robustness.aggregate(trials, **names)["1"].n == 3
    assert robustness.improvement(trials, "1", "2", **names).decided
    assert len(robustness.performance_profiles(trials, **names)) == 2
    assert robustness.compare_methods(trials, **names).n == 2
    assert robustness.rank_stability(trials, **names).n == 3
    assert robustness.tuning_curves(trials, method="width")[0].n == 48
    assert robustness.contest(trials, "1", "2", method="width", budgets=(3,)).n == (48, 48)
    assert robustness.tunability(trials, method="width", budget=5)["2"].decided
    assert robustness.compare_widths(trials, "1", "2", "lr", method="width").estimate is not None
    assert robustness.importances(trials, parameters=["lr", "depth"])["lr"].estimate > 0.5
    assert len(robustness.winners(trials)) == 4
    both = {0: "metric.loss", 1: "value"}
    assert robustness.strength_curves(trials, both, method="width", direction="minimize")[0].n == 3
    assert robustness.worst_domain(trials, {"l": "value"}, "oracle", direction="minimize")[0].rule == "oracle"
    assert robustness.mean_corruption_error(trials, {"l": ["value"]}, method="width", reference="1")[0].estimate == 1
    found = robustness.speeds(trials, metrics, metric="loss", target=1.0, method="width", workload="depth")
    assert all(np.isfinite(list(each.times.values())).all() for each in found)
    seconds = robustness.time_to_target(trials, metrics, "loss", 1.0, "minimize", "seconds")
    assert (seconds[np.isfinite(seconds)] >= 0).all()
    one = trials[(trials["param.depth"] == 1) & (trials["configuration"] == 0)]
    assert robustness.decompose(one, ["width", "replicate"])[0].stream == "width"
    assert len(robustness.one_at_a_time(one, "width")) == 2


def texts(figure):
    figure.draw_without_rendering()
    return [each.get_text() for each in figure.findobj(matplotlib.text.Text) if each.get_text()]


@pytest.fixture
def figures(trials):
    return draw(trials)


def draw(trials):
    rng = np.random.default_rng(3)
    parts = []
    for k, name in enumerate(("adam", "sgd")):
        for task in "xy":
            rows = trials[trials["param.width"] == 64].assign(cell=name + task)
            noise = 0.02 * rng.normal(size=len(rows))
            metrics = {"metric.clean": 0.9 + noise, "metric.strong": 0.4 - 0.1 * k + noise}
            parts.append(rows.assign(**{"param.optimizer": name, "param.task": task}, **metrics))
    both = pd.concat(parts, ignore_index=True)
    return {
        "sensitivity": portraits.sensitivity_figure(
            robustness.sensitivity(both, "lr", method="optimizer"), "train_loss"
        ),
        "tuning": portraits.tuning_figure(robustness.tuning_curves(both, method="optimizer"), "train_loss"),
        "profile": portraits.profile_figure(
            robustness.performance_profiles(both, method="optimizer", task="task"), "train_loss"
        ),
        "strength": portraits.strength_figure(
            robustness.strength_curves(both, {0: "clean", 0.1: "strong"}, method="optimizer"), "accuracy"
        ),
    }


def test_figures_name_what_they_show(figures):
    shown = {name: texts(figure) for name, figure in figures.items()}
    assert {"log2 learning rate", "final training loss", "adam", "sgd"} <= set(shown["sensitivity"])
    assert any(text.startswith("octaves within 5% of the best: adam: ") for text in shown["sensitivity"])
    assert {"configurations tried", "best training loss, median"} <= set(shown["tuning"])
    assert {"share of runs below", "threshold of training loss"} <= set(shown["profile"])
    assert {"attack strength", "accuracy"} <= set(shown["strength"])
    assert any("Chosen as the best of" in text and "by value." in text for text in shown["strength"])


def test_lines_differ_without_colour(figures):
    for figure in figures.values():
        lines = [line for line in figure.axes[0].lines if line.get_label() in ("adam", "sgd")]
        assert len({line.get_linestyle() for line in lines}) == len({line.get_marker() for line in lines}) == 2


def test_figures_are_repeatable_and_take_nothing(figures, trials):
    for name, again in draw(trials).items():
        first, second = plots.to_svg(figures[name]), plots.to_svg(again)
        assert first == second and ElementTree.fromstring(first).tag.endswith("svg")
    target = io.BytesIO()
    for empty in (portraits.sensitivity_figure, portraits.tuning_figure, portraits.profile_figure):
        plots.to_png(empty((), "loss"), target, dpi=30)
    plots.to_png(portraits.strength_figure((), "accuracy"), target, dpi=30)


def test_open_ends_of_a_band_do_not_flatten_the_lines():
    values = np.random.default_rng(4).gamma(2.0, size=12)
    rows = {"cell": "c", "configuration": np.arange(12), "replicate": 0, "state": "COMPLETE", "cause": None}
    (curve,) = robustness.tuning_curves(pd.DataFrame(rows | {"value": values}))
    low, high = portraits.tuning_figure((curve,), "loss").axes[0].get_ylim()
    span = max(curve.estimate) - min(curve.estimate)
    assert np.isneginf(curve.low[-1]) and high - low < 2 * span
