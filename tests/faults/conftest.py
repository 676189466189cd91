"""How much of the fault suite is run: a quick part by default, all of it with `--faults=all` (`make faults`)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The modules of this folder import each other, whichever way pytest was started.
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

TALLY: dict[str, int] = {}
# Every twentieth sweep that is killed at random runs on a real Ray, which takes seconds to start.
RAY_EVERY = 20


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", choices=["quick", "all"], default="quick", help="how much of the fault suite to run")
    parser.addoption("--seeds", type=int, default=100, help="random sweeps of the whole fault suite")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: only in the whole fault suite (`make faults`)")


def whole(config: pytest.Config) -> bool:
    """Whether all of the suite is wanted. The option is unknown where pytest was not started on this folder."""
    return config.getoption("--faults", default="quick") == "all"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        count = metafunc.config.getoption("--seeds", default=100) if whole(metafunc.config) else 3
        on_ray = metafunc.definition.get_closest_marker("ray") is not None
        metafunc.parametrize("seed", [each for each in range(count) if (each % RAY_EVERY == RAY_EVERY - 1) is on_ray])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if whole(config):
        return
    here = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    left_out = [item for item in here if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def tally() -> Iterator[dict[str, int]]:
    """Counts over the whole suite, told at its end."""
    yield TALLY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    if not TALLY:
        return
    terminalreporter.section("faults")
    for what, count in sorted(TALLY.items()):
        terminalreporter.write_line(f"{count:6d} {what}")
    held = "every one held" if exitstatus == 0 else "NOT all held, see above"
    terminalreporter.write_line(f"pytest {' '.join(sys.argv[1:])}: {held}")
