"""`make calibrate`, small: its tables are whole, and its few studies neither miss the truth nor err often."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STUDIES = 6


def test_a_small_calibration() -> None:
    command = [sys.executable, "-m", "tests.calibration", "--studies", str(STUDIES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode in (0, 1), done.stderr
    rows = [line.strip("|").split("|") for line in done.stdout.splitlines() if re.match(r"\| [\d.]+ \|", line)]
    assert [len(row) for row in rows] == [9] * 12 + [8] * 6
    covered = [float(row[2].strip().rstrip("%")) for row in rows[:12]]
    assert sum(covered) / len(covered) >= 92.0
    wrong = sum(int(row[-1].split()[0]) for row in rows)
    assert wrong <= 0.05 * STUDIES * len(rows)
    assert all(0 < float(row[4]) < float(row[3]) for row in rows[:12]), "nobody beats the oracle"
