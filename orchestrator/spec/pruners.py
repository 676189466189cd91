"""The section `pruner` of a spec: which trials are ended early, and the keys that each pruner has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from . import postponed
from .faults import Fault, broken, nearest, show
from .sections import Section

REDUCTION = 3

# The keys that a pruner has besides `name`, `min_step` and `metric`.
KEYS = {
    "halving": ("reduction",),
    "top": ("keep",),
    "median": ("startup", "interval"),
    "percentile": ("percentile", "startup", "interval"),
    "patient": ("patience", "min_delta"),
    "threshold": ("lower", "upper", "interval"),
}
_NEEDED = {
    "top": ("keep", "how many go on", "4"),
    "percentile": ("percentile", "the share that goes on", "25.0"),
    "patient": ("patience", "how many reports without progress end a trial", "10"),
}
_RACES = ("halving", "top")


def _pruner_name(value: Any) -> Any:
    """A known pruner's name. Raises `Fault`."""
    if isinstance(value, str) and value in postponed.PRUNERS:
        postponed.refuse(("pruner", "name"), value)
    if isinstance(value, str) and value not in KEYS:
        raise Fault(f"there is no pruner {show(value)}; {nearest(value, KEYS)}", ("pruner", "name"))
    return value


PrunerName = Annotated[str, BeforeValidator(_pruner_name), WithJsonSchema({"enum": list(KEYS)})]


class Pruner(Section):
    """Which trials are ended early: by a race inside each generation, or each by its own curve (Optuna's rules)."""

    name: PrunerName = Field(
        description="halving and top race the configurations of a generation; the others look at each trial's curve.",
        examples=["halving"],
    )
    min_step: int = Field(default=1, ge=1, description="The step of the first rung or check.", examples=[50])
    metric: str | None = Field(
        default=None, description="Of several metrics the one to prune by.", examples=["val_loss"]
    )
    reduction: int | None = Field(
        default=None, ge=2, description="Of halving: rungs lie at min_step * reduction**r; 3.", examples=[3]
    )
    keep: int | None = Field(default=None, ge=1, description="Of top: how many go on.", examples=[4])
    percentile: float | None = Field(
        default=None, gt=0, lt=100, description="Of percentile: the best so many percent go on.", examples=[25.0]
    )
    startup: int | None = Field(
        default=None, ge=1, description="Of median, percentile: complete configurations it takes; 5.", examples=[5]
    )
    interval: int | None = Field(default=None, ge=1, description="Steps from one check to the next; 1.", examples=[10])
    patience: int | None = Field(
        default=None, ge=0, description="Of patient: reports without progress that are allowed.", examples=[10]
    )
    min_delta: float | None = Field(
        default=None, ge=0, description="Of patient: by how much it must get worse; 0.", examples=[0.01]
    )
    lower: float | None = Field(default=None, description="Of threshold: the lowest value allowed.", examples=[0.0])
    upper: float | None = Field(default=None, description="Of threshold: the highest value allowed.", examples=[10.0])

    @property
    def by_curve(self) -> bool:
        """Whether a trial is ended by its own curve."""
        return self.name not in _RACES

    @property
    def compares_curves(self) -> bool:
        """Whether that curve is compared with earlier ones."""
        return self.name in ("median", "percentile")


def check_pruner(pruner: Pruner, searches: bool, generation: int, metrics: Sequence[str]) -> None:
    """The pruner has its own keys, something to compare, and a metric to compare by. Raises `Fault`."""
    _check_keys(pruner)
    _check_metric(pruner, metrics)
    if pruner.name in (*_RACES, "median", "percentile") and not searches:
        raise Fault("pruner compares configurations, and without search a cell has one; remove it", ("pruner",))
    if pruner.name == "top" and pruner.keep is not None and pruner.keep >= generation:
        rule = f"a generation has {generation} configurations, of which some must end"
        raise broken(("pruner", "keep"), pruner.keep, rule, "lower it, or raise `sampler: {generation: ...}`")
    if pruner.name == "halving" and generation < (pruner.reduction or REDUCTION):
        path = ("sampler", "generation")
        rule = "halving compares the configurations of a generation, of which at least one must end"
        raise broken(path, generation, rule, f"write {(pruner.reduction or REDUCTION) ** 2}, or leave it out")
    if pruner.name == "threshold":
        _check_bounds(pruner)


def _check_keys(pruner: Pruner) -> None:
    mine = KEYS[pruner.name]
    for key in sorted({each for keys in KEYS.values() for each in keys} - set(mine)):
        if (value := getattr(pruner, key)) is not None:
            others = [name for name, keys in KEYS.items() if key in keys]
            rule = f"{pruner.name} has no {key}"
            raise broken(("pruner", key), value, rule, f"remove it, or use {' or '.join(others)}")
    key, meaning, example = _NEEDED.get(pruner.name, ("name", "", ""))
    if getattr(pruner, key) is None:
        told = f"pruner {pruner.name} lacks the key `{key}`, {meaning}"
        raise Fault(f"{told}; write for example `{key}: {example}`", ("pruner",))


def _check_metric(pruner: Pruner, metrics: Sequence[str]) -> None:
    if pruner.metric is not None and pruner.metric not in metrics:
        path = ("pruner", "metric")
        raise broken(path, pruner.metric, f"the sweep has the metrics {', '.join(metrics)}", f"write {metrics[0]}")
    if pruner.metric is None and len(metrics) > 1:
        rule = f"the pruner looks at one metric, and the sweep has {', '.join(metrics)}"
        raise Fault(f"{rule}; write for example `metric: {metrics[0]}` under `pruner`", ("pruner",))


def _check_bounds(pruner: Pruner) -> None:
    if pruner.lower is None and pruner.upper is None:
        raise Fault("pruner threshold lacks its bounds; write `lower`, `upper` or both", ("pruner",))
    if pruner.lower is not None and pruner.upper is not None and pruner.lower >= pruner.upper:
        raise broken(("pruner", "lower"), pruner.lower, f"it must be below upper, {show(pruner.upper)}", "swap them")
