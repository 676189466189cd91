"""Every bundled paper, by its slug, and what a trial of it reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch

from swathe import tasks


class Reports:
    """A sink that keeps what is reported, {step: {metric: value}}."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}

    def accept(self, step: int, metrics: Mapping[str, float], state: object) -> None:
        self.rows.setdefault(step, {}).update(metrics)


@pytest.fixture(params=tasks.slugs())
def slug(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
