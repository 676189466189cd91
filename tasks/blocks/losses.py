"""Losses and what is measured beside them: functions of a model, a batch and the parameters, as programs want them.

A batch is inputs and classes as whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from ...orchestrator.task import Scalar

Params = Mapping[str, Scalar]


def classification_loss(model: Any, batch: tuple[Tensor, ...], p: Params) -> Tensor:
    """The mean cross-entropy in nats."""
    return cross_entropy(model(batch[0]), batch[1])


def classification_metrics(model: Any, data: tuple[Tensor, ...], p: Params) -> dict[str, Tensor]:
    """`val_loss`, the cross-entropy in nats, and `val_accuracy`, a fraction."""
    f = model(data[0])
    return {"val_loss": cross_entropy(f, data[1]), "val_accuracy": (f.argmax(1) == data[1]).double().mean()}
