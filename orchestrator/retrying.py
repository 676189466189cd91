"""Failed trials wait again: their outcomes are taken back, and the next driver runs them."""

from __future__ import annotations

from collections.abc import Sequence

from .compaction import Shape, place_of, write_parts
from .errors import SwatheError
from .home import Home
from .ledger import Reader, editing
from .messages import Cause, TrialKey

ENVIRONMENTAL = tuple(cause for cause in Cause if not cause.deterministic)


def retry(home: Home, trials: Sequence[TrialKey] = (), causes: Sequence[Cause] = ()) -> list[TrialKey]:
    """Take back the outcomes of failed trials of the sweep at `home`, and return these trials.

    Those named by `trials`, or all; of these the ones that failed for one of `causes`, by default those in `trials`
    whatever their cause, and otherwise those that their surroundings made fail. A retried trial has all its attempts
    again. Its earlier rows leave the ledger first and then the parts; a reader never sees them beside the new ones.
    Raises `SwatheError` when a driver is at work, a named trial has not failed, or none is left.
    """
    reader = Reader(home.ledger, None if home.in_folder else home.name)
    try:
        with editing(home.ledger, reader.name) as editor:
            record = reader.sweep()
            shape, place = Shape.read(record), place_of(record, home.folder)
            write_parts(place, editor, reader, shape)
            chosen = _choose(reader, trials, causes)
            editor.retry(chosen)
            write_parts(place, editor, reader, shape)
            return chosen
    finally:
        reader.close()


def _choose(reader: Reader, trials: Sequence[TrialKey], causes: Sequence[Cause]) -> list[TrialKey]:
    failed = reader.failed(Cause)
    for trial in trials:
        if trial not in failed:
            state = reader.state_of(trial)
            raise SwatheError(
                f"trial {trial} is {state.value if state else 'not decided'}, and only a failed one can be retried; "
                f"`swathe status {reader.name}` names some"
            )
    wanted = causes or (tuple(Cause) if trials else ENVIRONMENTAL)
    chosen = [trial for trial, cause in failed.items() if cause in wanted and (not trials or trial in trials)]
    if not chosen:
        others = sorted({cause.value for cause in failed.values()})
        remedy = f"; others did: name {' or '.join(f'--cause {each}' for each in others)}" if others else ""
        raise SwatheError(f"no trial of {reader.name} failed by {', '.join(each.value for each in wanted)}{remedy}")
    return chosen
