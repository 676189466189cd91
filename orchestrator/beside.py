"""What is done beside decisions: work on a store that may be slow or away, one piece after another, tried again."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic, sleep

from .errors import StorageError

# At the end of a sweep or a worker, for all that is left.
FINISHING_SECONDS = 600.0
LEAVING_SECONDS = 60.0
_SHORTEST, _LONGEST = 0.1, 10.0


def persist(work: Callable[[], object], seconds: float) -> bool:
    """Do `work`, again for so long while the store fails; whether it was done."""
    deadline, pause = monotonic() + seconds, _SHORTEST
    while True:
        try:
            work()
            return True
        except StorageError:
            if monotonic() + pause > deadline:
                return False
        sleep(pause)
        pause = min(2 * pause, _LONGEST)


class Beside:
    """A thread that does what it is given to the store `name`, in order.

    What fails by the store is tried again until `close`. Any other error ends it, and is raised by `check` and `close`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._due: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._trouble: StorageError | None = None
        self._closing = False
        # Started at once: one that started during a trial would be taken for the trial's.
        self._thread = threading.Thread(target=self._run, name="swathe-beside", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> StorageError | None:
        """Why the piece at hand has not been done yet, if the store fails."""
        return self._trouble

    def do(self, work: Callable[[], object]) -> None:
        """Have `work` done, some time; it may be begun several times."""
        with self._changed:
            self._due.append(work)
            self._changed.notify_all()

    def busy(self) -> bool:
        """Whether something is left to do."""
        self.check()
        return bool(self._due)

    def check(self) -> None:
        """Raise what has ended the thread."""
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Wait until all is done. Raises `StorageError` when the store fails for so long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._due or self._failure is not None, FINISHING_SECONDS)
        self.check()
        if self._due:
            raise self._trouble or StorageError(
                f"{self._name} has not taken everything within {FINISHING_SECONDS:.0f} s; the same command goes on"
            )

    def close(self) -> None:
        """End the thread, whatever is left; a piece that it is at is waited for, for a while."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(LEAVING_SECONDS)

    def _run(self) -> None:
        pause = _SHORTEST
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due or self._closing)
                if self._closing:
                    return
                work = self._due[0]
            try:
                work()
            except StorageError as error:
                self._trouble = error
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, pause)
                pause = min(2 * pause, _LONGEST)
                continue
            except BaseException as error:
                self._failure = error
            with self._changed:
                self._trouble, pause = None, _SHORTEST
                self._due.popleft()
                self._changed.notify_all()
            if self._failure is not None:
                return
