"""A sweep that runs, followed by MLflow, TensorBoard and a browser; then its end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from swathe.analysis import load
from swathe.analysis.exports.following import Follower
from swathe.analysis.exports.studies import Studies
from swathe.orchestrator.cli.opening import opened_home
from swathe.orchestrator.errors import LedgerError
from swathe.orchestrator.home import Home
from swathe.orchestrator.messages import State

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # MLflow's own
browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


@pytest.fixture(scope="module")
def folder(running) -> Path:
    """The sweep's folder, once some trials have ended and one has reported for a while."""
    folder = running.folder / "sweeps" / "runs"

    def underway() -> bool:
        try:
            with opened_home(Home.of(folder)) as sweep:
                views = list(Follower(sweep.folder, sweep.reader).changes())
        except LedgerError:  # it is just being made
            return False
        else:
            states = [view.state for view in views]
            long = any(view.state is State.RUNNING and len(view.points) > 12 for view in views)
            return long and State.PRUNED in states and State.COMPLETE in states

    running.wait(underway)
    return folder


@pytest.fixture(scope="module")
def address(running, folder: Path) -> Iterator[str]:
    """Where the dashboard is served by a process of its own."""
    process = running.start("dashboard", "runs", "--port", 0)
    assert process.stdout is not None
    try:
        yield re.search(r"http://[^/]+", process.stdout.readline()).group()  # type: ignore[union-attr]
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def ask(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


def page(url: str, profile: Path) -> str:
    """What a real browser makes of a page, as HTML; its picture is beside the profile."""
    assert CHROMIUM is not None
    shot = profile / f"{re.sub('[^a-z0-9]+', '-', url.partition('dashboard')[2]) or 'home'}.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1500"]
    options += [f"--user-data-dir={profile}", "--virtual-time-budget=8000", f"--screenshot={shot}", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *options, url], capture_output=True, text=True, timeout=60, check=True)
    if keep := os.environ.get("SWATHE_SCREENSHOTS"):
        shutil.copy(shot, keep)
    return done.stdout


@browser
def test_a_browser_shows_the_trials_of_a_running_sweep(address: str, tmp_path: Path) -> None:
    shown = page(f"{address}/dashboard/studies/0/trials", tmp_path)
    states = re.findall(r"<span[^>]*MuiChip-label[^>]*>(Complete|Pruned|Running|Fail|Best Trial)</span>", shown)
    told = [trial["state"] for trial in ask(f"{address}/api/studies/0")["trials"]]
    assert {"Complete", "Pruned", "Running"} <= {*told}
    # The first one is shown twice: in the list, and in full.
    assert sorted(each for each in states if each != "Best Trial") == sorted([*told, told[0]])
    assert f"{len(told)} Trials" in shown
    assert "runs/width=64" in shown


@browser
def test_a_browser_shows_importances_of_a_running_sweep(address: str, tmp_path: Path) -> None:
    shown = page(f"{address}/dashboard/studies/0", tmp_path)
    plot = shown.partition("Hyperparameter Importance")[2].partition("Timeline")[0]
    labels = re.findall(r'class="ytick"><text[^>]*>\s*([^<]+?)\s*<', plot)
    bars = [float(each) for each in re.findall(r'class="bartext[^>]*>([0-9.]+)<', plot)]
    assert {*labels} == {"lr", "optimizer"}
    assert len(bars) == 2 and abs(sum(bars) - 1.0) < 0.011


def test_the_dashboard_changes_nothing(address: str) -> None:
    for method, path in (("DELETE", "/api/studies/0"), ("POST", "/api/studies")):
        request = urllib.request.Request(address + path, method=method, data=b"{}")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=20)
        assert refused.value.code == 405
        refused.value.close()
    assert len(ask(f"{address}/api/studies")["study_summaries"]) == 1


def test_the_dashboard_says_when_its_port_is_taken(address: str, running) -> None:
    done = running.call("dashboard", "runs", "--port", address.rpartition(":")[2])
    assert done.exit_code == 2
    assert "name another with --port" in done.stderr


def test_a_sweep_is_followed_to_its_end(address: str, running, folder: Path) -> None:
    """MLflow and TensorBoard from processes of their own, Optuna in this one, and the dashboard, which goes on."""
    import optuna

    uri, events = f"sqlite:///{running.folder / 'mlflow.db'}", running.folder / "events"
    readers = [
        running.start("export", "runs", "--to", "mlflow", "--output", uri, "--follow"),
        running.start("export", "runs", "--to", "tensorboard", "--output", events, "--follow"),
    ]
    storage = optuna.storages.InMemoryStorage()
    with opened_home(Home.of(folder)) as sweep:
        studies = Studies(storage, Follower(sweep.folder, sweep.reader))
        studies.refresh()
        before = storage.get_all_trials(0)
        (alive,) = [each for each in before if each.state.name == "RUNNING"]
        # Live means that what has not ended is there, too, and grows.
        running.wait(lambda: studies.refresh() and len(storage.get_trial(alive._trial_id).intermediate_values) > 9)
        for reader in readers:
            assert reader.stdout is not None and " written to " in reader.stdout.readline()
        live = _points(events)
        assert alive.number in live
        running.wait(lambda: _points(events)[alive.number] > live[alive.number] > 4)
        (running.folder / "gate").touch()
        for reader in readers:
            assert reader.wait(60) == 0
            assert reader.stdout is not None
            reader.stdout.close()
        studies.refresh()
    trials = load.trials(folder)
    ended = {each.number: each.state.name for each in storage.get_all_trials(0)}
    assert ended == dict(zip(trials["configuration"], trials["state"], strict=True))
    running.wait(lambda: {each["state"] for each in ask(f"{address}/api/studies/0")["trials"]} == {
        "Complete", "Pruned", "Fail",
    })  # fmt: skip
    _check_mlflow(uri, folder)
    assert _points(events) == {
        number: len(rows[rows["metric"] == "accuracy"]) for number, rows in _by_configuration(folder)
    }
    again = running.call("export", "runs", "--to", "mlflow", "--output", uri)
    assert again.stdout.startswith("0 runs written"), again.output


