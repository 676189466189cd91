"""Lanes compute what single trials compute: for every block, against loops written without any of this."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swathe.orchestrator.fusion import Data, Lanes, Optimizer, Program, adam, adamw, sgd, trees

F64 = torch.float64
ROWS, BATCH = 96, 32


class Attention(nn.Module):
    """An embedding and causal attention, called as scaled_dot_product_attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(11, 16), nn.Parameter(torch.randn(8, 16) / 4)
        self.norm, self.mix, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 11)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.place
        q, k, v = self.mix(self.norm(h)).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        h = h + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        return self.out(h)[:, -1]


class Masked(nn.Module):
    """nn.MultiheadAttention and a TransformerEncoderLayer, with masks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 16)
        self.attend = nn.MultiheadAttention(16, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True, activation="gelu")
        self.out = nn.Linear(16, 11)

    def forward(self, x: Tensor) -> Tensor:
        h, seen = self.embed(x), torch.ones(8, 8, dtype=torch.bool).tril()
        h = h + self.attend(h, h, h, attn_mask=~seen, key_padding_mask=x == 0, need_weights=False)[0]
        h = h + self.attend(h, h, h)[0]
        return self.out(self.layer(h, src_mask=~seen)).mean(1)


def mlp(width: int = 16, inputs: int = 12, outputs: int = 5) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.GroupNorm(2, 6),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.SiLU(), nn.LayerNorm(16), nn.Linear(16, 5))


class Rnnless(nn.Module):
    """Tied weights, a frozen parameter, a buffer as a constant, plain products of matrices and an unused parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(12, 7, bias=False), nn.Linear(12, 7, bias=False)
        self.back.weight = self.into.weight
        self.frozen = nn.Parameter(torch.randn(7, 5), requires_grad=False)
        self.unused = nn.Parameter(torch.zeros(3))
        self.register_buffer("gain", torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.into(x)) @ self.into.weight
        return torch.sin(self.back(h)) @ self.frozen * self.gain


@dataclass(frozen=True)
class Block:
    make: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator], Tensor]
    classes: int = 5


def pixels(z: torch.Generator) -> Tensor:
    return torch.randn(ROWS, 1, 8, 8, generator=z, dtype=F64)


def numbers(z: torch.Generator) -> Tensor:
    return torch.randn(ROWS, 12, generator=z, dtype=F64)


def letters(z: torch.Generator) -> Tensor:
    return torch.randint(0, 11, (ROWS, 8), generator=z)


BLOCKS = {
    "mlp": Block(mlp, numbers),
    "odd sizes": Block(lambda: mlp(17), numbers),
    "convolutions, BatchNorm": Block(convolutional, pixels),
    "norms": Block(normed, numbers),
    "embedding, attention": Block(Attention, letters, 11),
    "nn attention": Block(Masked, letters, 11),
    "tied, frozen, unused": Block(Rnnless, numbers),
}
OPTIMIZERS: dict[str, tuple[Optimizer, Callable]] = {
    "sgd": (sgd("lr", weight_decay=0.1), lambda p, lr: torch.optim.SGD(p, lr, weight_decay=0.1)),
    "momentum": (sgd("lr", 0.9), lambda p, lr: torch.optim.SGD(p, lr, 0.9)),
    "nesterov": (sgd("lr", 0.9, nesterov=True), lambda p, lr: torch.optim.SGD(p, lr, 0.9, nesterov=True)),
    "adam": (adam("lr"), lambda p, lr: torch.optim.Adam(p, lr)),
    "adamw": (adamw("lr", weight_decay=0.1), lambda p, lr: torch.optim.AdamW(p, lr, weight_decay=0.1)),
}
PAIRED = ("nesterov", "adamw")  # optimizers tried on every block
EXEMPT = {  # entries without influence: biases before BatchNorm, biases of keys
    "convolutions, BatchNorm": 4,
    "norms": 16,
    "embedding, attention": 16,
    "nn attention": 32,
}


