"""What a training function's end stands for: the metrics it returned, or the cause of its failure."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from .commands import CommandFailed
from .deadlines import TrialFailed
from .messages import Cause
from .task import as_number

ERROR_CHARACTERS = 20_000


class UnusableResult(Exception):
    """What the training function returned cannot be recorded; the message is for the user."""


def cause_of(error: BaseException) -> Cause:
    """The cause that an exception stands for."""
    if isinstance(error, TrialFailed):
        return error.cause
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Cause.OUT_OF_MEMORY
    return Cause.USER_ERROR


def describe(error: BaseException, ours: str) -> str:
    """The traceback as the user needs it: without the frames of the file `ours`, bounded in length, its end kept."""
    if isinstance(error, TrialFailed | CommandFailed):
        return str(error)
    if isinstance(error, SystemExit):
        first = f"the training function called sys.exit({error.code!r}); return the metrics instead\n"
    else:
        first = ""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == ours:
        frames = frames.tb_next
    text = first + "".join(traceback.format_exception(type(error), error, frames))
    return text if len(text) <= ERROR_CHARACTERS else "[...]\n" + text[-ERROR_CHARACTERS:]


def read_result(result: Any, objectives: Sequence[str], last: Mapping[str, float]) -> dict[str, float]:
    """The final metrics that a training function returned, the objectives among them.

    A mapping of names to numbers; a number, which is the one objective; or None when the objectives were reported,
    `last` being the last of each. Raises `UnusableResult` for anything else.
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
        if len(objectives) > 1:
            raise UnusableResult(
                f"the spec has {len(objectives)} metrics, but the training function returned one number; "
                f"return {{{', '.join(f'{name!r}: value' for name in objectives)}}}"
            )
        return {objectives[0]: _number(objectives[0], result)}
    for name in objectives:
        if name not in result:
            names = [str(each) for each in result]
            near = get_close_matches(name, names, n=1, cutoff=0.0) if names else []
            hint = f"; did you mean metric: {near[0]}?" if near else ""
            raise UnusableResult(
                f"the spec's metric is {name!r}, "
                f"but the training function returned {', '.join(names) or 'no metric'}{hint}"
            )
    return {str(name): _number(str(name), value) for name, value in result.items()}


def _number(name: str, value: Any) -> float:
    try:
        return as_number(value)
    except (TypeError, ValueError) as error:
        raise UnusableResult(f"the training function returned {error} for metric {name!r}") from None
