"""Positive controls on real training: what must drift drifts and what must not does not, each by its interval.

Minutes of training on MNIST digits, so they run by `make controls` only.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from swathe.analysis import load
from swathe.analysis.deciding import verdicts
from swathe.analysis.study import TransferStudy
from swathe.analysis.transfer import MARGIN, TransferVerdict
from swathe.orchestrator import Launch, run
from swathe.orchestrator.spec import load as load_spec
from swathe.tasks.scaling import lr_transfer

FOLDER = Path(lr_transfer.__file__).parent

pytestmark = [pytest.mark.control, pytest.mark.timeout(1800)]


def judged(spec: str, directory: Path) -> dict[tuple[object, ...], TransferVerdict]:
    sweep = load_spec(FOLDER / spec)
    study = TransferStudy.of(sweep)
    assert study is not None
    finished = run(sweep, Launch(directory, workers=2))
    assert finished.exit_code == 0
    return dict(verdicts(load.trials(finished.folder), sweep, study))


def test_width_drifts_under_the_standard_parameterisation_and_not_under_mup(tmp_path: Path) -> None:
    found = judged("lr_transfer.yaml", tmp_path)
    standard, mup = found["standard",], found["mup",]
    assert standard.verdict == "drifts" and standard.drift_high < -MARGIN, standard.reasons
    assert mup.verdict == "transfers" and -MARGIN < mup.equivalence_low < mup.equivalence_high < MARGIN, mup.reasons


def test_the_length_of_training_does_not_transfer(tmp_path: Path) -> None:
    (found,) = judged("lr_transfer_steps.yaml", tmp_path).values()
    assert found.verdict == "drifts" and found.drift_high < -MARGIN, found.reasons
