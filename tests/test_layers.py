"""What import-linter cannot say: third-party packages have their place, files stay small, modules have no cycles."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for top in ("orchestrator", "tasks", "clusters", "analysis") for path in (ROOT / top).rglob("*.py")
)

# package -> where it may be imported, as prefixes of paths
PLACES = {
    "ray": ("orchestrator/actors.py", "orchestrator/embedded.py", "clusters/"),
    "optuna": ("orchestrator/search/", "analysis/"),
    "opda": ("analysis/tuning.py",),
    "sqlalchemy": ("orchestrator/ledger/",),
    "psycopg": ("orchestrator/ledger/postgres.py",),
    "pyarrow": (
        "orchestrator/schema.py",
        "orchestrator/storage.py",
        "orchestrator/compaction.py",
        "analysis/load.py",
        "analysis/digest.py",
    ),
    "torch": ("orchestrator/fusion/", "tasks/", "clusters/doctor/visiting.py"),
    "mlflow": ("analysis/exports/tracking.py",),
    "tensorboardX": ("analysis/exports/events.py",),
    "optuna_dashboard": ("analysis/exports/serving.py",),
    "click": ("orchestrator/cli/",),
    "rich": ("orchestrator/cli/",),
    "pandas": ("analysis/", "tasks/", "orchestrator/cli/"),
}
STANDARD_LIBRARY_ONLY = (
    "orchestrator/schedule/",
    "orchestrator/task.py",
    "orchestrator/claims.py",
    "orchestrator/messages.py",
)


def imported(path: Path) -> set[str]:
    """Top-level names of absolute imports that run."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_are_imported_in_their_place(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    names = imported(path)
    for package in names & PLACES.keys():
        assert place.startswith(PLACES[package]), f"{package} does not belong in {place}"
    if place.startswith(STANDARD_LIBRARY_ONLY):
        assert names <= set(sys.stdlib_module_names), names - set(sys.stdlib_module_names)


def test_no_file_is_longer_than_five_hundred_lines() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert not {str(path): length for path, length in lengths.items() if length > 500}


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph("swathe.orchestrator", "swathe.analysis", "swathe.tasks", "swathe.clusters")
    graphlib.TopologicalSorter(
        {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    ).prepare()


def test_the_spec_can_be_read_without_heavy_packages() -> None:
    code = "import sys, swathe.orchestrator.spec; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"ray", "torch", "optuna", "pandas", "pyarrow", "numpy"} & set(loaded)
