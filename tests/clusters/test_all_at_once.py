"""Everything at once: three nodes, PostgreSQL, an object store; and all of them fail while a sweep runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from swathe.orchestrator.driver import Launch, run
from tests.servers import ObjectStore, Postgres

from .loopback import Loopback
from .test_submission import SLOW, busy, hash_of, ran

pytestmark = [pytest.mark.ray, pytest.mark.outage, pytest.mark.timeout(300)]
__all__ = ["ran"]

PROFILE = """
kind: existing
address: {address}
namespace: tests
ledger: {ledger}
results: {results}
environment:
  variables: [SWATHE_TEST_VALUE, SWATHE_TEST_RAN, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_EC2_METADATA_DISABLED]
"""
SWATHE = (sys.executable, "-m", "swathe.orchestrator.cli")
CHANGES = ("name=everything", "configurations=6", "seeds=1", "limits.attempts=1")


def test_nothing_is_lost_when_all_of_it_fails(
    make_sweep, tmp_path: Path, loopback: Loopback, ran: Path, postgres: Postgres, store: ObjectStore
) -> None:
    sweep = make_sweep(*CHANGES, task=SLOW)
    expected = hash_of(run(sweep, Launch(tmp_path / "inline", "inline")).folder)
    hold = Path(f"{ran}.hold")
    hold.touch()
    text = PROFILE.format(
        address=loopback.address, ledger=postgres.database().replace(":***@", "@"), results=store.bucket()
    )
    there = loopback.known_as("everything", text)
    words = [word for change in CHANGES for word in ("--set", change)]
    with (tmp_path / "submit.log").open("w") as log:
        submit = (*SWATHE, "submit", str(sweep.root / "sweep.yaml"), "--cluster", "everything", "--wait", *words)
        submitting = subprocess.Popen(submit, stdout=log, stderr=log)
        there.wait(lambda: submitting.poll() is not None or (there.names() and busy(there, "everything")))
    assert submitting.poll() is None, (tmp_path / "submit.log").read_text()
    with (tmp_path / "watch.log").open("w") as log:
        watch = (*SWATHE, "watch", "everything", "--cluster", "everything")
        watching = subprocess.Popen(watch, stdout=log, stderr=log)

    submitting.kill()
    submitting.wait()
    doomed = there.tell("add", 1, 0)
    there.wait(lambda: doomed[:8] in {each["id"] for each in busy(there, "everything")})
    there.tell("kill", doomed)
    there.scheduler().kill()
    there.wait(lambda: there.record("everything").epoch > 1 and len(busy(there, "everything")) == 4)
    postgres.kill()
    postgres.start()
    hold.unlink()

    there.finish("everything")
    assert there.hash("everything") == expected, there.call("status", "everything", "--cluster", "everything").output
    assert watching.wait(60) == 0, (tmp_path / "watch.log").read_text()
    assert "everything finished: 12/12 trials" in (tmp_path / "watch.log").read_text()
    assert any(method == "PUT" and "/trials/" in path for method, path in store.seen)
