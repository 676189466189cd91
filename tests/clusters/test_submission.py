"""A sweep on a Ray cluster of several nodes: submitted, left alone, and the same as inline."""

from __future__ import annotations

from pathlib import Path

import pytest

from swathe.analysis.digest import digest
from swathe.orchestrator import compaction
from swathe.orchestrator.driver import Launch, run

from .conftest import NAME, Loopback

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def hash_of(folder: Path) -> str:
    return str(digest(*compaction.read_tables(folder)))


def test_a_submitted_sweep_ends_as_inline(make_sweep, tmp_path: Path, loopback: Loopback) -> None:
    sweep = make_sweep("name=plain")
    inline = run(sweep, Launch(tmp_path / "inline", "inline")).folder
    said = loopback.submit(sweep.root / "sweep.yaml", "name=plain")
    assert f"swathe watch plain --cluster {NAME}" in said
    loopback.finish("plain")
    assert loopback.hash("plain") == hash_of(inline)
