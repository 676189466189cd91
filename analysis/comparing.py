"""Two sweeps side by side: which one is better, whether their optima drift alike, and what differs between them."""

from __future__ import annotations

from collections.abc import Iterable

from ..orchestrator.errors import SwatheError
from ..orchestrator.spec import Sweep
from .citations import references
from .compared import Compared, Drifts, Side, cells, changes, drifts, shares_seeds
from .compared_pictures import difference_picture, optima_pictures
from .differences import difference_of_best
from .estimates import Estimate
from .methods import Methods
from .pages import Page
from .records import Head, Statement, Table
from .summary import best_configurations
from .words import estimated, spoken, stepped

METHOD = (
    "Best values are compared on seeds that did not choose them: each seed in turn was set aside, the best"
    " configuration was chosen by the others, and its value on that seed counted (Cawley and Talbot, 2010), with"
    " intervals that correct for seeds that choices share (Nadeau and Bengio, 2003). {pairing} Intervals of single"
    " cells hold for all cells at once (Dunn, 1961). The difference of two drifts has the interval of a delete-one-seed"
    " jackknife in which every optimum is fitted anew (Efron and Stein, 1981), pooled with the variance due to the"
    " spacing of both grids (Satterthwaite, 1946)."
)
PAIRED = "Both sweeps have the same sweep seed, so their replicates share their randomness and are paired."
APART = "The sweeps have different sweep seeds, so nothing is paired."


def comparison(first: Side, second: Side) -> Page:
    """The page that compares them. Raises `SwatheError` where metric or direction differ, or one has no result."""
    _refuse(first, second)
    shared = shares_seeds(first, second)
    whole = difference_of_best(first.trials, second.trials, first.direction, shared=shared)
    rows, found = cells(first, second), drifts(first, second)
    passage = METHOD.format(pairing=PAIRED if shared else APART)
    tables = [
        _verdict_table(first, second),
        _drift_table(found),
        _cell_table(rows, first, second),
        _change_table("What differs in the specs", changes(first.asked, second.asked), first, second),
        _change_table("What differs in provenance", changes(first.provenance, second.provenance), first, second),
    ]
    return Page(
        name=f"{first.label} and {second.label}",
        status=f"{first.progress} {second.progress} Differences are {second.label} minus {first.label}.",
        verdicts=[_best_statement(first, second, whole), *_drift_statements(found)],
        figures=[*optima_pictures(first, second), *difference_picture(rows, first, second)],
        tables=[table for table in tables if table.rows or table.lead],
        methods=Methods((passage,), references(passage)),
    )


def _refuse(first: Side, second: Side) -> None:
    ours, theirs = first.sweep.directions, second.sweep.directions
    if [*ours] != [*theirs]:
        said = " and ".join(
            f"{side.label} has the metric {', '.join(side.sweep.objectives)}" for side in (first, second)
        )
        raise SwatheError(f"{said}; only sweeps of the same metric can be compared, so name two of those")
    if ours != theirs:
        said = " and ".join(f"{side.label} would {_goal(side.sweep)}" for side in (first, second))
        raise SwatheError(f"{said}; only sweeps of the same direction can be compared, so name two of those")
    for side in (first, second):
        if not best_configurations(side.trials, side.direction):
            raise SwatheError(f"{side.label} has no result yet; compare it when `swathe status` shows complete trials")


def _goal(sweep: Sweep) -> str:
    return ", ".join(f"{way} {name}" for name, way in sweep.directions.items())


def _best_statement(first: Side, second: Side, found: Estimate) -> Statement:
    metric = spoken(first.sweep.objective)
    size = f"The best of {second.label} minus the best of {first.label}: {_difference(found)}."
    notes = tuple(found.reasons)
    if found.low is None or found.high is None or found.low <= 0 <= found.high:
        return Statement("undecided", f"Undecided which sweep has the better {metric}.", (size, *notes))
    lower = found.high < 0
    better = second if lower == (first.direction == "minimize") else first
    return Statement("better", f"{better.label} has the better {metric}.", (size, *notes))


def _drift_statements(found: Iterable[Drifts]) -> Iterable[Statement]:
    for each in found:
        headline = {
            "alike": f"{each.label}: the optima drift alike, within {each.margin:g} octaves per doubling.",
            "differ": f"{each.label}: the optima drift differently.",
            "undecided": f"{each.label}: undecided whether the optima drift alike.",
        }[each.word]
        size = f"The drifts differ by {_difference(each.difference, digits=2)} octaves per doubling."
        yield Statement(each.word, headline, (size, *each.difference.reasons))


def _difference(found: Estimate, digits: int | None = None) -> str:
    """A difference with its 95% interval, or that there is none."""
    if found.low is None or found.high is None:
        return "unknown" if found.estimate is None else f"{stepped(found.estimate, digits)} (no interval)"
    middle = "censored" if found.estimate is None else stepped(found.estimate, digits)
    return f"{middle} (95% interval {stepped(found.low, digits)} to {stepped(found.high, digits)})"


def _verdict_table(first: Side, second: Side) -> Table:
    """What each sweep says for itself."""
    heads = (Head("sweep"), Head("verdict"), Head("because"))
    rows = [(side.label, told.headline, told.reasons[0]) for side in (first, second) for told in side.statements]
    lead = "" if rows else "Neither sweep has a study, so there are no verdicts to set side by side."
    return Table("Verdicts side by side", heads, rows, lead)


def _drift_table(found: Iterable[Drifts]) -> Table:
    heads = (Head("group"), Head("difference of the drifts, octaves per doubling"), Head("verdict"))
    return Table("Drifts compared", heads, [(x.label, _difference(x.difference, 2), x.word) for x in found])


def _cell_table(rows: Iterable[Compared], first: Side, second: Side) -> Table:
    metric = spoken(first.sweep.objective)
    heads = (
        Head("cell"),
        Head(f"best {metric} of {first.label} (95% interval)"),
        Head(f"of {second.label} (95% interval)"),
        Head("difference (simultaneous 95% interval)"),
        Head("rests on"),
    )
    told = [
        (
            row.label,
            estimated(row.first.value, *row.first.interval),
            estimated(row.second.value, *row.second.interval),
            _difference(row.difference).replace("95% interval ", ""),
            "; ".join(row.difference.reasons),
        )
        for row in rows
    ]
    lead = (
        "Cells that both sweeps have. The first two columns were chosen for being best; the difference is on seeds that"
        " did not choose, and its intervals hold for all cells at once."
    )
    return Table("Best of each cell, compared", heads, told, lead if told else "The sweeps have no cell in common.")


def _change_table(title: str, rows: Iterable[tuple[str, str, str]], first: Side, second: Side) -> Table:
    told = list(rows)
    heads = (Head("what"), Head(first.label), Head(second.label))
    return Table(title, heads, told, "" if told else "Nothing differs.")
