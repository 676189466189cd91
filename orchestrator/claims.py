"""A paper, what it claims, and what decides that: records without any code of their own. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

Outcome = Literal["reproduced", "not reproduced", "undecided"]


@dataclass(frozen=True, slots=True)
class Paper:
    """A publication. `arxiv` is its number there, such as "2402.17457", empty where there is none."""

    title: str
    authors: tuple[str, ...]
    year: int
    arxiv: str = ""

    def __str__(self) -> str:
        """The citation, on one line."""
        named = ", ".join(self.authors) if len(self.authors) <= 4 else f"{self.authors[0]} et al."
        return f"{named} ({self.year}), {self.title}" + (f", arXiv:{self.arxiv}" if self.arxiv else "")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95% interval, None where there is none.

    `n` counts what the interval rests on, in units that `reasons` name (seeds unless they say otherwise). An infinite
    `estimate` or bound means divergence or, for a width, that the end was not seen. `excluded` counts trials that say
    nothing, by reason. A number that no seed changes has itself for both bounds.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    reasons: tuple[str, ...] = ()
    excluded: Mapping[str, int] = field(default_factory=dict[str, int])

    def because(self, *reasons: str) -> Estimate:
        """The same with more reasons."""
        return replace(self, reasons=(*self.reasons, *reasons))

    @property
    def decided(self) -> bool:
        """Whether there is an interval."""
        return self.low is not None


class Frames(NamedTuple):
    """The tables of one finished sweep, as `analysis.load` gives them."""

    trials: pd.DataFrame
    metrics: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement of a paper as a number that a sweep measures.

    `sweep` is a spec without name and task, small enough for minutes on two cores; claims with equal ones share it.
    `estimator` reads the number from its tables. The claim is that it lies on the side `direction` of `threshold`.
    `remark` says what in the setting may decide the outcome, such as why a small study may miss a large one's effect.
    """

    statement: str
    sweep: Mapping[str, Any]
    estimator: Callable[[Frames], Estimate]
    direction: Literal["below", "above"]
    threshold: float
    remark: str = ""

    def outcome(self, found: Estimate) -> Outcome:
        """Reproduced when the whole interval lies on the claimed side, not when it wholly lies on the other."""
        if found.low is None or found.high is None:
            return "undecided"
        below, above = found.high < self.threshold, found.low > self.threshold
        if not (below or above):
            return "undecided"
        return "reproduced" if below == (self.direction == "below") else "not reproduced"
