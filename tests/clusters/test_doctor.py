"""Broken set-ups, and the fault that `swathe doctor` names in each: real ones, where a machine can have them."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from click.testing import CliRunner, Result

from swathe.clusters.doctor import examining, findings, probing
from swathe.clusters.doctor.findings import Finding
from swathe.clusters.profile import Pool
from swathe.orchestrator.cli import swathe

SPEC = """
name: examined
task: train.py:train
metric: loss
grid: {width: [1]}
"""


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(swathe, ["doctor", *(str(each) for each in arguments)])


def faults(shown: Result) -> dict[str, list[dict]]:
    """The faults by check; the exit code says whether there are any."""
    assert shown.stdout, shown.stderr
    found: dict[str, list[dict]] = {}
    for each in json.loads(shown.stdout):
        assert bool(each["fault"]) == bool(each["remedy"]) == (not each["well"])
        if each["fault"]:
            found.setdefault(each["check"], []).append(each)
    assert shown.exit_code == (1 if found else 0), shown.output
    return found


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's profiles."""
    folder = tmp_path / "config" / "swathe" / "clusters"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    return folder


def project(folder: Path) -> Path:
    folder.mkdir()
    (folder / "helper.py").write_text("LOSS = 1.0\n", encoding="utf-8")
    (folder / "train.py").write_text("import helper\n\ndef train(trial):\n    return helper.LOSS\n", encoding="utf-8")
    (folder / "sweep.yaml").write_text(SPEC, encoding="utf-8")
    return folder / "sweep.yaml"


# A cluster of real raylets


