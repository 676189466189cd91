"""The methods of a report as a passage to paste into a paper: the design with its numbers, the estimators it used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pandas as pd

from ..orchestrator.spec import Sweep
from ..orchestrator.task import Choice, Lattice, Parameter
from ..orchestrator.waves import looks
from .citations import references
from .curves import text
from .deciding import rule_of
from .robust import WIDE
from .robustness import IMPORTANCE, RELIABILITY, SENSITIVITY, WINNER
from .study import TransferStudy
from .words import plain, spoken

SAMPLERS = {
    "grid": "all points of a grid",
    "random": "drawn at random (Bergstra and Bengio, 2012)",
    "qmc": "a scrambled Sobol sequence (Sobol, 1967)",
    "tpe": "proposed by a tree-structured Parzen estimator (Bergstra et al., 2011; Akiba et al., 2019)",
    "gp": "proposed by Bayesian optimization with a Gaussian process (Snoek et al., 2012; Akiba et al., 2019)",
}
PRUNERS = {
    "halving": "synchronous successive halving (Jamieson and Talwalkar, 2016)",
    "top": "a race at one rung",
    "median": "the median stopping rule (Golovin et al., 2017; Akiba et al., 2019)",
    "percentile": "a percentile stopping rule (Golovin et al., 2017; Akiba et al., 2019)",
    "patient": "a rule of patience (Akiba et al., 2019)",
    "threshold": "a rule of thresholds (Akiba et al., 2019)",
}
ESTIMATORS = {
    WINNER: "The best configuration of a cell was re-estimated without the luck of being chosen: each seed in turn was"
    " set aside, the best was chosen by the others, and its value on that seed counted (Cawley and Talbot, 2010); the"
    " intervals correct for seeds that choices share (Nadeau and Bengio, 2003).",
    RELIABILITY: "Reliability over seeds is the interquartile mean with a bootstrap interval widened for the number of"
    " runs (Agarwal et al., 2021).",
    SENSITIVITY: "The width of a basin is the number of octaves within the stated distance of the best, and the mean"
    " excess over the range tried is the sensitivity of Wortsman et al., 2023; their intervals come from a"
    " delete-one-seed jackknife (Efron and Stein, 1981).",
    IMPORTANCE: "The importance of hyperparameters near the optimum was measured by PED-ANOVA (Watanabe et al., 2023),"
    " with intervals from a delete-a-group jackknife over configurations.",
}


@dataclass(frozen=True, slots=True)
class Methods:
    """Paragraphs that cite by author and year, and the references they need."""

    paragraphs: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


def methods(sweep: Sweep, trials: pd.DataFrame, study: TransferStudy | None, tables: Iterable[str]) -> Methods:
    """What was done, from the spec and the ended trials; `study` when it was judged, `tables` by their titles."""
    judged = [*_transfer(sweep, study)] if study is not None else [*_robustness(sweep)]
    told = [ESTIMATORS[title] for title in tables if title in ESTIMATORS]
    passages = [_design(sweep), _outcomes(sweep, trials), " ".join([*judged, *told]), _software(sweep)]
    kept = tuple(each for each in passages if each)
    return Methods(kept, references(" ".join(kept)))


def written(names: Sequence[Any]) -> str:
    """A list in words."""
    texts = [f"{each:g}" if isinstance(each, float) else str(each) for each in names]
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]])) if texts else ""


def _design(sweep: Sweep) -> str:
    axes = [f"{spoken(name)} ({written(values)})" for name, values in sweep.grid.items()]
    cells = len(sweep.cells)
    where = f"over {written(axes)}, {cells} cells in all," if axes else ""
    goal = written([f"{spoken(name)} ({way}d)" for name, way in sweep.directions.items()])
    parts = [f"We ran a sweep {where} with {goal} as the objective."]
    if sweep.search:
        searched = written([f"{spoken(name)} {_range(shape)}" for name, shape in sweep.search.items()])
        many = "configuration" if sweep.per_cell == 1 else "configurations"
        parts.append(f"In every cell {sweep.per_cell} {many} of {searched} were tried, {SAMPLERS[sweep.sampler.name]}.")
    if sweep.fixed:
        parts.append(f"Held fixed were {written([f'{name} = {_word(value)}' for name, value in sweep.fixed.items()])}.")
    seeds = "seed" if sweep.seeds == 1 else "seeds"
    total = cells * sweep.per_cell * sweep.seeds
    shared = ", which all configurations share," if sweep.seeds > 1 else ""
    parts.append(f"Each configuration was trained with {sweep.seeds} {seeds}{shared} {total} trials in all.")
    if sweep.pruner is not None:
        first = f" from step {sweep.pruner.min_step} on"
        parts.append(f"Trials were ended early by {PRUNERS[sweep.pruner.name]}{first}.")
    return " ".join(" ".join(parts).replace(" ,", ",").split())


def _range(shape: Parameter) -> str:
    if isinstance(shape, Lattice):
        return f"({shape.num} values, evenly spaced in log2 from 2^{shape.low:g} to 2^{shape.high:g})"
    if isinstance(shape, Choice):
        return f"(one of {written([_word(each) for each in shape.choices])})"
    scale = "log-uniform" if shape.log else "uniform"
    return f"({scale} from {shape.low:g} to {shape.high:g})"


def _word(value: Any) -> str:
    return plain(value) if isinstance(value, float) else str(value)


def _outcomes(sweep: Sweep, trials: pd.DataFrame) -> str:
    """How the trials ended, and what became of those without a result."""
    total = len(sweep.cells) * sweep.per_cell * sweep.seeds
    counts = Counter(zip(text(trials, "state"), text(trials, "cause"), strict=True))
    diverged = sum(count for (_, cause), count in counts.items() if cause == "diverged")
    pruned = sum(count for (state, _), count in counts.items() if state == "PRUNED")
    failed = sum(count for (state, cause), count in counts.items() if state == "FAIL" and cause != "diverged")
    parts = [
        f"{diverged} diverged and count as infinitely bad" if diverged else "",
        f"{pruned} were ended early and count as worse than those that were not" if pruned else "",
        f"{failed} failed for other reasons and were excluded" if failed else "",
        f"{total - len(trials)} had not ended" if len(trials) < total else "",
    ]
    known = [part for part in parts if part]
    return f"Of {total} trials {written(known)}." if known else ""


def _transfer(sweep: Sweep, study: TransferStudy) -> Iterable[str]:
    name, axis, rule = spoken(study.hyperparameter), spoken(study.axis), rule_of(sweep)
    yield (
        f"For each {axis} the optimal {name} is the centre of the basin of the seed-mean curve of"
        f" {spoken(sweep.objective)} against log2 {name}, read at two depths and extrapolated to depth zero, diverged"
        f" trials counting as walls. An optimum at the edge of the values tried is censored: it enters as a bound, not"
        f" as a number. The drift is the least squares slope of the optima on log2 {axis}, in octaves per doubling."
    )
    yield (
        "Its intervals are t intervals of a delete-one-seed jackknife in which every optimum is fitted anew (Efron and"
        " Stein, 1981), pooled with the variance due to the spacing of the grid (Satterthwaite, 1946)."
    )
    yield (
        f"The {name} is said to transfer when the {100 * rule.transfers:.4g}% interval of the drift lies within"
        f" \N{PLUS-MINUS SIGN}{rule.margin:g} octaves per doubling, which is a pair of one-sided tests of equivalence"
        f" (Schuirmann, 1987), to drift when the {100 * rule.drifts:.4g}% interval lies outside, and is undecided"
        " otherwise and with fewer than 3 seeds."
    )
    if sweep.stop is not None:
        after = written(looks(sweep.most_seeds))
        yield (
            f"The sweep was to end at the first of its looks, after {after} seeds, at which every group was decided; it"
            f" ended after {sweep.seeds}. Each look uses the same nominal confidence, chosen so that all together err"
            " no more often than one look with 95% and 90% intervals (Pocock, 1977)."
        )


def _robustness(sweep: Sweep) -> Iterable[str]:
    study = sweep.question
    if study is not None and study.name == "robustness" and study.hyperparameter is not None:
        yield (
            f"A cell is said to be robust to the {spoken(study.hyperparameter)} when the 95% interval of the width of"
            f" its basin lies above {WIDE:g} octaves, a factor of two to either side, sensitive when it lies below, and"
            " undecided otherwise."
        )


def _software(sweep: Sweep) -> str:
    return f"The sweep was run and evaluated with Swathe {version('swathe')} (sweep seed {sweep.seed})."
