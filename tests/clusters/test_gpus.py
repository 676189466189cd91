"""How busy GPUs are, by a stand-in for NVIDIA's tool, and how it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from swathe.clusters.gpus import busy
from swathe.orchestrator.cli.crew import Crew


def tool(folder: Path, script: str) -> None:
    """A program `nvidia-smi` in this folder."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("printf '0, GPU-a1, 93\\n1, GPU-b2, 0\\n'", {"0": 0.93, "GPU-a1": 0.93, "1": 0.0, "GPU-b2": 0.0}),
        ("printf '0, GPU-a1, [N/A]\\n1, GPU-b2, 7\\n'", {"1": 0.07, "GPU-b2": 0.07}),
        ("echo no devices were found; exit 6", {}),
        ("echo", {}),
    ],
)
def test_what_the_tool_says_is_told_by_index_and_uuid(
    script: str, found: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert busy() == found


def test_without_the_tool_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert busy() == {}


def told(worker: str, gpus: float | None) -> dict[str, object]:
    known = {"state": "running", "node": "a", "id": "1", "device": "cuda:0", "trial": "t", "lanes": 1, "cores": 0.5}
    return {"worker": worker, **known, "gpus": gpus}


def test_gpus_are_shown_where_somebody_has_one() -> None:
    crew = Crew.of({"workers": [told("w1", 0.9), told("w2", 0.5), told("w3", None)]})
    assert crew is not None
    assert crew.as_text() == "3 workers on 1 node: 3 running; 1.5 cores busy; GPUs 70% busy"
    assert [each["gpus"] for each in crew.as_json()["workers"]] == [0.9, 0.5, None]
    shown = crew.rows(10)
    assert shown is not None
    assert [[*column.cells] for column in shown.columns if column.header == "GPU"] == [["90%", "50%", "-"]]


def test_no_gpus_are_shown_where_nobody_has_one() -> None:
    crew = Crew.of({"workers": [told("w1", None)]})
    assert crew is not None
    assert "GPU" not in crew.as_text()
    shown = crew.rows(10)
    assert shown is not None
    assert "GPU" not in [column.header for column in shown.columns]
