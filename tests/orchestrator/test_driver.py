"""Whole sweeps through the inline cluster."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from swathe.analysis.digest import digest
from swathe.orchestrator import compaction
from swathe.orchestrator.driver import Finished, Launch, run
from swathe.orchestrator.errors import SpecError, SwatheError, TaskError
from swathe.orchestrator.home import Home
from swathe.orchestrator.ledger import Reader
from swathe.orchestrator.ledger.tables import url_of
from swathe.orchestrator.loading import load_task
from swathe.orchestrator.messages import Cause, Push, State
from swathe.orchestrator.runner import RunContext, Runner
from swathe.orchestrator.scheduler import Scheduler
from swathe.orchestrator.worker import Worker, this_process


def hash_of(finished: Finished) -> str:
    return str(digest(*compaction.read_tables(finished.folder)))


def test_a_sweep_runs_and_the_same_command_again_finds_it_done(make_sweep, tmp_path: Path) -> None:
    launch = Launch(tmp_path / "sweeps", "inline")
    first = run(make_sweep(), launch)
    assert (first.reason, first.exit_code) == ("finished", 0)
    before = hash_of(first)
    again = run(make_sweep(), launch)
    assert (again.reason, again.exit_code, hash_of(again)) == ("finished", 0, before)


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc"])
def test_values_arrive_identical_and_the_model_is_used(sampler: str, make_sweep, tmp_path: Path) -> None:
    finished = run(make_sweep(f"sampler={sampler}", "configurations=24"), Launch(tmp_path / "sweeps", "inline"))
    trials = compaction.read_tables(finished.folder).trials.to_pandas()
    assert len(trials) == 96 and (trials["state"] == "COMPLETE").all()
    if sampler == "tpe":
        assert (trials["proposed_by"] == "model").mean() >= 0.4


def test_a_fixed_value_arrives_float_identical(make_sweep, tmp_path: Path) -> None:
    value = "0.1234567890123456789e-3"
    sweep = make_sweep("search={}", "configurations=1", f"fixed.lr={value}", "grid.width=[1]")
    frame = compaction.read_tables(run(sweep, Launch(tmp_path / "sweeps", "inline")).folder).trials.to_pandas()
    assert {each.hex() for each in frame["param.lr"]} == {float(value).hex()}


@pytest.mark.parametrize("cluster", ["inline", pytest.param("embedded", marks=pytest.mark.ray)])
def test_every_misbehaviour_is_an_outcome_and_the_sweep_goes_on(
    cluster: str, misbehaving, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if cluster == "embedded":
        request.getfixturevalue("ray_session")
    finished = run(misbehaving, Launch(tmp_path / "sweeps", cluster))
    frame = compaction.read_tables(finished.folder).trials.to_pandas().set_index(["param.way", "replicate"])
    causes = {way: frame.loc[(way, 0), "cause"] for way in range(11)}
    diverged, user = Cause.DIVERGED.value, Cause.USER_ERROR.value
    named = {way: cause for way, cause in causes.items() if isinstance(cause, str)}
    assert named == {1: user, 2: diverged, 3: diverged, 4: user, 5: user, 6: user, 10: user}
    assert finished.exit_code == 0 and math.isclose(finished.failed_share, 5 / 11)
    assert "RuntimeError: no such layer" in frame.loc[(1, 0), "error"]
    metrics = compaction.read_tables(finished.folder).metrics.to_pandas()
    trace = metrics[metrics["metric"] == "trace"]
    by_replicate = trace.assign(replicate=trace["trial"].str.rsplit("/").str[-1]).groupby("replicate")["value"]
    # The trial after the one that changed folder, environment and seeds draws what the first one drew.
    assert by_replicate.nunique().loc[["0", "1", "2"]].max() <= 2
    log = next((finished.folder / "logs").glob("*/0.0.log"))
    assert log.read_text(encoding="utf-8").startswith("way ")


def test_diverged_trials_leave_the_exit_code_at_zero(misbehaving, tmp_path: Path) -> None:
    sweep = misbehaving.model_copy(update={"grid": {"way": (0, 2, 3)}})
    assert run(sweep, Launch(tmp_path / "sweeps", "inline")).exit_code == 0


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        (["seed=5"], SpecError, "seed"),
        (["fixed.depth=5"], SpecError, "fixed"),
        (["search.lr.high=0.5"], SpecError, "search"),
        (["configurations=3"], SpecError, "configurations"),
    ],
)
def test_another_spec_under_the_same_name_is_refused(
    overrides: list[str], error: type[SwatheError], words: str, make_sweep, tmp_path: Path
) -> None:
    launch = Launch(tmp_path / "sweeps", "inline")
    run(make_sweep(), launch)
    with pytest.raises(error, match=words):
        run(make_sweep(*overrides), launch)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("./nowhere.py:train", "does not exist"),
        ("./train.py:trian", "did you mean train"),
        ("no.such.module:train", "there is no module"),
        ("lr-transfr", "lr-transfer"),
    ],
)
def test_a_task_that_cannot_be_loaded_leaves_no_folder(task: str, words: str, make_sweep, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=words):
        run(make_sweep(f"task={task}"), Launch(tmp_path / "sweeps", "inline"))
    assert not (tmp_path / "sweeps").exists()


def test_a_module_with_a_mistake_is_named_with_its_line(make_sweep, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"ModuleNotFoundError.*train\.py:1"):
        run(make_sweep(task="import nothing_of_that_name\n"), Launch(tmp_path / "sweeps", "inline"))
    with pytest.raises(TaskError, match=r"train\.py:2"):
        run(make_sweep(task="x = 1\ndef train(:\n"), Launch(tmp_path / "sweeps", "inline"))


@pytest.mark.parametrize(
    ("launch", "words"),
    [(("mainframe",), "embedded"), (("inline", 3), "leave it out"), (("embedded", 0), "below 1")],
)
def test_a_cluster_that_cannot_be_used_is_refused(launch: tuple, words: str, make_sweep, tmp_path: Path) -> None:
    with pytest.raises(SwatheError, match=words):
        run(make_sweep(), Launch(tmp_path / "sweeps", *launch))
    assert not (tmp_path / "sweeps").exists()


def test_folders_named_like_ours_do_not_matter(make_sweep, tmp_path: Path) -> None:
    task = "import analysis, tasks, orchestrator\ndef train(trial):\n    return analysis.VALUE\n"
    sweep = make_sweep(task=task)
    for name in ("analysis", "tasks", "orchestrator"):
        (sweep.root / name).mkdir()
        (sweep.root / name / "__init__.py").write_text("VALUE = 0.5\n", encoding="utf-8")
    assert run(sweep, Launch(tmp_path / "sweeps", "inline")).exit_code == 0


class Killed(BaseException):
    """Stands for the driver's death in this process: nothing after it is written."""


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_driver_that_dies_between_ticks_goes_on_where_it_was(sampler: str, make_sweep, tmp_path: Path) -> None:
    sweep = make_sweep(f"sampler={sampler}", "configurations=24")
    undisturbed = hash_of(run(sweep, Launch(tmp_path / "straight", "inline")))
    ran: list[str] = []
    folder = tmp_path / "broken" / sweep.name
    for round_ in range(50):
        try:
            finished = run_with_deaths(sweep, folder.parent, ran, after=2 + round_ % 3)
        except Killed:
            continue
        assert hash_of(finished) == undisturbed
        break
    else:
        raise AssertionError("never finished")
    acknowledged = [name for name in ran if name.startswith("ack ")]
    assert len(acknowledged) == len(set(acknowledged)) == 96


