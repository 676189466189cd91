"""A sweep's durable state: a SQL database with one writer, which is at the same time the write-ahead log."""

from .editing import CANCEL, DRAIN, Editor, Revision, ask_driver, copy_as, editing
from .opening import shown
from .owner import HEARTBEAT_LIMIT, Owner
from .reading import Reader, names_in
from .records import CellProgress, Failure, Progress, SweepRecord, Tail
from .tables import url_of
from .trying import try_ledger
from .writing import Batch, Ledger, PartRange

__all__ = [
    "CANCEL",
    "DRAIN",
    "HEARTBEAT_LIMIT",
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
    "names_in",
    "shown",
    "try_ledger",
    "url_of",
]
