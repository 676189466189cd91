"""What can be wrong with a program: the user's mistakes, each with the remedy in its message."""

from __future__ import annotations

from ..errors import SwatheError


class ProgramError(SwatheError, ValueError):
    """A program, or the parameters it is given, cannot be trained in lanes; the message says what to change."""
