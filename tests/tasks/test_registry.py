"""The registry of bundled papers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from swathe import tasks
from swathe.orchestrator.errors import TaskError


def test_every_slug_finds_the_task_of_that_name():
    assert "lr-transfer" in tasks.slugs()
    assert list(tasks.slugs()) == sorted(tasks.slugs())
    assert [tasks.find(slug).name for slug in tasks.slugs()] == list(tasks.slugs())


def test_listing_imports_no_paper():
    code = "import sys; from swathe import tasks; tasks.slugs(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shared_blocks_and_private_files_are_no_papers():
    assert not [slug for slug in tasks.slugs() if slug.startswith(("-", "_")) or slug == "blocks"]


@pytest.mark.parametrize(("slug", "hint"), [("lr-transfr", "did you mean lr-transfer?"), ("qqq", "there are: ")])
def test_an_unknown_slug_names_the_nearest(slug, hint):
    with pytest.raises(TaskError, match=f"'{slug}'.*{hint.replace('?', '[?]')}"):
        tasks.find(slug)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.delitem(sys.modules, "swathe.tasks.scaling.lr_transfer", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(TaskError, match=r"needs torch, .*pip install 'swathe\[tasks\]'"):
        tasks.find("lr-transfer")
