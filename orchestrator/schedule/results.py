"""What is known of a cell: which generations were proposed, where its trials pause, and how they were decided.

Decided trials cost seventeen bytes each, so that a sweep of 100,000 trials fits; suggestions and pauses are kept only
until all of their configuration or generation is decided.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence

from ..messages import Cause, Outcome, Pause, State, Suggestion, TrialKey
from .facts import Decision, Observation, observed
from .plan import CellPlan, Plan
from .rungs import Standing, standing

_OPEN = 0
_SUCCESS = {State.COMPLETE: 1, State.PRUNED: 2}
_FAILURE = {cause: 10 + index for index, cause in enumerate(Cause)}
_DECIDED = {code: (state, None) for state, code in _SUCCESS.items()} | {
    code: (State.FAIL, cause) for cause, code in _FAILURE.items()
}


class CellResults:
    """The mutable record of one cell. Only `ScheduleState` changes it.

    `asked` and `proposed` count the generations asked of the search and answered by it; `seconds` is what a trial
    takes, averaged with a short memory; `pauses` are those of each trial in an open generation, the last one telling
    where the trial starts again.
    """

    def __init__(self, cell: CellPlan, plan: Plan) -> None:
        self.cell = cell
        self.asked = 0
        self.proposed = 0
        self.open: dict[int, Suggestion] = {}
        self.remaining: dict[int, int] = {}
        self.pauses: dict[tuple[int, int], list[Pause]] = {}
        self.seconds: float | None = None
        self._plan = plan
        self._codes = bytearray()
        self._values = tuple(array("d") for _ in range(1 + len(plan.others)))
        self._steps = array("q")

    def learn_duration(self, outcome: Outcome) -> None:
        """One more trial has taken this long; later ones weigh more."""
        seconds = max(0.0, outcome.ended - outcome.started) / outcome.lanes
        self.seconds = seconds if self.seconds is None else 0.8 * self.seconds + 0.2 * seconds

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CellResults):
            return NotImplemented
        return self._facts() == other._facts()

    __hash__ = None  # type: ignore[assignment]

    def _facts(self) -> tuple[object, ...]:
        values = tuple(each.tobytes() for each in self._values)
        decided = bytes(self._codes), values, self._steps.tobytes()
        return (self.cell.key, self.proposed, self.open, self.remaining, self.pauses, decided)

    def propose(self, generation: int, suggestions: tuple[Suggestion, ...]) -> None:
        """Take in the next generation's suggestions; every trial in it is open."""
        count = len(suggestions) * self._plan.replicates
        self.proposed = generation + 1
        self.asked = max(self.asked, self.proposed)
        self.remaining[generation] = count
        self.open.update((suggestion.configuration, suggestion) for suggestion in suggestions)
        self._codes.extend(bytes(count))
        for values in self._values:
            values.extend([math.nan] * count)
        self._steps.extend([-1] * count)

    def pause(self, pause: Pause) -> None:
        """Write down that a trial has paused."""
        trial = pause.outcome.trial
        self.pauses.setdefault((trial.configuration, trial.replicate), []).append(pause)

    def decide(self, configuration: int, replicate: int, decision: Decision) -> None:
        """Write down a trial's final word and forget what is no longer needed."""
        place = self._place(configuration, replicate)
        assert self._codes[place] == _OPEN, "a trial is decided once"
        self._codes[place] = _FAILURE[decision.cause] if decision.cause else _SUCCESS[decision.state]
        for values, value in zip(self._values, (decision.value, *decision.others), strict=False):
            values[place] = math.nan if value is None or decision.cause else value
        self._steps[place] = -1 if decision.steps is None else decision.steps
        generation = configuration // self._plan.generation
        self.remaining[generation] -= 1
        if not self.remaining[generation]:
            self._forget(generation)
        if all(self.decided(configuration, each) for each in range(self._plan.replicates)):
            del self.open[configuration]

    def decided(self, configuration: int, replicate: int) -> bool:
        """Whether the trial has its final word."""
        return self._codes[self._place(configuration, replicate)] != _OPEN

    def decision(self, configuration: int, replicate: int) -> Decision | None:
        """The trial's final word, or None."""
        place = self._place(configuration, replicate)
        if self._codes[place] == _OPEN:
            return None
        state, cause = _DECIDED[self._codes[place]]
        steps = None if self._steps[place] < 0 else self._steps[place]
        value, *others = (None if cause or math.isnan(each[place]) else each[place] for each in self._values)
        return Decision(state, cause, value, steps, tuple(others))

    def proposals(self) -> Iterator[tuple[str, int, tuple[Suggestion, ...]]]:
        """The proposed generations; of decided configurations the parameters are forgotten."""
        for generation in range(self.proposed):
            numbers = self._plan.numbers(generation)
            yield self.cell.key, generation, tuple(self.open.get(n, Suggestion(n, {}, "")) for n in numbers)

    def decisions(self) -> Iterator[tuple[TrialKey, Decision]]:
        """Every decided trial with its final word."""
        for place in range(len(self._codes)):
            number, replicate = divmod(place, self._plan.replicates)
            if (decision := self.decision(number, replicate)) is not None:
                yield TrialKey(self.cell.key, number, replicate), decision

    def undecided(self) -> Iterator[TrialKey]:
        """The open trials of proposed generations, in order."""
        for configuration in sorted(self.open):
            for replicate in range(self._plan.replicates):
                if not self.decided(configuration, replicate):
                    yield TrialKey(self.cell.key, configuration, replicate)

    @property
    def frontier(self) -> int:
        """All generations below this one are decided."""
        return min(self.remaining, default=self.proposed)

    def last_pause(self, trial: TrialKey) -> Pause | None:
        """Where an open trial starts again, if it has ever paused."""
        pauses = self.pauses.get((trial.configuration, trial.replicate))
        return pauses[-1] if pauses else None

    def rungs_passed(self, configuration: int, replicate: int) -> list[float]:
        """The values with which an open trial has paused for others, in their order."""
        pauses = self.pauses.get((configuration, replicate), ())
        values = [self._watched(each.outcome) for each in pauses if not each.outcome.cause]
        return [value for value in values if value is not None]

    def _watched(self, outcome: Outcome) -> float | None:
        name = self._plan.watched
        return outcome.value if name is None else outcome.metrics.get(name)

    def at_rung(self, trial: TrialKey) -> bool:
        """Whether an open trial waits for others: for its replicates' votes, or at the rung of its generation."""
        passed = len(self.rungs_passed(trial.configuration, trial.replicate))
        if not passed:
            return False
        if self._plan.rungs is None:
            return self.outvoted(trial.configuration) is None
        rung, entrants = self.standing(trial.configuration // self._plan.generation)
        return trial.configuration in entrants and rung is not None and passed > rung

    def parted(self, paused: Sequence[TrialKey]) -> tuple[list[TrialKey], list[TrialKey]]:
        """Of trials of one generation that have paused for others, those that go on now, and those that end."""
        if not paused:
            return [], []
        waiting = {trial for trial in paused if self.at_rung(trial)}
        if self._plan.rungs is None:
            ended = {trial for trial in paused if self.outvoted(trial.configuration)}
        else:
            entrants = self.standing(paused[0].configuration // self._plan.generation).entrants
            ended = {trial for trial in paused if trial.configuration not in entrants}
        going_on = [trial for trial in paused if trial not in waiting and trial not in ended]
        return going_on, [trial for trial in paused if trial in ended]

    def outvoted(self, configuration: int) -> bool | None:
        """Whether most replicates of a configuration are behind their cutoffs; failed ones have no vote.

        None while one has neither paused nor ended.
        """
        behind = good = 0
        for replicate in range(self._plan.replicates):
            decision = self.decision(configuration, replicate)
            if decision is None:
                if not self.rungs_passed(configuration, replicate):
                    return None
                behind += 1
            else:
                behind += decision.state is State.PRUNED
                good += decision.state is State.COMPLETE
        return behind > good

    def lineage(self, trial: TrialKey) -> tuple[int, ...]:
        """The leases whose rows a trial that starts now goes on from."""
        pause = self.last_pause(trial)
        return pause.lineage if pause is not None and pause.outcome.kept else ()

    def standing(self, generation: int) -> Standing:
        """Where the race of one generation stands."""
        numbers = self._plan.numbers(generation)
        if self._plan.rungs is None:
            return Standing(None, frozenset(numbers))
        return standing(self._plan.rungs, numbers, self._score)

    def observe(self, configuration: int, replicates: int) -> Observation:
        """The configuration over its first `replicates`: COMPLETE when at least half of them succeeded."""
        decisions = [self.decision(configuration, each) for each in range(replicates)]
        known = [decision for decision in decisions if decision is not None]
        return observed(known) if len(known) == len(decisions) else Observation(State.RUNNING, None, None)

    def _score(self, configuration: int, rung: int) -> float | None:
        """The mean over replicates at a rung, lower being better; None until all have arrived or ended before it.

        A trial that ended earlier competes with its final value, one that failed with none; a configuration of which
        less than half has a value comes last.
        """
        values: list[float] = []
        for replicate in range(self._plan.replicates):
            passed = self.rungs_passed(configuration, replicate)
            decision = self.decision(configuration, replicate)
            if len(passed) > rung:
                values.append(passed[rung])
            elif decision is None:
                return None
            elif (value := self._final(decision)) is not None:
                values.append(value)
        if 2 * len(values) < self._plan.replicates:
            return math.inf
        mean = math.fsum(values) / len(values)
        return mean if self._plan.minimize else -mean

    def _final(self, decision: Decision) -> float | None:
        name = self._plan.watched
        return decision.value if name is None else decision.others[self._plan.others.index(name)]

    def _forget(self, generation: int) -> None:
        del self.remaining[generation]
        for number in self._plan.numbers(generation):
            for replicate in range(self._plan.replicates):
                self.pauses.pop((number, replicate), None)

    def _place(self, configuration: int, replicate: int) -> int:
        return configuration * self._plan.replicates + replicate
