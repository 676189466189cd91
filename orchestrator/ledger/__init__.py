"""A sweep's durable state: a SQL database with one writer, which is at the same time the write-ahead log."""

from .reading import CellProgress, Failure, Progress, Reader, SweepRecord, Tail
from .writing import Batch, Ledger, Owner, PartRange

__all__ = [
    "Batch",
    "CellProgress",
    "Failure",
    "Ledger",
    "Owner",
    "PartRange",
    "Progress",
    "Reader",
    "SweepRecord",
    "Tail",
]
