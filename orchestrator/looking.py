"""A sweep that may stop early: it grows by waves of seeds, and after each one somebody looks whether it is decided.

A wave is complete before it is looked at, and the next begins after the look, so what is seen is a pure function of
spec and seed: the same for any number of workers, and after any restart. Waves are the amendments by which any sweep
grows; looks are written between them, into the list of amendments, which the hash of the results covers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import SpecError
from .home import Home
from .ledger import Revision, SweepRecord, editing
from .spec import Sweep, parse
from .waves import looks


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen after `seeds` replicates: whether that settles it, and the verdict of every group."""

    seeds: int
    decided: bool
    verdicts: Mapping[str, str]


Decide = Callable[[Home, Sweep], Look]


def check(sweep: Sweep, decide: Decide | None) -> None:
    """Raise `SpecError` when the sweep is to be looked at and nobody does."""
    if sweep.stop is not None and decide is None:
        raise SpecError(
            "stop is decided, and nothing was given that decides; pass Launch(decide=decide) with "
            "`from swathe.analysis.deciding import decide`, or remove stop"
        )


def wave(sweep: Sweep, record: SweepRecord | None) -> Sweep:
    """`sweep` with the seeds it has now: those of its first look, or as many as it has grown to, or grows to next."""
    most, now = sweep.most_seeds, 0
    assert sweep.stop is not None, "only a sweep that may stop early has waves"
    if record is not None:
        now = parse(record.spec, source="ledger", root=Path(record.root)).seeds
        seen = last(record)
        now += seen is not None and seen.seeds == now and not seen.decided
    seeds = next((each for each in looks(most) if each >= now), most)
    return sweep.model_copy(update={"seeds": seeds, "stop": {"name": sweep.stop.name, "seeds": most}})


def last(record: SweepRecord) -> Look | None:
    """The last look that was written down."""
    told = [json.loads(each) for each in record.amendments]
    found = [each["look"] for each in told if "look" in each]
    return Look(**found[-1]) if found else None


def look(home: Home, sweep: Sweep, decide: Decide) -> Look:
    """Look at a complete wave, and write down what was seen; a look that was written down stands."""
    record = home.record()
    known = last(record)
    if known is not None and known.seeds == sweep.seeds:
        return known
    seen = decide(home, sweep)
    told = json.dumps({"look": asdict(seen)}, sort_keys=True)
    with editing(home.ledger, home.name) as editor:
        editor.revise(Revision(record.spec, record.root, [*record.amendments, told], reopened=False))
    return seen
