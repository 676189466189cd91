"""What a training function meets: the `Trial` handle, the shapes of parameters, and `Task`. Standard library only."""

from __future__ import annotations

import hashlib
import operator
import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, SupportsIndex, cast

from .claims import Claim, Paper

Scalar = bool | int | float | str
Condition = Mapping[str, Scalar]

LAST_STEP = 2**63 - 1
NAME_BYTES = 10_000
SHOWN_CHARACTERS = 200


class StopTrial(BaseException):
    """Raised inside `Trial.report` when the trial must end now.

    A `BaseException`, so that an `except Exception` in a training function cannot swallow it.
    """


class ReportError(ValueError):
    """A report that cannot be recorded: a wrong step, a metric twice at one step, a value that is no number."""


@dataclass(frozen=True, slots=True)
class Float:
    """A real number in [low, high]; `log` searches its logarithm, `step` quantises it to low + k*step."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number in [low, high]; `log` searches its logarithm, `step` quantises it to low + k*step."""

    low: int
    high: int
    log: bool = False
    step: int = 1
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values, in no particular order."""

    choices: tuple[Scalar, ...]
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Lattice:
    """`num` points 2**e with exponents e evenly spaced over [low, high], ends included."""

    low: float
    high: float
    num: int
    when: Condition | None = None

    def values(self) -> tuple[float, ...]:
        """The points, ascending. Exact powers of two wherever the exponent is whole."""
        if self.num == 1:
            return (2.0**self.low,)
        width = self.high - self.low
        return tuple(2.0 ** (self.low + width * k / (self.num - 1)) for k in range(self.num))


Parameter = Float | Int | Choice | Lattice


class Calibrated(NamedTuple):
    """How many lanes packs of a shape have, 0 where its trials run plainly; what was measured, and why."""

    lanes: int
    measured: Mapping[str, float]
    note: str = ""


class Fusible(Protocol):
    """Training code of which many trials can run as lanes of one program (see `fusion.Program`)."""

    @property
    def shapes(self) -> Mapping[str, Scalar | None]:
        """The parameters in which trials that run together agree, each with its default, None where it has none."""
        ...

    def train_pack(self, trials: Sequence[Trial]) -> Sequence[Mapping[str, float] | None]:
        """Train them together; the final metrics of each, None for one that was stopped at a report."""
        ...

    def calibrate(self, params: Mapping[str, Scalar], trials: int, device: str) -> Calibrated:
        """How many lanes pay and fit on `device`, for `trials` trials of the shape of `params`."""
        ...

    def out_of_memory(self, error: BaseException) -> bool:
        """Whether fewer lanes might not have raised this."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """Sweepable training code.

    `train(trial)` trains once and returns a mapping of final metrics. `metrics` are the names it promises to return,
    each a column of the `trials` table. `smallest` are parameters at which it runs in about a second, for tests.
    `fusible` is the same training for many trials at once, where it is a program.

    A published one names its `paper` and has its `claims`. `paper_scale` are overrides, such as {"fixed.depth": 24},
    that take the sweep of its first claim to the paper's size. `figure(*frames)` draws what was found, a matplotlib
    figure, from the tables of the claims' different sweeps in the order in which the claims name them.
    """

    name: str
    summary: str
    train: Callable[[Trial], Mapping[str, float] | float | None]
    metrics: tuple[str, ...] = ()
    space: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])
    defaults: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    smallest: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    fusible: Fusible | None = None
    paper: Paper | None = None
    claims: tuple[Claim, ...] = ()
    paper_scale: Mapping[str, Any] = field(default_factory=dict[str, Any])
    figure: Callable[..., Any] | None = None


class ReportSink(Protocol):
    """Where a trial's reports go. `accept` may raise `StopTrial`."""

    def accept(self, step: int, metrics: Mapping[str, float], state: object) -> None: ...


