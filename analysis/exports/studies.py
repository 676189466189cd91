"""A sweep in an Optuna storage: one study a cell, one Optuna trial a configuration, with the same number.

A configuration's value and its values at each step are means over the replicates that have them, as for the sampler.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...orchestrator.errors import SwatheError
from ...orchestrator.messages import Scalar, State
from ...orchestrator.schedule import Decision
from ...orchestrator.schedule.facts import observed
from ...orchestrator.spec import Sweep
from .following import Follower
from .labels import cell_labels
from .points import coordinates, distributions
from .records import TrialView

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

Replicates = dict[int, TrialView]
ORIGIN = "swathe.created"


class Rewritten(Exception):
    """A trial that was told as finished has another outcome now; Optuna takes that only in a new study."""


class Studies:
    """Keeps an Optuna storage in step with a sweep. Nothing is written twice; notes made in it are left alone."""

    def __init__(self, storage: BaseStorage, follower: Follower) -> None:
        self._storage = storage
        self._follower = follower
        self._studies: dict[str, int] = {}
        self._known: dict[str, list[FrozenTrial]] = {}
        self._open: dict[tuple[str, int], Replicates] = defaultdict(dict)
        self.written = 0

    def refresh(self) -> int:
        """Bring it up to date; returns how many Optuna trials have changed. Raises `SwatheError`."""
        before = self.written
        try:
            self._write(self._follower.changes())
        except Rewritten:
            self._start_again()
            self._write(self._follower.changes())
        return self.written - before

    def close(self) -> None:
        """Nothing is left to do."""

    def _start_again(self) -> None:
        for study in self._studies.values():
            self._storage.delete_study(study)
        self._studies.clear()
        self._known.clear()
        self._open.clear()
        self._follower.restart()

    def _write(self, views: Iterable[TrialView]) -> None:
        touched: dict[tuple[str, int], None] = {}
        for view in views:
            place = (view.key.cell, view.key.configuration)
            self._open[place][view.key.replicate] = view
            touched[place] = None
        for cell in self._follower.sweep.cells:
            self._study(cell.key)
        for cell, number in sorted(touched):
            self._begin(cell, number)
            frozen = self._frozen(cell, number, self._open[cell, number])
            self._put(cell, number, frozen)
            if frozen.state.is_finished():
                del self._open[cell, number]

    def _begin(self, cell: str, number: int) -> None:
        """Configurations with lower numbers have been proposed, too; Optuna numbers trials as they come."""
        known = self._known[cell]
        for missing in range(len(known), number):
            self._create(cell, self._frozen(cell, missing, {}))

    def _put(self, cell: str, number: int, frozen: FrozenTrial) -> None:
        known = self._known[cell]
        if number == len(known):
            self._create(cell, frozen)
            return
        if _content(known[number]) == _content(frozen):
            return
        if known[number].state.is_finished():
            raise Rewritten
        self._update(known[number], frozen)
        frozen.number, frozen._trial_id = number, known[number]._trial_id
        known[number] = frozen
        self.written += 1

    def _create(self, cell: str, frozen: FrozenTrial) -> None:
        frozen.number = len(self._known[cell])
        frozen._trial_id = self._storage.create_new_trial(self._studies[cell], template_trial=frozen)
        self._known[cell].append(frozen)
        self.written += 1

    def _update(self, old: FrozenTrial, new: FrozenTrial) -> None:
        from optuna.trial import TrialState

        number = old._trial_id
        if old.state == TrialState.WAITING and new.state != TrialState.WAITING:
            self._storage.set_trial_state_values(number, TrialState.RUNNING)
        for step, value in new.intermediate_values.items():
            if old.intermediate_values.get(step) != value:
                self._storage.set_trial_intermediate_value(number, step, value)
        for name, value in new.user_attrs.items():
            if old.user_attrs.get(name) != value:
                self._storage.set_trial_user_attr(number, name, value)
        if new.state.is_finished():
            self._storage.set_trial_state_values(number, new.state, new.values)

    def _study(self, cell: str) -> int:
        if cell in self._studies:
            return self._studies[cell]
        from optuna.study import StudyDirection

        sweep, record = self._follower.sweep, self._follower.record
        label = cell_labels(sweep)[cell]
        name = f"{record.name}/{label}" if label else record.name
        try:
            study = self._storage.get_study_id_from_name(name)
            if self._storage.get_study_system_attrs(study).get(ORIGIN) != record.created:
                raise SwatheError(
                    f"the storage holds another study named {name!r}; name another storage with --output, or remove "
                    "that study"
                )
        except KeyError:
            directions = [StudyDirection[each.upper()] for each in sweep.directions.values()]
            study = self._storage.create_new_study(directions, name)
            place = next(each for each in sweep.cells if each.key == cell)
            told = {"grid": dict(place.values), "fixed": dict(sweep.fixed), "cell": cell}
            for key, value in told.items():
                self._storage.set_study_user_attr(study, key, value)
            self._storage.set_study_system_attr(study, "study:metric_names", [*sweep.objectives])
            self._storage.set_study_system_attr(study, ORIGIN, record.created)
        self._studies[cell] = study
        self._known[cell] = list(self._storage.get_all_trials(study))
        return study

    def _frozen(self, cell: str, number: int, replicates: Replicates) -> FrozenTrial:
        searched = self._follower.proposals.get((cell, number), {})
        return frozen_trial(self._follower.sweep, searched, replicates)


def frozen_trial(sweep: Sweep, searched: Mapping[str, Scalar], replicates: Replicates) -> FrozenTrial:
    """One configuration, with the searched parameters and what is known of its replicates, as Optuna keeps it."""
    from datetime import datetime

    import optuna

    views = [replicates[each] for each in sorted(replicates)]
    ended = [view for view in views if view.ended is not None]
    over = len(ended) == sweep.seeds
    seen = observed([_decision(view) for view in ended]) if over else None
    state = seen.state if seen else State.RUNNING if views else State.WAITING
    values = (seen.value, *seen.others) if seen and state is not State.FAIL else ()
    space = distributions(sweep.search)
    known = coordinates(sweep.search, searched)
    finished = max((view.ended or 0.0 for view in views), default=0.0)
    return optuna.trial.FrozenTrial(
        number=-1,
        trial_id=-1,
        state=optuna.trial.TrialState[state.value],
        value=None,
        values=[float(each) for each in values if each is not None] if _whole(values) else None,
        datetime_start=datetime.fromtimestamp(min(view.started for view in views)) if views else None,
        datetime_complete=datetime.fromtimestamp(finished) if over else None,
        params=known,
        distributions={name: space[name] for name in known},
        user_attrs=_attributes(views),
        system_attrs={},
        intermediate_values=_curve(sweep.watched, views),
    )


def _whole(values: tuple[float | None, ...]) -> bool:
    return bool(values) and all(each is not None for each in values)


def _decision(view: TrialView) -> Decision:
    value, *others = view.values
    return Decision(view.state, view.cause, value, view.steps, tuple(others))


def _curve(metric: str, views: Iterable[TrialView]) -> dict[int, float]:
    """The mean at each step over the replicates that have reported it."""
    found: dict[int, list[float]] = defaultdict(list)
    for view in views:
        for point in view.points:
            if point.metric == metric:
                found[point.step].append(point.value)
    return {step: sum(values) / len(values) for step, values in sorted(found.items())}


def _attributes(views: list[TrialView]) -> dict[str, Any]:
    """What Optuna has no place for: how each replicate ended, its other metrics, where it ran."""
    if not views:
        return {}
    found: dict[str, Any] = {
        "trial": f"{views[0].key.cell}/{views[0].key.configuration}",
        "replicates": [f"{view.key.replicate}: {view.cause or view.state}" for view in views],
        "proposed_by": views[0].facts.get("proposed_by", ""),
        "seconds": round(sum(view.ended - view.started for view in views if view.ended is not None), 3),
    }
    metrics: dict[str, list[float]] = defaultdict(list)
    for view in views:
        for name, value in view.finals.items():
            metrics[name].append(value)
    found |= {f"metric.{name}": sum(values) / len(values) for name, values in metrics.items()}
    errors = [view.facts["error"].strip().splitlines()[-1] for view in views if view.facts.get("error", "").strip()]
    return {**found, "error": errors[0]} if errors else found


def _content(trial: FrozenTrial) -> str:
    """What must be equal for two to be the same; numbers by their digits, so that NaN equals itself."""
    attributes = {name: value for name, value in trial.user_attrs.items() if not name.startswith("dashboard:")}
    parts = (trial.state.name, trial.values, trial.params, trial.intermediate_values, attributes)
    return json.dumps(parts, sort_keys=True, default=str)
