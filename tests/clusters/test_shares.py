"""Trials that occupy different things, and sweeps that share a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from swathe.analysis.digest import digest
from swathe.orchestrator import compaction
from swathe.orchestrator.driver import Launch, run

from .loopback import Loopback
from .test_submission import SLOW, busy, hash_of, ran

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
__all__ = ["ran"]

# Each trial tells where it runs; those on half a GPU wait for each other, so that both are there at once.
TELLING = """
import os, time
from pathlib import Path

def train(trial):
    told = Path(os.environ["SWATHE_TEST_RAN"])
    with told.open("a") as file:
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        file.write(f"{trial.params['width']}|{trial.name}|{trial.device}|{devices}|{os.getpid()}\\n")
    until = time.monotonic() + 60
    while trial.params["width"] == 2 and trial.device != "cpu" and time.monotonic() < until:
        if sum(line.startswith("2|") for line in told.read_text().splitlines()) >= 2:
            break
        time.sleep(0.05)
    return {"loss": trial.params["lr"] * trial.params["width"]}
"""
# The second worker waits where it reads the task.
LATE = """
import os, time
import ray

if ray.is_initialized() and (ray.get_runtime_context().get_actor_name() or "").endswith("/w1.2"):
    open(os.environ["SWATHE_TEST_RAN"] + ".late", "w").close()
    time.sleep(120)