def _inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def derive_seed(sweep_seed: int, replicate: int, stream: str) -> int:
    """A 31-bit seed, a pure function of its arguments; different streams are independent (SHA-256)."""
    digest = hashlib.sha256(f"{sweep_seed}/{replicate}/{stream}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def as_number(value: Any) -> float:
    """`value` as a float: Python and numpy numbers, arrays and tensors of one element. Raises `TypeError` for others.

    An object of the user's whose conversion raises something lets that through.
    """
    if type(value) is float:
        return value
    if isinstance(value, str | bytes | bytearray) or not hasattr(value, "__float__"):
        kind = type(value).__name__
        raise TypeError(f"{shown(value)} is {'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}, not a number")
    if getattr(value, "ndim", 0) and getattr(value, "size", 0) == 1:
        value = value.item()
    try:
        return float(value)
    except OverflowError:
        raise TypeError(f"{shown(value)} is larger than any float") from None


_short = reprlib.Repr()
_short.maxstring = _short.maxlong = _short.maxother = 100


def shown(value: object) -> str:
    """A value as a message shows it: one short line, whatever its `__repr__` does."""
    try:
        text = _short.repr(value)
    except Exception:
        # Also a whole number of more digits than Python spells out.
        text = f"<{type(value).__name__}>"
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + "..."


def metric_name(name: str) -> str:
    """`name` as a plain string. Raises `ValueError` where it cannot be written down."""
    plain = str.__str__(name)
    try:
        size = len(plain.encode())
    except UnicodeEncodeError:
        raise ValueError(
            f"the metric name {plain!a} holds half a character; name metrics in text that encodes"
        ) from None
    if size > NAME_BYTES:
        raise ValueError(f"the metric name {shown(plain)} has {size} bytes; {NAME_BYTES} at most")
    return plain


def _whole(step: Any) -> int:
    try:
        if isinstance(step, bool):
            raise TypeError
        # A step that was computed as a float counts where it is whole.
        number = (
            int(step)
            if isinstance(step, float) and step.is_integer()
            else int(operator.index(cast(SupportsIndex, step)))
        )
    except (TypeError, ValueError):
        message = f"step {shown(step)} is not a whole number; pass the training step as an int"
        raise ReportError(message) from None
    if number > LAST_STEP:
        raise ReportError(f"step {shown(step)} is above {LAST_STEP}, the largest there is; count steps from 0")
    return number


def _named(metrics: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {metric_name(metric): value for metric, value in metrics.items()}
    except ValueError as error:
        raise ReportError(str(error)) from None


def _reported(step: int, metric: str, value: Any) -> float:
    try:
        return as_number(value)
    except (TypeError, ValueError) as error:
        raise ReportError(f"metric {shown(metric)} at step {step}: {error}") from None


class Trial:
    """The handle a training function gets: what to train with, and where to report.

    Training code needs nothing else of Swathe: no Ray, no Optuna, no Arrow.
    """

    def __init__(
        self,
        params: Mapping[str, Scalar],
        *,
        name: str = "local/0/0",
        sweep_seed: int = 0,
        replicate: int = 0,
        device: str = "cpu",
        sink: ReportSink | None = None,
        restore: Callable[[], Any] | None = None,
        artifacts: Path | None = None,
        folder: Path | None = None,
        share: Callable[[str, Callable[[], Any]], Any] | None = None,
    ) -> None:
        self.params: Mapping[str, Scalar] = MappingProxyType(dict(params))
        self.name = name
        self.device = device
        self._sweep_seed = sweep_seed
        self._replicate = replicate
        self._sink = sink
        self._restore = restore
        self._artifacts = artifacts
        self._folder = folder
        self._share = share
        self._step = -1
        self._seen: set[str] = set()
        self._names: set[str] = set()
        self._open = True

    def seed(self, stream: str) -> int:
        """A 31-bit seed for `stream` ("init", "data", ...); equal in every configuration of the same replicate."""
        return derive_seed(self._sweep_seed, self._replicate, stream)

    def report(self, step: int, state: object = None, **metrics: float) -> None:
        """Record `metrics` at `step`.

        Steps are whole numbers from 0 that never fall. The same metric twice at one step, or a value that is no
        number, raises `ReportError`. NaN and infinities are recorded; in the objective they end the trial as
        diverged. `state` (bytes, a folder, a mapping of arrays, or a callable that returns one) is taken only when a
        checkpoint is due.
        """
        if not self._open:
            raise ReportError(f"trial {self.name} has ended; a report at step {shown(step)} came too late")
        if type(step) is not int or step > LAST_STEP:
            step = _whole(step)
        if step < 0 or step < self._step:
            rule = "steps start at 0" if step < 0 else f"steps never fall, and the last one was {self._step}"
            raise ReportError(f"step {shown(step)} was reported, but {rule}")
        if not metrics:
            raise ReportError(f"the report at step {step} has no metric; write report({step}, loss=...)")
        if step == self._step and (twice := self._seen.intersection(metrics)):
            raise ReportError(f"metric {min(twice)!r} was reported twice at step {step}; report each once a step")
        if not metrics.keys() <= self._names:
            metrics = _named(metrics)
            self._names.update(metrics)
        numbers = {
            metric: value if type(value) is float else _reported(step, metric, value)
            for metric, value in metrics.items()
        }
        if step > self._step:
            self._step, self._seen = step, set()
        self._seen.update(numbers)
        if self._sink is not None:
            self._sink.accept(step, numbers, state)

    def restore(self) -> Any | None:
        """The state of this trial's last checkpoint, or None when it starts at step 0.

        Bytes, the path of a folder, or a mapping of arrays and tensors (on the CPU), as it was given to `report`.
        """
        return None if self._restore is None else self._restore()

    def artifact(self, name: str) -> Path:
        """A path under which a file of this trial is kept; its folder exists. `name` may not leave the folder."""
        if self._artifacts is None:
            raise RuntimeError("this trial has no folder for artifacts; pass artifacts= when making a Trial by hand")
        parts = Path(name).parts
        path = self._artifacts / name
        # By way of a link that the trial has made, too, it would leave the folder.
        if not parts or ".." in parts or "\0" in str(name) or not _inside(path.parent, self._artifacts):
            raise ValueError(f"artifact {shown(name)} must be a relative path inside the trial's folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def folder(self) -> Path:
        """A folder of this trial's own for files that it writes and reads again; it stays when the trial has ended."""
        if self._folder is None:
            raise RuntimeError("this trial has no folder of its own; pass folder= when making a Trial by hand")
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def shared(self, key: str, factory: Callable[[], Any]) -> Any:
        """`factory()`, made once per resident worker and kept under `key`; treat it as read-only."""
        return factory() if self._share is None else self._share(key, factory)

    def close(self) -> None:
        """Refuse further reports; called by whoever made the handle."""
        self._open = False
