"""The nested sections of a spec: sampler and limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from . import postponed
from .faults import Fault, nearest, show
from .values import Duration

MODEL_SAMPLERS = ("tpe", "gp")
SAMPLERS = ("tpe", "gp", "random", "grid", "qmc")


class Section(BaseModel):
    """A mapping of the spec: immutable, without unknown keys, and without silent conversions ("3" is no number)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _sampler_name(value: Any) -> Any:
    """A known sampler's name. Raises `Fault`."""
    if isinstance(value, str) and value not in SAMPLERS:
        path = ("sampler", "name")
        if value.casefold() in postponed.SAMPLERS:
            postponed.refuse(path, value.casefold())
        raise Fault(f"there is no sampler {show(value)}; {nearest(value, SAMPLERS)}", path)
    return value


def named(value: Any) -> Any:
    """`tpe` as short for `{name: tpe}`."""
    return {"name": value} if isinstance(value, str) else value


SamplerName = Annotated[Literal["tpe", "gp", "random", "grid", "qmc"], BeforeValidator(_sampler_name)]


class Sampler(Section):
    """How configurations are proposed. tpe and gp learn from earlier generations, the others do not."""

    name: SamplerName = Field(description="tpe and gp use a model; random, grid and qmc do not.", examples=["tpe"])
    generation: int | None = Field(
        default=None, ge=1, description="Configurations proposed together; 4 with a model, otherwise 16.", examples=[4]
    )
    lag: int | None = Field(
        default=None, ge=0, description="Generations that may still run when the next is proposed; 1.", examples=[1]
    )


class Limits(Section):
    """What ends attempts, trials, workers or the sweep. Durations: 90s, 10m, 1.5h, or seconds."""

    trial: Duration | None = Field(
        default=None, description="Longest run of a trial; then it is ended.", examples=["10m"]
    )
    stall: Duration | None = Field(
        default=None, description="Longest time without a report; then it is ended.", examples=["5m"]
    )
    sweep: Duration | None = Field(
        default=None, description="Longest run of the sweep, over all sessions; then it drains.", examples=["2h"]
    )
    attempts: int = Field(default=3, ge=1, description="Charged executions of a trial before it fails.", examples=[3])
    workers: int | None = Field(
        default=None, ge=1, description="Most workers at a time; null: what fits.", examples=[4]
    )
    orphan: Duration = Field(
        default=600.0, description="Time after which a worker without scheduler ends.", examples=["10m"]
    )
    failures: float = Field(
        default=0.1, ge=0, le=1, description="Share of trials that may fail without the sweep failing.", examples=[0.1]
    )
