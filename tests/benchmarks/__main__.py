"""Runs the benchmarks one after another; each prints a table in Markdown with the command that gave it."""

from __future__ import annotations

import subprocess
import sys

SCRIPTS = ("makespan", "search_quality", "pilot")

if __name__ == "__main__":
    for script in SCRIPTS:
        command = [sys.executable, "-m", f"tests.benchmarks.{script}"]
        print(f"\n## {script}\n", flush=True)
        subprocess.run(command, check=True)
