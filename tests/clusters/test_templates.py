"""Launcher templates: the Slurm script by shellcheck, the KubeRay manifest by its own schema."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "clusters" / "templates"
SCHEMA = ROOT.parent / "shared" / "schemas" / "rayclusters.v1.schema.json.gz"

# What Slurm and Ray offer, as far as the script calls it: each call leaves a line.
SHELLCHECK = str(Path(sys.executable).with_name("shellcheck"))
STAND_IN = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
case "$(basename "$0") $1" in
  "scontrol show") printf 'node-a\\nnode-b\\n' ;;
  "srun --overlap") touch "$CALLS.drained" ;;
  "srun ray") echo "$$ ${#RAY_AUTH_TOKEN}" > "$CALLS.runs"; until [ -e "$CALLS.drained" ]; do sleep 0.05; done ;;
esac
"""


def test_shellcheck_has_nothing_to_say_about_the_slurm_script() -> None:
    said = subprocess.run([SHELLCHECK, str(TEMPLATES / "slurm.sh")], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "")


def test_the_slurm_script_drains_and_requeues_when_it_is_told_to_go(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("srun", "scontrol"):
        (tools / name).write_text(STAND_IN, encoding="utf-8")
        (tools / name).chmod(0o755)
    (tmp_path / "sweep.yaml").write_text("name: my-sweep\ntask: train.py:train\n", encoding="utf-8")
    calls = tmp_path / "calls"
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "SLURM_NNODES": "2",
        "SLURM_CPUS_PER_TASK": "4",
    }
    script = subprocess.Popen(["bash", str(TEMPLATES / "slurm.sh"), "sweep.yaml"], cwd=tmp_path, env=environment)
    runs = Path(f"{calls}.runs")
    deadline = time.monotonic() + 20
    while not (runs.is_file() and runs.read_text()):
        assert time.monotonic() < deadline and script.poll() is None
        time.sleep(0.02)
    script.send_signal(signal.SIGUSR1)
    assert script.wait(20) == 0
    said = calls.read_text().splitlines()
    assert "srun ray symmetric-run --address node-a:20077 --min-nodes 2 --num-cpus 4 -- swathe submit" in said[1]
    assert said[2].endswith("--nodelist=node-a swathe stop my-sweep --cluster existing")
    assert said[3] == "scontrol requeue 77"
    assert runs.read_text().split()[1] == "64", "the token has 32 random bytes"
    assert "RAY_AUTH_TOKEN" not in calls.read_text()


@pytest.mark.skipif(not SCHEMA.is_file(), reason="the schemas are not beside this repository")
def test_the_kuberay_manifest_fits_its_schema() -> None:
    schema = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    manifest = yaml.safe_load((TEMPLATES / "kuberay.yaml").read_text(encoding="utf-8"))
    _close(schema)
    jsonschema.validate(manifest, schema, format_checker=jsonschema.FormatChecker())
    manifest["spec"]["workerGroupSpecs"][0]["maxReplica"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(manifest, schema)


def _close(schema: Any) -> None:
    """OpenAPI lets unknown keys through, and the API server drops them: here they are mistakes."""
    if isinstance(schema, dict):
        if "properties" in schema and schema["properties"] and "spec" not in schema["properties"]:
            schema.setdefault("additionalProperties", False)
        for each in schema.values():
            _close(each)
    if isinstance(schema, list):
        for each in schema:
            _close(each)
