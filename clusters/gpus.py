"""How busy the GPUs of this machine are, by NVIDIA's own tool."""

from __future__ import annotations

import subprocess
from contextlib import suppress

COMMAND = ("nvidia-smi", "--query-gpu=index,uuid,utilization.gpu", "--format=csv,noheader,nounits")
PATIENCE_SECONDS = 10.0


def busy() -> dict[str, float]:
    """The share of the last moments that each GPU was at work, by its index and by its UUID.

    Without what is not known: `nvidia-smi` may be missing, or a GPU may not count its work.
    """
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[str, float] = {}
    for line in done.stdout.splitlines():
        with suppress(ValueError):
            index, uuid, percent = (word.strip() for word in line.split(","))
            found[index] = found[uuid] = float(percent) / 100
    return found
