"""What a report says, before it is laid out: sentences, figures and tables as plain records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from ..orchestrator.errors import SwatheError
from ..orchestrator.spec import Sweep
from ..orchestrator.waves import looks
from . import plots
from .curves import text
from .deciding import rule_of, verdicts
from .front import front_picture, front_sentence, front_table
from .pareto import fronts
from .records import Head, Picture, Statement, Table
from .robust import robustness_statements
from .robustness import robustness_tables
from .study import TransferStudy, infer_study
from .summary import BestRow, best_configurations, failures
from .transfer import LevelOptimum, TransferVerdict
from .words import assignments, group_label, interval, plain, signed, spoken

METHOD = (
    "The best value at each level is the centre of the basin of the seed-mean loss curve, read at two depths and"
    " extrapolated to depth zero; diverged trials count as walls. Its slope against log2 of the level is the drift.",
    "Intervals come from leaving out one seed at a time and refitting everything, plus a variance for how coarse the"
    " grid is. A hyperparameter transfers when the 90% interval of the drift lies within the margin; it drifts when the"
    " 95% interval lies outside it; else, and always with fewer than 3 seeds, the question is undecided.",
    "An optimum at the edge of the values tried is censored: only a bound is known, and it is never read as a number.",
)


@dataclass(frozen=True)
class Page:
    """Everything that the template shows of the results."""

    name: str
    status: str
    provisional: str
    verdicts: Sequence[Statement] = ()
    result: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = field(default_factory=list[Table])
    method: Sequence[str] = ()


def page(trials: pd.DataFrame, sweep: Sweep) -> Page:
    """The page of a sweep from its ended trials, with or without a study, finished or not, failed or not."""
    total = len(sweep.cells) * sweep.per_cell * sweep.seeds
    best = best_configurations(trials, sweep.directions[sweep.objective])
    several = len(sweep.objectives) > 1
    front = fronts(trials, sweep.directions) if several else ()
    found = front_table(front, sweep) if several else [*_best_table(best, sweep), *robustness_tables(trials, sweep)]
    tables = [*found, *_failure_table(trials)]
    common: dict[str, Any] = {"name": sweep.name, "status": _status(trials, total)}
    common["provisional"] = _provisional(trials, total)
    study = infer_study(sweep)
    if study is not None and best:
        try:
            return Page(**common, **_transfer(trials, sweep, study, tables))
        except SwatheError as error:
            return Page(**common, **_plain(trials, best, sweep, [f"No verdict: {error}."]), tables=tables)
    if several and best:
        common["result"] = [front_sentence(front, sweep)]
        return Page(**common, figures=[_picture(*front_picture(trials, sweep))], tables=tables)
    return Page(
        **common, **_plain(trials, best, sweep, []), tables=tables, verdicts=robustness_statements(trials, sweep)
    )


def _transfer(trials: pd.DataFrame, sweep: Sweep, study: TransferStudy, tables: Sequence[Table]) -> dict[str, Any]:
    found = verdicts(trials, sweep, study)
    groups = plots.group_curves(trials, study, "value", sweep.directions[sweep.objective])
    limits = plots.loss_limits(groups, found)
    figures = [
        _picture(
            group_label(study.by, key),
            plots.loss_figure(curves, found[key], limits, sweep.objective),
            f"Line: mean over {curves.seeds} seeds. Band: lowest to highest seed. Diamond: optimum with its 95%"
            " interval; an arrow: censored. Cross: diverged, the smaller the fewer seeds.",
        )
        for key, curves in groups.items()
    ]
    figures.append(
        _picture(
            f"Optimum against {spoken(study.axis)}",
            plots.optima_figure(found, study),
            "Bars: 95% intervals. Dotted: the fitted drift. Arrows: censored, the optimum lies further out.",
        )
    )
    return {
        "verdicts": [_statement(key, verdict, study, sweep) for key, verdict in found.items()],
        "figures": figures,
        "tables": [_level_table(key, verdict, study, sweep.objective) for key, verdict in found.items()] + [*tables],
        "method": METHOD,
    }


def _statement(key: tuple[Any, ...], verdict: TransferVerdict, study: TransferStudy, sweep: Sweep) -> Statement:
    hyperparameter, axis = spoken(study.hyperparameter), spoken(study.axis)
    group = f"{group_label(study.by, key)}: " if study.by else ""
    headline = {
        "transfers": f"{group}the best {hyperparameter} transfers along {axis}.",
        "drifts": f"{group}the best {hyperparameter} drifts along {axis}.",
        "undecided": f"{group}undecided whether the best {hyperparameter} transfers along {axis}.",
    }[verdict.verdict]
    levels = [level.level for level in verdict.levels]
    scope = f"Judged on the final {spoken(sweep.objective)} with {verdict.seeds} seeds"
    span = f" for {axis} {min(levels):g} to {max(levels):g}" if levels else ""
    margin = f", margin {verdict.margin:g} octaves per doubling."
    return Statement(
        verdict.verdict,
        headline if group else headline[0].upper() + headline[1:],
        (*verdict.reasons, scope + span + margin, *_looks(sweep), *_regret(verdict)),
    )


def _looks(sweep: Sweep) -> tuple[str, ...]:
    """That the sweep could stop early, and what its looks cost."""
    if sweep.stop is None:
        return ()
    after = ", ".join(map(str, looks(sweep.most_seeds)))
    rule = rule_of(sweep)
    return (
        f"Looked at after {after} seeds until decided, ended after {sweep.seeds}: each look uses intervals of"
        f" {rule.drifts:.2%} (drifts) and {rule.transfers:.2%} (transfers), so that all together err no more often than"
        " one of 95% and 90% (Pocock, 1977).",
    )


def _regret(verdict: TransferVerdict) -> tuple[str, ...]:
    if verdict.regret is None:
        return ()
    smallest, largest = verdict.levels[0].level, verdict.levels[-1].level
    tuned = f"The optimum at {spoken(verdict.axis)} {smallest:g}, used at {largest:g},"
    if verdict.regret == float("inf"):
        return (f"{tuned} diverges.",)
    best = verdict.levels[-1].best
    return (f"{tuned} costs {plain(verdict.regret, 2)} on top of the best {plain(best)}.",)


def _level_table(key: tuple[Any, ...], verdict: TransferVerdict, study: TransferStudy, metric: str) -> Table:
    hyperparameter = spoken(study.hyperparameter)
    heads = (
        Head(spoken(study.axis), number=True),
        Head(f"best log2 {hyperparameter} (95% interval)"),
        Head(f"best {hyperparameter}", number=True),
        Head(f"lowest {spoken(metric)}", number=True),
        Head("at log2", number=True),
    )
    label = f"Optima: {group_label(study.by, key)}" if study.by else "Optima"
    return Table(label, heads, [_level_row(level) for level in verdict.levels])


def _level_row(level: LevelOptimum) -> tuple[str, ...]:
    tail = (plain(level.best), signed(level.argmin))
    if level.optimum is None:
        side = "at or below" if level.censored == "low" else "at or above"
        return (f"{level.level:g}", f"censored: {side} {signed(level.bound or 0.0)}", "censored", *tail)
    spread = "one seed, no interval" if level.error is None else interval(level.low, level.high)
    return (f"{level.level:g}", f"{signed(level.optimum)} ({spread})", plain(2.0**level.optimum, 3), *tail)


def _plain(trials: pd.DataFrame, best: Sequence[BestRow], sweep: Sweep, notes: Sequence[str]) -> dict[str, Any]:
    if not best:
        return {
            "result": [
                *notes,
                "No configuration has a result yet." if trials.empty else "No configuration has a result.",
            ]
        }
    choose = min if sweep.directions[sweep.objective] == "minimize" else max
    top = choose(best, key=lambda row: row.value)
    where = f" in {top.label}" if len(best) > 1 else ""
    chosen = assignments(top.params) or "no search"
    sentence = f"The best final {spoken(sweep.objective)} is {_value(top)}{where}, with {chosen}."
    caption = "Dot: a configuration's mean over its seeds. Diamond: the best of its cell, with its standard error."
    figure = plots.configurations_figure(trials, best, sweep.objective)
    return {"result": [*notes, sentence], "figures": [_picture("Configurations", figure, caption)]}


def _best_table(best: Sequence[BestRow], sweep: Sweep) -> list[Table]:
    if not best:
        return []
    heads = (
        Head("cell"),
        Head(f"final {spoken(sweep.objective)}", number=True),
        Head("with"),
        Head("configuration", number=True),
        Head("seeds", number=True),
        Head("tried", number=True),
    )
    rows = [
        (row.label, _value(row), assignments(row.params), str(row.configuration), _seeds(row), str(row.tried))
        for row in best
    ]
    lead = "The best mean over seeds; it was chosen for being best, so a new seed will on average do a little worse."
    return [Table("Best configuration of each cell", heads, rows, lead)]


def _failure_table(trials: pd.DataFrame) -> list[Table]:
    rows = [(row.cause, str(row.count), row.example, row.error) for row in failures(trials)]
    heads = (Head("ended as"), Head("trials", number=True), Head("for example"), Head("error"))
    return [Table("Trials without a result", heads, rows)] if rows else []


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
    spread = "" if row.error is None else f" \N{PLUS-MINUS SIGN} {plain(row.error, 2)}"
    return plain(row.value) + spread


def _picture(title: str, figure: Figure, caption: str) -> Picture:
    svg = plots.to_svg(figure, salt=title)
    return Picture(title, Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)), caption)
