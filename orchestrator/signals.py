"""Ctrl-C and SIGTERM: the first asks, the second insists."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .errors import Interrupted

_listening: list[int] = []


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

    _listening.append(1)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        _listening.pop()
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt_main() -> None:
    """What a first SIGTERM does, from any thread; nothing where `stop_signals` does not listen."""
    if _listening:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def once(call: Callable[[], None]) -> Callable[[], None]:
    """`call`, which only the first call reaches."""
    calls = itertools.count()
    return lambda: None if next(calls) else call()
