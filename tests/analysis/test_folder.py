"""A sweep that was really run: its folder is read, hashed and reported."""

import pandas as pd
import pytest

from swathe.analysis import digest, load, report
from swathe.orchestrator import compaction, driver


@pytest.fixture
def folder(make_sweep, tmp_path):
    return driver.run(make_sweep(), driver.Launch(tmp_path / "sweeps", cluster="inline")).folder


def test_a_folder_is_read_hashed_and_reported(folder):
    trials, metrics = load.trials(folder), load.metrics(folder.as_uri())
    assert len(trials) == 48 and set(trials["state"]) == {"COMPLETE"}
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in [*trials.dtypes, *metrics.dtypes])
    assert set(metrics["trial"]) == set(trials["trial"])
    found = digest.digest(*compaction.read_tables(folder))
    assert found.partial == 0 and found == digest.digest(*load.tables(folder))
    html = report.write(folder).read_text(encoding="utf-8")
    assert "48 of 48 trials have ended: 48 complete." in html and "Configurations" in html
