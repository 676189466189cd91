"""The machines of a simulation: how many, how fast they talk, how often they fail."""

from __future__ import annotations

from dataclasses import dataclass

# A Ray actor takes 700 to 800 messages a second (measured on Ray 2.60, two cores).
MESSAGES_A_SECOND = 750.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A crew of workers and its scheduler. Times are seconds.

    Workers join after `startup`. A message takes `latency` one way, and the scheduler's mailbox takes `messages` a
    second, one after another. While its lease runs a worker reports every `push` seconds (None: one second, and less
    often beyond 400 workers). `overhead` is what a trial costs its worker beside training, `proposal` what a model
    needs for one configuration. Workers die `deaths` times an hour of work; the place is filled again after
    `recovery`. A share of `stragglers` of all leases runs `slowdown` times slower. With `checkpoints` a promoted trial
    goes on where it paused, otherwise it starts again.
    """

    workers: int = 1
    startup: float = 0.0
    latency: float = 0.001
    messages: float = MESSAGES_A_SECOND
    push: float | None = None
    overhead: float = 0.0
    proposal: float = 0.02
    deaths: float = 0.0
    recovery: float = 5.0
    stragglers: float = 0.0
    slowdown: float = 5.0
    checkpoints: bool = True

    @property
    def pulse(self) -> float:
        """Seconds between the reports of a worker that is busy."""
        return max(1.0, self.workers / 400) if self.push is None else self.push

    @property
    def handling(self) -> float:
        """Seconds that the scheduler spends on one message."""
        return 1.0 / self.messages

    @classmethod
    def ideal(cls, workers: int, **changes: float | bool) -> Cluster:
        """Workers and a scheduler that cost no time at all."""
        return cls(workers, latency=0.0, messages=float("inf"), proposal=0.0, **changes)  # type: ignore[arg-type]


class Server:
    """Something that does one thing at a time, in the order in which it was asked. Times are seconds."""

    def __init__(self) -> None:
        self.busy = 0.0
        self.served = 0
        self._free = 0.0

    def serve(self, at: float, seconds: float) -> float:
        """When it is done with what is asked at `at` and takes `seconds`."""
        self._free = max(at, self._free) + seconds
        self.busy += seconds
        self.served += 1
        return self._free
