"""Which hyperparameter decides whether a configuration is among the best: PED-ANOVA (Watanabe et al., 2023).

arXiv 2304.10255, as in Optuna. An analysis of variance over the whole range mostly measures where training diverges;
this one asks how differently a parameter is distributed among the best configurations than among a wider part of
them, and so measures importance near the optimum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..orchestrator.errors import SwatheError
from ..orchestrator.schema import PARAM
from .estimates import CONFIDENCE, Estimate
from .outcomes import outcomes, unit_costs, units
from .statistics import Spread, half_width, jackknife_variance
from .summary import split_parameters

if TYPE_CHECKING:
    # A second to import, which a report without importances need not spend.
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

Array = NDArray[np.float64]

TOP = 0.1  # the share of configurations that are the best ones
REGION = 0.5  # the share they are compared with: the better half
FEWEST = 5  # best configurations; Optuna's advice
GROUPS = 10  # parts of the configurations that are left out in turn
FEW = 4  # numbers that take no more values are categories: as a density they would be spikes
OCTAVES = 2.0  # a positive number that spans as much is taken for log-scaled


def importances(
    trials: pd.DataFrame,
    *,
    metric: str = "value",
    direction: str = "minimize",
    parameters: Sequence[str] = (),
    top: float = TOP,
    region: float = REGION,
    seed: int = 0,
) -> dict[str, Estimate]:
    """The share of each searched parameter in what makes the best, summing to 1, largest first; intervals 95%.

    The best `top` of all configurations of the frame are compared with the better share `region`; `top` is raised to
    what five configurations make. Costs are means over seeds; diverged and pruned configurations count as worst.
    `parameters` are by default those that differ within cells. `n` counts configurations. Intervals leave out a tenth
    of them at a time, parted at random by `seed`; None with fewer than 20. Categories have no order.
    Raises `SwatheError` for an unknown parameter or shares that are not 0 < top < region <= 1.
    """
    if not 0 < top < region <= 1:
        raise SwatheError(f"top {top:g} and region {region:g} are shares with 0 < top < region <= 1")
    names = list(parameters) or split_parameters(trials)[1]
    values, costs, excluded = _configurations(trials, names, metric, direction)
    kept = [name for name in names if len(set(values[name])) > 1]
    n = len(costs)
    if not kept or n < 2 * FEWEST:
        why = "No parameter was searched." if not kept else f"{n} configurations: at least {2 * FEWEST} are needed."
        return {name: Estimate(None, None, None, n, (why,), excluded) for name in names}
    share = max(top, FEWEST / n)
    wide = max(region, min(1.0, 2 * share))
    search = {name: _distribution(values[name].to_list()) for name in kept}
    records = [
        {name: _plain(value, search[name]) for name, value in zip(kept, row, strict=True)}
        for row in values[kept].itertuples(index=False)
    ]
    told = _told(records, costs, search)
    found = _evaluate(told, search, share, wide)
    drawn = _without_groups(told, search, (share, wide), np.random.default_rng(seed))
    note = f"The best {100 * share:.0f}% against the better {100 * wide:.0f}% of {n} configurations."
    answers = {}
    for name in sorted(kept, key=lambda each: -found[each]):
        low, high = _interval(found[name], drawn[name]) if n >= 4 * FEWEST else (None, None)
        answers[name] = Estimate(found[name], low, high, n, (note,), excluded)
    return answers


def _interval(value: float, without: Array) -> tuple[float, float]:
    """The delete-group jackknife's t interval (Kott, 2001), within 0..1."""
    half = half_width(Spread(float(np.sqrt(jackknife_variance(without))), len(without) - 1.0), CONFIDENCE)
    return max(0.0, value - half), min(1.0, value + half)


def _configurations(
    trials: pd.DataFrame, names: Sequence[str], metric: str, direction: str
) -> tuple[pd.DataFrame, Array, Mapping[str, int]]:
    """Parameters and costs of every configuration that has all parameters, and what is left out."""
    for name in names:
        if PARAM + name not in trials.columns:
            raise SwatheError(f"there is no parameter {name!r} among the trials")
    found = outcomes(trials, metric, direction, keep_pruned=True)
    costs = unit_costs(found.table).droplevel(["method", "task"])
    columns = {name: trials[PARAM + name].astype(object).to_numpy() for name in names}
    values = pd.DataFrame({"unit": units(trials), **columns}).drop_duplicates("unit").set_index("unit")
    values = values.loc[values.index.isin(costs.index)]
    whole = values.dropna()
    excluded = dict(found.excluded)
    if len(whole) < len(values):
        excluded["configurations without one of the parameters"] = len(values) - len(whole)
    return whole, costs.loc[whole.index].to_numpy(dtype=float), excluded


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    """The range that the configurations span; words, truth values and numbers with few values are categories."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if len(set(values)) <= FEW or any(isinstance(value, str | bool | np.bool_) for value in values):
        return CategoricalDistribution(sorted({str(value) for value in values}))
    low, high = float(min(values)), float(max(values))
    return FloatDistribution(low, high, log=low > 0 and np.log2(high / low) >= OCTAVES)


def _plain(value: Any, distribution: BaseDistribution) -> Any:
    from optuna.distributions import CategoricalDistribution

    return str(value) if isinstance(distribution, CategoricalDistribution) else float(value)


def _told(
    records: Sequence[Mapping[str, Any]], costs: Array, search: Mapping[str, BaseDistribution]
) -> list[FrozenTrial]:
    """The configurations as Optuna's trials."""
    from optuna.trial import create_trial

    # Infinite costs are last in the order, which is all that the method reads.
    finite = costs[np.isfinite(costs)]
    worst = float(finite.max()) + 1.0 if len(finite) else 0.0
    values = np.where(np.isfinite(costs), costs, worst)
    return [
        create_trial(params=dict(record), distributions=dict(search), value=float(value))
        for record, value in zip(records, values, strict=True)
    ]


def _evaluate(
    told: Sequence[FrozenTrial], search: Mapping[str, BaseDistribution], top: float, region: float
) -> dict[str, float]:
    """Importances that sum to 1, equal where no parameter tells the best apart."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    study.add_trials(told)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=top, region_quantile=region)
    found = evaluator.evaluate(study, params=list(search))
    total = sum(found.values())
    return {name: found[name] / total if total > 0 else 1 / len(search) for name in search}


def _without_groups(
    told: Sequence[FrozenTrial],
    search: Mapping[str, BaseDistribution],
    shares: tuple[float, float],
    rng: np.random.Generator,
) -> dict[str, Array]:
    """The importances (groups,) without each of `GROUPS` parts of the configurations."""
    group = rng.permutation(len(told)) % GROUPS
    found = [
        _evaluate([each for each, mine in zip(told, group, strict=True) if mine != left_out], search, *shares)
        for left_out in range(min(GROUPS, len(told)))
    ]
    return {name: np.array([each[name] for each in found]) for name in search}
