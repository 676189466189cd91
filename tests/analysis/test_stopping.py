"""`stop: decided`: a sweep ends at the first look that decides it, the same one however it is run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swathe.analysis import load
from swathe.analysis.deciding import decide
from swathe.analysis.digest import digest
from swathe.orchestrator import Launch, run
from swathe.orchestrator.compaction import read_tables
from swathe.orchestrator.errors import SpecError
from swathe.orchestrator.ledger import Reader
from swathe.orchestrator.ledger.tables import url_of
from swathe.orchestrator.spec import parse

TASK = """
import math, random

def train(trial):
    noise = random.Random(trial.seed("init"))
    wander = trial.params["wander"] * noise.gauss(0, 1) * math.log2(trial.params["width"] / 64)
    u = math.log2(trial.params["lr"]) + 3 + trial.params["drift"] * math.log2(trial.params["width"] / 64) + wander
    return {"loss": 0.1 * math.exp(0.15 * u * u + 0.005 * noise.gauss(0, 1))}
"""
SPEC = """
name: waves
task: train.py:train
metric: loss
grid: {width: [64, 128, 256]}
search: {lr: {log2: [-7, 0], num: 15}}
sampler: grid
study: transfer
stop: decided
"""


@pytest.fixture
def make(tmp_path: Path):
    (tmp_path / "train.py").write_text(TASK, encoding="utf-8")

    def make(seeds: int = 6, drift: float = 0.5, wander: float = 0.0):
        fixed = f"seeds: {seeds}\nfixed: {{drift: {drift}, wander: {wander}}}\n"
        return parse(SPEC + fixed, "sweep.yaml", root=tmp_path)

    return make


def amendments(folder: Path) -> list[dict]:
    reader = Reader(url_of(folder), folder.name)
    try:
        return [json.loads(each) for each in reader.sweep().amendments]
    finally:
        reader.close()


def hash_of(folder: Path) -> str:
    return str(digest(*read_tables(folder), [json.dumps(each, sort_keys=True) for each in amendments(folder)]))


def test_a_clear_case_ends_at_the_first_look(make, tmp_path: Path) -> None:
    finished = run(make(), Launch(tmp_path / "sweeps", "inline", decide=decide))
    assert finished.reason == "finished" and finished.exit_code == 0
    trials = load.trials(finished.folder)
    assert len(trials) == 3 * 15 * 3, "half of the 6 seeds are saved"
    assert amendments(finished.folder) == [
        {"look": {"seeds": 3, "decided": True, "verdicts": {"all trials": "drifts"}}}
    ]
    again = run(make(), Launch(tmp_path / "sweeps", "inline", decide=decide))
    assert again.reason == "finished" and len(load.trials(again.folder)) == len(trials)


def test_a_noisy_case_goes_on_to_the_last_seed(make, tmp_path: Path) -> None:
    finished = run(make(wander=0.4, drift=0.15), Launch(tmp_path / "sweeps", "inline", decide=decide))
    told = amendments(finished.folder)
    assert [each["look"]["seeds"] for each in told if "look" in each] == [3, 4, 5, 6]
    assert [each["seeds"] for each in told if "seeds" in each] == [[3, 4], [4, 5], [5, 6]]
    assert not any(each["look"]["decided"] for each in told if "look" in each)
    assert len(load.trials(finished.folder)) == 3 * 15 * 6


def test_an_end_at_a_look_and_a_restart_change_nothing(make, tmp_path: Path) -> None:
    whole = run(make(wander=0.4, drift=0.15), Launch(tmp_path / "whole", "inline", decide=decide))
    seen: list[int] = []

    def dies(folder: Path, sweep):
        seen.append(sweep.seeds)
        if seen in ([3], [3, 3, 4]):
            raise KeyboardInterrupt
        return decide(folder, sweep)

    sweep, launch = make(wander=0.4, drift=0.15), Launch(tmp_path / "torn", "inline", decide=dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(sweep, launch)
    torn = run(sweep, launch)
    assert seen == [3, 3, 4, 4, 5, 6], "a look that was not written down is taken again"
    assert hash_of(torn.folder) == hash_of(whole.folder)


@pytest.mark.ray
def test_any_number_of_workers_looks_alike(make, tmp_path: Path, ray_session: None) -> None:
    sweep = make(seeds=4, wander=0.4, drift=0.15)
    alone = run(sweep, Launch(tmp_path / "alone", "inline", decide=decide))
    crowd = run(sweep, Launch(tmp_path / "crowd", "embedded", 2, decide=decide))
    assert [each for each in amendments(crowd.folder) if "look" in each]
    assert hash_of(crowd.folder) == hash_of(alone.folder)


def test_another_most_of_seeds_or_rule_is_another_sweep(make, tmp_path: Path) -> None:
    run(make(), Launch(tmp_path / "sweeps", "inline", decide=decide))
    with pytest.raises(SpecError, match="stop is"):
        run(make(seeds=8), Launch(tmp_path / "sweeps", "inline", decide=decide))


def test_without_anybody_who_decides_it_is_refused(make, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"Launch\(decide=decide\)"):
        run(make(), Launch(tmp_path / "sweeps", "inline"))
    assert not (tmp_path / "sweeps").exists()
