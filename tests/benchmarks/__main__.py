"""Run benchmarks and put what they print into RESULTS.md, each as a section with its command and the machine.

python -m tests.benchmarks                 all of them: hours
python -m tests.benchmarks throughput ...  only these; the other sections stay as they are
python -m tests.benchmarks growth --trials 10000  one alone may be given its own options
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import psutil

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = "# Benchmarks\n\n`make bench` writes this file; each section is the output of the command it names.\n"


class Section(NamedTuple):
    """A heading, and the words that follow `python -m tests.benchmarks.<module>`."""

    heading: str
    words: tuple[str, ...] = ()


SECTIONS = {
    "throughput": Section("Throughput beside others"),
    "cluster": Section("On a cluster, with PostgreSQL"),
    "growth": Section("A hundred thousand trials"),
    "makespan": Section("Makespan"),
    "search_quality": Section("Search quality"),
    "pilot": Section("Prediction from a pilot"),
    "fusion": Section("Fusion"),
}


def machine() -> str:
    """This machine and the versions that matter, in a line."""
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = psutil.virtual_memory().total / 2**30
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("ray", "optuna", "pyarrow", "sqlalchemy"))
    return (
        f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}, {memory:.0f} GiB, "
        f"Python {platform.python_version()}, {versions}"
    )


def load() -> str:
    """The load of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def run(name: str, options: list[str]) -> str | None:
    """The section as text; None when the benchmark failed."""
    section = SECTIONS[name]
    command = ["python", "-m", f"tests.benchmarks.{name}", *(options or section.words)]
    print(f"$ {shlex.join(command)}", flush=True)
    before = load()
    done = subprocess.run([sys.executable, *command[1:]], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return None
    print(done.stdout, flush=True)
    when = time.strftime("%Y-%m-%d", time.gmtime())
    told = f"`{shlex.join(command)}` on {machine()}; {when}; load average before {before}, after {load()}."
    return f"## {section.heading}\n\n{told}\n\n{done.stdout.strip()}\n"


def put(name: str, text: str) -> None:
    """Replace the section in the file, or add it; sections stay in their order."""
    old = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else HEAD
    parts = re.split(r"(?m)^(?=## )", old)
    known = {part.splitlines()[0].removeprefix("## "): part for part in parts[1:]}
    known[SECTIONS[name].heading] = text
    headings = [section.heading for section in SECTIONS.values()]
    order = sorted(known, key=lambda heading: headings.index(heading) if heading in headings else len(headings))
    RESULTS.write_text("\n".join([parts[0].strip() + "\n", *(known[each].strip() + "\n" for each in order)]), "utf-8")


def main() -> None:
    """Run the chosen benchmarks one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    there = [name for name in SECTIONS if find_spec(f"tests.benchmarks.{name}")]
    parser.add_argument("names", nargs="*", default=there, metavar="NAME", help=f"of {', '.join(there)}")
    given, options = parser.parse_known_args()
    if options and len(given.names) != 1:
        parser.error(f"options ({' '.join(options)}) go to one benchmark; name it")
    failed: list[str] = []
    for name in given.names:
        text = run(name, options) if name in there else None
        if text is None:
            failed.append(name)
        else:
            put(name, text)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
