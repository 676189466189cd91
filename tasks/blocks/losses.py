"""Losses and what is measured beside them: functions of a model, a batch and the parameters, as programs want them.

A batch is inputs and classes as whole numbers; `risk` takes other targets, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from ...orchestrator.task import Scalar

Params = Mapping[str, Scalar]


def risk(loss: Scalar, f: Tensor, y: Tensor) -> Tensor:
    """Mean over the batch (f: N x outputs) of |f - y|^2 / 2 where `loss` is mse, or of the cross-entropy in nats.

    y has the shape of f or, for cross-entropy, holds N classes as whole numbers.
    """
    if loss == "mse":
        return 0.5 * (f - y).square().sum(1).mean()
    return cross_entropy(f, y if y.is_floating_point() else y.flatten())


def agreement(f: Tensor, y: Tensor) -> Tensor:
    """The fraction of f (N x classes) whose largest entry is at the class y, given as in `risk`."""
    classes = y.argmax(1) if y.is_floating_point() else y.flatten()
    return (f.argmax(1) == classes).double().mean()


def classification_loss(model: Any, batch: tuple[Tensor, ...], p: Params) -> Tensor:
    """The mean cross-entropy in nats."""
    return cross_entropy(model(batch[0]), batch[1])


def classification_metrics(model: Any, data: tuple[Tensor, ...], p: Params) -> dict[str, Tensor]:
    """`val_loss`, the cross-entropy in nats, and `val_accuracy`, a fraction."""
    f = model(data[0])
    return {"val_loss": cross_entropy(f, data[1]), "val_accuracy": (f.argmax(1) == data[1]).double().mean()}
