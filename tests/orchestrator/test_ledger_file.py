"""A ledger in a file: what cannot be one is refused."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from swathe.orchestrator.errors import LedgerError
from swathe.orchestrator.ledger import Ledger, Reader
from swathe.orchestrator.ledger import tables as ledger_tables


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"torn" * 1000)
    with pytest.raises(LedgerError, match="cannot be used as a ledger"):
        Reader(ledger_tables.url_of(tmp_path), "s")


def test_a_missing_ledger_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="swathe run"):
        Reader(ledger_tables.url_of(tmp_path / "nowhere"), "s")


def test_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    with pytest.raises(LedgerError, match=r"nfs4.*--dir"):
        Ledger.create(ledger_tables.url_of(tmp_path), "s", {})
