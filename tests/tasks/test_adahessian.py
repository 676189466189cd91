"""AdaHessian: against an independent implementation, the laws of its estimate, and its guarantee."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from swathe.orchestrator.fusion import Data, Lanes, Optimizer, Program
from swathe.tasks.blocks.students import loss, points, student
from swathe.tasks.optimizers.adahessian import DEFAULTS, PROGRAM, adahessian, averaged

DOUBLE = torch.float64


def seeds(stream: str) -> int:
    return len(stream)


def lanes_of(p: dict, objective=loss, model=student, data=points, count: int = 0) -> Lanes:
    """AdaHessian with these parameters on a small network, in double precision: a plain trial, or `count` lanes."""
    p = {**DEFAULTS, "width": 8, "sigma": 0.5, **p}
    made = Program(lambda q, s: model(p, s), objective, lambda q: adahessian(p), lambda q: data(p), dtype=DOUBLE)
    if count:
        return Lanes(made, [p] * count, [lambda stream, k=k: 100 * k + len(stream) for k in range(count)])
    return Lanes(made, [p], [seeds], fused=False)


@pytest.mark.parametrize("settings", [{}, {"decay": 0.01}, {"power": 0.5, "samples": 2}, {"beta1": 0.5, "beta2": 0.9}])
def test_updates_agree_with_an_independent_implementation(settings: dict) -> None:
    import pytorch_optimizer

    ours = lanes_of({"lr": 0.05, **settings})
    p = ours.params[0]
    model = student({"width": 8, "sigma": 0.5}, seeds).to(DOUBLE)
    reference = pytorch_optimizer.AdaHessian(
        model.parameters(),
        lr=p["lr"],
        betas=(p["beta1"], p["beta2"]),
        weight_decay=p["decay"] / p["lr"],
        hessian_power=p["power"],
        eps=p["eps"],
    )
    for _ in range(20):
        batch = tuple(x[0] for x in ours.batches.at(ours.done))
        ours.step()
        reference.zero_grad()
        loss(model, batch, p).backward()
        estimate = ours.state["optimizer"]["d"]  # the signs differ, the rule does not
        reference.step(hessian=[estimate[name][0] for name, _ in model.named_parameters()])
        for name, w in model.named_parameters():
            torch.testing.assert_close(ours.state["params"][name][0], w.detach(), rtol=1e-6, atol=1e-9)


# --- the estimate ---------------------------------------------------------------------------------------------------


class Point(nn.Module):
    """w (8), and nothing else."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(start.clone())


def quadratic(h: Tensor, start: Tensor, count: int = 0, **settings) -> Lanes:
    """AdaHessian on w'Hw / 2."""

    def value(model, batch, p):
        return 0.5 * model.tensors["w"] @ h @ model.tensors["w"]

    exact = {"beta1": 0.0, "eps": 0.0, "lr": 1.0, **settings}
    return lanes_of(exact, value, lambda p, s: Point(start), lambda p: Data((torch.zeros(4, 1),)), count)


