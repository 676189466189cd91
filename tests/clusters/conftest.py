"""One Ray cluster for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import ENDS

from .loopback import Loopback, started


@pytest.fixture(scope="session")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A head that runs no trials, and two nodes of two cores, one with two GPUs that are not there."""
    with ExitStack() as stack:
        made = stack.enter_context(started(tmp_path_factory.mktemp("loopback"), [(2, 0), (2, 2)]))
        ENDS["loopback"] = stack.close
        yield made
