"""Finished and running configurations as trials of Optuna. Imports it at once, so it is imported late."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from ..messages import Scalar, State
from .records import Told

# Optuna wants times and no sampler looks at them.
_AT = datetime.min


class _Shared(FrozenTrial):
    """A trial whose parts nobody changes. A study copies what it gets, deeply: a third of the time of a proposal."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Shared:
        return copy.copy(self)


def as_trial(params: Mapping[str, Scalar], distributions: Mapping[str, BaseDistribution], told: Told) -> FrozenTrial:
    """A configuration for `Study.add_trial`."""
    return _Shared(
        number=-1,
        trial_id=-1,
        state=TrialState[told.state.value],
        value=None,
        values=told.values or None,
        datetime_start=_AT,
        datetime_complete=None if told.state is State.RUNNING else _AT,
        params=dict(params),
        distributions={name: distributions[name] for name in params},
        user_attrs={},
        system_attrs={},
        # A sampler ranks pruned trials by how far they came, then by their value there.
        intermediate_values={told.step: told.values[0]} if told.state is State.PRUNED else {},
    )
