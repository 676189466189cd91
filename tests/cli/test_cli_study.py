"""What a study in the spec makes of the verbs: a plan has its power, an end, a status and a report its verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TRANSFER = ["grid.width=[64, 128, 256]", "search.lr.num=13", "seeds=3", "study=transfer", "fixed.steps=1"]


def sets(*values: str) -> list[str]:
    return [word for each in values for word in ("--set", each)]


def test_a_transfer_study_is_planned_with_its_power(project: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    from swathe.analysis import power

    monkeypatch.setattr(power, "STUDIES", 6)
    shown = call("plan", "sweep.yaml", *sets(*TRANSFER))
    assert shown.exit_code == 0, shown.output
    assert "does the best lr stay put along width?" in shown.stdout
    assert "to expect around the drift" in shown.stdout and "chance to see" in shown.stdout
    # 6 octaves less two on either side, over two doublings.
    assert "\N{PLUS-MINUS SIGN}1  drift that the grid has room for" in shown.stdout
    told = json.loads(call("plan", "sweep.yaml", *sets(*TRANSFER, "search.lr.num=9"), "--json").stdout)
    assert told["study"] == {"name": "transfer", "axis": "width", "hyperparameter": "lr"}
    assert told["power"]["room"] == pytest.approx(1.0) and 0 < told["power"]["half_width"] < 2


def test_a_narrow_grid_is_told_how_to_widen(project: Path, call, monkeypatch: pytest.MonkeyPatch) -> None:
    from swathe.analysis import power

    monkeypatch.setattr(power, "STUDIES", 6)
    narrow = sets("grid.width=[64, 128, 256, 512]", "search.lr.log2=[-5, -1]", "search.lr.num=9", *TRANSFER[2:])
    shown = call("plan", "sweep.yaml", *narrow)
    assert "none  drift that the grid has room for; for 0.5 write lr: {log2: [-5.75, -0.25], num: 12}" in shown.stdout
    random = sets(*TRANSFER[2:], "grid.width=[64, 128, 256]", "search.lr={low: 0.01, high: 1.0, log: true}")
    shown = call("plan", "sweep.yaml", *random, *sets("sampler=random", "configurations=9"))
    assert shown.exit_code == 0 and "its power is not known" in shown.stdout


def test_two_seeds_are_warned_about(project: Path, call) -> None:
    shown = call("plan", "sweep.yaml", *sets("study={name: robustness, hyperparameter: lr}"))
    assert "2 seed(s) decide no study; write `seeds: 3` or more" in shown.stderr


def test_a_transfer_study_ends_stands_and_reports_with_its_verdict(project: Path, call) -> None:
    drifting = sets(*TRANSFER, "fixed.slope=0.5", "seeds=5", "stop=decided")
    ended = call("run", "sweep.yaml", "--cluster", "inline", *drifting)
    assert ended.exit_code == 0, ended.output
    assert "look after 3 of at most 5 seeds: all trials drifts; decided" in ended.stdout
    assert "Does the best lr transfer along width?" in ended.stdout
    standing = call("status", "tiny")
    assert "Does the best lr transfer along width?" in standing.stdout
    assert "3 of at most 5 seeds; after 3 it was decided" in standing.stdout
    told = json.loads(call("status", "tiny", "--json").stdout)
    assert told["study"]["axis"] == "width" and told["look"]["decided"] is True
    page = (project / "sweeps" / "tiny" / "report.html").read_text(encoding="utf-8")
    lead = page.index('class="verdict drifts"')
    assert page.index("<h2>Verdict") < lead < page.index("<h2>Figures")
    assert "Looked at after 3, 4, 5 seeds until decided, ended after 3" in page


def test_a_robustness_study_has_a_verdict_for_every_cell(project: Path, call) -> None:
    ended = call("run", "sweep.yaml", "--cluster", "inline", *sets("seeds=3", "study=robustness", "fixed.steps=1"))
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.count("loss is sensitive to the learning rate") == 2, ended.stdout
    assert "Does the best" not in ended.stdout
    assert "loss is sensitive to the learning rate" in call("status", "tiny").stdout
    page = (project / "sweeps" / "tiny" / "report.html").read_text(encoding="utf-8")
    assert page.count('class="verdict sensitive"') == 2
