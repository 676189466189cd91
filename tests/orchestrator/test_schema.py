"""Arrow columns made from buffers are those that Arrow makes itself."""

from __future__ import annotations

import math
import subprocess
import sys

import pyarrow as pa
import pytest

from swathe.orchestrator.schema import METRICS, MetricRow, column, decode_rows, empty, encode_rows

WORD = pa.dictionary(pa.int32(), pa.string())
TIME = pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int32(), [3, -1, None, 2**31 - 1]),
        (pa.int64(), [None, 0, -(2**63), 2**63 - 1]),
        (pa.int64(), [1.0, 2.0]),
        (pa.float64(), [0.1, math.inf, -0.0, None, 1, True]),
        (pa.bool_(), [True, None, False] * 7),
        (pa.string(), ["", "héllo", None, "a\x00b", "日本"]),
        (WORD, ["b", None, "a", "b", None, ""]),
        (TIME, [1_790_000_000_000_000, None, 0]),
    ],
)
def test_a_column_is_what_arrow_makes_of_the_values(kind: pa.DataType, values: list[object]) -> None:
    made = column(kind, values)
    made.validate(full=True)
    assert made.type == kind
    assert made.to_pylist() == pa.array(values, kind).to_pylist()
    assert made.null_count == values.count(None)
    assert column(kind, ()).equals(pa.array([], kind))
    assert column(kind, [None] * 9).to_pylist() == [None] * 9


def test_what_a_column_cannot_hold_is_refused() -> None:
    for kind, values in ((pa.int32(), [2**31]), (pa.string(), [1]), (pa.float64(), ["x"])):
        with pytest.raises((pa.ArrowException, OverflowError, TypeError)):
            column(kind, values)


def test_rows_come_back_as_they_were() -> None:
    rows = [
        MetricRow("a/1/0", 1, 0, 1_790_000_000_000_001, "loss", 0.5, False),
        MetricRow("a/1/0", 1, None, 1_790_000_000_000_002, "accuracy", math.inf, True),
        MetricRow("b/2/1", 2, 7, 1_790_000_000_000_003, "loss", -0.0, False),
    ]
    table = decode_rows(encode_rows(rows))
    assert table.schema == METRICS
    found = [tuple(each.values()) for each in table.set_column(3, "time", table["time"].cast("int64")).to_pylist()]
    assert found == [tuple(row) for row in rows]
    assert empty(METRICS).equals(METRICS.empty_table())


def test_workers_encode_rows_without_pandas() -> None:
    code = (
        "import sys; from swathe.orchestrator.schema import MetricRow, encode_rows, decode_rows\n"
        "decode_rows(encode_rows([MetricRow('a/1/0', 1, 0, 1, 'loss', 0.5, False)]))\n"
        "assert 'pandas' not in sys.modules and 'pyarrow.compute' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
