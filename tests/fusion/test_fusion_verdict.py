"""A small study of learning-rate transfer comes to the same verdicts with lanes and without."""

from __future__ import annotations

from pathlib import Path

from swathe.analysis import load
from swathe.analysis.transfer import TransferVerdict, judge_by
from swathe.orchestrator import Launch, Sweep, run
from swathe.orchestrator.ledger import Reader
from swathe.orchestrator.ledger.tables import url_of

STUDY = {
    "name": "small",
    "task": "lr-transfer",
    "metric": "train_loss",
    "grid": {"parameterization": ["standard", "mup"], "width": [16, 32, 64]},
    "search": {"lr": {"log2": [-8, 1], "num": 7}},
    "sampler": "grid",
    "fixed": {"base_width": 16, "steps": 40, "batch_size": 16},
    "seeds": 3,
}


def study(folder: Path, fuse: str) -> tuple[dict[tuple[str, ...], TransferVerdict], set[int]]:
    """The verdicts, and the lanes that shapes were found to pay at."""
    finished = run(Sweep(**STUDY, fuse=fuse), Launch(folder, cluster="inline"))
    assert finished.reason == "finished"
    reader = Reader(url_of(finished.folder), "small")
    lanes = {each.lanes for each in reader.capacities().values()}
    reader.close()
    trials = load.trials(finished.folder)
    return judge_by(trials, ["parameterization"], axis="width", hyperparameter="lr"), lanes


def test_auto_and_off_reach_the_same_verdicts(tmp_path: Path) -> None:
    fused, lanes = study(tmp_path / "auto", "auto")
    alone, none = study(tmp_path / "off", "off")
    assert max(lanes) > 1 and none <= {0}, "the comparison is of lanes with plain trials"
    assert fused.keys() == alone.keys()
    for key, verdict in fused.items():
        other = alone[key]
        assert verdict.verdict == other.verdict and verdict.excluded == other.excluded
        assert (verdict.drift is None) == (other.drift is None)
        if verdict.drift is not None and other.drift is not None:
            assert abs(verdict.drift - other.drift) < 0.05
