"""Which generations to ask of the search next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..events import ProposeGeneration
from .plan import Plan
from .queue import LEASE_TRIALS
from .results import CellResults


class Proposals:
    """Asks for generations as soon as their views are complete, but not further ahead than workers need."""

    def __init__(self, plan: Plan, cells: Mapping[str, CellResults]) -> None:
        self._plan = plan
        self._cells = cells
        self._in_flight = 0
        self._askable = {key: None for key, cell in cells.items() if self._may_ask(cell)}

    def offer(self, cell: str) -> None:
        """Something has changed in this cell; its next generation may now be due."""
        if self._may_ask(self._cells[cell]):
            self._askable[cell] = None

    def arrived(self) -> None:
        """One generation that was asked for has been proposed."""
        self._in_flight -= 1

    def ask(self, waiting: int, workers: int) -> Iterator[ProposeGeneration]:
        """Orders for more generations, while fewer than two leases a worker wait or are on their way."""
        wanted = max(64, 2 * workers * LEASE_TRIALS)
        batch = self._plan.generation * self._plan.replicates
        while self._askable and waiting + batch * self._in_flight < wanted:
            key = next(iter(self._askable))
            del self._askable[key]
            cell = self._cells[key]
            yield ProposeGeneration(key, cell.asked)
            cell.asked += 1
            self._in_flight += 1
            self.offer(key)

    def _may_ask(self, cell: CellResults) -> bool:
        if cell.asked >= self._plan.generations:
            return False
        if not self._plan.sequential:
            return True
        return cell.asked == cell.proposed and cell.frontier >= cell.proposed - self._plan.lag
