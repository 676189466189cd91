"""The Arrow schemas of `trials` and `metrics`: the one place that spells column names."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

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


def encode_rows(rows: Iterable[MetricRow]) -> bytes:
    """Metric rows as one compressed Arrow IPC stream."""
    table = pa.Table.from_arrays(
        [
            pa.array(column, type=field.type) if field.type != _WORD else pa.array(column).dictionary_encode()
            for column, field in zip(zip(*rows, strict=True), METRICS, strict=True)
        ],
        schema=METRICS,
    )
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, METRICS, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue()


def decode_rows(payload: bytes) -> pa.Table:
    """The inverse of `encode_rows`, as a table of schema `METRICS`."""
    with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
        return reader.read_all()
