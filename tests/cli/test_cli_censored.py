"""A best value at the edge of what was searched is printed nowhere without the word censored."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

SETS = ["grid.width=[64, 128, 256]", "search.lr={log2: [-9, -6], num: 7}", "seeds=3", "study=transfer", "fixed.steps=1"]
EDGE = 2.0**-6  # the best is at 2**-4


class Lines(HTMLParser):
    """The text of a page, a line for each row, item and paragraph."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.lines = [""]
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        if tag in ("tr", "p", "li", "h1", "h2", "h3", "pre", "strong", "text"):
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        self.lines[-1] += f" {data.strip()}"


def unmarked(lines: list[str]) -> list[str]:
    """Lines that name the edge as a value found, and do not say that it is censored."""
    told = re.compile(rf"lr ?= ?{EDGE:g}\b|best lr\W+{EDGE:g}|(?<![\d.]){EDGE:.3g}(?![\d])|(?<![\d.,\[ ])\u22126\.00")
    return [line for line in lines if told.search(line) and "censored" not in line]


@pytest.fixture
def edged(project: Path, call):
    words = [word for each in SETS for word in ("--set", each)]
    ended = call("run", "sweep.yaml", "--cluster", "inline", *words)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_every_surface_says_censored(edged: str, project: Path, call) -> None:
    shown = {"run": edged, **{verb: call(verb, "tiny").stdout for verb in ("status", "best")}}
    assert call("report", "tiny").exit_code == 0
    folder = project / "sweeps" / "tiny"
    shown["report"] = "\n".join(Lines((folder / "report.html").read_text(encoding="utf-8")).lines)
    for path in (folder / "figures").glob("optimum*.csv"):
        shown[path.name] = path.read_text(encoding="utf-8").replace("at or above bound", "censored")
    for name, text in shown.items():
        assert "censored" in text, name
        assert unmarked(text.splitlines()) == [], name
    best = json.loads(call("best", "tiny", "--json").stdout)
    assert all(cell["at_edge"] == {"lr": "high"} for cell in best["cells"])


def test_the_search_itself_finds_what_is_not_marked() -> None:
    bare = ["best lr 0.0156", f"lr = {EDGE:g}", "tiny  128  +0.1  \u22126.00"]
    assert unmarked([bare[1]]) and unmarked([bare[0]])


def test_inside_the_range_nothing_is_censored(workplace: Path, call) -> None:
    assert "censored" not in call("best", "tiny").stdout
