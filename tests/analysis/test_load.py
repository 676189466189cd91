import pandas as pd
import pyarrow as pa
import pytest

from swathe.analysis import load
from swathe.orchestrator import schema
from swathe.orchestrator.errors import SwatheError

LAYOUT = schema.trials({"width": "int", "lr": "float", "form": "str"}, ["accuracy"])


def table(cells):
    rows = [
        {"cell": cell, "configuration": k, "replicate": 0, "state": "COMPLETE", "value": float("nan") if k else None,
         "param.width": 64, "param.lr": 0.5, "param.form": "mup", "steps": None, "started": 1_000_000}
        for k, cell in enumerate(cells)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=LAYOUT)


def test_frames_keep_arrow_types_and_lose_dictionaries():
    frame = load.as_frame(table("ab"))
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in frame.dtypes)
    assert frame["cell"].dtype == pd.ArrowDtype(pa.string())
    assert frame["started"].dtype == pd.ArrowDtype(pa.timestamp("us", tz="UTC"))
    assert list(frame.columns) == LAYOUT.names


def test_null_and_nan_stay_apart():
    column = load.as_frame(table("ab"))["value"].array
    assert pa.array(column).null_count == 1


def test_parts_with_other_dictionaries_join():
    both = pa.concat_tables([table("ab"), table("ca")])
    assert load.as_frame(both).groupby("cell").size().to_dict() == {"a": 2, "b": 1, "c": 1}


def test_empty_tables_are_empty_frames():
    assert load.as_frame(LAYOUT.empty_table()).shape == (0, len(LAYOUT))
    assert load.as_frame(schema.METRICS.empty_table()).dtypes["metric"] == pd.ArrowDtype(pa.string())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SwatheError, match="no such folder"):
        load.trials(tmp_path / "absent")
    with pytest.raises(SwatheError, match="no such folder"):
        load.metrics(f"file://{tmp_path}/absent")


def test_what_needs_a_folder_refuses_other_schemes():
    with pytest.raises(SwatheError, match="s3://"):
        load.folder("s3://bucket/sweep")


def test_a_uri_names_its_folder(tmp_path):
    place = tmp_path / "my sweep"
    place.mkdir()
    assert load.folder(place.as_uri()) == load.folder(str(place)) == place
