"""The grammar of `command`: words as a shell would split them, with placeholders, and no shell."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from string import Formatter
from typing import NamedTuple

from ..task import Scalar
from .faults import Fault, broken, nearest

SEED = "seed"
OWN = ("trial", "device")


class Piece(NamedTuple):
    """A stretch of a word: `text`, and after it the placeholder `name` (None: nothing) with what follows its colon."""

    text: str
    name: str | None
    form: str


Word = tuple[Piece, ...]


def words_of(command: str) -> tuple[Word, ...]:
    """The words of a command. Raises `Fault`."""
    try:
        return tuple(tuple(map(_piece, Formatter().parse(word))) for word in shlex.split(command))
    except ValueError as error:
        rule = f"it cannot be read ({error})"
        raise broken(("command",), command, rule, "close quotes and braces; write {{ and }} for braces") from None


def check_command(command: str, parameters: Collection[str]) -> None:
    """Every placeholder is a parameter, `seed:STREAM`, `trial` or `device`. Raises `Fault`."""
    words = words_of(command)
    if not words:
        raise broken(("command",), command, "it has no word", "write for example `python train.py --lr {lr}`")
    for word in words:
        for piece in word:
            if piece.name is not None:
                _check_placeholder(piece, parameters)


def fill(words: tuple[Word, ...], values: Mapping[str, Scalar], seed: Callable[[str], int]) -> list[str]:
    """The words with `values` in place; words that name a parameter which does not exist in this trial are left out.

    `values` are the parameters, `trial` and `device`; `seed` gives the number of a stream.
    """

    def text(piece: Piece) -> str:
        if piece.name is None:
            return piece.text
        if _is_stream(piece) and SEED not in values:
            return piece.text + str(seed(piece.form))
        return piece.text + format(values[piece.name], piece.form)

    def exists(word: Word) -> bool:
        names = [piece.name for piece in word if piece.name is not None and not _is_stream(piece)]
        return all(name in values for name in names)

    return ["".join(map(text, word)) for word in words if exists(word)]


def _piece(parsed: tuple[str, str | None, str | None, str | None]) -> Piece:
    text, name, form, conversion = parsed
    if conversion:
        raise ValueError(f"!{conversion} means nothing here")
    return Piece(text, name, form or "")


def _is_stream(piece: Piece) -> bool:
    return piece.name == SEED and bool(piece.form)


def _check_placeholder(piece: Piece, parameters: Collection[str]) -> None:
    if _is_stream(piece):
        return
    path = ("command",)
    if piece.name == SEED and SEED not in parameters:
        raise Fault("command names {seed} without a stream; write for example `{seed:init}`", path)
    known = [*parameters, *OWN]
    if piece.name not in known:
        raise Fault(f"command names {{{piece.name}}}, which is no parameter; {nearest(str(piece.name), known)}", path)
