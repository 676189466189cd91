"""What the README shows works as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swathe.orchestrator import Launch, load, run
from swathe.orchestrator.spec import parse

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|yaml)\n(.*?)```", README, re.DOTALL)
YAML = [text for kind, text in BLOCKS if kind == "yaml"]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]


def test_the_first_example_runs_and_its_results_are_read_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(PYTHON[0], encoding="utf-8")
    Path("sweep.yaml").write_text(YAML[0], encoding="utf-8")
    assert run(load(Path("sweep.yaml")), Launch(cluster="inline")).exit_code == 0
    for code in PYTHON[2:]:
        exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("transfers ")


def test_the_spec_of_the_reference_is_valid() -> None:
    sweep = parse(YAML[1])
    assert (sweep.name, sweep.per_cell, sweep.seeds, len(sweep.cells)) == ("my-sweep", 24, 3, 4)


def test_the_rules_for_resources_are_valid() -> None:
    grid = "grid: {width: [256, 512, 1024, 2048]}\n"
    sweep = parse(f"name: rules\ntask: train.py:train\nmetric: loss\n{grid}{YAML[2]}")
    assert [str(share) for share in sweep.shares.values()] == ["cpus=1", "cpus=4", "cpus=1 gpus=1"]


def test_the_spec_of_a_command_is_valid() -> None:
    assert parse(YAML[3]).command is not None


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
