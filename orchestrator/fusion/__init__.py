"""Trial fusion: many trials of equal shape as lanes of one program on one device."""

from __future__ import annotations

from .data import Data
from .errors import ProgramError
from .lanes import Flush, Lanes
from .optim import Optimizer, adam, adamw, sgd
from .probing import Around, Probed
from .program import Program
from .schedules import constant, cosine, linear
from .training import as_task

__all__ = [
    "Around",
    "Data",
    "Flush",
    "Lanes",
    "Optimizer",
    "Probed",
    "Program",
    "ProgramError",
    "adam",
    "adamw",
    "as_task",
    "constant",
    "cosine",
    "linear",
    "sgd",
]
