"""The coordinate check: in closed form on made-up sizes, and on real networks, where muP passes and standard fails."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from swathe.analysis.coordinates import judge_coordinates
from swathe.orchestrator.errors import SwatheError
from swathe.tasks.blocks.coordinates import Begun, measure, sizes
from swathe.tasks.blocks.parameterization import named_rates
from swathe.tasks.blocks.systems import SYSTEMS
from swathe.tasks.scaling import lr_transfer
from swathe.tasks.scaling.lr_transfer import layers, network, settle

WIDTHS = [128, 256, 512, 1024]


def made_up(power, seeds=4, noise=0.02):
    """Sizes of three layers at steps 0 to 2; `power` is that of (layer, step)."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"width": n, "seed": k, "layer": f"l{d}", "depth": d, "step": t,
         "size": n ** power(d, t) * np.exp(noise * rng.normal())}
        for n in WIDTHS
        for k in range(seeds)
        for d in range(3)
        for t in range(3)
    )  # fmt: skip


def test_known_powers_are_found():
    found = judge_coordinates(made_up(lambda d, t: 0.5 if (d, t) == (1, 2) else 0.0))
    assert found.verdict == "fails"
    (steep,) = [each for each in found.slopes if each.trend != "flat"]
    assert (steep.layer, steep.step, steep.trend) == ("l1", 2, "grows")
    assert steep.low < 0.5 < steep.high and steep.slope == pytest.approx(0.5, abs=0.03)
    assert "layer l1 at step 2" in found.reasons[0]


def test_logits_may_start_small_but_nothing_else():
    assert judge_coordinates(made_up(lambda d, t: -0.5 if (d, t) == (2, 0) else 0.0)).verdict == "passes"
    assert judge_coordinates(made_up(lambda d, t: 0.5 if (d, t) == (2, 0) else 0.0)).verdict == "fails"
    assert judge_coordinates(made_up(lambda d, t: -0.5 if (d, t) == (1, 0) else 0.0)).verdict == "fails"


def test_few_seeds_and_noise_decide_nothing():
    assert judge_coordinates(made_up(lambda d, t: 0.0, seeds=2)).verdict == "undecided"
    noisy = judge_coordinates(made_up(lambda d, t: 0.1, seeds=3, noise=0.5))
    assert noisy.verdict == "undecided" and any("more seeds" in reason for reason in noisy.reasons)


def test_an_explosion_fails():
    frame = made_up(lambda d, t: 0.0)
    frame.loc[(frame["width"] == 1024) & (frame["step"] == 2), "size"] = np.inf
    assert judge_coordinates(frame).verdict == "fails"


def test_what_is_missing_is_named():
    frame = made_up(lambda d, t: 0.0)
    with pytest.raises(SwatheError, match="no column 'step'"):
        judge_coordinates(frame.drop(columns="step"))
    with pytest.raises(SwatheError, match="2 width"):
        judge_coordinates(frame[frame["width"] < 512])
    with pytest.raises(SwatheError, match="lacks sizes"):
        judge_coordinates(frame.iloc[1:])


def test_hooks_measure_outputs_and_are_taken_off():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4, bias=False), torch.nn.ReLU())
    x = torch.ones(2, 3)
    assert sizes(model, x) == {"0": pytest.approx(model[0](x).abs().mean().item())}
    assert not model[0]._forward_hooks


SETTINGS = {
    "mlp": {"lr": 2.0**-4},
    "residual": {"lr": 2.0},
    "transformer": {"lr": 2.0**-6, "base_width": 32, "loss": "cross_entropy", "optimizer": "adam"},
}
WIDE = {"mlp": [256, 512, 1024, 2048], "residual": [64, 128, 256, 512], "transformer": [32, 64, 128, 256]}
SHOWN = {"mlp": 64, "residual": 64, "transformer": 4}  # examples


def begin(kind: str, **setting: object):
    """A network of lr-transfer that trains on one batch. Its readout begins at zero, as Yang et al. advise, since what
    is left of a random one shrinks with width under muP for as long as training has not outgrown it."""
    (x, y), _ = SYSTEMS[kind].examples()
    x, y = x[: SHOWN[kind]], y[: SHOWN[kind]]

    def begin(width: int, seed: int) -> Begun:
        p = settle({"network": kind, "width": width, **SETTINGS[kind], **setting})
        model = network(p, lambda stream: seed)
        named = dict(model.named_parameters())
        with torch.no_grad():
            list(named.values())[-1].zero_()
        groups = [{"params": [named[name]], "lr": p["lr"] * r["lr"]} for name, r in named_rates(layers(p)).items()]
        optimizer = torch.optim.Adam(groups) if p["optimizer"] == "adam" else torch.optim.SGD(groups)

        def update() -> None:
            optimizer.zero_grad()
            lr_transfer.loss(model, (x, y), p).backward()
            optimizer.step()

        return Begun(model, update)

    return begin


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", [*SETTINGS])
def test_mup_passes_and_the_standard_parameterisation_fails(kind):
    shown, seeds = SYSTEMS[kind].examples()[0][0][: SHOWN[kind]], range(8)
    found = {
        name: judge_coordinates(measure(begin(kind, parameterization=name), WIDE[kind], seeds, shown))
        for name in ("mup", "standard")
    }
    assert {name: each.verdict for name, each in found.items()} == {"mup": "passes", "standard": "fails"}, found
    grown = {(each.layer, each.step) for each in found["standard"].slopes if each.trend == "grows"}
    assert ("out" if kind != "mlp" else "4", 1) in grown and len(grown) > 1