def _by_configuration(folder: Path) -> list:
    trials, metrics = load.trials(folder), load.metrics(folder)
    numbers = dict(zip(trials["trial"], trials["configuration"], strict=True))
    reported = metrics[~metrics["final"]]
    return [(numbers[name], rows) for name, rows in reported.groupby("trial")]


def _points(events: Path) -> dict[int, int]:
    """How many points of `accuracy` TensorBoard finds for each configuration."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for run in events.glob("width=64/*"):
        read = EventAccumulator(str(run)).Reload()
        if "accuracy" in read.Tags()["scalars"]:
            found[int(run.name.partition(".")[0])] = len(read.Scalars("accuracy"))
    return found


def _check_mlflow(uri: str, folder: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("runs")
    assert experiment is not None
    runs = {run.data.tags["swathe.trial"]: run for run in client.search_runs([experiment.experiment_id], "", 1, 1000)}
    trials = load.trials(folder)
    assert set(runs) == set(trials["trial"])
    status = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
    numbers = dict(zip(trials["configuration"], trials["trial"], strict=True))
    for _, row in trials.iterrows():
        run = runs[row["trial"]]
        assert run.info.status == status[row["state"]]
        assert run.data.params["lr"] == str(row["param.lr"])
        assert run.data.params["width"] == str(row["param.width"])
        assert run.info.end_time == round(row["ended"].timestamp() * 1000)
        assert ("extra" in run.data.metrics) == (row["state"] == "COMPLETE")
    for number, rows in _by_configuration(folder):
        wanted = rows[rows["metric"] == "accuracy"]
        history = client.get_metric_history(runs[numbers[number]].info.run_id, "accuracy")
        assert sorted((each.step, each.value) for each in history) == sorted(
            zip(wanted["step"].tolist(), wanted["value"].tolist(), strict=True)
        )


def test_a_run_that_an_exporter_left_open_is_gone_on_with(running, folder: Path) -> None:
    import mlflow

    uri = f"sqlite:///{running.folder / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("runs")
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id], "metrics.accuracy < 0")[0]
    before = client.get_metric_history(run.info.run_id, "accuracy")
    client.delete_tag(run.info.run_id, "swathe.mark")
    done = running.call("export", "runs", "--to", "mlflow", "--output", uri)
    assert done.stdout.startswith("1 runs written"), done.output
    assert len(client.get_metric_history(run.info.run_id, "accuracy")) == len(before) > 0


def test_a_trial_that_is_decided_anew_replaces_its_former_outcome(running, folder: Path) -> None:
    """After `swathe retry` Optuna, which never changes a finished trial, gets the study anew; MLflow the run."""
    import optuna

    uri, place = f"sqlite:///{running.folder / 'mlflow.db'}", f"sqlite:///{running.folder / 'optuna.db'}"
    assert running.call("export", "runs", "--to", "optuna", "--output", place).exit_code == 0
    (failed,) = _failed(place)
    source = running.folder / "train.py"
    source.write_text(source.read_text().replace('raise RuntimeError("no such layer")', "pass"), encoding="utf-8")
    assert running.call("retry", "runs", "--cause", "user_error").exit_code == 0
    again = running.start("run", "sweep.yaml", "--cluster", "inline", "--accept-changes", *OVERRIDES)
    assert again.wait(60) == 0
    assert again.stdout is not None
    again.stdout.close()
    for _ in range(2):
        assert running.call("export", "runs", "--to", "optuna", "--output", place).exit_code == 0
    assert _failed(place) == []
    study = optuna.load_study(study_name="runs/width=64", storage=place)
    assert len(study.trials) == 14
    assert study.trials[failed].state.name == "PRUNED"
    assert running.call("export", "runs", "--to", "mlflow", "--output", uri).stdout.startswith("1 runs written")
    _check_mlflow(uri, folder)


OVERRIDES = [w for each in ("name=runs", "fixed.gated=true", "seeds=1", "grid.width=[64]") for w in ("--set", each)]


def _failed(place: str) -> list[int]:
    import optuna

    study = optuna.load_study(study_name="runs/width=64", storage=place)
    return [each.number for each in study.trials if "user_error" in each.user_attrs["replicates"][0]]
