"""What a report says of a transfer study: the verdict of each group in words, and the optimum of each level."""

from __future__ import annotations

from typing import Any

from ..orchestrator.spec import Sweep
from ..orchestrator.waves import looks
from .deciding import rule_of
from .records import Head, Statement, Table
from .study import TransferStudy
from .transfer import LevelOptimum, TransferVerdict
from .words import estimated, group_label, interval, plain, signed, spoken


def transfer_statement(key: tuple[Any, ...], verdict: TransferVerdict, study: TransferStudy, sweep: Sweep) -> Statement:
    """The verdict of one group, the word first, then what it rests on."""
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
    last, first = verdict.levels[-1], verdict.transferred[0]
    known = first.low is not None and first.high is not None
    ends = f"95% interval {plain(first.low or 0.0, 2)} to {plain(first.high or 0.0, 2)}" if known else "no interval"
    best = estimated(last.best, *last.best_interval)
    return (f"{tuned} costs {plain(verdict.regret, 2)} ({ends}) on top of the best {best}.",)


def level_table(key: tuple[Any, ...], verdict: TransferVerdict, study: TransferStudy, metric: str) -> Table:
    """The optimum of each level of one group with its interval, or on which side of what it is censored."""
    hyperparameter = spoken(study.hyperparameter)
    heads = (
        Head(spoken(study.axis), number=True),
        Head(f"best log2 {hyperparameter} (95% interval)"),
        Head(f"best {hyperparameter}", number=True),
        Head(f"best mean {spoken(metric)} (95% interval)"),
        Head("found at log2", number=True),
    )
    label = f"Optima: {group_label(study.by, key)}" if study.by else "Optima"
    return Table(label, heads, [_level_row(level) for level in verdict.levels])


def _level_row(level: LevelOptimum) -> tuple[str, ...]:
    best = estimated(level.best, *level.best_interval)
    if level.optimum is None:
        side = "at or below" if level.censored == "low" else "at or above"
        bound = f"censored: {side} {signed(level.bound or 0.0)}"
        return (f"{level.level:g}", bound, "censored", best, "censored")
    spread = "one seed, no interval" if level.error is None else interval(level.low, level.high)
    optimum = f"{signed(level.optimum)} ({spread})"
    return (f"{level.level:g}", optimum, plain(2.0**level.optimum, 3), best, signed(level.argmin))
