"""Input gradients: attributions, masks and DiffROAR by hand, and training at the worst points."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from swathe.orchestrator.claims import Frames
from swathe.orchestrator.fusion import Lanes
from swathe.orchestrator.task import derive_seed
from swathe.tasks.blocks.attacks import worst
from swathe.tasks.blocks.estimators import combination
from swathe.tasks.blocks.signals import NAMES, marked
from swathe.tasks.robustness.input_gradients import (
    LEVELS,
    PROGRAM,
    STEPS,
    attributions,
    loss,
    network,
    ranks,
    roar,
    shown,
)

SMALL = {"width": 16, "batch_size": 16, "steps": 20}


def seeds(stream: str) -> int:
    return derive_seed(99, 0, stream)


def settled(**params: object) -> dict:
    return PROGRAM.settled({**SMALL, **params})


class Model:
    """A module as programs meet it."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.tensors = module, {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def __call__(self, x: Tensor) -> Tensor:
        return self.module(x)


# --- attributions -------------------------------------------------------------------------------------------------


def test_attributions_of_a_linear_model_are_its_weights_and_else_finite_differences() -> None:
    z = torch.Generator().manual_seed(0)
    w, x = torch.randn(6, 3, generator=z), torch.randn(9, 6, generator=z)
    torch.testing.assert_close(attributions(lambda x: x @ w, x), w.T[(x @ w).argmax(1)].abs())
    model, x = network(settled(), seeds).double(), torch.randn(4, 10, generator=z, dtype=torch.float64)
    step = 1e-6 * torch.eye(10, dtype=torch.float64)
    rows = torch.arange(4)
    logits = [model((x[:, None] + sign * step).flatten(0, 1)).view(4, 10, 2) for sign in (1, -1)]
    chosen = [each[rows, :, model(x).argmax(1)] for each in logits]
    torch.testing.assert_close(attributions(model, x), ((chosen[0] - chosen[1]) / 2e-6).abs(), rtol=1e-6, atol=1e-8)


def test_what_attributions_show_is_that_of_a_network_whose_gradients_are_known() -> None:
    x, y, signal = marked("noisy")[1]
    possible = signal.any(0)
    size = torch.where(possible, torch.linspace(1, 2, 20), 0.0)  # |g|, the same for all examples
    model = network(settled(data="noisy"), seeds)
    for parameter in model.parameters():
        parameter.data.zero_()
    first, _, last = model
    first.weight.data[:1], first.bias.data[0] = size, 100.0  # one unit, always active
    last.weight.data[1, 0] = 1.0
    found = shown(Model(model), (x, y, signal, possible), {**settled(data="noisy"), "norm": "linf"})
    inside = (size * signal).sum(1)
    share = (inside / size.sum()).mean()
    leakage = ((size.sum() - inside) / 9 / inside).median()
    assert found["hit_rate"].item() == pytest.approx(signal[:, 9].double().mean().item())
    assert found["null_mass"].item() == pytest.approx(1 - share.item(), rel=1e-5)
    assert found["leakage"].item() == pytest.approx(leakage.item(), rel=2e-2)  # an upper, or a lower, median
    assert found["robust_accuracy"].item() == pytest.approx((y == 1).double().mean().item())


# --- data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_signals_are_where_they_are_said_to_be(name: str) -> None:
    for x, y, signal in marked(name):
        assert x.shape == signal.shape and len(y) == len(x)
        if name in ("points", "noisy"):
            assert (signal.sum(1) == 1).all() and not signal[:, 10:].any()
            rest = x - signal * (2.0 * y[:, None] - 1)
            assert rest.abs().max() <= (0.1 if name == "noisy" else 0) + 1e-6
        elif name != "digits":
            outside = x[~signal].view(-1, 64)
            assert (outside == outside[0]).all() and outside[0].sum() == 16
            assert torch.equal(x[signal].view(-1, 64), marked("digits")[0 if len(x) > 1000 else 1][0])
            assert signal[:, :64].all(1).double().mean().item() == pytest.approx(1 if "top" in name else 0.5, abs=0.1)
        else:
            assert signal.all() and x.min() == 0 and x.max() == 1


def test_an_unknown_data_set_is_named() -> None:
    with pytest.raises(ValueError, match=r"data 'mnist' is unknown; it is one of points, "):
        marked("mnist")


# --- masks and DiffROAR -------------------------------------------------------------------------------------------


def masks(**params: object) -> list[Tensor]:
    model = network(settled(data="digits", **params), seeds)
    return [model.seen, model.seen_others]