def seeds(k: int) -> Callable[[str], int]:
    return lambda stream: 1000 * k + len(stream)


def rows(block: Block) -> tuple[Tensor, Tensor]:
    z = torch.Generator().manual_seed(7)
    return block.inputs(z), torch.randint(0, block.classes, (ROWS,), generator=z)


def program(block: Block, optimizer: Optimizer, shared: int | None = None) -> Program:
    def metrics(model, data, p):
        return {"val": F.cross_entropy(model(data[0]), data[1])}

    def loss(model, batch, p):
        return F.cross_entropy(model(batch[0]), batch[1]) * p["weight"]

    data = Data(rows(block), rows(block), BATCH, shared)
    return Program(lambda p, s: block.make(), loss, optimizer, lambda p: data, metrics)


def params(lanes: int, lr: float = 0.01) -> list[dict[str, float]]:
    return [{"lr": lr / 2 ** (k % 5), "weight": 1.0 + k / 7} for k in range(lanes)]


def pack(made: Program, lanes: int | list[int], dtype: torch.dtype = F64, **options) -> Lanes:
    chosen = list(range(lanes)) if isinstance(lanes, int) else lanes
    every = params(40)
    return Lanes(made, [every[k] for k in chosen], [seeds(k) for k in chosen], dtype=dtype, **options)


@dataclass
class Trained:
    module: nn.Module
    vanished: dict[str, Tensor]  # entries whose gradient was under 1e-12 at some step: rounding, which Adam blows up

    def gradients(self) -> dict[str, Tensor]:
        return {path: p.grad for path, p in self.module.named_parameters() if p.grad is not None}


def eager(block: Block, make: Callable, k: int, steps: int, dtype: torch.dtype = F64) -> Trained:
    """A trial as anybody would write it."""
    torch.manual_seed(seeds(k)("init"))
    module = block.make().to(dtype)
    x, y = rows(block)
    x = x.to(dtype) if x.is_floating_point() else x
    own = params(40)[k]
    optimizer = make([p for p in module.parameters() if p.requires_grad], own["lr"])
    vanished = {path: torch.zeros_like(p, dtype=torch.bool) for path, p in module.named_parameters()}
    for step in range(steps):
        epoch, place = divmod(step, ROWS // BATCH)
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(seeds(k)("data") + epoch * 2**31))
        batch = order[place * BATCH : (place + 1) * BATCH]
        optimizer.zero_grad()
        (F.cross_entropy(module(x[batch]), y[batch]) * own["weight"]).backward()
        for path, p in module.named_parameters():
            if p.requires_grad:  # torch's optimizers leave out an unused parameter, which decays in lanes
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
                vanished[path] |= (p.grad.abs() < 1e-12) & (p.grad != 0)
        optimizer.step()
    return Trained(module, vanished)


def close(a: Tensor, b: Tensor, tolerance: float, where: Tensor | None = None) -> None:
    """Relative to the tensor's size, as single entries may be zero."""
    error = (a - b).abs() if where is None else (a - b).abs() * where
    assert error.max() <= tolerance * max(float(b.abs().max()), 1e-12)


@pytest.mark.parametrize(
    ("name", "optimizer"), sorted({("mlp", o) for o in OPTIMIZERS} | {(each, o) for each in BLOCKS for o in PAIRED})
)
def test_fifty_steps_in_lanes_are_fifty_steps_alone(name: str, optimizer: str) -> None:
    block, (made, make) = BLOCKS[name], OPTIMIZERS[optimizer]
    lanes = pack(program(block, made), 3)
    lanes.run(50)
    measured = lanes.evaluate()["val"]
    for k in range(3):
        alone = eager(block, make, k, 50)
        exempt = 0
        for path, p in alone.module.named_parameters():
            if path in lanes.state["params"]:
                close(lanes.state["params"][path][k], p.detach(), 1e-9, ~alone.vanished[path])
                exempt += int(alone.vanished[path].sum())
        for path, b in alone.module.named_buffers():  # means of what exempt biases shift move with them
            close(lanes.state["buffers"][path][k].to(F64), b.to(F64), 1e-9 if exempt == 0 else 1e-7)
        assert exempt <= EXEMPT.get(name, 0)
        x, y = rows(block)
        close(measured[k], F.cross_entropy(alone.module.eval()(x), y).detach(), 1e-9)


