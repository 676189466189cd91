"""The Arrow schemas of `trials` and `metrics`: the one place that spells column names."""

from __future__ import annotations

import io
from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

PARAM = "param."
METRIC = "metric."

_WORD = pa.dictionary(pa.int32(), pa.string())
_TIME = pa.timestamp("us", tz="UTC")
_KINDS = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(), "str": pa.string(), "json": pa.string()}

METRICS = pa.schema(
    [
        pa.field("trial", pa.string(), nullable=False),
        pa.field("attempt", pa.int32(), nullable=False),
        pa.field("step", pa.int64()),
        pa.field("time", _TIME),
        pa.field("metric", _WORD),
        pa.field("value", pa.float64()),
        pa.field("final", pa.bool_(), nullable=False),
    ]
)


def trials(parameters: Mapping[str, str], metrics: Sequence[str]) -> pa.Schema:
    """The schema of `trials`, one row a trial.

    `parameters` maps each parameter (grid, fixed and searched) to its kind: float, int, bool, str, or json where its
    values are of mixed types. `metrics` are the declared final metrics. Both follow from the spec alone, so all parts
    of a sweep agree.
    """
    return pa.schema(
        [
            pa.field("sweep", _WORD),
            pa.field("cell", _WORD),
            pa.field("configuration", pa.int64()),
            pa.field("replicate", pa.int32()),
            pa.field("generation", pa.int64()),
            pa.field("trial", pa.string()),
            pa.field("proposed_by", _WORD),
            pa.field("state", _WORD),
            pa.field("cause", _WORD),
            pa.field("attempt", pa.int32()),
            pa.field("value", pa.float64()),
            *(pa.field(PARAM + name, _KINDS[kind]) for name, kind in parameters.items()),
            *(pa.field(METRIC + name, pa.float64()) for name in metrics),
            pa.field("steps", pa.int64()),
            pa.field("started", _TIME),
            pa.field("ended", _TIME),
            pa.field("worker", _WORD),
            pa.field("node", _WORD),
            pa.field("device", _WORD),
            pa.field("lanes", pa.int32()),
            pa.field("lease", pa.int64()),
            pa.field("error", pa.string()),
        ]
    )


class MetricRow(NamedTuple):
    """One row of `metrics`; `step` is None for a metric returned at the end, `time` is Unix microseconds."""

    trial: str
    attempt: int
    step: int | None
    time: int
    metric: str
    value: float
    final: bool


_CODES = {pa.int32(): "i", pa.int64(): "q", _TIME: "q", pa.float64(): "d"}


def column(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    """`values` as an Arrow array; None is null.

    Made from buffers, because `pa.array` begins by importing pandas: half a second and 50 MB in every worker.
    """
    missing = values.count(None)
    known = _bits([value is not None for value in values]) if missing else None
    try:
        if kind == _WORD:
            words = dict.fromkeys(word for word in values if word is not None)
            places = {word: place for place, word in enumerate(words)}
            return pa.DictionaryArray.from_arrays(
                column(kind.index_type, [places.get(word) for word in values]), column(kind.value_type, [*places])
            )
        if kind == pa.string():
            texts = [b"" if value is None else value.encode() for value in values]
            ends = array("i", accumulate(map(len, texts), initial=0))
            data = [pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
        elif kind == pa.bool_():
            data = [_bits([bool(value) for value in values])]
        else:
            filled = [0 if value is None else value for value in values] if missing else values
            data = [pa.py_buffer(array(_CODES[kind], filled))]
    except (AttributeError, TypeError, OverflowError):
        # Values of another kind: Arrow converts what can be converted, and says what cannot.
        return pa.array(values, kind)
    return pa.Array.from_buffers(kind, len(values), [known, *data], missing)


def _bits(flags: Sequence[bool]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.array(flags, bool), bitorder="little"))


def empty(layout: pa.Schema) -> pa.Table:
    """A table without rows."""
    return pa.Table.from_arrays([column(field.type, ()) for field in layout], schema=layout)


def encode_rows(rows: Sequence[MetricRow]) -> bytes:
    """Metric rows as one compressed Arrow IPC stream."""
    # `zip(*rows)` would make an iterator for each row, which Python's garbage collector then looks through.
    columns = (list(map(itemgetter(place), rows)) for place in range(len(METRICS)))
    table = pa.Table.from_arrays(
        [column(field.type, values) for field, values in zip(METRICS, columns, strict=True)], schema=METRICS
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, METRICS, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue()


def decode_rows(payload: bytes) -> pa.Table:
    """The inverse of `encode_rows`, as a table of schema `METRICS`."""
    with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
        return reader.read_all()
