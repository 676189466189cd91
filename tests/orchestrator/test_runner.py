"""Whatever a training function does becomes a typed outcome."""

from __future__ import annotations

import asyncio
import math
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swathe.orchestrator.layout import log_path
from swathe.orchestrator.messages import Assignment, Cause, Outcome, State, TrialKey, Verdict
from swathe.orchestrator.runner import RunContext, Runner
from swathe.orchestrator.schema import MetricRow, decode_rows, encode_rows
from swathe.orchestrator.task import StopTrial, Trial

KEY = TrialKey("cell", 3, 1)


def run(
    train: Callable[[Trial], Any], folder: Path, after: Outcome | None = None, **changes: Any
) -> tuple[Outcome, list[MetricRow]]:
    """Run one trial: from its beginning, or where it paused with the outcome `after`."""
    rows: list[MetricRow] = []
    context = RunContext(train, ("loss",), ("loss",), seed=7, folder=folder)
    resume = {"resume_from": after.steps, "resume_values": (after.value,)} if after else {}
    outcome, _ = Runner(context).run(Assignment(KEY, 1, {"lr": 0.1}, **resume), rows.append, **changes)
    return outcome, rows


def test_a_good_trial_is_complete_with_its_rows(tmp_path: Path) -> None:
    def train(trial: Trial) -> dict[str, float]:
        trial.report(0, loss=2.0, accuracy=0.5)
        trial.report(4, loss=1.0)
        return {"loss": 0.5, "accuracy": 0.75}

    outcome, rows = run(train, tmp_path)
    assert (outcome.state, outcome.value, outcome.steps, outcome.metrics) == (State.COMPLETE, 0.5, 4, {"loss": 0.5})
    assert [(row.step, row.metric, row.value, row.final) for row in rows] == [
        (0, "loss", 2.0, False),
        (0, "accuracy", 0.5, False),
        (4, "loss", 1.0, False),
        (None, "accuracy", 0.75, True),
    ]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"los": 1.0}, ["'loss'", "los", "did you mean metric: los?"]),
        ({}, ["'loss'", "no metric"]),
        ({"loss": "low"}, ["'low'", "not a number", "'loss'"]),
        ("0.5", ["'0.5'", "not a number"]),
        (None, ["None", "never reported 'loss'"]),
        ([1.0], ["[1.0]", "not a number"]),
        ({"loss": np.zeros(3)}, ["'loss'"]),
    ],
)
def test_an_unusable_result_is_a_user_error_that_says_what_came_back(
    result: Any, words: list[str], tmp_path: Path
) -> None:
    outcome, _ = run(lambda trial: result, tmp_path)
    assert (outcome.state, outcome.cause) == (State.FAIL, Cause.USER_ERROR)
    assert all(word in outcome.error for word in words), outcome.error


@pytest.mark.parametrize("result", [0.5, np.float32(0.5), np.array(0.5), {"loss": 0.5}])
def test_numbers_of_all_kinds_are_objectives(result: Any, tmp_path: Path) -> None:
    assert run(lambda trial: result, tmp_path)[0].value == 0.5


def test_the_last_report_stands_in_for_a_missing_result(tmp_path: Path) -> None:
    assert run(lambda trial: trial.report(0, loss=0.25), tmp_path)[0].value == 0.25