def test_a_sound_cluster_has_no_fault(loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SWATHE_TEST_VALUE", "SWATHE_TEST_RAN", "SWATHE_TEST_STEP"):
        monkeypatch.setenv(name, "1")
    shown = call(project(tmp_path / "project"), "--cluster", "loopback", "--json")
    assert faults(shown) == {}
    found = json.loads(shown.stdout)
    nodes = {each["place"] for each in found if each["check"] == "code"}
    assert len(nodes) == len(loopback.nodes) + 1
    assert {"address", "Ray", "Python", "clock", "variables", "storage", "ledger", "shared", "code"} <= {
        each["check"] for each in found
    }
    assert not list(loopback.results.glob(".doctor*"))


def test_each_fault_of_a_cluster_is_named(loopback, tmp_path: Path, postgres) -> None:
    """No GPU, though the pool has one by name; nodes lack a module and a variable; wrong password; no storage."""
    postgres.guard("keeper", "right")
    url = postgres.database("keeper").replace(":***@", "@")
    own = loopback.results.parent / "config" / "swathe" / "clusters"
    profile = (own / "loopback.yaml").read_text().replace(f"results: {loopback.results}", "results: /proc/nowhere")
    profile = profile.partition("environment:")[0] + (
        f"ledger: {url}\n"
        "pools:\n  fake: {cpus: 1, gpus: 1}\n  huge: {cpus: 1, gpus: 8}\n"
        "environment:\n  excludes: [helper.py]\n  secrets: [SWATHE_NO_SUCH_SECRET]\n"
        "  variables: [SWATHE_NO_SUCH_VARIABLE]\n"
    )
    (own / "broken.yaml").write_text(profile, encoding="utf-8")
    found = faults(call(project(tmp_path / "project"), "--cluster", "broken", "--json"))
    assert set(found) == {"variables", "ledger", "storage", "code", "gpu", "pools"}
    assert all("password" in each["fault"] for each in found["ledger"])
    assert all("PGPASSWORD" in each["remedy"] for each in found["ledger"])
    assert all("No module named 'helper'" in each["fault"] for each in found["code"])
    assert {each["fault"] for each in found["variables"]} == {
        "SWATHE_NO_SUCH_VARIABLE not set", "SWATHE_NO_SUCH_SECRET not set",
    }  # fmt: skip
    assert all("/proc/nowhere" in each["fault"] for each in found["storage"])
    (gpu,) = found["gpu"]
    assert gpu["fault"] == "Ray grants 2 GPUs there, and PyTorch sees none"
    (pool,) = found["pools"]
    assert (pool["place"], pool["fault"]) == ("pool huge", "no node has 8 GPU, the largest has 2")


# From here


def test_a_wrong_address_is_named(profiles: Path, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{closed_port()}"
    text = f"kind: existing\naddress: {address}\nresults: {tmp_path / 'results'}\n"
    (profiles / "away.yaml").write_text(text, encoding="utf-8")
    shown = call("--cluster", "away", "--json")
    (fault,) = faults(shown)["address"]
    assert fault["fault"].startswith(f"there is no Ray at {address}")
    assert "check `address` in the profile" in fault["remedy"]
    # What can be seen from here is looked at all the same.
    assert {each["check"] for each in json.loads(shown.stdout)} == {"variables", "address", "ledger", "storage"}


class Old(http.server.BaseHTTPRequestHandler):
    """A dashboard of another Ray, whose clock is a day behind."""

    def do_GET(self) -> None:
        body = b'{"version": "4", "ray_version": "2.9.0", "ray_commit": "x", "session_name": "s"}'
        self.send_response_only(200)
        self.send_header("Date", self.date_time_string(time.time() - 86_400))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.send_error(500, "no jobs today")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def old_dashboard() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Old)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_another_version_of_ray_and_another_clock_are_named(profiles: Path, tmp_path: Path, old_dashboard: int) -> None:
    text = f"kind: existing\naddress: http://127.0.0.1:{old_dashboard}\nresults: {tmp_path / 'results'}\n"
    (profiles / "old.yaml").write_text(text, encoding="utf-8")
    found = faults(call("--cluster", "old", "--json"))
    assert found["Ray"][0]["fault"].startswith("Ray is 2.9.0 there and ")
    assert "install Ray 2.9.0 here" in found["Ray"][0]["remedy"]
    assert "behind" in found["clock"][0]["fault"]
    assert "no jobs today" in found["job"][0]["fault"]


# Ledgers


def test_a_ledger_that_is_away_is_named() -> None:
    found = probing.ledger(f"postgresql://nobody@127.0.0.1:{closed_port()}/sweeps", "", "here")
    assert "cannot be reached" in found.fault
    assert "check host and port" in found.remedy


def test_a_ledger_that_is_read_only_is_named(postgres) -> None:
    url = postgres.database()
    assert probing.ledger(url, "", "here").well
    assert probing.ledger(url, "", "here").well
    name = url.rpartition("/")[2].partition("?")[0]
    postgres.ask(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "read-only" in probing.ledger(url, "", "here").fault
    postgres.ask(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
    assert postgres.ask("SELECT count(*) FROM sweep", name) == [(0,)]


def test_a_wrong_password_is_named_and_not_shown(postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    postgres.guard("porter", "right")
    url = postgres.database("porter").replace(":***@", "@")
    monkeypatch.setenv("PGPASSWORD", "wr0ng-secret")
    found = probing.ledger(url, "", "here")
    assert "password authentication failed" in found.fault
    assert "PGPASSWORD" in found.remedy
    assert "wr0ng-secret" not in str(found)
    monkeypatch.delenv("PGPASSWORD")
    found = probing.ledger(url, "", "here")
    assert "no password supplied" in found.fault
    assert "PGPASSWORD" in found.remedy
    monkeypatch.setenv("PGPASSWORD", "right")
    assert "permission denied" in probing.ledger(url, "", "here").fault
    postgres.ask("GRANT ALL ON SCHEMA public TO porter", url.rpartition("/")[2].partition("?")[0])
    assert probing.ledger(url, "", "here").well


def test_a_ledger_file_on_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [mount])
    found = probing.ledger(None, str(tmp_path / "sweeps"), "here")
    assert "lies on nfs4" in found.fault
    assert "PostgreSQL" in found.remedy
    assert [*(tmp_path / "sweeps").iterdir()] == []


def test_a_store_needs_a_database() -> None:
    assert "cannot lie in an object store" in probing.ledger(None, "s3://bucket/sweeps", "here").fault


# Storage


def test_storage_that_takes_nothing_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for place in ("/proc/nowhere", str(file / "below")):
        found = probing.storage(place, "here")
        assert place in found.fault and "`results`" in found.remedy
    assert probing.storage(str(tmp_path / "new"), "here").well
    assert [*(tmp_path / "new").iterdir()] == []


def test_a_bucket_that_is_not_there_is_named(store) -> None:
    uri = store.bucket()
    assert probing.storage(uri, "here").well
    found = probing.storage(uri.replace("s3://bucket", "s3://nobucket"), "here")
    assert "s3://nobucket" in found.fault
    assert "exists" in found.remedy


def test_a_folder_that_nodes_do_not_share_is_named(tmp_path: Path) -> None:
    (tmp_path / ".doctor-mine").touch()
    assert probing.shared(str(tmp_path), "mine", "here") == Finding("shared", "here", "sees the same folder")
    found = probing.shared(str(tmp_path), "another", "here")
    assert found is not None and "is not the folder of the other nodes" in found.fault


# Judgements


@pytest.mark.parametrize(
    ("what", "here", "there", "well"),
    [
        ("Python", "3.11.7", "3.11.2", True),
        ("Python", "3.11.7", "3.12.7", False),
        ("Ray", "2.60.0", "2.60.0", True),
        ("Ray", "2.60.0", "2.59.0", False),
    ],
)
def test_versions(what: str, here: str, there: str, well: bool) -> None:
    assert findings.versions("node", what, here, there).well == well


@pytest.mark.parametrize(
    ("offset", "uncertainty", "well"),
    [(0.1, 0.2, True), (-4.9, 0.0, True), (6.0, 0.5, False), (-3600.0, 2.0, False), (6.0, 2.0, True)],
)
def test_clocks(offset: float, uncertainty: float, well: bool) -> None:
    assert findings.clock("node", offset, uncertainty).well == well


def test_pools() -> None:
    nodes = {"a": {"CPU": 8.0, "memory": 2.0**33}, "b": {"CPU": 2.0, "GPU": 1.0, "a100": 1.0}}
    assert findings.pool("p", Pool(cpus=8), nodes).well
    assert findings.pool("p", Pool(cpus=1, gpus=1, resources={"a100": 0.001}), nodes).well
    assert findings.pool("p", Pool(cpus=8, gpus=1), nodes).fault == "no node has all of it at once"
    assert (
        findings.pool("p", Pool(cpus=1, resources={"h100": 1}), nodes).fault == "no node has 1 h100, the largest has 0"
    )


def test_gpus() -> None:
    assert findings.gpus("node", 0.0, None, wanted=True) is None
    assert (seen := findings.gpus("node", 2.0, 2, wanted=True)) and seen.well
    assert (seen := findings.gpus("node", 2.0, 0, wanted=False)) and seen.well
    assert (seen := findings.gpus("node", 2.0, 0, wanted=True)) and not seen.well


def test_a_node_that_does_not_answer_is_named() -> None:
    told = [{"node": "a", "silent": "no answer within 60 s", "resources": {}}]
    assert [each.fault for each in examining._nodes(told, False)] == ["it does not answer: no answer within 60 s"]


# This machine


@pytest.mark.ray
def test_this_machine(ray_session: None, tmp_path: Path) -> None:
    shown = call("--dir", tmp_path / "sweeps")
    assert shown.exit_code == 0, shown.output
    assert "no fault" in shown.stdout
    spec = project(tmp_path / "project")
    (spec.parent / "helper.py").unlink()
    spec.write_text(SPEC + "resources: {gpus: 3}\n")
    found = faults(call(spec, "--dir", "/proc/nowhere", "--json"))
    assert set(found) == {"storage", "ledger", "code", "resources"}
    assert "No module named 'helper'" in found["code"][0]["fault"]
    assert "no node has 3 GPU, the largest has 0" in found["resources"][0]["fault"]


def test_an_unknown_cluster_is_no_fault_of_a_machine(profiles: Path) -> None:
    assert call("--cluster", "nonsense").exit_code == 2
