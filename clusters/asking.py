"""Questions to a cluster that may be full, busy or dead: each has its time, and a failure is one line with a remedy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from requests.exceptions import RequestException

from ..orchestrator.errors import SwatheError

# Ray's client waits without end for a dashboard that takes connections and says nothing.
ANSWER_SECONDS = 60.0
T = TypeVar("T")


class SubmissionFailed(SwatheError):
    """The cluster cannot be reached, or did not take the sweep."""


def asked(address: str, question: Callable[..., T], *given: Any, seconds: float | None = None, **named: Any) -> T:
    """The answer, if it comes within `seconds` (`ANSWER_SECONDS`). Raises `SubmissionFailed` where none comes."""
    seconds = ANSWER_SECONDS if seconds is None else seconds
    found: list[T] = []
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            found.append(question(*given, **named))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=ask, name="swathe-asking", daemon=True)
    thread.start()
    thread.join(seconds)
    if raised and isinstance(raised[0], RequestException):
        raise SubmissionFailed(
            f"the connection to Ray at {address} broke: {first_line(str(raised[0]))}; check that the cluster runs and "
            "that its dashboard is still forwarded. The same command goes on where the sweep is"
        ) from None
    if raised:
        raise raised[0]
    if not found:
        raise SubmissionFailed(
            f"Ray at {address} took the question and has not answered for {seconds:.0f} s; its head node hangs or is "
            "overloaded: look at it, or restart the cluster. The same command goes on where the sweep is"
        )
    return found[0]


def first_line(text: str) -> str:
    """What a text says, in short."""
    return next(iter(text.strip().splitlines()), "no answer")
