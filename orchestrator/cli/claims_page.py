"""Outcomes of claims on disk: CLAIMS.md, a figure a paper, and the gallery. CLAIMS.md is read back for listings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ... import tasks
from ..claims import Claim, Estimate, Frames
from ..task import Task

NAME, README, GALLERY = "CLAIMS.md", "README.md", "gallery"
DOTS = 80  # an inch; a figure takes some 40 kB
MARKER = "<!-- gallery -->"
HEAD = """# Claims

Written by `swathe verify NAME --write tasks`. An interval is a 95% one unless the statement says otherwise. A claim is
*reproduced* when its whole interval lies on the claimed side, *not reproduced* when it wholly lies on the other, else
*undecided*.
"""
COLUMNS = "| claim | claimed | measured | outcome |\n|---|---|---|---|\n"
OUTCOMES = ("reproduced", "not reproduced", "undecided")


class Verified(NamedTuple):
    """A claim, what its estimator found (None where its sweep is not finished), and the outcome in a word."""

    claim: Claim
    found: Estimate | None
    outcome: str


class Checked(NamedTuple):
    """A task whose claims were looked at; `frames` of its studies where all are finished, and where they came from."""

    slug: str
    task: Task
    verified: tuple[Verified, ...]
    frames: tuple[Frames, ...]
    provenance: Mapping[str, Any]
    interrupted: bool

    @property
    def whole(self) -> bool:
        """Whether every claim was measured."""
        return all(each.found is not None for each in self.verified)


def measured(found: Estimate) -> str:
    """`0.04 (-0.05 to 0.12)`."""
    value = "no number" if found.estimate is None else f"{found.estimate:.3g}"
    if found.low is None or found.high is None:
        return f"{value} (no interval)"
    return value if found.low == found.high else f"{value} ({found.low:.3g} to {found.high:.3g})"


def described(done: Checked) -> dict[str, Any]:
    """What came out, for machines."""
    claims = [
        {
            "statement": each.claim.statement,
            "direction": each.claim.direction,
            "threshold": each.claim.threshold,
            "estimate": each.found and each.found.estimate,
            "low": each.found and each.found.low,
            "high": each.found and each.found.high,
            "n": each.found and each.found.n,
            "reasons": each.found.reasons if each.found else (),
            "outcome": each.outcome,
        }
        for each in done.verified
    ]
    return {"task": done.slug, "claims": claims}


def statuses(page: Path) -> dict[str, Counter[str]]:
    """How many claims of each paper have which outcome, as a page of claims tells it; empty without one."""
    if not page.is_file():
        return {}
    found: dict[str, Counter[str]] = {}
    for slug, text in _sections(page.read_text(encoding="utf-8")).items():
        last = (line.rstrip(" |").rpartition(" | ")[2] for line in text.splitlines() if line.startswith("| "))
        found[slug] = Counter(word for word in last if word in OUTCOMES)
    return found


def in_words(counts: Mapping[str, int]) -> str:
    """`2 reproduced, 1 undecided`."""
    return ", ".join(f"{counts[word]} {word}" for word in OUTCOMES if counts.get(word)) or "not verified"


def write(done: Checked, folder: Path) -> None:
    """Put the outcomes of one task into the pages of `folder`, and its figure beside them.

    A task of which a claim was not measured leaves what is there as it is.
    """
    if not done.whole:
        return
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / NAME
    sections = _sections(page.read_text(encoding="utf-8")) if page.is_file() else {}
    sections[done.slug] = section(done)
    page.write_text(HEAD + "".join(f"\n{sections[slug]}" for slug in sorted(sections)), encoding="utf-8")
    if done.task.figure is not None:
        # Matplotlib takes half a second to import.
        from ...analysis.plots import to_png

        (folder / GALLERY).mkdir(exist_ok=True)
        to_png(done.task.figure(*done.frames), folder / GALLERY / f"{done.slug}.png", dpi=DOTS)
    _hang(folder)


def section(done: Checked) -> str:
    """The part of the page that is about one task."""
    rows = "".join(
        f"| {_cell(each.claim.statement)} | {each.claim.direction} {each.claim.threshold:g} "
        f"| {measured(each.found) if each.found else '-'} | {each.outcome} |\n"
        for each in done.verified
    )
    remarks = [f"- {each.claim.statement}: {each.claim.remark}\n" for each in done.verified if each.claim.remark]
    cited = f"{done.task.paper}. " if done.task.paper else ""
    said = "\n" + "".join(remarks) if remarks else ""
    return f"## {done.slug}\n\n{cited}{_origin(done.provenance)}\n\n{COLUMNS}{rows}{said}"


def _origin(record: Mapping[str, Any]) -> str:
    code = record.get("code") or {}
    commit = f"commit {code['commit'][:10]}" if code.get("commit") else "no commit"
    changed = " with changes" if code.get("diff") else ""
    return f"Computed {str(record.get('created', ''))[:10]} at {commit}{changed}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _sections(text: str) -> dict[str, str]:
    """{slug: its part of a page}."""
    parts = re.split(r"^## (\S+)$", text, flags=re.MULTILINE)
    return {slug: f"## {slug}{body.rstrip()}\n" for slug, body in zip(parts[1::2], parts[2::2], strict=True)}


def _hang(folder: Path) -> None:
    """Write the gallery below the marker of the folder's README, where it has one."""
    readme = folder / README
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if MARKER not in text:
        return
    titles = {entry.slug: entry.title for entry in tasks.entries()}
    known = statuses(folder / NAME)
    parts = [
        f"### {slug}\n\n{titles.get(slug, '')} {in_words(counts)}.\n\n![{slug}]({GALLERY}/{slug}.png)\n"
        for slug, counts in sorted(known.items())
        if (folder / GALLERY / f"{slug}.png").is_file()
    ]
    head = text.partition(MARKER)[0]
    readme.write_text(f"{head}{MARKER}\n\n" + "\n".join(parts), encoding="utf-8")
