"""Ten thousand trials: bounded memory, and results that open at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys, time
from pathlib import Path
import psutil
from swathe.analysis import load
from swathe.orchestrator import Launch, load as load_spec, run

root = Path(sys.argv[1])
spec = load_spec(root / "sweep.yaml")
# The first sweep brings in what is imported on first use.
run(spec.model_copy(update={"name": "warm", "configurations": 200}), Launch(root, "inline"))
before = psutil.Process().memory_info().rss
run(spec, Launch(root, "inline"))
grown = psutil.Process().memory_info().rss - before
print(len(load.trials(root / "many")), grown / 2**20)
"""

TASK = "def train(trial):\n    trial.report(0, loss=1.0)\n    return {'loss': trial.params['lr']}\n"

SPEC = """
name: many
task: train.py:train
metric: loss
search: {lr: {low: 1e-4, high: 1.0, log: true}}
sampler: random
configurations: 10000
"""


def test_ten_thousand_trials_inline_stay_within_fifty_megabytes(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TASK, encoding="utf-8")
    (tmp_path / "sweep.yaml").write_text(SPEC, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=True)
    count, grown = done.stdout.split()
    assert int(count) == 10_000 and float(grown) < 50, done.stdout
