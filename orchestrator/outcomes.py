"""What a training function's end stands for: the metrics it returned, or the cause of its failure."""

from __future__ import annotations

import traceback
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from .commands import CommandFailed
from .deadlines import TrialFailed
from .messages import Cause
from .task import as_number, metric_name, shown

ERROR_CHARACTERS = 20_000

# Between the worker and the training code: nobody wants to see them in a traceback.
_CALLERS = {str(Path(__file__).with_name(name)) for name in ("runner.py", "fused.py", "outcomes.py", "task.py")}


class UnusableResult(Exception):
    """What the training function returned cannot be recorded; the message is for the user."""


def cause_of(error: BaseException) -> Cause:
    """The cause that an exception stands for."""
    if isinstance(error, TrialFailed):
        return error.cause
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Cause.OUT_OF_MEMORY
    return Cause.USER_ERROR


def describe(error: BaseException) -> str:
    """The traceback as the user needs it: without the frames that called their code, bounded in length."""
    if isinstance(error, TrialFailed | CommandFailed | UnusableResult):
        return _bounded(_told(error))
    if isinstance(error, SystemExit):
        first = f"the training function called sys.exit({shown(error.code)}); return the metrics instead\n"
    else:
        first = ""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename in _CALLERS:
        frames = frames.tb_next
    return _bounded(first + _formatted(error, frames))


def _formatted(error: BaseException, frames: TracebackType | None) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, frames))
    except BaseException as broken:
        # What the exception says of itself cannot be had, for it raises in turn; where it came from can.
        told = f"{type(error).__name__}: its text cannot be had: {type(broken).__name__}\n"
        return "".join(("Traceback (most recent call last):\n", *traceback.format_tb(frames), told))


def _told(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def _bounded(text: str) -> str:
    """Both ends of `text`: where an error came from, and what it says last."""
    if len(text) <= ERROR_CHARACTERS:
        return text
    half = ERROR_CHARACTERS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def read_result(result: Any, objectives: Sequence[str], last: Mapping[str, float]) -> dict[str, float]:
    """The final metrics that a training function returned, the objectives among them.

    A mapping of names to numbers; a number, which is the one objective; or None when the objectives were reported,
    `last` being the last of each. Raises `UnusableResult` for anything else, and whatever reading the objects raises.
    """
    if result is None:
        for name in objectives:
            if name not in last:
                raise UnusableResult(
                    f"the training function returned None and never reported {name!r}; "
                    f"return {{{name!r}: value}} or call trial.report(step, {name}=value)"
                )
        return {name: last[name] for name in objectives}
    if not isinstance(result, Mapping):
        _refuse_unstarted(result)
        if len(objectives) > 1:
            raise UnusableResult(
                f"the spec has {len(objectives)} metrics, but the training function returned one number; "
                f"return {{{', '.join(f'{name!r}: value' for name in objectives)}}}"
            )
        return {objectives[0]: _number(objectives[0], result)}
    returned = _pairs(cast(Mapping[Any, Any], result))
    for name in objectives:
        if name not in returned:
            near = get_close_matches(name, returned, n=1, cutoff=0.0)
            hint = f"; did you mean metric: {near[0]}?" if near else ""
            raise UnusableResult(
                f"the spec's metric is {name!r}, "
                f"but the training function returned {', '.join(returned) or 'no metric'}{hint}"
            )
    return {name: _number(name, value) for name, value in returned.items()}


def _pairs(result: Mapping[Any, Any]) -> dict[str, Any]:
    """What a mapping holds, by names as plain strings."""
    pairs: dict[str, Any] = {}
    for key, value in result.items():
        try:
            name = metric_name(str(key))
        except ValueError as error:
            raise UnusableResult(f"the training function returned metrics, but {error}") from None
        if name in pairs:
            raise UnusableResult(f"the training function returned two metrics that are both called {name!r}")
        pairs[name] = value
    return pairs


def _refuse_unstarted(result: Any) -> None:
    """Raises `UnusableResult` for what a call of `async def`, or of a function with `yield`, gives: it has not run."""
    if isinstance(result, Coroutine):
        cast(Any, result).close()
        raise UnusableResult(
            "the training function is async, so that calling it has run nothing; "
            "write def train(trial): return asyncio.run(...)"
        )
    if isinstance(result, Generator | AsyncGenerator):
        raise UnusableResult(
            "the training function has a yield, so that calling it has run nothing; report with trial.report instead"
        )


def _number(name: str, value: Any) -> float:
    try:
        return as_number(value)
    except (TypeError, ValueError) as error:
        raise UnusableResult(f"the training function returned {error}, for metric {shown(name)}") from None
