"""The hash of a sweep's results: equal for equal results, whoever computed them and in whatever order.

SHA-256 over the amendments and over what follows from the spec, the seed and the recorded inputs. The bytes do not
depend on the order of rows or columns, on chunks, or on how a dictionary is encoded.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from ..orchestrator.errors import SwatheError
from ..orchestrator.messages import Cause
from ..orchestrator.schema import METRIC, PARAM

KEYS = ("cell", "configuration", "replicate")
RESULTS = ("generation", "state", "cause", "value", "steps")
DETERMINISTIC = [cause.value for cause in Cause if cause.deterministic]

pc: Any = compute  # its functions are made at import, where type checkers do not see them

Update = Callable[[bytes], Any]


class Digest(NamedTuple):
    """The hash in hexadecimal, and how many trials it leaves out because their outcome is of their surroundings."""

    hexdigest: str
    partial: int

    def __str__(self) -> str:
        return f"{self.hexdigest} partial ({self.partial})" if self.partial else self.hexdigest


def digest(trials: pa.Table, metrics: pa.Table, amendments: Sequence[str] = ()) -> Digest:
    """The hash over the tables `trials` and `metrics` (as `orchestrator.schema` defines them) and the amendments.

    In: amendments in their order; for each trial its cell, configuration, replicate, generation, state, cause, value,
    parameters, final metrics and steps; for each metric row its trial, step, metric and value. Floating-point numbers
    count by their bits, all NaN as one, a null as different from any value. Trials that have not ended, or whose end
    has an environmental cause, are left out with their rows, and counted. Raises `SwatheError` when a column is
    missing or a trial is there twice.
    """
    for name, table, wanted in (
        ("trials", trials, (*KEYS, *RESULTS, "trial")),
        ("metrics", metrics, ("trial", "step", "metric", "value")),
    ):
        if missing := [column for column in wanted if column not in table.column_names]:
            raise SwatheError(f"the table {name!r} has no column {missing[0]!r}, so it cannot be hashed")
    state = hashlib.sha256()
    _texts(state.update, ["swathe results 1", *amendments])
    chosen = _decided(trials)
    columns = sorted(name for name in chosen.column_names if name.startswith((PARAM, METRIC)))
    for column in (*KEYS, *RESULTS, *columns):
        _column(state.update, column, chosen[column])
    _metrics(state.update, metrics, chosen["trial"])
    return Digest(state.hexdigest(), len(trials) - len(chosen))


def whole_generations(trials: pa.Table, expected: Callable[[int], int]) -> pa.Table:
    """The trials of each cell up to its last complete generation; `expected` tells how many trials one has.

    What a sweep closed by its clock counts for, so that the hash follows from how far it came and not from which
    trials of the generations under way were faster. The order of generations is that of their numbers.
    """
    keys = list(zip(trials["cell"].to_pylist(), trials["generation"].to_pylist(), strict=True))
    ended = Counter(keys)
    whole = {cell: 0 for cell, _ in ended}
    for cell in whole:
        while ended[cell, whole[cell]] and ended[cell, whole[cell]] == expected(whole[cell]):
            whole[cell] += 1
    return trials.filter(pa.array([generation < whole[cell] for cell, generation in keys], pa.bool_()))


def _decided(trials: pa.Table) -> pa.Table:
    """The trials that ended by themselves, sorted by key."""
    state, cause = (_plain(trials[column]) for column in ("state", "cause"))
    ended = pc.is_in(state, value_set=pa.array(["COMPLETE", "PRUNED", "FAIL"]))
    own = pc.or_(pc.is_null(cause), pc.is_in(cause, value_set=pa.array(DETERMINISTIC)))
    chosen = trials.filter(pc.and_(ended, own))
    keys = pa.table({column: _plain(chosen[column]) for column in KEYS})
    chosen = chosen.take(pc.sort_indices(keys, sort_keys=[(column, "ascending") for column in KEYS]))
    counts = keys.group_by(list(KEYS)).aggregate([([], "count_all")])
    if len(counts) < len(chosen):
        twice = counts.filter(pc.greater(counts["count_all"], 1)).slice(0, 1).to_pylist()[0]
        name = "/".join(str(twice[column]) for column in KEYS)
        raise SwatheError(f"trial {name} is in the tables twice; they are damaged, so restore them from the ledger")
    return chosen


def _metrics(update: Update, metrics: pa.Table, trials: pa.ChunkedArray) -> None:
    """The metric rows of `trials`, which stand in hashing order."""
    place = pc.index_in(_plain(metrics["trial"]), value_set=pa.array(_plain(trials).combine_chunks()))
    rows = metrics.filter(pc.is_valid(place))
    names = _plain(rows["metric"])
    known = sorted(name for name in pc.unique(names).to_pylist() if name is not None)
    code = _integers(pc.index_in(names, value_set=pa.array(known, pa.string())))
    trial = _integers(place.drop_null())
    step, timeless = _integers(rows["step"]), _nulls(rows["step"])
    bits, missing = _bits(rows["value"]), _nulls(rows["value"])
    order = np.lexsort((missing, bits, code, step, timeless, trial))
    _texts(update, known)
    for values in (trial, timeless, step, code, missing, bits):
        _block(update, values[order])


def _column(update: Update, name: str, column: pa.ChunkedArray) -> None:
    """One column of the trials: its name, where it is null, its values."""
    column = _plain(column)
    nulls = _nulls(column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        kind, values = "text", None
    elif pa.types.is_floating(column.type):
        kind, values = "float", _bits(column)
    elif pa.types.is_boolean(column.type):
        kind, values = "bool", _integers(pc.cast(column, pa.int8()))
    elif pa.types.is_integer(column.type):
        kind, values = "int", _integers(column)
    else:
        raise SwatheError(f"column {name!r} is of type {column.type}, which has no place in the hash")
    _texts(update, [name, kind])
    _block(update, nulls)
    if values is None:
        _texts(update, (text or "" for text in column.to_pylist()))
    else:
        _block(update, values)


def _texts(update: Update, texts: Iterable[str]) -> None:
    """Strings, each with its length, so that no two lists of strings give the same bytes."""
    encoded = [text.encode() for text in texts]
    _block(update, np.array([len(text) for text in encoded], dtype="<i8"))
    update(b"".join(encoded))


def _block(update: Update, values: NDArray[Any]) -> None:
    """An array with its length, little-endian."""
    update(len(values).to_bytes(8, "little"))
    update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes())


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without dictionary encoding."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _nulls(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Where (rows,) a column is null."""
    return pc.is_null(column).to_numpy().astype(np.uint8)


def _integers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """A column (rows,) as 64-bit integers, null as zero."""
    return pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy()


def _bits(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """The IEEE 754 bits (rows,) of floating-point numbers, one NaN for all, null as zero."""
    values = np.array(pc.fill_null(pc.cast(column, pa.float64()), 0.0).to_numpy(), dtype=np.float64)
    values[np.isnan(values)] = np.nan
    return values.view(np.uint64)