"""
RULES = "[{when: {width: 2}, cpus: 0.5, gpus: 0.5}, {when: {width: 3}, cpus: 0.5, gpus: 2}, {cpus: 1}]"


def test_cells_get_the_devices_that_their_rules_ask_for(
    make_sweep, tmp_path: Path, loopback: Loopback, ran: Path
) -> None:
    changes = ("name=shares", "grid.width=[1, 2, 3]", "configurations=2", "seeds=1", f"resources={RULES}")
    sweep = make_sweep(*changes, task=TELLING)
    plain = make_sweep(*changes[:-1], task=TELLING)
    expected = hash_of(run(plain, Launch(tmp_path / "inline", "inline")).folder)
    ran.write_text("")
    loopback.submit(sweep.root / "sweep.yaml", *changes)
    loopback.finish("shares")
    assert loopback.hash("shares") == expected, "resources are no part of what a sweep is"
    told = [line.split("|") for line in ran.read_text().splitlines()]
    place = {width: [(device, seen, pid) for each, _, device, seen, pid in told if each == width] for width in "123"}
    assert {(device, seen) for device, seen, _ in place["1"]} == {("cpu", "")}
    assert {(device, seen) for device, seen, _ in place["3"]} == {("cuda:0", "0,1")}
    halves = place["2"]
    assert len({pid for _, _, pid in halves}) == 2, "two workers at once"
    assert len({(device, seen) for device, seen, _ in halves}) == 1, "on one device"
    pids = [{pid for _, _, pid in places} for places in place.values()]
    assert not pids[0] & pids[1] | pids[1] & pids[2] | pids[0] & pids[2]


def test_how_busy_gpus_are_is_told_of_the_workers_that_have_one(
    make_sweep, tmp_path: Path, loopback: Loopback, ran: Path
) -> None:
    smi = loopback.tools / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf '0, GPU-a, 80\\n1, GPU-b, 40\\n'\n")
    smi.chmod(0o755)
    hold = Path(f"{ran}.hold")
    hold.touch()
    rules = "[{when: {width: 1}, cpus: 1, gpus: 2}, {cpus: 1}]"
    changes = ("name=busy", "grid.width=[1, 2]", "configurations=1", "seeds=1", f"resources={rules}")
    sweep = make_sweep(*changes, task=SLOW)
    loopback.submit(sweep.root / "sweep.yaml", *changes)
    try:
        told = loopback.wait(
            lambda: {each["device"]: each["gpus"] for each in loopback.crew("busy") if each["gpus"] is not None}
        )
        assert told == {"cuda:0": pytest.approx(0.6)}, "the mean of both"
        assert "GPUs 60% busy" in loopback.call("status", "busy", "--cluster", "loopback").output
    finally:
        hold.unlink()
        smi.unlink()
    loopback.finish("busy")


def test_a_sweep_that_ends_leaves_no_worker_on_its_way(make_sweep, loopback: Loopback, ran: Path) -> None:
    # The second takes long to come, the first does meanwhile all that there is to do.
    hold = Path(f"{ran}.hold")
    changes = ("name=vain", "grid.width=[1]", "configurations=2", "seeds=1")
    sweep = make_sweep(*changes, task=LATE + SLOW)
    hold.touch()
    loopback.submit(sweep.root / "sweep.yaml", *changes)
    loopback.wait(lambda: Path(f"{ran}.late").exists())
    hold.unlink()
    loopback.finish("vain")
    assert not [name for name in loopback.tell("actors", "tests") if name.startswith("swathe/vain")]
    assert loopback.crew("vain") == []


def test_two_sweeps_run_each_its_own_code_and_a_third_waits_for_what_they_hold(
    make_sweep, tmp_path: Path, loopback: Loopback, ran: Path
) -> None:
    hold = Path(f"{ran}.hold")
    hold.touch()
    changes = ("configurations=2", "seeds=1", "grid.width=[1]")
    for name, factor in (("one", "1"), ("two", "2")):
        sweep = make_sweep(task=SLOW.replace("(step + 1)", f"{factor} * (step + 1)"))
        loopback.submit(sweep.root / "sweep.yaml", f"name={name}", *changes, workers=2)
    loopback.wait(lambda: all(len(busy(loopback, name)) == 2 for name in ("one", "two")))
    loopback.submit(sweep.root / "sweep.yaml", "name=third", *changes)
    waits = "waits for 1 cpus; the cpus of the cluster are held by sweep"
    loopback.wait(lambda: waits in loopback.call("status", "third", "--cluster", "loopback").output)
    said = loopback.call("status", "third", "--cluster", "loopback").output
    assert "sweep one (2 cpus)" in said and "sweep two (2 cpus)" in said
    hold.unlink()
    for name in ("one", "two", "third"):
        loopback.wait(lambda: loopback.record(name).status == "finished")  # noqa: B023
    losses = {}
    for name in ("one", "two", "third"):
        trials = compaction.read_tables(loopback.home(name).folder).trials.to_pandas()
        losses[name] = sorted(trials["value"] / trials["param.lr"])
    assert losses["one"] == pytest.approx([300.0, 300.0])
    assert losses["two"] == losses["third"] == pytest.approx([600.0, 600.0])
    assert digest(*compaction.read_tables(loopback.home("two").folder)[:2]) == digest(
        *compaction.read_tables(loopback.home("third").folder)[:2]
    )


@pytest.mark.outage
def test_idle_workers_go_and_one_without_scheduler_ends_after_limits_orphan(
    make_sweep, tmp_path: Path, loopback: Loopback, ran: Path
) -> None:
    changes = ("name=alone", "configurations=2", "seeds=1", "grid.width=[1]", "limits.orphan=3s")
    # The first configuration holds for as long as it is asked to, the second ends at once.
    task = SLOW.replace(
        "    time.sleep(0.2 if hold.exists() else 0)",
        "    while hold.exists() and trial.name.split('/')[1] == '0':\n            time.sleep(0.05)",
    )
    assert task != SLOW
    sweep = make_sweep(*changes, task=task)
    expected = hash_of(run(sweep, Launch(tmp_path / "inline", "inline")).folder)
    hold = Path(f"{ran}.hold")
    hold.touch()
    loopback.submit(sweep.root / "sweep.yaml", *changes)
    loopback.wait(lambda: loopback.decided("alone") == 1)
    loopback.wait(lambda: [each["state"] for each in loopback.crew("alone")] == ["running"])
    assert loopback.tell("end", "tests", "swathe/alone")
    loopback.wait(lambda: not loopback.processes("ClusterWorker"))
    hold.unlink()
    loopback.submit(sweep.root / "sweep.yaml", *changes, "limits.attempts=1")
    loopback.finish("alone")
    assert loopback.hash("alone") == expected