def test_an_exception_keeps_the_users_own_frames_only(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        raise KeyError("learning_rate")

    outcome, _ = run(train, tmp_path)
    assert outcome.cause is Cause.USER_ERROR
    assert "KeyError: 'learning_rate'" in outcome.error and "in train" in outcome.error
    assert outcome.error.count("  File ") == 1


@pytest.mark.parametrize("call", [lambda: sys.exit(3), lambda: exit_with_interrupt()])
def test_leaving_the_process_is_a_user_error(call: Callable[[], None], tmp_path: Path) -> None:
    outcome, _ = run(lambda trial: call(), tmp_path)
    assert outcome.cause is Cause.USER_ERROR


def exit_with_interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_non_finite_objective_ends_the_trial_there(value: float, tmp_path: Path) -> None:
    reached: list[int] = []

    def train(trial: Trial) -> float:
        for step in range(5):
            try:
                trial.report(step, loss=value if step == 2 else 1.0)
            except Exception:  # a StopTrial must get through this
                pass
            reached.append(step)
        return 1.0

    outcome, rows = run(train, tmp_path)
    assert (outcome.state, outcome.cause, outcome.value, outcome.steps) == (State.FAIL, Cause.DIVERGED, None, 2)
    assert reached == [0, 1] and len(rows) == 3


def test_swallowing_even_the_stop_does_not_help(tmp_path: Path) -> None:
    def train(trial: Trial) -> float:
        try:
            trial.report(0, loss=math.nan)
        except BaseException:
            pass
        return 1.0

    assert run(train, tmp_path)[0].cause is Cause.DIVERGED


def test_a_returned_nan_is_divergence_and_other_metrics_may_be_nan(tmp_path: Path) -> None:
    assert run(lambda trial: {"loss": math.nan}, tmp_path)[0].cause is Cause.DIVERGED
    assert run(lambda trial: {"loss": 1.0, "ratio": math.nan}, tmp_path)[0].state is State.COMPLETE


@pytest.mark.parametrize(
    ("reports", "word"),
    [
        ([(1, {"loss": 1.0}), (0, {"loss": 1.0})], "never fall"),
        ([(-1, {"loss": 1.0})], "start at 0"),
        ([(0, {"loss": 1.0}), (0, {"loss": 1.0})], "twice"),
        ([(0, {})], "no metric"),
        ([(0.5, {"loss": 1.0})], "whole number"),
        ([(0, {"loss": "x"})], "not a number"),
    ],
)
def test_a_bad_report_is_a_user_error(reports: list[Any], word: str, tmp_path: Path) -> None:
    def train(trial: Trial) -> float:
        for step, metrics in reports:
            trial.report(step, **metrics)
        return 1.0

    outcome, _ = run(train, tmp_path)
    assert outcome.cause is Cause.USER_ERROR and word in outcome.error


class Raises:
    """Raises whatever is done with it."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __float__(self) -> float:
        raise self._error

    def __repr__(self) -> str:
        raise self._error

    __str__ = __repr__


class LazyMetrics(Mapping[str, float]):
    """A mapping whose values cannot be had."""

    def __getitem__(self, name: str) -> float:
        raise ConnectionError("the device is gone")

    def __iter__(self) -> Iterator[str]:
        yield "loss"

    def __len__(self) -> int:
        return 1


class BadKey:
    def __str__(self) -> str:
        raise OSError("no name")


def yields(trial: Trial) -> Iterator[float]:
    yield 1.0


async def waits(trial: Trial) -> float:
    return 1.0


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (10**309, "larger than any float"),
        ({"loss": 1.0, "size": -(10**5000)}, "larger than any float"),
        ({"loss": Raises(RuntimeError("device lost"))}, "device lost"),
        ({"loss": 1.0, "odd": Raises(SystemExit(3))}, "sys.exit(3)"),
        (LazyMetrics(), "the device is gone"),
        ({"loss": 1.0, BadKey(): 2.0}, "no name"),
        ({"loss": 1.0, "\udcff": 2.0}, "half a character"),
        ({"loss": 1.0, 7: 1.0, "7": 2.0}, "both called '7'"),
        ({"loss": 1.0, "n" * 20_000: 2.0}, "20000 bytes"),
        ({"loss": Decimal("sNaN")}, "NaN"),
        ({"loss": [0.5] * 10_000}, "a list, not a number"),
        ({"loss": np.ones((2, 1))}, "'loss'"),
        (yields, "has a yield"),
        (waits, "is async"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_is_returned_is_the_trials_own_outcome(result: Any, words: str, tmp_path: Path) -> None:
    outcome, rows = run(result if result in (yields, waits) else lambda trial: result, tmp_path)
    assert (outcome.state, outcome.cause) == (State.FAIL, Cause.USER_ERROR) and not rows
    assert words in outcome.error and len(outcome.error) < 2000, outcome.error


@pytest.mark.parametrize("result", [np.array([[0.5]]), Fraction(1, 2), Decimal("0.5"), np.float16(0.5)])
def test_a_number_in_any_wrapping_is_one(result: Any, tmp_path: Path) -> None:
    assert run(lambda trial: {"loss": result}, tmp_path)[0].value == 0.5


@pytest.mark.parametrize(
    ("step", "word"),
    [(2**64, "the largest there is"), (10**5000, "the largest there is"), (math.inf, "whole number")],
    ids=["above", "far-above", "infinite"],
)
def test_a_step_that_no_table_holds_is_refused(step: Any, word: str, tmp_path: Path) -> None:
    outcome, _ = run(lambda trial: trial.report(step, loss=1.0), tmp_path)
    assert outcome.cause is Cause.USER_ERROR and word in outcome.error


def test_steps_of_other_kinds_count_as_whole_numbers(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        for step in (np.int32(1), 2.0, np.array(3), 2**63 - 1):
            trial.report(step, loss=1.0)

    rows = run(train, tmp_path)[1]
    assert [row.step for row in rows] == [1, 2, 3, 2**63 - 1] and all(type(row.step) is int for row in rows)
    assert decode_rows(encode_rows(rows)).column("step").to_pylist()[-1] == 2**63 - 1


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "error",
    [
        Unspeakable(),
        ValueError("y" * 10**7),
        BaseExceptionGroup("many", [ValueError(n) for n in range(5000)]),
        asyncio.CancelledError(),
        GeneratorExit(),
        SystemExit(),
        SystemExit("text"),
        type("Odd", (BaseException,), {})(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_is_raised_is_the_trials_own_outcome(error: BaseException, tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        raise error

    outcome, _ = run(train, tmp_path)
    assert (outcome.state, outcome.cause) == (State.FAIL, Cause.USER_ERROR)
    assert type(error).__name__ in outcome.error and len(outcome.error) < 25_000
    assert "in train" in outcome.error and "in _call" not in outcome.error


def test_a_copy_that_a_trial_forks_ends_where_the_trial_would(tmp_path: Path) -> None:
    def train(trial: Trial) -> float:
        copy = os.fork()
        if copy == 0:
            print("the copy")
            sys.exit(5)
        return float(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]))

    parent = os.getpid()
    outcome, _ = run(train, tmp_path)
    assert os.getpid() == parent, "the copy went on"
    assert outcome.value == 5.0
    assert "the copy" in log_path(tmp_path, KEY).read_text()


def test_out_of_memory_is_told_apart(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        raise MemoryError

    assert run(train, tmp_path)[0].cause is Cause.OUT_OF_MEMORY


def test_a_stop_verdict_prunes_with_the_value_so_far(tmp_path: Path) -> None:
    def train(trial: Trial) -> float:
        trial.report(0, loss=3.0)
        raise AssertionError("not reached")

    outcome, _ = run(train, tmp_path, verdict=lambda: Verdict.STOP)
    assert (outcome.state, outcome.value, outcome.steps) == (State.PRUNED, 3.0, 0)


def three_steps(trial: Trial, begun: Callable[[int], None] = lambda step: None) -> int:
    """Reports the objective once only, and twice in each step."""
    step = None
    for step in range((trial.restore() or {"step": -1})["step"] + 1, 3):
        begun(step)
        trial.report(step, state=lambda step=step: {"step": step}, **({} if step else {"loss": 9.0}), half=step / 2)
        trial.report(step, twice=step * 2)
    return step + 5


@pytest.mark.parametrize("asked_at", [0, 1, 2])
def test_a_trial_that_was_asked_to_leave_ends_as_if_it_had_not_been(asked_at: int, tmp_path: Path) -> None:
    undisturbed, all_rows = run(three_steps, tmp_path / "undisturbed")
    begun: list[int] = []
    outcome, rows = run(
        lambda trial: three_steps(trial, begun.append),
        tmp_path,
        verdict=lambda: Verdict.PAUSE if begun[-1] >= asked_at else Verdict.CONTINUE,
    )
    if asked_at == 2:
        # That was its last report, after which it may do anything; a state could not bring it back there.
        assert outcome.state is State.COMPLETE
    else:
        assert (outcome.state, outcome.cause, outcome.steps) == (State.WAITING, Cause.PREEMPTED, asked_at)
        assert (outcome.kept, outcome.value) == (True, 9.0)
        outcome, more = run(three_steps, tmp_path, after=outcome)
        rows += more
    assert (outcome.state, outcome.value, outcome.steps) == (undisturbed.state, undisturbed.value, undisturbed.steps)
    assert [(row.step, row.metric, row.value) for row in rows] == [(r.step, r.metric, r.value) for r in all_rows]


def test_what_was_reported_before_a_pause_still_counts_after_it(tmp_path: Path) -> None:
    paused = Outcome(KEY, 1, State.WAITING, value=9.0, steps=4, kept=True)
    outcome, rows = run(lambda trial: None, tmp_path, after=paused)
    assert not rows and (outcome.state, outcome.value, outcome.steps) == (State.COMPLETE, 9.0, 4)


def test_a_trial_resumed_after_its_last_step_is_told_what_to_do(tmp_path: Path) -> None:
    def train(trial: Trial) -> dict[str, float]:
        for step in range(5, 5):
            loss = float(step)
        return {"loss": loss}

    paused = Outcome(KEY, 1, State.WAITING, value=9.0, steps=4, kept=True)
    outcome, _ = run(train, tmp_path, after=paused)
    assert outcome.cause is Cause.USER_ERROR and "its loop did not\nrun again: keep what it returns" in outcome.error


def test_a_stop_raised_by_the_user_is_no_verdict(tmp_path: Path) -> None:
    def train(trial: Trial) -> None:
        raise StopTrial

    assert run(train, tmp_path)[0].cause is Cause.USER_ERROR


def test_output_goes_to_the_trials_log_and_only_when_there_is_any(tmp_path: Path) -> None:
    run(lambda trial: print("hello", "\ud800") or 1.0, tmp_path)
    assert log_path(tmp_path, KEY).read_text(encoding="utf-8") == "hello \\ud800\n"
    run(lambda trial: 1.0, tmp_path / "other")
    assert not (tmp_path / "other" / "logs").exists()


def test_megabytes_of_output_do_not_matter(tmp_path: Path) -> None:
    outcome, _ = run(lambda trial: [print("x" * 1000) for _ in range(5000)] and 1.0, tmp_path)
    assert outcome.state is State.COMPLETE
    assert log_path(tmp_path, KEY).stat().st_size == 5_005_000


def dirty(trial: Trial) -> float:
    os.chdir("/")
    os.environ["SWATHE_TEST"] = "left over"
    sys.path.insert(0, "/nowhere")
    np.seterr(all="ignore")
    random.random(), np.random.rand()
    import torch

    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    return 1.0


def probe(trial: Trial) -> float:
    import torch

    state = (os.getcwd(), os.environ.get("SWATHE_TEST"), sys.path[0], np.geterr()["over"], torch.get_default_dtype())
    flags = (torch.are_deterministic_algorithms_enabled(), random.random(), np.random.rand(), torch.rand(2).tolist())
    print(state, flags)
    return 1.0


def test_a_trial_after_a_dirty_one_is_as_if_alone(tmp_path: Path) -> None:
    run(probe, tmp_path / "alone")
    run(dirty, tmp_path / "dirty")
    run(probe, tmp_path / "after")
    logs = [log_path(tmp_path / each, KEY).read_text(encoding="utf-8") for each in ("alone", "after")]
    assert logs[0] == logs[1]


def test_threads_left_running_are_found_and_shared_ones_are_not(tmp_path: Path) -> None:
    release = threading.Event()

    def start(trial: Trial) -> float:
        threading.Thread(target=release.wait, daemon=True).start()
        return 1.0

    def share(trial: Trial) -> float:
        trial.shared("loader", lambda: threading.Thread(target=release.wait, daemon=True).start())
        return 1.0

    def run_with(train: Callable[[Trial], float]) -> int:
        runner = Runner(RunContext(train, ("loss",), ("loss",), seed=7, folder=tmp_path))
        return len(runner.run(Assignment(KEY, 1, {}), lambda row: None)[1])

    assert (run_with(start), run_with(share), run_with(lambda trial: 1.0)) == (1, 0, 0)
    release.set()


def test_a_late_report_from_a_thread_is_refused(tmp_path: Path) -> None:
    kept: list[Trial] = []
    run(lambda trial: kept.append(trial) or 1.0, tmp_path)
    with pytest.raises(ValueError, match="has ended"):
        kept[0].report(0, loss=1.0)


def test_seeds_depend_on_sweep_replicate_and_stream_only() -> None:
    first = Trial({"lr": 1}, sweep_seed=1, replicate=0)
    same = Trial({"lr": 2}, sweep_seed=1, replicate=0)
    assert first.seed("init") == same.seed("init") < 2**31
    others = [Trial({}, sweep_seed=1, replicate=1).seed("init"), Trial({}, sweep_seed=2).seed("init")]
    assert len({first.seed("init"), first.seed("data"), *others}) == 4


def test_artifacts_stay_inside_the_trials_folder(tmp_path: Path) -> None:
    trial = Trial({}, artifacts=tmp_path / "a")
    assert trial.artifact("plots/x.png").parent.is_dir()
    for name in ("", "../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(ValueError, match="relative path"):
            trial.artifact(name)
