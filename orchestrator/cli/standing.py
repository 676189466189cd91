"""How a sweep stands: the ledger's counts set against what the spec asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ledger import CellProgress, Progress
from ..messages import Cause, Scalar, State
from ..spec import Cell, Sweep


@dataclass(frozen=True, slots=True)
class Counts:
    """Trials by how they ended. Diverged ones are FAIL too, yet they count as results and not as `failed`."""

    total: int
    complete: int = 0
    pruned: int = 0
    diverged: int = 0
    failed: int = 0

    @property
    def decided(self) -> int:
        """Trials with a final word."""
        return self.complete + self.pruned + self.diverged + self.failed

    @property
    def open(self) -> int:
        """Trials that wait or run."""
        return self.total - self.decided

    def as_mapping(self) -> dict[str, int]:
        """The counts for machines."""
        ended = {name: getattr(self, name) for name in ("complete", "pruned", "diverged", "failed")}
        return {"total": self.total, "decided": self.decided, "open": self.open, **ended}

    def as_text(self) -> str:
        """The counts for people; what is zero is left out, but for the complete ones."""
        parts = [f"{self.complete} complete"]
        parts += [f"{getattr(self, name)} {name}" for name in ("pruned", "diverged", "failed") if getattr(self, name)]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class CellStanding:
    """One cell: its grid values, its counts, the best value of a single trial."""

    key: str
    values: Mapping[str, Scalar]
    counts: Counts
    best: float | None


@dataclass(frozen=True, slots=True)
class Standing:
    """A whole sweep; `best` is the cell with the best value, `causes` are failures other than divergence.

    `retried` attempts decided nothing, the others ran for `seconds` in all.
    """

    counts: Counts
    cells: tuple[CellStanding, ...]
    best: CellStanding | None
    causes: Mapping[str, int]
    retried: int
    seconds: float


def standing(sweep: Sweep, progress: Progress) -> Standing:
    """How `sweep` stands when its ledger says `progress`."""
    cells = tuple(_cell(sweep, cell, progress.cells.get(cell.key)) for cell in sweep.cells)
    causes = {cause.value: count for cause, count in progress.causes().items() if cause is not Cause.DIVERGED}
    ranked = sorted((cell for cell in cells if cell.best is not None), key=lambda cell: _rank(sweep, cell.best))
    return Standing(
        counts=_sum(cell.counts for cell in cells),
        cells=cells,
        best=ranked[0] if ranked else None,
        causes=dict(sorted(causes.items())),
        retried=progress.retried,
        seconds=sum(cell.seconds for cell in progress.cells.values()),
    )


def least_finished(cells: Sequence[CellStanding], room: int) -> list[CellStanding]:
    """At most `room` cells, in their order: those at work with the least done, then the untouched, then the done."""

    def urgency(cell: CellStanding) -> tuple[int, int]:
        done = cell.counts.decided
        return (2 if not cell.counts.open else 0 if done else 1), done

    chosen = {cell.key for cell in sorted(cells, key=urgency)[: max(room, 0)]}
    return [cell for cell in cells if cell.key in chosen]


def remainder(cells: Sequence[CellStanding], shown: Sequence[CellStanding]) -> str:
    """What is to be said of the cells that are not among the `shown` ones; "" when all are."""
    keys = {cell.key for cell in shown}
    hidden = [cell for cell in cells if cell.key not in keys]
    if not hidden:
        return ""
    done = sum(not cell.counts.open for cell in hidden)
    untouched = sum(not cell.counts.decided for cell in hidden)
    named = {"finished": done, "under way": len(hidden) - done - untouched, "not begun": untouched}
    return f"and {len(hidden)} more cells: " + ", ".join(f"{n} {name}" for name, n in named.items() if n)


def _rank(sweep: Sweep, value: Any) -> float:
    return value if sweep.directions[sweep.objective] == "minimize" else -value


def _cell(sweep: Sweep, cell: Cell, progress: CellProgress | None) -> CellStanding:
    total = sweep.per_cell * sweep.seeds
    if progress is None:
        return CellStanding(cell.key, cell.values, Counts(total), None)
    counts = progress.counts
    failed = sum(number for (state, _), number in counts.items() if state is State.FAIL)
    diverged = counts.get((State.FAIL, Cause.DIVERGED), 0)
    return CellStanding(
        cell.key,
        cell.values,
        Counts(
            total,
            complete=counts.get((State.COMPLETE, None), 0),
            pruned=counts.get((State.PRUNED, None), 0),
            diverged=diverged,
            failed=failed - diverged,
        ),
        progress.lowest if sweep.directions[sweep.objective] == "minimize" else progress.highest,
    )


def _sum(counts: Iterable[Counts]) -> Counts:
    total = complete = pruned = diverged = failed = 0
    for each in counts:
        total += each.total
        complete += each.complete
        pruned += each.pruned
        diverged += each.diverged
        failed += each.failed
    return Counts(total, complete, pruned, diverged, failed)
