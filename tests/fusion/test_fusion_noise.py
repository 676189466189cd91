"""Every draw is a function of (seed, step, layer, index): alone, in any pack, in both precisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swathe.orchestrator.fusion import Data, Lanes, Program, ProgramError, noise, sgd

F64 = torch.float64
X = torch.randn(32, 6, generator=torch.Generator().manual_seed(0), dtype=F64)


def scrambled(z: np.ndarray) -> np.ndarray:
    """SplitMix64 as published, on unsigned words."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def words(seed: int, step: int, layer: int, count: int) -> np.ndarray:
    gamma = np.array([0x9E3779B97F4A7C15], dtype=np.uint64)
    start = scrambled(scrambled(np.array([seed], dtype=np.uint64) + gamma * np.uint64(layer)) + gamma * np.uint64(step))
    return scrambled(start + gamma * np.arange(1, count + 1, dtype=np.uint64))


def kept(seed: int, step: int, layer: int, shape: tuple[int, ...], p: float) -> Tensor:
    count = int(np.prod(shape))
    return torch.from_numpy((words(seed, step, layer, count) >> np.uint64(11)) < (1 - p) * 2.0**53).view(shape)


class Thinned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.out, self.drop = nn.Linear(6, 16), nn.Linear(16, 1), nn.Dropout(0.25)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.dropout(torch.relu(self.drop(self.into(x))), 0.5, self.training)).squeeze(-1)


def program(model=Thinned, loss=None) -> Program:
    def squares(model, batch, p):
        return model(batch[0]).square().mean()

    def metrics(model, data, p):
        return {"out": model(data[0]).square().mean()}

    return Program(lambda p, s: model(), loss or squares, sgd(0.1), lambda p: Data((X,), (X,)), metrics)


def seeds(k: int):
    return lambda stream: 10 * k + len(stream)


def pack(made: Program, chosen: list[int], params=None, **options) -> Lanes:
    return Lanes(made, params or [{}] * len(chosen), [seeds(k) for k in chosen], **{"dtype": F64, **options})


def test_words_are_those_of_splitmix64() -> None:
    for seed, step, layer in ((0, 0, 1), (2**31 - 1, 10**6, 40), (12345, 7, 3)):
        start = noise.key(torch.tensor(seed), torch.tensor(step), layer)
        ours = noise.words(start, (4, 5)).flatten().numpy().view(np.uint64)
        np.testing.assert_array_equal(ours, words(seed, step, layer, 20))


def test_dropout_is_the_mask_of_seed_step_and_layer() -> None:
    lanes = pack(program(), [0, 1, 2])
    lanes.run(20)
    measured = lanes.evaluate()["out"]
    for k in range(3):
        torch.manual_seed(seeds(k)("init"))
        module = Thinned().to(F64)
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        for step in range(20):
            h = module.into(X) * kept(seeds(k)("noise"), step, 1, (32, 16), 0.25) / 0.75
            h = torch.relu(h) * kept(seeds(k)("noise"), step, 2, (32, 16), 0.5) / 0.5
            optimizer.zero_grad()
            module.out(h).squeeze(-1).square().mean().backward()
            optimizer.step()
        for path, p in module.named_parameters():
            torch.testing.assert_close(lanes.state["params"][path][k], p.detach(), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(measured[k], module.eval()(X).square().mean().detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", [{"fused": False}, {}])
def test_a_lane_draws_alone_what_it_draws_in_a_pack(options) -> None:
    def loss(model, batch, p):
        x = batch[0] + torch.randn_like(batch[0]) * torch.rand(32, 1, dtype=F64) * torch.bernoulli(
            torch.full((6,), 0.5)
        )
        return model(x).square().mean() + torch.randn(3, dtype=F64).sum()

    together = pack(program(loss=loss), [4, 1, 3, 2])
    alone = pack(program(loss=loss), [3], **options)
    for lanes in (together, alone):
        for _ in range(4):
            lanes.step(report=True)
    torch.testing.assert_close(together.flush().values[:, 2:3], alone.flush().values, rtol=1e-12, atol=0)


def test_the_rate_of_dropout_can_differ_from_lane_to_lane() -> None:
    def loss(model, batch, p):
        kept = F.dropout(torch.ones(4000), p["drop"], True)
        channels = F.dropout2d(torch.ones(2000, 2, 3, 3), 0.25)
        return model(batch[0]).mean() * 0 + kept.mean(), {"zeros": (kept == 0).float().mean(), "c": channels.mean()}

    lanes = pack(program(loss=loss), [0, 1, 2], [{"drop": p} for p in (0.0, 0.25, 0.9)])
    lanes.step(report=True)
    found = lanes.flush()
    torch.testing.assert_close(found.values[1], torch.tensor([0.0, 0.25, 0.9], dtype=F64), rtol=0, atol=0.03)
    torch.testing.assert_close(found.values[2], torch.ones(3, dtype=F64), rtol=0, atol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_moments(dtype: torch.dtype) -> None:
    start = noise.key(torch.tensor(5), torch.tensor(6), 7)
    u, n = noise.uniform(start, (100_000,), dtype), noise.normal(start, (100_000,), dtype)
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005 and abs(u.var() - 1 / 12) < 0.002
    assert abs(n.mean()) < 0.01 and abs(n.var() - 1) < 0.02 and abs((n**4).mean() - 3) < 0.1
    other = noise.normal(noise.key(torch.tensor(5), torch.tensor(6), 8), (100_000,), dtype)
    assert abs((n * other).mean()) < 0.01


def test_attention_drops_its_weights_by_counting() -> None:
    class Dropping(nn.Module):
        def __init__(self, need_weights: bool) -> None:
            super().__init__()
            self.attend, self.need = nn.MultiheadAttention(6, 2, dropout=0.5, batch_first=True), need_weights

        def forward(self, x: Tensor) -> Tensor:
            h = x.view(4, 8, 6)
            q = F.scaled_dot_product_attention(h.unsqueeze(1), h.unsqueeze(1), h.unsqueeze(1), dropout_p=0.3)
            return self.attend(h, h, h, need_weights=self.need)[0] + q.squeeze(1)

    pair, one = pack(program(lambda: Dropping(False)), [1, 2]), pack(program(lambda: Dropping(False)), [2], fused=False)
    for lanes in (pair, one):
        lanes.run(3)
    for path, p in one.state["params"].items():
        torch.testing.assert_close(pair.state["params"][path][1:], p, rtol=1e-9, atol=1e-12)
    with pytest.raises(ProgramError, match="need_weights=False"):
        pack(program(lambda: Dropping(True)), [1, 2]).step()


def test_torch_s_own_generator_is_refused() -> None:
    def loss(model, batch, p):
        return model(batch[0][torch.randperm(32)]).mean()

    for options in ({}, {"fused": False}):
        with pytest.raises(ProgramError, match="randperm draws from torch's global generator"):
            pack(program(loss=loss), [0], **options).step()
