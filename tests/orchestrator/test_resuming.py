"""Going on with a sweep whose code has changed, and branching off."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from swathe.analysis.digest import digest
from swathe.orchestrator import changes, compaction, resuming
from swathe.orchestrator.driver import Finished, Launch, run
from swathe.orchestrator.errors import SwatheError
from swathe.orchestrator.ledger import Reader
from swathe.orchestrator.ledger.tables import url_of
from swathe.orchestrator.resuming import CodeChanged

MORE = "configurations=16"


def amendments(folder: Path) -> list[dict]:
    reader = Reader(url_of(folder), folder.name)
    try:
        return [json.loads(each) for each in reader.sweep().amendments]
    finally:
        reader.close()


def hash_of(finished: Finished) -> str:
    return str(digest(*compaction.read_tables(finished.folder)))


def test_changed_code_is_shown_and_refused_until_accepted(make_sweep, tmp_path: Path) -> None:
    first = run(make_sweep(), Launch(tmp_path, "inline"))
    grown = make_sweep(MORE)
    (grown.root / "train.py").write_text((grown.root / "train.py").read_text() + "\n# changed\n")
    (grown.root / "helper.py").write_text("x = 1\n")
    with pytest.raises(CodeChanged, match=r"added helper\.py, changed train\.py; .*--accept-changes.*--branch"):
        run(grown, Launch(tmp_path, "inline"))
    assert amendments(first.folder) == []
    seen: list[changes.Changes] = []
    last = run(grown, Launch(tmp_path, "inline", accept=lambda changed: not seen.append(changed)))
    assert last.reason == "finished" and [each.name for each in seen[0].files] == ["helper.py", "train.py"]
    code, extent = amendments(first.folder)
    assert len(code["code"]) == 2 and extent == {"configurations": [12, 16]}
    (note,) = json.loads((first.folder / "provenance.json").read_text())["history"].values()
    assert note["changes"] == "added helper.py, changed train.py"
    again = run(make_sweep(MORE, "seeds=3", task=(grown.root / "train.py").read_text()), Launch(tmp_path, "inline"))
    assert again.reason == "finished"


def test_a_finished_sweep_with_nothing_left_is_not_asked(make_sweep, tmp_path: Path) -> None:
    sweep = make_sweep()
    before = hash_of(run(sweep, Launch(tmp_path, "inline")))
    (sweep.root / "train.py").write_text("def train(trial): raise ValueError\n")
    assert hash_of(run(sweep, Launch(tmp_path, "inline"))) == before


def test_other_packages_are_a_change(make_sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(make_sweep(), Launch(tmp_path, "inline"))
    installed = changes.packages()
    monkeypatch.setattr(changes, "packages", lambda: {**installed, "numpy": "0.1"})
    with pytest.raises(CodeChanged, match=rf"numpy {installed['numpy']} -> 0\.1"):
        run(make_sweep(MORE), Launch(tmp_path, "inline"))


def test_a_note_lost_by_a_crash_is_written_without_asking_again(make_sweep, tmp_path, monkeypatch) -> None:
    run(make_sweep(), Launch(tmp_path, "inline"))
    grown = make_sweep(MORE)
    (grown.root / "helper.py").write_text("x = 1\n")
    launch = Launch(tmp_path, "inline", accept=lambda changed: True)
    with monkeypatch.context() as patched:
        patched.setattr(resuming, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(grown, launch)
    last = run(grown, Launch(tmp_path, "inline"))
    assert last.reason == "finished" and len(amendments(last.folder)) == 2
    assert json.loads((last.folder / "provenance.json").read_text())["history"]


def test_a_branch_takes_over_what_is_valid(make_sweep, tmp_path: Path) -> None:
    run(make_sweep(), Launch(tmp_path, "inline"))
    branched = run(make_sweep(MORE, "name=other"), Launch(tmp_path, "inline", origin="tiny"))
    once = run(make_sweep(MORE, "name=other"), Launch(tmp_path / "once", "inline"))
    assert hash_of(branched) == hash_of(once)
    table = compaction.read_tables(branched.folder).trials
    assert set(table["sweep"].to_pylist()) == {"other"}
    lines = (branched.folder / "provenance.json").read_text()
    assert json.loads(lines)["branched_from"] == "tiny"
    assert hash_of(run(make_sweep(), Launch(tmp_path, "inline"))), "the origin is as it was"


@pytest.mark.parametrize("override", ["seed=3", "search.lr.high=0.5"])
def test_a_branch_with_another_spec_begins_anew(override: str, make_sweep, tmp_path: Path) -> None:
    run(make_sweep(), Launch(tmp_path, "inline"))
    branched = run(make_sweep(override, "name=other"), Launch(tmp_path, "inline", origin="tiny"))
    once = run(make_sweep(override), Launch(tmp_path / "once", "inline"))
    assert hash_of(branched) == hash_of(once) and amendments(branched.folder) == []


def test_a_branch_needs_an_origin(make_sweep, tmp_path: Path) -> None:
    with pytest.raises(SwatheError, match="to branch off"):
        run(make_sweep("name=other"), Launch(tmp_path, "inline", origin="tiny"))


def test_files_are_those_of_the_project(tmp_path: Path) -> None:
    for name in ("a.py", "deep/b.py", "venv/pyvenv.cfg", "venv/c.py", ".hidden/d.py", "sweeps/x/e.py", "f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert list(changes.files(tmp_path, tmp_path / "sweeps")) == ["a.py", "deep/b.py"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / ".gitignore").write_text("deep\nvenv\n.hidden\n")
    assert list(changes.files(tmp_path, tmp_path / "sweeps")) == ["a.py"]


def test_a_package_whose_metadata_is_one_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old-1.2.egg-info").write_text("Metadata-Version: 1.0\nName: old\nVersion: 1.2\n\nName: not this\n")
    monkeypatch.setattr(changes.site, "getsitepackages", lambda: [str(tmp_path)])
    monkeypatch.syspath_prepend(tmp_path)
    assert changes.packages()["old"] == "1.2"


def test_packages_do_not_depend_on_what_a_program_puts_on_its_path(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "extra-1.0.dist-info").mkdir()
    (tmp_path / "extra-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    before = changes.packages()
    monkeypatch.syspath_prepend(tmp_path)
    assert changes.packages() == before and "numpy" in before
