"""A command's own folder: what trials see of the spec's folder, what they keep to themselves, what is noticed."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from swathe.analysis import load
from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.errors import SpecError
from swathe.orchestrator.spec import Sweep, parse
from swathe.orchestrator.trial_folder import make_trial_folder, remove_links, shared_writes

# Reads data below and beside its folder and a module beside itself, goes on with what it finds of a checkpoint.
SCRIPT = """
import json, pathlib, sys
import helper
checkpoint = pathlib.Path("runs/last.txt")
earlier = float(checkpoint.read_text()) if checkpoint.exists() else 0.0
checkpoint.parent.mkdir(exist_ok=True)
checkpoint.write_text(sys.argv[1])
pathlib.Path("../up.txt").write_text("one level up")
data = float(pathlib.Path("data/values.txt").read_text()) + float(pathlib.Path("../beside/more.txt").read_text())
print(json.dumps({"loss": earlier + helper.twice(float(sys.argv[1])) + data}))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name, text in {
        "project/train.py": textwrap.dedent(SCRIPT),
        "project/helper.py": "def twice(x):\n    return 2 * x\n",
        "project/data/values.txt": "10",
        "beside/more.txt": "100",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def sweep_over(root: Path, **keys: object) -> Sweep:
    values = {"name": "s", "command": "python train.py {x}", "metric": "loss", "direction": "minimize"}
    return Sweep(**{**values, "grid": {"x": [1, 2, 3]}, **keys}).rooted(root)


def test_trials_of_a_command_find_the_data_and_not_each_others_files(project: Path) -> None:
    folder = project / "sweeps"
    run(sweep_over(project), Launch(folder, "inline"))
    assert load.trials(folder / "s").sort_values("param.x").value.tolist() == [112.0, 114.0, 116.0]
    # What they wrote stays, each its own; the spec's folder and the one above are as they were, links are gone.
    kept = sorted(path.read_text() for path in (folder / "s" / "work").rglob("last.txt"))
    assert kept == ["1", "2", "3"]
    assert {path.name for path in project.iterdir() if path.name != "__pycache__"} == {
        "train.py",
        "helper.py",
        "data",
        "sweeps",
    }
    assert not (project.parent / "up.txt").exists()
    assert not [path for path in (folder / "s" / "work").rglob("*") if path.is_symlink()]
    assert shared_writes(folder / "s") == []


def test_a_write_through_a_link_is_named(project: Path) -> None:
    folder = project / "sweeps"
    (project / "runs").mkdir()
    run(sweep_over(project), Launch(folder, "inline"))
    assert shared_writes(folder / "s") == ["runs/last.txt"]
    assert "runs/last.txt" in next((folder / "s" / "logs").rglob("*.log")).read_text()


def test_the_shared_folder_is_there_for_those_who_ask(project: Path) -> None:
    folder = project.parent / "sweeps"
    run(sweep_over(project, folder="shared", grid={"x": [1]}), Launch(folder, "inline"))
    assert (project / "runs" / "last.txt").read_text() == "1"
    assert not (folder / "s" / "work").exists()


def test_a_task_has_no_folder_to_choose() -> None:
    with pytest.raises(SpecError, match=r"trial\.folder"):
        parse("{name: a, task: 'train.py:train', metric: loss, direction: minimize, folder: shared}")


def test_a_folder_is_made_again_empty_and_an_unused_one_goes(project: Path) -> None:
    sweep = project / "sweeps" / "s"
    (sweep / "spec.yaml").parent.mkdir(parents=True)
    (sweep / "spec.yaml").touch()
    place = sweep / "work" / "cell" / "0.0"
    own = make_trial_folder(place, project, sweep)
    assert {path.name for path in own.iterdir()} == {"train.py", "helper.py", "data"}
    (own / "left.txt").touch()
    remove_links(own)
    assert [path.name for path in own.iterdir()] == ["left.txt"]
    own = make_trial_folder(place, project, sweep)
    assert not (own / "left.txt").exists()
    remove_links(own)
    assert not place.exists()
