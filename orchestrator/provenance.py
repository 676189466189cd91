"""Where a sweep came from: code, packages, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil


def collect(root: Path, code: Mapping[str, Any]) -> dict[str, Any]:
    """What can be known of the code under `root`, the interpreter and this machine, and `code`; JSON-able."""
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": sys.argv,
        "code": _code(root),
        "python": platform.python_version(),
        "machine": _machine(),
        **code,
    }


def _code(root: Path) -> dict[str, Any]:
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {"root": str(root), "commit": None, "diff": None}
    changes = (_git(root, "diff", "HEAD") or "") + (_git(root, "status", "--porcelain") or "")
    digest = hashlib.sha256(changes.encode()).hexdigest() if changes else None
    return {"root": str(root), "commit": commit.strip(), "diff": digest}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _machine() -> dict[str, Any]:
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": _gpus(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _gpus() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def as_json(record: dict[str, Any]) -> str:
    """The record as it is kept beside the results."""
    return json.dumps(record, indent=2) + "\n"
