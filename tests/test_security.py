"""The promises of SECURITY.md that can be tried without a cluster; clusters/test_profiles.py has those of profiles."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from swathe.clusters import submission
from swathe.clusters.finding import SHIPPED, profile
from swathe.clusters.profile import Profile
from swathe.orchestrator.cli.dashboard import command as dashboard
from swathe.orchestrator.driver import Launch, run
from swathe.orchestrator.errors import SpecError
from swathe.orchestrator.spec import parse
from swathe.orchestrator.task import Trial

SOURCES = Path(__file__).parents[1]
SECRET = "hunter2-hunter2"


def test_no_value_of_the_environment_is_written(make_sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("PGPASSWORD", SECRET)
    folder = run(make_sweep("configurations=2"), Launch(tmp_path / "sweeps", "inline")).folder
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"spec.yaml", "provenance.json", "ledger.db"} <= {path.name for path in files}
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_request_to_a_cluster_holds_names_of_secrets_only(make_sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    values = {"kind": "existing", "address": "http://127.0.0.1:1", "results": "results"}
    made = Profile(**values, environment={"secrets": ["PGPASSWORD"], "variables": ["HOME"]})
    sweep = make_sweep()
    sent = [submission.staffing(made, sweep, None), submission.environment_of(made, sweep.root)]
    assert "PGPASSWORD" in str(sent) and SECRET not in str(sent)
    assert sent[1]["env_vars"]["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [echo]", "!!python/name:os.system", "!!set {a}"])
def test_a_spec_makes_no_objects(tag: str) -> None:
    with pytest.raises(SpecError):
        parse(f"name: n\ntask: t.py:t\nmetric: m\nfixed: {{a: {tag}}}\n", "x.yaml")


@pytest.mark.parametrize("name", ["../up", "a/b", "/root", ".hidden", "-x", ""])
def test_the_name_of_a_sweep_is_no_path(name: str) -> None:
    with pytest.raises(SpecError):
        parse(f"name: '{name}'\ntask: t.py:t\nmetric: m\n", "x.yaml")


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/etc/passwd", ""])
def test_an_artifact_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a relative path inside"):
        Trial({}, artifacts=tmp_path / "artifacts").artifact(name)


def test_nothing_is_unpickled_but_by_a_pipe_to_a_child() -> None:
    """`multiprocessing.Connection` pickles; only `isolate: process` uses one, for a process of its own."""
    found: dict[str, set[str]] = {}
    for path in (each for folder in ("orchestrator", "analysis", "clusters", "tasks") for each in _sources(folder)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if re.match(r"(pickle|cloudpickle|dill|joblib|shelve|marshal|multiprocessing)\b", name):
                    found.setdefault(path.name, set()).add(name)
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "pd.read_pickle"):
                found.setdefault(path.name, set()).add(ast.unparse(node))
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", path
    assert set(found) <= {"separate.py", "child.py"}, found


def _sources(folder: str) -> list[Path]:
    found = sorted((SOURCES / folder).rglob("*.py"))
    assert found
    return found


def test_tokens_are_on_and_dashboards_at_home() -> None:
    assert all(profile(path.stem).authentication == "token" for path in SHIPPED.glob("*.yaml"))
    templates = SHIPPED.parent / "templates"
    assert "RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0" in (templates / "slurm.sh").read_text(encoding="utf-8")
    manifest = yaml.safe_load((templates / "kuberay.yaml").read_text(encoding="utf-8"))
    assert manifest["spec"]["authOptions"] == {"mode": "token"}
    host = next(option for option in dashboard.params if option.name == "host")
    assert host.default == "127.0.0.1"
