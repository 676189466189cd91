"""What can go wrong in Swathe's own terms.

Every message names the value, the rule it breaks and the remedy: it is printed to the user as it is, without a
traceback. Anything that is not a `SwatheError` is a defect of Swathe.
"""


class SwatheError(Exception):
    """Base of every error that a user can mend; the command line prints it and exits with `exit_code`."""

    exit_code = 2


class SpecError(SwatheError):
    """The spec breaks a rule; the message starts with the file and line where it does."""


class TaskError(SwatheError):
    """The task named by a spec cannot be loaded."""


class LedgerError(SwatheError):
    """The sweep's ledger cannot be opened, read or written."""


class LedgerEmpty(LedgerError):
    """The ledger was begun by a driver that died before it was filled."""


class LedgerAway(LedgerError):
    """The ledger's database cannot be reached at the moment; what was asked of it may or may not have been done."""


class StorageError(SwatheError):
    """A file of the sweep cannot be written or read."""


class SweepLive(SwatheError):
    """Another driver owns this sweep and was alive a moment ago."""


class SchedulerLost(SwatheError):
    """The process of the sweep's scheduler, or the cluster that it ran on, has died."""


class OwnershipLost(SwatheError):
    """A later driver took this sweep over; nothing more may be written in this one's name."""


class Interrupted(KeyboardInterrupt):
    """The user insisted on an end at once (a second Ctrl-C or SIGTERM); no error of anybody's."""


class NotYetSupported(SpecError):
    """The spec asks for something that the grammar knows and this version cannot do yet."""