def run_with_deaths(sweep, directory: Path, ran: list[str], after: int) -> Finished:
    """Like the inline cluster, but dies after `after` exchanges, at one point or the other around the commit."""
    from swathe.orchestrator import driver

    folder = driver.prepare(sweep, load_task(sweep.task, sweep.root), Launch(directory, "inline", takeover=True)).folder
    scheduler = Scheduler(folder, url_of(folder), takeover=True)
    exchanges = 0

    def exchange(push: Push):
        nonlocal exchanges
        exchanges += 1
        if exchanges == after and after % 2:
            raise Killed
        ticked = scheduler.tick([push])
        ran.extend(f"ack {outcome.trial}" for outcome in push.outcomes)
        if exchanges == after:
            raise Killed
        replies, requests = dict(ticked.replies), ticked.requests
        while requests:
            ticked = scheduler.tick(proposed=[(each, scheduler.search.propose(each)) for each in requests])
            replies.update(ticked.replies)
            requests = ticked.requests
        return replies[push.worker]

    context = RunContext.of(sweep, load_task(sweep.task, sweep.root), folder)
    scheduler.join(this_process("w", "cpu"))
    try:
        Worker("w", Runner(context), exchange).run()
        scheduler.compact(everything=True)
        return driver.finish(sweep, Home.of(folder), "finished")
    finally:
        scheduler.close()


def test_progress_and_failures_are_read_while_nothing_runs(misbehaving, tmp_path: Path) -> None:
    folder = run(misbehaving, Launch(tmp_path / "sweeps", "inline")).folder
    reader = Reader(url_of(folder), folder.name)
    progress = reader.progress()
    assert (progress.count(), progress.count(State.FAIL), progress.status) == (33, 21, "finished")
    assert len(reader.failures(limit=5)) == 5
    reader.close()
