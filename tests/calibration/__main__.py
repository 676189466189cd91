"""Are the verdicts calibrated? Thousands of simulated studies whose truth is known, as tables in Markdown.

python -m tests.calibration                the whole of it, about 5 minutes on two cores; writes them into README.md
python -m tests.calibration --studies 100  less, printed only
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from swathe.analysis.simulated import LANDSCAPES
from swathe.analysis.statistics import clopper_pearson
from swathe.analysis.transfer import MARGIN

from .studies import Case, Judged, judged, on_all_cores, stopped

DRIFTS = (0.0, 0.1, 0.15, 0.25, 0.5, 1.0)
SEEDS = (3, 5)
MOST = (5, 8)  # seeds of a sweep that may stop early
STUDIES, STOPPED, THOROUGH = 2000, 500, 120
README = Path(__file__).parents[2] / "README.md"
MARKS = "<!-- calibration: begin -->\n", "<!-- calibration: end -->"


def wrong(found: Sequence[Judged]) -> int:
    """Verdicts that are wrong: *transfers* at or beyond the margin, *drifts* at or within it."""
    return sum(
        (each.word == "transfers" and each.case.drift >= MARGIN)
        or (each.word == "drifts" and each.case.drift <= MARGIN)
        for each in found
    )


def share(hits: int, total: int) -> str:
    """A share in percent."""
    return f"{hits / total:.1%}"


def row(found: Sequence[Judged], drift: float, seeds: int) -> str:
    """A line of the table for one drift and number of seeds."""
    mine = [each for each in found if each.case.drift == drift and each.case.seeds == seeds]
    deep = [each for each in mine if each.oracle is not None]
    covered, errors = sum(each.covered for each in mine), wrong(mine)
    lower, upper = clopper_pearson(errors, len(mine))
    width = float(np.median([each.high - each.low for each in mine]))
    oracle = float(np.median([high - low for low, high in (each.oracle for each in deep)])) if deep else np.nan
    words = [share(sum(each.word == word for each in mine), len(mine)) for word in ("transfers", "drifts", "undecided")]
    cells = (f"{drift:g}", str(seeds), share(covered, len(mine)), f"{width:.2f}", f"{oracle:.2f}", *words)
    return f"| {' | '.join(cells)} | {errors} ({lower:.2%} to {upper:.2%}) |"


def calibration(studies: int, thorough: int) -> tuple[str, bool]:
    """The main table, and whether its targets are met."""
    cases = [Case(drift, seeds, k, k < thorough) for drift in DRIFTS for seeds in SEEDS for k in range(studies)]
    found = on_all_cores(judged, cases)
    heads = "| drift | seeds | covered | width | oracle's | transfers | drifts | undecided | wrong |"
    lines = [heads, "|" + " --: |" * 9, *(row(found, drift, seeds) for drift in DRIFTS for seeds in SEEDS)]
    deep = [each for each in found if each.oracle is not None]
    oracle = sum(each.oracle[0] <= each.case.drift <= each.oracle[1] for each in deep if each.oracle)
    fitted = [each for each in deep if each.parabola is not None]
    hit = sum(each.parabola[0] <= each.case.drift <= each.parabola[1] for each in fitted if each.parabola)
    by_land = [
        share(sum(each.covered for each in mine), len(mine))
        for k in range(len(LANDSCAPES))
        for mine in [[each for each in found if each.case.number % len(LANDSCAPES) == k]]
    ]
    notes = (
        f"\nCoverage by landscape: {', '.join(by_land)}. The oracle's intervals cover {share(oracle, len(deep))} of"
        f" {len(deep)}. A weighted parabola with its window by cross-validation has a minimum at every level in"
        f" {share(len(fitted), len(deep))} of them, and covers {share(hit, max(1, len(fitted)))} of those."
    )
    return "\n".join([*lines, notes]), targets(found)


def targets(found: Sequence[Judged]) -> bool:
    """Coverage of 92%, errors whose lower bound is at most 5%, nine of ten clear cases decided with five seeds."""
    good = True
    for drift in DRIFTS:
        for seeds in SEEDS:
            mine = [each for each in found if each.case.drift == drift and each.case.seeds == seeds]
            good &= sum(each.covered for each in mine) >= 0.92 * len(mine)
            good &= clopper_pearson(wrong(mine), len(mine))[0] <= 0.05
            right = "transfers" if drift == 0.0 else "drifts"
            if seeds == 5 and (drift == 0.0 or drift >= 0.5):
                good &= sum(each.word == right for each in mine) >= 0.9 * len(mine)
    return good


def stopping(studies: int) -> tuple[str, bool]:
    """The table of sweeps that end at the first look which decides them, and whether its targets are met."""
    drifts = (0.0, MARGIN, 1.0)
    found = on_all_cores(stopped, [Case(drift, most, k) for drift in drifts for most in MOST for k in range(studies)])
    heads = "| drift | at most | trials saved (median) | mean | transfers | drifts | undecided | wrong |"
    lines, good = [heads, "|" + " --: |" * 8], True
    for drift, most in ((drift, most) for drift in drifts for most in MOST):
        mine = [each for each in found if each.case.drift == drift and each.case.seeds == most]
        saved = np.array([1 - each.seeds / most for each in mine])
        lower, upper = clopper_pearson(wrong(mine), len(mine))
        words = [share(sum(each.word == w for each in mine), len(mine)) for w in ("transfers", "drifts", "undecided")]
        cells = (f"{drift:g}", f"{most} seeds", f"{np.median(saved):.0%}", f"{saved.mean():.0%}", *words)
        lines.append(f"| {' | '.join(cells)} | {wrong(mine)} ({lower:.2%} to {upper:.2%}) |")
        good &= lower <= 0.05 and (drift == MARGIN or float(np.median(saved)) >= 0.3)
    return "\n".join(lines), good


def main() -> int:
    """Print the tables; the whole of them goes into README.md. Exit code 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=STUDIES, help="of each drift and number of seeds")
    options = parser.parse_args()
    begun, whole = time.monotonic(), options.studies == STUDIES
    main_table, calibrated = calibration(options.studies, min(THOROUGH, options.studies))
    stop_table, sparing = stopping(STOPPED if whole else options.studies)
    text = (
        f"`make calibrate`, {options.studies} simulated studies a row (5 widths, 9 rates, six landscapes in turn):\n\n"
        f"{main_table}\n\n`stop: decided`, {STOPPED if whole else options.studies} sweeps a row, the same landscapes"
        f" and noise (2% and 5% of the loss, 0.05 to 0.1 octaves from seed to seed):\n\n{stop_table}\n"
    )
    print(text, f"\n{time.monotonic() - begun:.0f} s; targets {'met' if calibrated and sparing else 'MISSED'}", sep="")
    if whole:
        before = README.read_text(encoding="utf-8")
        pattern = re.escape(MARKS[0]) + ".*?" + re.escape(MARKS[1])
        after = re.sub(pattern, lambda _: MARKS[0] + text + MARKS[1], before, flags=re.DOTALL)
        README.write_text(after, encoding="utf-8")
    return 0 if calibrated and sparing else 1


if __name__ == "__main__":
    sys.exit(main())