def test_sides_part_at_half_and_are_all_at_one_and_keep_what_ranks_first() -> None:
    assert all(each.all() for each in masks())
    settings = tuple({**settled(data="digits"), "side": "all", "kept": 1.0}.items())
    ranked = ranks(settings, tuple((stream, seeds(stream)) for stream in ("init", "data", "noise")))
    for kept in (0.05, 0.3, 0.5):
        sides = [masks(side=side, kept=kept) for side in ("top", "bottom")]
        for top, bottom, rank in zip(*sides, ranked, strict=True):
            assert not (top & bottom).any()
            assert (top.sum(1) == round(64 * kept)).all() and (bottom.sum(1) == round(64 * kept)).all()
            assert (rank[top].max() < rank[~top].min()) and rank[bottom].min() > rank[~bottom].max()
    assert all(each.all() for side in ("top", "bottom") for each in masks(side=side, kept=1.0))


def test_ranks_are_those_of_the_network_that_the_trial_with_all_trains_and_not_of_the_one_that_retrains() -> None:
    p = settled(data="digits")
    lanes = Lanes(PROGRAM, [p], [seeds], fused=False)
    lanes.run(20)
    trained = network(p, seeds)
    trained.load_state_dict({name: x[0] for name, x in lanes.state["params"].items()}, strict=False)
    top = masks(side="top", kept=0.2)
    for (x, *_), mask in zip(marked("digits"), top, strict=True):
        g = attributions(trained, x)
        least = torch.where(mask, g, torch.inf).amin(1)
        assert (least >= torch.where(mask, 0.0, g).amax(1) - 1e-4 * g.amax(1)).double().mean() > 0.99
    again = network(settled(data="digits", side="top", kept=0.2), seeds)
    assert not torch.equal(again[0].weight, network(p, seeds)[0].weight)


def test_diffroar_is_the_mean_gap_of_accuracies_and_zero_where_all_is_kept() -> None:
    rows = []
    for replicate in range(4):
        for cell, (eps, side, kept) in enumerate(
            (e, s, k) for e in (0.0, 1.0) for s in ("top", "bottom") for k in LEVELS
        ):
            accuracy = 0.5 + (0.2 * eps - 0.05) * (side == "top") + 0.01 * replicate + 0.1 * kept
            key = {"param.eps": eps, "param.side": side, "param.kept": kept, "cell": f"c{cell}"}
            place = {"configuration": cell, "replicate": replicate, "state": "COMPLETE", "cause": ""}
            rows.append({**key, **place, "metric.val_accuracy": accuracy, "value": accuracy})
    frames = Frames(pd.DataFrame(rows), pd.DataFrame())
    for terms, value in ((roar(1.0), 0.15), (roar(0.0), -0.05), (roar(1.0) + roar(0.0, -1), 0.2)):
        found = combination("val_accuracy", terms)(frames)
        assert (found.estimate, found.low, found.high) == pytest.approx((value,) * 3) and found.n == 4


# --- training -----------------------------------------------------------------------------------------------------


def test_the_loss_is_that_at_the_worst_points_of_what_is_seen_and_standard_at_zero() -> None:
    (x, y, _), _ = marked("digits")
    batch = (x[:32], y[:32], torch.arange(32))
    model = Model(network(settled(data="digits"), seeds))
    for norm, eps in (("linf", 0.1), ("l2", 1.0)):
        p = settled(data="digits", norm=norm, eps=eps)
        at = worst(model, x[:32], y[:32], eps, norm, **STEPS[norm])
        attacked = nn.functional.cross_entropy(model(at), y[:32])
        torch.testing.assert_close(loss(model, batch, p), attacked)
        standard = nn.functional.cross_entropy(model(x[:32]), y[:32])
        assert loss(model, batch, {**p, "eps": 0.0}) == standard < attacked
    masked = Model(network(settled(data="digits", side="top", kept=0.1), seeds))
    seen = masked.tensors["seen"][5:9]
    value = loss(masked, (x[5:9], y[5:9], torch.arange(5, 9)), settled(data="digits", side="top", eps=1.0))
    torch.testing.assert_close(value, nn.functional.cross_entropy(masked(x[5:9] * seen), y[5:9]))


def test_robust_training_moves_attributions_to_the_signal() -> None:
    """One seed of the claims on points, at a third of their steps."""
    fixed = {"data": "points", "width": 128, "batch_size": 32, "steps": 600}
    params = [PROGRAM.settled({**fixed, "eps": eps}) for eps in (0.0, 0.3)]
    lanes = Lanes(PROGRAM, params, [seeds] * 2)
    lanes.run(600)
    found = lanes.evaluate(final=True)
    standard, robust = found["leakage"].tolist()
    assert standard > 0.5 > 0.25 > robust
    assert found["hit_rate"][0] < found["hit_rate"][1]
