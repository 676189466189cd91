"""A sweep's durable state: a SQL database with one writer, which is at the same time the write-ahead log."""

from .editing import CANCEL, DRAIN, Editor, Revision, ask_driver, copy_as, editing
from .reading import CellProgress, Failure, Progress, Reader, SweepRecord, Tail
from .writing import Batch, Ledger, Owner, PartRange

__all__ = [
    "CANCEL",
    "DRAIN",
    "Batch",
    "CellProgress",
    "Editor",
    "Failure",
    "Ledger",
    "Owner",
    "PartRange",
    "Progress",
    "Reader",
    "Revision",
    "SweepRecord",
    "Tail",
    "ask_driver",
    "copy_as",
    "editing",
]
