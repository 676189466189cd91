"""What a report says, before it is laid out: sentences, figures and tables as plain records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..orchestrator.errors import SwatheError
from ..orchestrator.spec import Sweep
from .curves import text
from .deciding import verdicts
from .edges import marked
from .front import front_sentence, front_table
from .left_out import left_out
from .methods import Methods, methods
from .pareto import fronts
from .pictures import configurations_picture, pareto_picture, sensitivity_pictures, transfer_pictures
from .records import Head, Picture, Statement, Table
from .robust import robustness_statements
from .robustness import robustness_tables
from .study import TransferStudy, infer_study
from .summary import BestRow, best_configurations
from .transfer import TransferVerdict
from .transfer_page import level_table, transfer_statement
from .words import estimated, spoken

Found = Mapping[tuple[Any, ...], TransferVerdict]


@dataclass(frozen=True)
class Page:
    """Everything that the template shows of the results."""

    name: str
    status: str
    provisional: str = ""
    verdicts: Sequence[Statement] = ()
    result: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = field(default_factory=list[Table])
    methods: Methods = field(default_factory=Methods)


@dataclass(frozen=True)
class _Findings:
    """What stands above the tables that every page has."""

    verdicts: Sequence[Statement] = ()
    result: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    judged: Found = field(default_factory=dict[tuple[Any, ...], TransferVerdict])


def page(trials: pd.DataFrame, sweep: Sweep) -> Page:
    """The page of a sweep from its ended trials, with or without a study, finished or not, failed or not."""
    total = len(sweep.cells) * sweep.per_cell * sweep.seeds
    best = best_configurations(trials, sweep.directions[sweep.objective])
    study = infer_study(sweep)
    found = _findings(trials, sweep, study, best)
    common = [] if len(sweep.objectives) > 1 else [*_best_table(best, sweep), *robustness_tables(trials, sweep)]
    tables = [*found.tables, *common, left_out(trials, total, found.judged)]
    judged = study if found.judged else None
    return Page(
        name=sweep.name,
        status=_status(trials, total),
        provisional=_provisional(trials, total),
        verdicts=found.verdicts,
        result=found.result,
        figures=found.figures,
        tables=tables,
        methods=methods(sweep, trials, judged, [table.title for table in tables]) if best else Methods(),
    )


def _findings(trials: pd.DataFrame, sweep: Sweep, study: TransferStudy | None, best: Sequence[BestRow]) -> _Findings:
    if study is not None and best:
        try:
            return _transfer(trials, sweep, study)
        except SwatheError as error:
            return _plain(trials, best, sweep, [f"No verdict: {error}."])
    if len(sweep.objectives) > 1 and best:
        front = fronts(trials, sweep.directions)
        picture = pareto_picture(trials, sweep)
        return _Findings(result=[front_sentence(front, sweep)], figures=[picture], tables=front_table(front, sweep))
    return _plain(trials, best, sweep, [])


def _transfer(trials: pd.DataFrame, sweep: Sweep, study: TransferStudy) -> _Findings:
    found = verdicts(trials, sweep, study)
    return _Findings(
        verdicts=[transfer_statement(key, verdict, study, sweep) for key, verdict in found.items()],
        figures=transfer_pictures(trials, sweep, study, found),
        tables=[level_table(key, verdict, study, sweep.objective) for key, verdict in found.items()],
        judged=found,
    )


def _plain(trials: pd.DataFrame, best: Sequence[BestRow], sweep: Sweep, notes: Sequence[str]) -> _Findings:
    if not best:
        nothing = "No configuration has a result yet." if trials.empty else "No configuration has a result."
        return _Findings(result=[*notes, nothing])
    choose = min if sweep.directions[sweep.objective] == "minimize" else max
    top = choose(best, key=lambda row: row.value)
    where = f" in {top.label}" if len(best) > 1 else ""
    chosen = marked(top.params, sweep) or "no search"
    sentence = f"The best final {spoken(sweep.objective)} is {_value(top)}{where}, with {chosen}."
    return _Findings(
        verdicts=robustness_statements(trials, sweep),
        result=[*notes, sentence],
        figures=[*sensitivity_pictures(trials, sweep), configurations_picture(trials, best, sweep)],
    )


def _best_table(best: Sequence[BestRow], sweep: Sweep) -> list[Table]:
    if not best:
        return []
    heads = (
        Head("cell"),
        Head(f"final {spoken(sweep.objective)} (95% interval)"),
        Head("with"),
        Head("configuration", number=True),
        Head("seeds", number=True),
        Head("tried", number=True),
    )
    rows = [
        (row.label, _value(row), marked(row.params, sweep), str(row.configuration), _seeds(row), str(row.tried))
        for row in best
    ]
    lead = "The best mean over seeds; it was chosen for being best, so a new seed will on average do a little worse."
    return [Table("Best configuration of each cell", heads, rows, lead)]


def _status(trials: pd.DataFrame, total: int) -> str:
    ends = zip(text(trials, "state"), text(trials, "cause"), strict=True)
    counts = Counter(str(cause or state).lower().replace("_", " ") for state, cause in ends)
    parts = [f"{count} {end}" for end, count in sorted(counts.items())]
    return f"{len(trials)} of {total} trials have ended" + (f": {', '.join(parts)}." if parts else ".")


def _provisional(trials: pd.DataFrame, total: int) -> str:
    missing = total - len(trials)
    if missing <= 0:
        return ""
    return (
        f"Provisional: {missing} trials have not ended. Stopping at the first verdict that one likes, after looking"
        " several times, breaks its error rates."
    )


def _seeds(row: BestRow) -> str:
    return str(row.seeds) if row.seeds == row.ended else f"{row.seeds} of {row.ended}"


def _value(row: BestRow) -> str:
    return estimated(row.value, *row.interval)
