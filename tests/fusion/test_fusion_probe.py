"""What optimizers ask of a step beside its gradient, against dense Hessians, autograd and formulas by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from swathe.orchestrator.fusion import Around, Data, Lanes, Optimizer, Probed, Program, ProgramError, sgd
from swathe.orchestrator.fusion.optim import spread
from swathe.orchestrator.fusion.probing import GRADIENT

F64 = torch.float64
Z = torch.Generator().manual_seed(4)
X, Y = torch.randn(48, 3, generator=Z, dtype=F64), torch.randn(48, 2, generator=Z, dtype=F64)
STEPS = 4


class Net(nn.Module):
    """Matrices, vectors and a number; statistics and dropout with `noisy`."""

    def __init__(self, *, noisy: bool = False) -> None:
        super().__init__()
        self.into, self.out, self.gain = nn.Linear(3, 4), nn.Linear(4, 2), nn.Parameter(torch.tensor(1.5))
        self.norm, self.drop = (nn.BatchNorm1d(4), nn.Dropout(0.3)) if noisy else (nn.Identity(), nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.out(self.drop(torch.tanh(self.norm(self.into(x)))))


def loss(model, batch, p):
    return p["factor"] * F.mse_loss(model(batch[0]), batch[1])


def program(optimizer: Optimizer, *, noisy: bool = False, objective=loss, batch: int | None = 16) -> Program:
    return Program(lambda p, s: Net(noisy=noisy), objective, optimizer, lambda p: Data((X, Y), (), batch), dtype=F64)


def pack(made: Program, lanes: int, first: int = 0, *, fused: bool = True) -> Lanes:
    given = [{"lr": 0.05 * (k + 1), "rho": 0.1 * (k + 1), "factor": 1.0 + k} for k in range(first, first + lanes)]
    return Lanes(made, given, [lambda s, k=k: 7 * k + len(s) for k in range(first, first + lanes)], fused=fused)


def asking(probe, slots: tuple[str, ...] = (), every: int = 1) -> Optimizer:
    """SGD that remembers what the probe finds in `slots`."""
    plain = sgd("lr")

    def rule(p, g, memory, c):
        plain.rule(p, g, {}, c)
        return memory

    return Optimizer({**plain.settings, "rho": "rho"}, slots, plain.coefficients, rule, probe=probe, every=every)


def curvature(around: Around) -> Probed:
    signs = around.signs()
    return Probed({"signs": signs, "curved": around.curvature(signs)}, {"trace": around.loss * 0 + 1})


def vector(tree: dict[str, Tensor]) -> Tensor:
    return torch.cat([x.flatten() for x in tree.values()])


def hessian(tree: dict[str, Tensor], batch: tuple[Tensor, ...], factor: float) -> Tensor:
    sizes = [x.numel() for x in tree.values()]

    def of_vector(v: Tensor) -> Tensor:
        parts = {n: part.view(x.shape) for part, (n, x) in zip(v.split(sizes), tree.items(), strict=True)}
        return factor * F.mse_loss(functional_call(Net(), parts, batch[0]), batch[1])

    return jacrev(jacrev(of_vector))(vector(tree))


@pytest.mark.parametrize("fused", [True, False])
def test_curvature_is_that_of_the_dense_hessian(fused: bool) -> None:
    lanes = pack(program(asking(curvature, ("signs", "curved"))), 3 if fused else 1, 0 if fused else 2, fused=fused)
    for _ in range(2):
        before = {name: x.clone() for name, x in lanes.state["params"].items()}
        batch = lanes.batches.at(lanes.done)
        lanes.step()
        for k in range(len(lanes)):
            own, signs, found = (
                {name: x[k] for name, x in tree.items()}
                for tree in (before, lanes.state["optimizer"]["signs"], lanes.state["optimizer"]["curved"])
            )
            dense = hessian(own, tuple(x[k] for x in batch), lanes.params[k]["factor"])
            torch.testing.assert_close(vector(found), dense @ vector(signs), rtol=1e-10, atol=1e-12)


def test_signs_depend_on_seed_step_and_draw_alone() -> None:
    def probe(around: Around) -> Probed:
        return Probed({"a": around.signs(0), "b": around.signs(1)})

    made = program(asking(probe, ("a", "b")))
    together, alone = pack(made, 3), pack(made, 1, 2)
    seen = []
    for _ in range(STEPS):
        for lanes in (together, alone):
            lanes.step()
        states = together.state["optimizer"]
        for slot in ("a", "b"):
            for name, x in states[slot].items():
                assert torch.equal(x[2], alone.state["optimizer"][slot][name][0])
        rows = [vector({n: x[k] for n, x in states[slot].items()}) for slot in ("a", "b") for k in range(3)]
        seen += rows
    drawn = torch.stack(seen)  # 24 draws of 27 signs
    assert (drawn.abs() == 1).all()
    assert abs(drawn.mean().item()) < 4 / drawn.numel() ** 0.5
    products = drawn @ drawn.T / drawn.shape[1]
    assert (products - torch.eye(len(drawn), dtype=F64)).abs().max() < 0.85  # 4.4 deviations


def sam(around: Around) -> Probed:
    """Foret et al. (2021): the gradient at p + rho g / |g|."""
    rate = around.settings["rho"] / around.inner(around.grads, around.grads).sqrt()
    up = {name: p + spread(rate, p) * around.grads[name] for name, p in around.tensors.items()}
    return Probed({GRADIENT: around.gradient(up)}, {"step": rate})


@pytest.mark.parametrize("fused", [True, False])
def test_a_gradient_at_other_tensors_takes_the_gradient_s_place(fused: bool) -> None:
    lanes = pack(program(asking(sam)), 2 if fused else 1, fused=fused)
    net, batch, p = Net().to(F64), lanes.batches.at(0), lanes.params[0]
    start = {name: x[0].clone() for name, x in lanes.state["params"].items()}
    lanes.step(report=True)

    def gradient(tree: dict[str, Tensor]) -> dict[str, Tensor]:
        leaves = {name: x.clone().requires_grad_() for name, x in tree.items()}
        f = functional_call(net, leaves, batch[0][0])
        return dict(zip(leaves, torch.autograd.grad(F.mse_loss(f, batch[1][0]), list(leaves.values())), strict=True))

    g = gradient(start)
    rate = p["rho"] / vector(g).norm()
    g = gradient({name: x + rate * g[name] for name, x in start.items()})
    for name, x in start.items():
        torch.testing.assert_close(lanes.state["params"][name][0], x - p["lr"] * g[name], rtol=1e-10, atol=1e-12)
    found = lanes.flush()
    assert found.values[found.metrics.index("step"), 0].item() == pytest.approx(rate.item(), rel=1e-10)


def test_statistics_are_updated_once_and_dropout_is_that_of_the_step() -> None:
    def probe(around: Around) -> Probed:
        return Probed({"again": around.gradient(around.tensors), "first": around.grads})

    made = program(asking(probe, ("again", "first")), noisy=True)
    asked, plain = pack(made, 2), pack(program(sgd("lr"), noisy=True), 2)
    for _ in range(STEPS):
        for lanes in (asked, plain):
            lanes.step()
        memory = asked.state["optimizer"]
        for name, x in memory["first"].items():
            torch.testing.assert_close(memory["again"][name], x, rtol=1e-10, atol=1e-12)
    for part in ("params", "buffers"):
        for name, x in plain.state[part].items():
            torch.testing.assert_close(asked.state[part][name], x, rtol=1e-10, atol=1e-12)


def test_other_functions_and_what_is_stacked_beside_them() -> None:
    """The gradient of the distance between outputs here and at the origin, whose outputs are given."""

    def outputs(model, batch, p):
        return model(batch[0])

    def distance(model, batch, p, other):
        return p["factor"] * (model(batch[0]) - other).square().sum()

    def probe(around: Around) -> Probed:
        origin = {name: torch.zeros_like(p) for name, p in around.tensors.items()}
        there = around.value(outputs, origin)
        return Probed(
            {"slope": around.gradient(around.tensors, distance, there)}, {"there": there.abs().amax((-1, -2))}
        )

    lanes = pack(program(asking(probe, ("slope",))), 2)
    start, (x, _) = {name: x[1].clone() for name, x in lanes.state["params"].items()}, lanes.batches.at(0)
    lanes.step(report=True)
    leaves = {name: x.requires_grad_() for name, x in start.items()}
    value = 2.0 * functional_call(Net(), leaves, x[1]).square().sum()
    for name, g in zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True):
        torch.testing.assert_close(lanes.state["optimizer"]["slope"][name][1], g, rtol=1e-10, atol=1e-12)
    assert lanes.flush().values[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("noisy", [False, True])
def test_lanes_are_the_plain_trial_and_do_not_meet(noisy: bool) -> None:
    def both(around: Around) -> Probed:
        return Probed({**sam(around).slots, "signs": around.signs(), "curved": around.curvature(around.signs())})

    made = program(asking(both, ("signs", "curved"), every=2), noisy=noisy)
    together, alone, plain = pack(made, 3), pack(made, 1, 1), pack(made, 1, 1, fused=False)
    state = made.init(plain.params[0], lambda s: 7 + len(s))
    for _ in range(STEPS):
        state, _ = made.step(state, tuple(x[0].float() for x in plain.batches.at(plain.done)), plain.params[0])
        for lanes in (together, alone, plain):
            lanes.step()
    for path, x in alone.save().items():
        assert x.ndim == 0 or torch.equal(x[0], together.save()[path][1]), path
        torch.testing.assert_close(x, plain.save()[path], rtol=1e-9, atol=1e-12)
    for name, x in state["params"].items():
        torch.testing.assert_close(x.to(F64), plain.state["params"][name][0], rtol=1e-4, atol=1e-5)  # single precision


def test_between_probes_slots_stay_and_nothing_is_asked() -> None:
    asked = []

    def probe(around: Around) -> Probed:
        asked.append(None)
        return Probed({"curved": around.curvature(around.grads)})

    lanes, kept = pack(program(asking(probe, ("curved",), every=3)), 1, fused=False), []
    for _ in range(7):
        lanes.step()
        kept.append(lanes.state["optimizer"]["curved"]["into.weight"].clone())
    assert len(asked) == 3
    assert [torch.equal(a, b) for a, b in pairwise(kept)] == [True, True, False] * 2


def test_a_checkpoint_goes_on_between_probes() -> None:
    made = program(asking(curvature, ("signs", "curved"), every=3))
    whole, first = pack(made, 2), pack(made, 2)
    whole.run(7)
    first.run(2)
    second = pack(made, 2)
    second.load(first.save())
    second.run(5)
    for path, x in whole.save().items():
        assert torch.equal(second.save()[path], x), path


def test_a_linear_loss_has_no_curvature() -> None:
    def slope(model, batch, p):
        return p["factor"] * model.tensors["gain"]

    lanes = pack(program(asking(curvature, ("signs", "curved")), objective=slope), 2)
    lanes.step()
    assert all((x == 0).all() for x in lanes.state["optimizer"]["curved"].values())


def test_attention_has_curvature() -> None:
    def attending(model, batch, p):
        h = model.into(batch[0]).view(-1, 1, 2, 2) if isinstance(model, Net) else model(batch[0]).view(-1, 1, 2, 1)
        return F.scaled_dot_product_attention(h, h, h).square().mean()

    lanes = pack(program(asking(curvature, ("signs", "curved")), objective=attending), 2)
    lanes.step()
    assert lanes.state["optimizer"]["curved"]["out.weight"].abs().min() > 0


def test_a_slot_that_the_optimizer_has_not_is_a_mistake() -> None:
    with pytest.raises(
        ProgramError, match="fills 'curved', which is no slot of its optimizer; there are signs, gradient"
    ):
        pack(program(asking(curvature, ("signs",))), 2).step()
