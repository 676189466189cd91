"""Death where the lanes of a shape are written down: they are written once, and nothing has been run without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from swathe.orchestrator.ledger import Reader
from swathe.orchestrator.ledger.tables import url_of
from tests.faults import judging, sweeps
from tests.faults.launching import undisturbed
from tests.faults.test_points import arrivals, live_through

PROGRAM = """
import torch
from torch import nn
from torch.nn.functional import mse_loss
from swathe.orchestrator.fusion import Data, Program, sgd

X = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))


def model(p, seeds):
    return nn.Sequential(nn.Linear(3, p["width"]), nn.Tanh(), nn.Linear(p["width"], 1))


def loss(model, batch, p):
    return mse_loss(model(batch[0]), batch[0][:, :1])


def metrics(model, data, p):
    return {"loss": mse_loss(model(data[0]), data[0][:, :1])}


PROGRAM = Program(model, loss, sgd("x"), lambda p: Data((X,), (X,), batch=8), metrics, shapes=("width",))
"""


def project_of(folder: Path, fuse: str | int) -> sweeps.Project:
    """Forty-eight trials in two shapes."""
    fields = {"task": "./train.py:PROGRAM", "fuse": fuse, "grid": {"width": [3, 5]}}
    project = sweeps.make(folder, **fields, fixed={"steps": 40})
    (folder / "train.py").write_text(PROGRAM, encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(project_of(tmp_path_factory.mktemp("twin"), 7))


def test_a_death_at_a_given_capacity(twin: Path, tmp_path: Path, tally: dict[str, int]) -> None:
    project = project_of(tmp_path, 7)
    moments = live_through(project, "ledger.capacity:1", tally)
    assert len(moments) == 1 and not moments[0].decided
    judging.judge(project.sweep_in("sweeps"), twin, moments, project.ran)


def test_a_death_at_a_measured_capacity(tmp_path: Path, tally: dict[str, int]) -> None:
    """The first shape's lanes are known and its packs have run; the second's are lost in the writing."""
    project = project_of(tmp_path, "auto")
    (moment,) = live_through(project, "ledger.capacity:2", tally)
    folder = project.sweep_in("sweeps")
    assert judging.acknowledged(folder).decided.items() >= moment.decided.items()
    judging.check_folder(folder)
    reader = Reader(url_of(folder), "tiny")
    capacities = reader.capacities()
    reader.close()
    rows = arrivals(project.folder / "arrivals", "ledger.capacity")
    assert len(capacities) == 2 and rows == 3, "each shape is measured once, and once more where that was lost"