@pytest.mark.parametrize("name", BLOCKS)
def test_single_precision_gradients(name: str) -> None:
    """One step of plain descent at rate 1 shows the gradients."""
    block = BLOCKS[name]
    lanes = pack(program(block, sgd(1.0)), 3, torch.float32)
    before = {path: p.clone() for path, p in lanes.state["params"].items()}
    lanes.step()
    for k in range(3):
        grads = eager(block, lambda p, lr: torch.optim.SGD(p, 0.0), k, 1).gradients()
        largest = max(float(g.abs().max()) for g in grads.values())
        for path, g in grads.items():
            moved = (before[path][k] - lanes.state["params"][path][k]).to(F64)
            assert (moved - g).abs().max() <= 1e-5 * largest, path


def equal(a: Lanes, b: Lanes, pairs: list[tuple[int, int]]) -> None:
    for (path, x), y in zip(a.save().items(), b.save().values(), strict=True):
        for i, j in pairs if x.ndim else []:
            assert torch.equal(x[i], y[j]), f"{path} of lane {i}"


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=["single", "double"])
@pytest.mark.parametrize("name", BLOCKS)
def test_bits_do_not_depend_on_how_many_lanes_there_are(name: str, dtype: torch.dtype) -> None:
    made = program(BLOCKS[name], adamw("lr", weight_decay=0.1, clip=0.5))
    many, few, one = (pack(made, lanes, dtype) for lanes in (32, 3, 1))
    for lanes in (many, few, one):
        lanes.run(4)
        lanes.evaluate()
    equal(few, many, [(k, k) for k in range(3)])
    equal(one, many, [(0, 0)])
    values = [lanes.flush().values for lanes in (many, few, one)]
    assert torch.equal(values[0][:, :3], values[1])
    assert torch.equal(values[0][:, :1], values[2])


@pytest.mark.parametrize("shared", [None, 5], ids=["own order", "shared order"])
@pytest.mark.parametrize("name", BLOCKS)
def test_permuting_lanes_permutes_results(name: str, shared: int | None) -> None:
    made = program(BLOCKS[name], sgd("lr", 0.9, clip=0.5), shared)
    order = [3, 0, 2, 4, 1]
    straight, permuted = pack(made, 5, torch.float32), pack(made, order, torch.float32)
    for lanes in (straight, permuted):
        lanes.run(4)
    equal(permuted, straight, list(enumerate(order)))


@pytest.mark.parametrize("name", BLOCKS)
def test_the_plain_trial_is_the_lane(name: str) -> None:
    """Without vmap and recording, as a state and pure steps, and as a lane: one trial."""
    block = BLOCKS[name]
    made = program(block, sgd("lr", 0.9, nesterov=True, clip=0.5))
    lane, plain = pack(made, [2]), pack(made, [2], fused=False)
    for each in (lane, plain):
        each.run(5)
    for path, x in lane.state["params"].items():
        close(x, plain.state["params"][path], 1e-9)
    state = made.init(params(40)[2], seeds(2))
    state = trees.each(lambda x: x.to(F64) if x.is_floating_point() else x, state)
    for step in range(5):
        batch = tuple(x[0] for x in lane.batches.at(step))
        state, metrics = made.step(state, batch, params(40)[2])
        assert math.isfinite(float(metrics["loss"]))
    for path, x in state["params"].items():
        close(x, plain.state["params"][path][0], 1e-9)
    found = made.evaluate(state, rows(block), params(40)[2])
    close(found["val"], plain.evaluate()["val"][0], 1e-9)
