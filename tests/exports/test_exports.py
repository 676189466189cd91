"""Exports, read back through the libraries whose formats they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from swathe.analysis import load
from swathe.analysis.exports.events import STATE, EventFiles
from swathe.analysis.exports.following import Follower
from swathe.analysis.exports.labels import cell_labels
from swathe.analysis.exports.points import coordinates, distributions
from swathe.orchestrator.messages import State
from swathe.orchestrator.spec import Sweep
from swathe.orchestrator.task import Choice, Float, Int, Lattice


@pytest.fixture(scope="module")
def trials(ends) -> pd.DataFrame:
    return load.trials(ends.folder / "sweeps" / "ends")


@pytest.fixture(scope="module")
def metrics(ends) -> pd.DataFrame:
    return load.metrics(ends.folder / "sweeps" / "ends")


def curve(metrics: pd.DataFrame, trial: str, metric: str) -> dict[int, float]:
    rows = metrics[(metrics["trial"] == trial) & (metrics["metric"] == metric) & ~metrics["final"]]
    return dict(zip(rows["step"].tolist(), rows["value"].tolist(), strict=True))


# Following


def test_a_follower_tells_everything_once(follower: Follower, trials: pd.DataFrame, metrics: pd.DataFrame) -> None:
    views = {view.name: view for view in follower.changes()}
    assert set(views) == set(trials["trial"])
    states = {state: sum(view.state is state for view in views.values()) for state in State}
    assert states[State.PRUNED] and states[State.COMPLETE] and states[State.FAIL]
    for _, row in trials.iterrows():
        view = views[row["trial"]]
        assert {each.step: each.value for each in view.points if each.metric == "accuracy"} == curve(
            metrics, row["trial"], "accuracy"
        )
        assert (view.params["width"], view.params["lr"]) == (row["param.width"], row["param.lr"])
    assert list(follower.changes()) == []
    follower.restart()
    assert len(list(follower.changes())) == len(trials)


# TensorBoard


@pytest.fixture(scope="module")
def events(ends) -> Iterator[Path]:
    folder = ends.folder / "events"
    done = ends.call("export", "ends", "--to", "tensorboard", "--output", folder)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("56 trials written")
    yield folder


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(run)).Reload()
    return {tag: [(each.step, each.value) for each in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_tensorboard_reads_every_curve(events: Path, ends, trials: pd.DataFrame, metrics: pd.DataFrame) -> None:
    labels = {cell.key: f"width={cell.values['width']}" for cell in cells(ends)}
    for _, row in trials.iterrows():
        found = scalars(events / labels[row["cell"]] / f"{row['configuration']}.{row['replicate']}")
        for metric in ("loss", "accuracy"):
            wanted = curve(metrics, row["trial"], metric)
            assert [step for step, _ in found.get(metric, [])] == [*wanted]
            np.testing.assert_array_equal([value for _, value in found.get(metric, [])], np.float32([*wanted.values()]))
        assert ("extra" in found) == (row["state"] == "COMPLETE")


def cells(ends) -> tuple:
    from swathe.orchestrator.spec import load as load_spec

    return load_spec(ends.folder / "sweep.yaml").cells


def test_tensorboard_shows_hyperparameters_and_how_trials_ended(events: Path, trials: pd.DataFrame) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    found = []
    for run in events.glob("*/*"):
        read = EventAccumulator(str(run)).Reload()
        data = {tag: read.SummaryMetadata(tag).plugin_data.content for tag in read.PluginTagToContent("hparams")}
        start = metadata.parse_session_start_info_plugin_data(data["_hparams_/session_start_info"])
        end = metadata.parse_session_end_info_plugin_data(data["_hparams_/session_end_info"])
        hyper = start.hparams
        found.append(
            (hyper["width"].number_value, hyper["lr"].number_value, hyper["optimizer"].string_value, end.status)
        )
    failure, success = 2, 1
    wanted = [
        (row["param.width"], row["param.lr"], row["param.optimizer"], failure if row["state"] == "FAIL" else success)
        for _, row in trials.iterrows()
    ]
    assert sorted(found) == sorted(wanted)


def test_tensorboard_is_written_once(events: Path, ends, follower: Follower) -> None:
    before = {path: path.read_bytes() for path in events.rglob("*") if path.is_file()}
    again = ends.call("export", "ends", "--to", "tensorboard", "--output", events)
    assert again.stdout.startswith("0 trials written")
    assert before == {path: path.read_bytes() for path in events.rglob("*") if path.is_file()}


def test_what_a_killed_writer_left_is_written_anew(events: Path, ends) -> None:
    run = events / "width=64" / "0.0"
    wanted = scalars(run)
    (run / STATE).unlink()
    (file,) = run.glob("events*")
    file.write_bytes(file.read_bytes()[:-300])
    assert scalars(run) != wanted
    foreign = run / "events.out.tfevents.1.mine"
    foreign.write_bytes(b"")
    again = ends.call("export", "ends", "--to", "tensorboard", "--output", events)
    assert again.stdout.startswith("1 trials written")
    assert scalars(run) == wanted
    assert foreign.exists()
    foreign.unlink()


# Optuna


def test_optuna_loads_a_study_for_each_cell(ends, trials: pd.DataFrame, metrics: pd.DataFrame) -> None:
    place = ends.folder / "optuna.db"
    for first in ("28", "0"):
        done = ends.call("export", "ends", "--to", "optuna", "--output", place)
        assert done.stdout.startswith(f"{first} Optuna trials written"), done.output
    storage = f"sqlite:///{place}"
    studies = {study.study_name: study for study in optuna.get_all_study_summaries(storage)}
    assert {*studies} == {"ends/width=64", "ends/width=128"}
    for cell in cells(ends):
        study = optuna.load_study(study_name=f"ends/width={cell.values['width']}", storage=storage)
        assert study.direction.name == "MINIMIZE"
        assert study.user_attrs["grid"] == {"width": cell.values["width"]}
        mine = trials[trials["cell"] == cell.key]
        assert [each.number for each in study.trials] == sorted(mine["configuration"].unique())
        for each in study.trials:
            check(each, mine[mine["configuration"] == each.number], metrics)
        assert {each.state.name for each in study.trials} == {"COMPLETE", "PRUNED", "FAIL"}
        assert set(optuna.importance.get_param_importances(study)) == {"lr", "optimizer"}


def check(trial: optuna.trial.FrozenTrial, replicates: pd.DataFrame, metrics: pd.DataFrame) -> None:
    row = replicates.iloc[0]
    assert trial.state.name == row["state"]
    assert trial.params == {"lr": row["param.lr"], "optimizer": row["param.optimizer"]}
    assert all(trial.distributions[name].single() is False for name in trial.params)
    curves = [curve(metrics, name, "loss") for name in replicates["trial"]]
    for step, value in trial.intermediate_values.items():
        np.testing.assert_allclose(value, np.mean([each[step] for each in curves if step in each]), rtol=1e-12)
    if row["state"] == "FAIL":
        assert trial.values is None
        assert all(str(row["cause"]) in each for each in trial.user_attrs["replicates"])
    else:
        assert trial.value == pytest.approx(replicates["value"].mean(), rel=1e-12)
        assert trial.intermediate_values
    assert trial.datetime_start.timestamp() == pytest.approx(min(each.timestamp() for each in replicates["started"]))
    assert trial.datetime_complete.timestamp() == pytest.approx(max(each.timestamp() for each in replicates["ended"]))


def test_a_study_of_another_sweep_is_left_alone(ends) -> None:
    place = ends.folder / "taken.db"
    storage = f"sqlite:///{place}"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study(storage=storage, study_name="ends/width=64")
    done = ends.call("export", "ends", "--to", "optuna", "--output", place)
    assert done.exit_code == 2
    assert "another study named 'ends/width=64'; name another storage with --output" in done.stderr


@pytest.mark.parametrize(
    ("parameter", "value", "shown"),
    [
        (Float(1e-4, 1.0, log=True), 0.01, 0.01),
        (Int(1, 8), 3, 3),
        (Lattice(-6, 0, 7), 2.0**-6, 2.0**-6),
        (Lattice(-6, 0, 7), 1.0, 1.0),
        (Choice(("a", "b")), "b", "b"),
        (Choice((1, 1.0, True)), 1.0, "1.0"),
        (Choice((1, 1.0, True)), True, "True"),
    ],
)
def test_parameters_are_shown_by_value(parameter, value, shown) -> None:
    ((_, distribution),) = distributions({"x": parameter}).items()
    ((_, found),) = coordinates({"x": parameter}, {"x": value}).items()
    assert (found, type(found)) == (shown, type(shown))
    assert distribution._contains(distribution.to_internal_repr(found))


# What cannot be done


@pytest.mark.parametrize(("target", "module"), [("mlflow", "mlflow"), ("tensorboard", "tensorboardX")])
def test_a_missing_package_is_named(target: str, module: str, ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = ends.call("export", "ends", "--to", target, "--output", ends.folder / "nowhere")
    assert done.exit_code == 2
    package = {"mlflow": "mlflow-skinny"}.get(module, module)
    assert f"`pip install {package}`" in done.stderr
    assert not (ends.folder / "nowhere").exists()


def test_a_missing_dashboard_is_named(ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    done = ends.call("dashboard", "ends", "--port", 0)
    assert done.exit_code == 2
    assert "`pip install optuna-dashboard`" in done.stderr


def test_a_store_that_cannot_be_used_is_named(ends) -> None:
    done = ends.call("export", "ends", "--to", "optuna", "--output", "nonsense://x")
    assert done.exit_code == 2
    assert "optuna cannot use nonsense://x: " in done.stderr


def test_files_are_not_followed(ends) -> None:
    done = ends.call("export", "ends", "--to", "csv", "--follow")
    assert done.exit_code == 2
    assert "--follow goes with mlflow, tensorboard, optuna" in done.stderr


# Names of cells


def test_labels_are_unique_and_safe() -> None:
    asked = {"name": "x", "task": "t.py:f", "metric": "loss", "grid": {"a": [1, "1", "x/../y", "z" * 200]}}
    labels = cell_labels(Sweep(**asked))
    texts = [*labels.values()]
    assert len({*texts}) == 4
    assert texts[2] == "a=x_.._y"
    assert all("/" not in text and len(text) < 120 for text in texts)
    assert cell_labels(Sweep(**{**asked, "grid": {}})) == {next(iter(cell_labels(Sweep(**{**asked, "grid": {}})))): ""}


def test_event_files_take_up_where_a_trial_goes_on(follower: Follower, tmp_path: Path) -> None:
    from dataclasses import replace

    view = next(each for each in follower.changes() if each.state is State.COMPLETE)
    early = replace(view, state=State.RUNNING, ended=None, mark="", points=view.points[:3], finals={})
    run = tmp_path / "run"
    for step in (early, early, replace(early, points=view.points), view, view):
        # A writer of its own each time, as if each had been stopped.
        files = EventFiles(tmp_path, follower)
        files._write(run, step)
        files.close()
    found = scalars(run)
    assert sorted(found["loss"]) == [
        (each.step, np.float32(each.value)) for each in view.points if each.metric == "loss"
    ]
