"""Ctrl-C and SIGTERM: the first asks, the second insists."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import Interrupted


@contextmanager
def stop_signals(first: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C or SIGTERM calls `first`; a second one ends the block with `Interrupted`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def stop(number: int, _frame: object) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise Interrupted
        first()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