def symmetric(seed: int = 0) -> Tensor:
    a = torch.randn(8, 8, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    return a + a.T


@pytest.mark.parametrize("condition", [10.0, 1e3, 1e5])
def test_on_a_diagonal_hessian_the_estimate_is_exact_and_one_step_ends_in_the_minimum(condition: float) -> None:
    diagonal = torch.logspace(0, torch.log10(torch.tensor(condition)).item(), 8, dtype=DOUBLE)
    lanes = quadratic(diagonal.diag(), torch.ones(8, dtype=DOUBLE))
    lanes.step()
    torch.testing.assert_close(lanes.state["optimizer"]["d"]["w"][0], diagonal)
    assert 0.5 * (diagonal * lanes.state["params"]["w"][0].square()).sum() <= 1e-12 * 0.5 * diagonal.sum()


def test_negative_curvature_descends_by_its_size() -> None:
    diagonal = torch.tensor([-3.0, 2.0] * 4, dtype=DOUBLE)
    lanes = quadratic(diagonal.diag(), torch.ones(8, dtype=DOUBLE), lr=0.5, absolute=False)
    lanes.step()
    torch.testing.assert_close(lanes.state["optimizer"]["d"]["w"][0], diagonal)
    # w - lr g / |d|, and g / |d| is the sign of d
    torch.testing.assert_close(lanes.state["params"]["w"][0], 1 - 0.5 * diagonal.sign())


@pytest.mark.parametrize("samples", [1, 4])
def test_mean_and_variance_of_the_estimate(samples: int) -> None:
    h = symmetric()
    lanes = quadratic(h, torch.ones(8, dtype=DOUBLE), 512, lr=1e-9, absolute=False, samples=samples)
    found = []
    for _ in range(4):
        lanes.step()
        found.append(lanes.state["optimizer"]["d"]["w"])
    drawn = torch.cat(found)
    variance = (h.square().sum(1) - h.diagonal().square()) / samples
    error = (variance / len(drawn)).sqrt()
    assert ((drawn.mean(0) - h.diagonal()).abs() < 4 * error).all()
    torch.testing.assert_close(drawn.var(0), variance, rtol=0.25, atol=0)


def test_the_guarantee_on_random_quadratics() -> None:
    """|g|^2 alpha / (2 beta^2) less after a step of rate alpha / beta, where the estimate is within the bounds."""
    held = 0
    for seed in range(40):
        z = torch.Generator().manual_seed(seed)
        basis = torch.linalg.qr(torch.randn(8, 8, generator=z, dtype=DOUBLE))[0]
        values = 1 + 2 * torch.rand(8, generator=z, dtype=DOUBLE)
        h, start = basis @ values.diag() @ basis.T, torch.randn(8, generator=z, dtype=DOUBLE)
        alpha, beta = values.min().item(), values.max().item()
        lanes = quadratic(h, start, lr=alpha / beta)
        lanes.step()
        d, w, g = lanes.state["optimizer"]["d"]["w"][0], lanes.state["params"]["w"][0], h @ start
        if (d >= alpha).all() and (d <= beta).all():
            held += 1
            assert 0.5 * (w @ h @ w - start @ h @ start) <= -alpha / (2 * beta**2) * (g @ g) + 1e-12
    assert held >= 5


def test_blocks() -> None:
    z = torch.Generator().manual_seed(0)
    matrix, kernel = torch.randn(4, 6, generator=z), torch.randn(3, 2, 3, 3, generator=z)
    assert torch.equal(averaged(matrix, 1, 0), matrix.abs())
    torch.testing.assert_close(averaged(matrix, 0, 0), matrix.abs().mean(1, keepdim=True).expand(4, 6))
    torch.testing.assert_close(averaged(matrix, 0, 0, absolute=False)[1, 2], matrix[1].mean())
    torch.testing.assert_close(averaged(matrix, 8, 0).flatten()[8:16], matrix.abs().flatten()[8:16].mean().expand(8))
    torch.testing.assert_close(averaged(kernel, 1, 0), kernel.abs().mean((2, 3), keepdim=True).expand(3, 2, 3, 3))
    assert torch.equal(averaged(matrix[0], 0, 0), matrix[0].abs())
    for x in (matrix, kernel, matrix[0]):
        for block in (0, 1, 2):
            torch.testing.assert_close(averaged(torch.stack([-x, x]), block, 1)[1], averaged(x, block, 0))


def test_a_hessian_now_and_then_is_the_last_one_between(monkeypatch: pytest.MonkeyPatch) -> None:
    lanes, asked, seen = lanes_of({"every": 3}), [], []
    probe = lanes._optimizer.probe
    monkeypatch.setattr(
        Optimizer, "probe_at", lambda self, t: (lambda a: asked.append(t) or probe(a)) if t % 3 == 0 else None
    )
    for _ in range(8):
        lanes.step()
        seen.append(lanes.state["optimizer"]["d"]["first.weight"])
    assert asked == [0, 3, 6]  # ceil(8 / 3) products with the Hessian
    assert torch.equal(seen[3], seen[5]) and not torch.equal(seen[5], seen[6])


# --- the problem ----------------------------------------------------------------------------------------------------


def test_replicates_have_teachers_of_their_own_and_all_classes_occur() -> None:
    p = PROGRAM.settled({"sigma": 1.5})
    one, other = (student(p, lambda stream, k=k: 10 * k + len(stream)) for k in (1, 2))
    z, noise, *_ = points(p).held_out
    (_, first), (_, second) = one(z, noise), other(z, noise)
    assert 0.05 < (first == second).double().mean() < 0.6
    assert len(first.unique()) == len(second.unique()) == 5
    assert 10**-1.5 <= one.scales.min() < 0.3 < 3 < one.scales.max() <= 10**1.5
    assert torch.equal(student({**p, "sigma": 0.0}, seeds).scales, torch.ones(20))
