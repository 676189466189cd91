"""What the user asked: the `Sweep` model, from YAML 1.2 files or from Python, and its JSON Schema."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError

from . import conditions, postponed, rules
from .cells import Cell, cell_key
from .commands import check_command
from .document import dump
from .faults import Fault, from_validation
from .known import check_enqueue
from .parameters import kind
from .pruners import REDUCTION, Pruner, check_pruner
from .remarks import remarks
from .resources import Resources, Shares, check_rules, chosen
from .sections import MODEL_SAMPLERS, Limits, Sampler, Section, named
from .studies import Stopping, Studied, Study, check_study, settled
from .values import Direction, Enqueue, Fixed, Fuse, Grid, Metric, Name, Search, SweepNames, Text


class Sweep(Section):
    """One request: which code to train, over which axes and searched parameters, how often, and with what.

    Takes what a spec file holds, as plain values; parameters may also be `Float`, `Int`, `Choice` and `Lattice`.
    Raises `SpecError`. `search` is kept in the order of drawing: after what conditions name, then by name.
    """

    name: Name = Field(
        description="The sweep's name and its folder's: letters, digits, . _ and -.",
        examples=["lr-transfer-mnist"],
    )
    task: Text | None = Field(
        default=None,
        description="The code to train: file.py:function, module:function or a bundled paper.",
        examples=["train.py:train"],
    )
    command: Text | None = Field(
        default=None,
        description="A command to run instead, with {placeholders}; metrics are JSON lines of its output.",
        examples=["python train.py --lr {lr}"],
    )
    metric: Metric = Field(
        description="The reported or returned metric that is optimised, or a list of several.", examples=["val_loss"]
    )
    direction: Direction = Field(
        default="minimize",
        description="Whether low or high values are good; of several metrics, a list.",
        examples=["minimize"],
    )
    grid: Grid = Field(
        default_factory=dict, description="Axes: every combination of their values is a cell with its own search."
    )
    fixed: Fixed = Field(default_factory=dict, description="Parameters with one value for all trials.")
    search: Search = Field(default_factory=dict, description="Parameters that the sampler proposes in each cell.")
    seeds: int = Field(
        default=1, ge=1, description="Replicates of each configuration, paired across them.", examples=[3]
    )
    configurations: int | None = Field(
        default=None,
        ge=1,
        description="Configurations in each cell; under the grid sampler all by default.",
        examples=[24],
    )
    sampler: Annotated[Sampler, BeforeValidator(named)] = Field(
        default=Sampler(name="tpe"),
        description="How configurations are proposed: a name, or a mapping; tpe by default.",
        examples=["tpe"],
    )
    pruner: Annotated[Pruner | None, BeforeValidator(named)] = Field(
        default=None, description="Which trials are ended early.", examples=[{"name": "halving", "min_step": 50}]
    )
    resources: Shares = Field(
        default=Resources(),
        description="What one trial occupies; a list of rules where that differs by cell.",
        examples=[{"cpus": 1}],
    )
    limits: Limits = Field(
        default=Limits(), description="What ends attempts, trials or the sweep.", examples=[{"attempts": 3}]
    )
    fuse: Fuse = Field(
        default="auto",
        description="Trials of equal shape in one program: auto, off or a number of lanes.",
        examples=["auto"],
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="The number from which all randomness follows.", examples=[0]
    )
    study: Studied = Field(default=None, description="The question: a name, or a mapping.", examples=["transfer"])
    stop: Stopping = Field(default=None, description="When it ends before its last seed.", examples=["decided"])
    enqueue: Enqueue | None = Field(
        default=None, description="Known configurations, tried first in every cell; what they leave out is drawn."
    )
    warm_start: SweepNames | None = Field(
        default=None, description="Earlier sweeps in the same folder whose results the model knows.", examples=["NAME"]
    )
    folder: Literal["shared"] | None = Field(
        default=None,
        description="shared: commands run in the spec's folder; without it each trial in a folder of its own.",
        examples=["shared"],
    )
    isolate: Literal["process"] | None = Field(
        default=None, description="process: each trial in a process of its own.", examples=["process"]
    )

    _root: Path = PrivateAttr(default_factory=Path.cwd)

    def __init__(self, /, **values: Any) -> None:
        values.setdefault("sampler", "tpe" if values.get("search") else "random")
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise from_validation(error, type(self)) from None
        self._check()

    def _check(self) -> None:
        rules.check_code(self.task, self.command)
        rules.check_folder(self.folder, self.command)
        rules.check_directions(self.objectives, self.direction)
        rules.check_names(self.grid, self.search, self.fixed)
        if self.command is not None:
            check_command(self.command, [*self.grid, *self.search, *self.fixed])
        rules.check_configurations(self.search, self.sampler.name, self.configurations)
        if self.pruner is not None:
            check_pruner(self.pruner, bool(self.search), self.generation_size, self.objectives)
        if not isinstance(self.resources, Resources):
            check_rules(self.resources, self.grid, self.search, self.fixed)
        check_study(self)
        if self.enqueue:
            check_enqueue(self.enqueue, self.search, self.sampler.name, self.per_cell)
        if self.has_model and not self.warm_start:
            rules.check_model(self.per_cell, self.generation_size, self.lag)
        rules.check_extent(self.grid, self.per_cell, self.seeds)
        if len({cell.key for cell in self.cells}) < len(self.cells):
            raise Fault("two cells of the grid share their key by chance; rename an axis", ("grid",))
        postponed.refuse_all(self)

    def __eq__(self, other: object) -> bool:
        """Whether both ask for the same; 1 and 1.0 are not, the folder does not matter."""
        return isinstance(other, Sweep) and self._canonical == other._canonical

    def __hash__(self) -> int:
        return hash(self._canonical)

    @cached_property
    def _canonical(self) -> str:
        return json.dumps(self.model_dump(exclude_none=True))

    @property
    def objectives(self) -> tuple[str, ...]:
        """The metrics that are optimised."""
        return (self.metric,) if isinstance(self.metric, str) else self.metric

    @property
    def objective(self) -> str:
        """The first of them, which is the column `value`."""
        return self.objectives[0]

    @property
    def directions(self) -> dict[str, str]:
        """Of each objective whether to minimize or maximize it."""
        each = [self.direction] * len(self.objectives) if isinstance(self.direction, str) else self.direction
        return dict(zip(self.objectives, each, strict=True))

    @property
    def watched(self) -> str:
        """The objective that is pruned by."""
        return (self.pruner and self.pruner.metric) or self.objective

    @property
    def question(self) -> Study | None:
        """The study with nothing left out; None where the spec asks for none."""
        return None if self.study is None else settled(self.study, self.grid, self.search)

    @property
    def most_seeds(self) -> int:
        """How many replicates there will be at most: `seeds`, unless it may stop early and is still growing."""
        return (self.stop and self.stop.seeds) or self.seeds

    @property
    def has_model(self) -> bool:
        """Whether the sampler learns from earlier generations."""
        return bool(self.search) and self.sampler.name in MODEL_SAMPLERS

    @property
    def root(self) -> Path:
        """The folder from which a relative task path starts: the spec file's, or the working directory."""
        return self._root

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every combination of grid values, the last axis varying fastest; one empty cell without a grid."""
        combinations = itertools.product(*self.grid.values())
        cells = (dict(zip(self.grid, values, strict=True)) for values in combinations)
        return tuple(Cell(index, cell_key(values), values) for index, values in enumerate(cells))

    @cached_property
    def per_cell(self) -> int:
        """Configurations of each cell."""
        if not self.search:
            return 1
        return conditions.count(self.search) if self.configurations is None else self.configurations

    @property
    def generation_size(self) -> int:
        """Configurations proposed together; 1 without search, and two rungs' worth under halving."""
        if not self.search:
            return 1
        usual = 4 if self.has_model else 16
        if self.pruner is not None and self.pruner.name == "halving":
            usual = (self.pruner.reduction or REDUCTION) ** 2
        return self.sampler.generation or usual

    @property
    def waits(self) -> bool:
        """Whether a generation waits for earlier ones, since a model or a pruner of curves looks at them."""
        return self.has_model or bool(self.search and self.pruner and self.pruner.compares_curves)

    @property
    def lag(self) -> int:
        """How many generations before its own a model or a pruner of curves does not see; 0 where there is none."""
        if not self.waits:
            return 0
        return 1 if self.sampler.lag is None else self.sampler.lag

    @property
    def startup(self) -> int:
        """How many finished configurations a model needs."""
        return rules.startup(self.generation_size)

    @property
    def model_share(self) -> float:
        """The share of configurations that a model proposes, in [0, 1]; 0.0 for samplers without one."""
        if not self.has_model:
            return 0.0
        first = rules.first_modelled(self.generation_size, self.lag)
        return max(0, self.per_cell - first) / self.per_cell

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but is hardly meant."""
        return tuple(remarks(self))

    def share(self, values: Mapping[str, Any]) -> str:
        """The name, in `shares`, of what trials with these grid values occupy."""
        return chosen(self.resources, values)[0]

    def occupied(self, cell: str) -> Resources:
        """What the trials of the cell with this key occupy."""
        return self.shares[next(self.share(each.values) for each in self.cells if each.key == cell)]

    @cached_property
    def shares(self) -> Mapping[str, Resources]:
        """What trials occupy, by name, in the order of cells; one without a name unless rules choose."""
        return dict(chosen(self.resources, cell.values) for cell in self.cells)

    @property
    def threads(self) -> int:
        """How many threads a search counts with; which cell it proposes for does not matter."""
        shared = self.resources if isinstance(self.resources, Resources) else self.resources[-1]
        return shared.threads

    def parameter_kinds(self) -> dict[str, str]:
        """The column type of each parameter (grid, search, fixed): int, float, bool, str or json."""
        return {
            **{name: kind(values) for name, values in self.grid.items()},
            **{name: kind(parameter) for name, parameter in self.search.items()},
            **{name: kind((value,)) for name, value in self.fixed.items()},
        }

    def identity(self) -> dict[str, Any]:
        """What makes it the same sweep, ready for JSON; what an amendment may change is left out."""
        kept = {"task", "command", "metric", "direction", "search", "fixed", "pruner", "seed", "enqueue", "warm_start"}
        return {
            **self.model_dump(include=kept),
            "grid": sorted(self.grid),
            "sampler": self.sampler.name if self.search else None,
            "generation": self.generation_size,
            "lag": self.lag,
            "stop": None if self.stop is None else [self.most_seeds, self.question and self.question.model_dump()],
        }

    def to_yaml(self) -> str:
        """The spec as a YAML document, defaults included; `parse` reads an equal sweep from it."""
        return dump(self.model_dump(exclude_none=True))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A sweep with some fields replaced, checked like any other; nothing derived is carried over."""
        return type(self)(**{**self.model_dump(exclude_none=True), **(update or {})}).rooted(self._root)

    def rooted(self, root: Path) -> Self:
        """The same sweep, whose relative task path starts at `root`."""
        copy = super().model_copy()
        copy._root = root
        return copy
