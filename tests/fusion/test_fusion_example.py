"""The README's fused task: a task file of about 25 lines."""

from __future__ import annotations

from typing import Any

import torch

from swathe.orchestrator.fusion import Lanes, Program
from swathe.orchestrator.task import derive_seed

EXAMPLE = """\
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from swathe.orchestrator.fusion import Data, Program, cosine, sgd

def model(p, seeds):
    return nn.Sequential(nn.Linear(64, p["width"]), nn.ReLU(), nn.Dropout(0.1), nn.Linear(p["width"], 10))

def loss(model, batch, p):
    x, y = batch
    return cross_entropy(model(x), y) + p["l2"] * model.tensors["0.weight"].square().sum()

def metrics(model, data, p):
    x, y = data
    return {"val_loss": cross_entropy(model(x), y), "val_accuracy": (model(x).argmax(1) == y).float().mean()}

def data(p):
    x, y = (torch.as_tensor(each) for each in load_digits(return_X_y=True))
    x = x.float() / 16
    return Data(train=(x[:1500], y[:1500]), held_out=(x[1500:], y[1500:]), batch=64)

OPTIMIZER = sgd("lr", momentum=0.9, nesterov=True, schedule=cosine(steps=60, warmup=10))
PROGRAM = Program(model, loss, OPTIMIZER, data, metrics, shapes=("width",))
"""


def test_the_example_trains_a_study_in_one_pack() -> None:
    assert len(EXAMPLE.splitlines()) <= 27
    namespace: dict[str, Any] = {}
    exec(EXAMPLE, namespace)
    program: Program = namespace["PROGRAM"]
    rates = [2.0**e for e in range(-9, 2)]
    params = [{"width": 32, "lr": lr, "l2": 1e-5} for lr in rates for _ in range(2)]
    seeds = [lambda stream, r=r: derive_seed(0, r, stream) for _ in rates for r in range(2)]
    lanes = Lanes(program, params, seeds)
    lanes.run(60, every=30)
    found = lanes.flush()
    assert found.metrics == ["loss", "val_loss", "val_accuracy"] * 2 and found.steps == [0, 30, 30, 30, 60, 60]
    accuracy = found.values[-1].view(len(rates), 2).mean(1)
    assert accuracy.max() > 0.85 and accuracy[0] < 0.7
    assert accuracy.argmax() in range(3, 10)
    losses = found.values[0].view(len(rates), 2)
    assert (losses == losses[0]).all() and losses[0, 0] != losses[0, 1]  # replicates are paired
    assert torch.equal(found.diverged, torch.full((22,), -1))
