"""Networks and their parameterisations: the symmetries of the theory, mup's rules, torch's layers, dense Hessians."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swathe.orchestrator.fusion import Data, Lanes, Program, adam, sgd
from swathe.tasks.blocks import models, probes
from swathe.tasks.blocks.datasets import single_index
from swathe.tasks.blocks.losses import agreement, risk
from swathe.tasks.blocks.parameterization import EXPONENTS, Layer, Scaling, named_rates, scaled
from swathe.tasks.blocks.systems import KINDS, SYSTEMS
from swathe.tasks.blocks.text import bible, pieces

DOUBLE = torch.float64
Layers = Mapping[str, Layer]
Z = torch.Generator().manual_seed(0)
POINTS, IMAGES, TEXT = torch.randn(6, 5, generator=Z), torch.randn(3, 2, 7, 7, generator=Z), torch.arange(24) % 9

# kind: layers at a scaling, the module, inputs
NETWORKS: dict[str, tuple[Callable[[Scaling], Layers], Callable[[Layers, Scaling], nn.Module], Tensor]] = {
    "residual": (lambda s: models.residual_layers(s, 5, 3), lambda k, s: models.Residual(k, 0), POINTS.double()),
    "convolutional": (
        lambda s: models.convolutional_layers(s, 2, 3),
        lambda k, s: models.Convolutional(k, 0),
        IMAGES.double(),
    ),
    "transformer": (
        lambda s: models.transformer_layers(s, 9, 8),
        lambda k, s: models.Transformer(k, 2, s.attention(2), 0),
        TEXT.view(3, 8),
    ),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trajectory(kind: str, scaling: Scaling, change: Callable[[Layers], Layers] = lambda layers: layers) -> Tensor:
    """Outputs before and after each of five updates towards fixed targets, in double precision; Adam's eps is as good
    as 0, which it cannot be where units are dead."""
    make, build, x = NETWORKS[kind]
    layers = change(make(scaling))
    model = build(layers, scaling).to(DOUBLE)
    named = dict(model.named_parameters())
    with torch.no_grad():  # in double precision from the start, since deviations differ
        for z, (name, w) in enumerate(named.items()):
            draw = torch.randn(w.shape, generator=torch.Generator().manual_seed(z), dtype=DOUBLE)
            w.copy_(layers[name.removesuffix(".weight")].deviation * draw)
    lr = 0.003 if scaling.adaptive else 0.1
    groups = [{"params": [named[name]], "lr": lr * r["lr"]} for name, r in named_rates(layers).items()]
    optimizer = torch.optim.Adam(groups, eps=1e-30) if scaling.adaptive else torch.optim.SGD(groups)
    found, target = [], torch.randn(model(x).shape, generator=torch.Generator().manual_seed(9), dtype=DOUBLE)
    for _ in range(6):
        found.append(model(x))
        optimizer.zero_grad()
        (found[-1] - target).square().mean().backward()
        optimizer.step()
    return torch.stack(found).detach()


@pytest.mark.parametrize("adaptive", [False, True], ids=["sgd", "adam"])
@pytest.mark.parametrize("kind", [*NETWORKS])
def test_a_shift_of_multiplier_deviation_and_rate_changes_nothing(kind: str, adaptive: bool) -> None:
    scaling = Scaling("depth_mup", adaptive, 16, 8, 4, 2)

    def shift(power: int) -> Callable[[Layers], Layers]:
        def shifted(layers: Layers) -> Layers:
            factors = dict(zip(layers, [3.0, 0.5, 1.7, 0.2, 2.2] * len(layers), strict=False))
            return {
                name: Layer(k.shape, k.multiplier * c, k.deviation / c, k.rate / c**power)
                for (name, k), c in zip(layers.items(), factors.values(), strict=True)
            }

        return shifted

    expected = trajectory(kind, scaling)
    assert (expected[-1] - expected[0]).abs().max() > 0.01
    shifted = trajectory(kind, scaling, shift(1 if adaptive else 2))
    torch.testing.assert_close(shifted, expected, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(trajectory(kind, scaling, shift(2 if adaptive else 1)), expected, rtol=1e-2)


@pytest.mark.parametrize("adaptive", [False, True], ids=["sgd", "adam"])
@pytest.mark.parametrize("kind", [*NETWORKS])
def test_mean_field_is_mup_and_at_the_base_all_are_one(kind: str, adaptive: bool) -> None:
    wide = {name: trajectory(kind, Scaling(name, adaptive, 16, 8, 4, 2)) for name in EXPONENTS}
    base = {name: trajectory(kind, Scaling(name, adaptive, 16, 16, 3, 3)) for name in EXPONENTS}
    torch.testing.assert_close(wide["mean_field"], wide["mup"], rtol=1e-6, atol=1e-8)
    for name in EXPONENTS:
        torch.testing.assert_close(base[name], base["standard"], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(wide["standard"], wide["mup"], rtol=1e-2)


@pytest.mark.parametrize("adaptive", [False, True], ids=["sgd", "adam"])
def test_the_rules_of_the_mup_package(adaptive: bool) -> None:
    """MuSGD, MuAdam and MuReadout of mup 1.0.0 (github.com/microsoft/mup, optim.py and layer.py), relative to a base.

    A vector-like tensor has one infinite dimension, a matrix-like one two. A readout divides its input by width_mult
    and keeps the variance of the base; other matrices get variance 1/fan_in.
    """
    width_mult = 4.0
    vector_like = width_mult if not adaptive else 1.0  # MuSGD: lr *= width_mult; MuAdam: unchanged
    matrix_like = 1.0 if not adaptive else 1 / width_mult  # lr /= fan_in_mult / fan_out_mult; lr /= width_mult
    rules = {
        "input": (1.0, 1.0, vector_like),
        "hidden": (1.0, width_mult**-0.5, matrix_like),
        "output": (1 / width_mult, 1.0, vector_like),
    }
    for role, (multiplier, deviation, rate) in rules.items():
        found = scaled(role, Layer((3, 5), 2.0, 0.5, 0.1), width_mult, "mup", adaptive=adaptive)
        assert found == Layer((3, 5), 2.0 * multiplier, 0.5 * deviation, pytest.approx(0.1 * rate))
    # Attention: 8 / d there, 1 / sqrt(d) at d = 64.
    assert Scaling("mup", True, 256 * 4, 64 * 4).attention(4) == pytest.approx(8 / 256)
    assert Scaling("standard", True, 256 * 4, 64 * 4).attention(4) == pytest.approx(256**-0.5)


@pytest.mark.parametrize(
    ("name", "branch", "sgd_rate", "adam_rate"),
    [("mup", 1, 1, 1), ("depth_mup", 1 / 2, 1, 1 / 2), ("completep", 1 / 4, 4, 1)],
)
def test_the_rules_for_depth(name: str, branch: float, sgd_rate: float, adam_rate: float) -> None:
    """Four times the base depth; Adam's as in CompleteP's table 1 (alpha = 1/2 and 1), SGD's as derived."""
    base = Layer((3, 3), 1.0, 1.0, 1.0)
    for adaptive, rate in ((False, sgd_rate), (True, adam_rate)):
        last = scaled("branch", base, 1.0, name, adaptive=adaptive, depth=4.0)
        inner = scaled("inner", base, 1.0, name, adaptive=adaptive, depth=4.0)
        assert (last.multiplier, inner.multiplier) == (branch, 1.0)
        assert last.rate == inner.rate == rate
        for role in ("input", "hidden", "output"):
            assert scaled(role, base, 1.0, name, adaptive=adaptive, depth=4.0) == base


@pytest.mark.parametrize("adaptive", [False, True], ids=["sgd", "adam"])
def test_an_update_moves_deep_networks_equally_where_depth_is_scaled(adaptive: bool) -> None:
    def moved(name: str, depth: int) -> float:
        path = trajectory("residual", Scaling(name, adaptive, 64, 64, depth, 2))
        return (path[1] - path[0]).abs().mean().item()

    for name in ("depth_mup", "completep"):
        assert 0.5 < moved(name, 64) / moved(name, 4) < 2, name
    assert moved("mup", 64) / moved("mup", 4) > 3


# --- the networks -------------------------------------------------------------------------------------------------


def test_a_convolution_is_that_of_torch() -> None:
    scaling = Scaling("mup", False, 8, 4, 2)
    layers = models.convolutional_layers(scaling, 2, 3)
    model = models.Convolutional(layers, 0)
    h = IMAGES
    for place, name in enumerate(["read", "hidden.0", "hidden.1"]):
        kernel = model.get_submodule(name).weight.unflatten(1, (-1, 3, 3))
        h = F.conv2d(h, layers[name].multiplier * kernel, padding=1, stride=min(place + 1, 2)).relu()
    expected = layers["out"].multiplier * h.mean((2, 3)) @ model.out.weight.T
    torch.testing.assert_close(model(IMAGES).float(), expected, rtol=1e-5, atol=1e-6)


def test_the_transformer_is_torchs_encoder_layer() -> None:
    scaling = Scaling("standard", True, 16, 8, 1)
    layers = models.transformer_layers(scaling, 9, 8)
    model = models.Transformer(layers, 2, scaling.attention(2), 0).double()
    block, mask = model.blocks[0], nn.Transformer.generate_square_subsequent_mask(8, dtype=DOUBLE)
    reference = nn.TransformerEncoderLayer(16, 2, 64, 0.0, F.gelu, 1e-5, True, True, bias=False, dtype=DOUBLE)
    pairs = {
        "self_attn.in_proj_weight": block.qkv,
        "self_attn.out_proj.weight": block.merge,
        "linear1.weight": block.up,
        "linear2.weight": block.down,
    }
    reference.load_state_dict({name: m.weight for name, m in pairs.items()}, strict=False)
    x = TEXT.view(3, 8)
    weight = model.embed.weight
    h = weight.T[x] + weight.T[9:]
    expected = F.layer_norm(reference(h, mask, is_causal=True), (16,)) @ model.out.weight.T
    torch.testing.assert_close(model(x), expected.flatten(0, 1))


def test_the_transformer_sees_no_future() -> None:
    make, build, x = NETWORKS["transformer"]
    scaling = Scaling("mup", True, 16, 8, 2)
    model = build(make(scaling), scaling)
    changed = x.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 9
    one, other = (model(each).view(3, 8, 9) for each in (x, changed))
    assert torch.equal(one[:, :5], other[:, :5]) and not torch.allclose(one[:, 5:], other[:, 5:])


@pytest.mark.parametrize("kind", ["residual", "transformer"])
def test_activations_begin_at_size_one_at_any_width_and_depth(kind: str) -> None:
    make, build, x = NETWORKS[kind]
    for name, width, depth in (("standard", 64, 2), ("mup", 128, 2), ("depth_mup", 64, 8), ("completep", 64, 8)):
        scaling = Scaling(name, False, width, 64, depth, 2)
        model, seen = build(make(scaling), scaling), []
        model.out.register_forward_hook(lambda module, given, out, seen=seen: seen.append(given[0]))
        model(x if kind == "transformer" else x.float())
        assert 0.1 < seen[0].square().mean().sqrt() < 2, (name, width, depth)


@pytest.mark.parametrize("kind", ["residual", "transformer"])
def test_a_lane_does_not_depend_on_the_others(kind: str) -> None:
    program = Program(
        lambda p, seeds: SYSTEMS[kind].build(SYSTEMS[kind].layers(SCALING), SCALING, seeds("init")),
        lambda model, batch, p: risk(SYSTEMS[kind].losses[0], model(batch[0]), batch[1]),
        adam("lr", eps=1e-12),
        lambda p: Data(*(tuple(each[:8] for each in part) for part in SYSTEMS[kind].examples()), batch=4),
        lambda model, data, p: {"loss": risk(SYSTEMS[kind].losses[0], model(data[0]), data[1])},
    )

    def trained(lanes: int) -> Tensor:
        params = [{"lr": 0.01}] * lanes
        pack = Lanes(program, params, [lambda stream, k=k: hash((stream[0] == "i", k)) % 1000 for k in range(lanes)])
        pack.run(4)
        return pack.evaluate()["loss"]

    assert torch.equal(trained(3)[:1], trained(1))


SCALING = Scaling("mup", True, 8, 8, 2, 2)


# --- curvature ----------------------------------------------------------------------------------------------------


def dense(model: nn.Module, loss: Callable[[Any], Tensor], p: list[Tensor]) -> float:
    """The largest eigenvalue of P^(1/2) H P^(1/2) by an explicit Hessian; P a factor of each entry."""
    named = dict(model.named_parameters())
    sizes = [w.numel() for w in named.values()]

    def f(vector: Tensor) -> Tensor:
        parts = vector.split(sizes)
        tree = {name: part.view(w.shape) for part, (name, w) in zip(parts, named.items(), strict=True)}
        return loss(lambda x: torch.func.functional_call(model, tree, (x,)))

    start = torch.cat([w.detach().flatten() for w in named.values()])
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
        hessian = torch.func.jacrev(torch.func.jacrev(f))(start)
    root = torch.cat([each.expand(w.shape).flatten() for each, w in zip(p, named.values(), strict=True)]).sqrt()
    return torch.linalg.eigvalsh(root[:, None] * hessian * root)[-1].item()


@pytest.mark.parametrize(
    ("kind", "rule", "fused"),
    [("residual", "sgd", True), ("residual", "adam", False), ("transformer", "adam", True)],
)
def test_sharpness_is_that_of_the_dense_preconditioned_hessian(kind: str, rule: str, fused: bool) -> None:
    make, build, x = NETWORKS[kind]
    scaling = Scaling("mup", rule == "adam", 4, 2, 1, 1)
    layers, betas = make(scaling), (0.9, 0.99)

    def loss(model: Any) -> Tensor:
        return (model(x) - 0.3).square().mean()

    program = Program(
        lambda p, seeds: build(layers, scaling),
        lambda model, batch, p: loss(model),
        adam("lr", betas, 1e-12) if rule == "adam" else sgd("lr"),
        lambda p: Data((torch.zeros(1),)),
        lambda model, data, p: {
            "s": probes.sharpness(loss, model, iterations=20, betas=betas if rule == "adam" else None)
        },
        dtype=DOUBLE,
    )
    params = [{"lr": 0.01}] * (2 if fused else 1)
    lanes = Lanes(program, params, [lambda stream: 0] * len(params), dtype=DOUBLE, fused=fused)
    before = lanes.evaluate()["s"][0]
    assert before.isnan() == (rule == "adam")  # there is no v yet
    lanes.run(3)
    model = build(layers, scaling).to(DOUBLE)
    weights = {name: w[0] for name, w in lanes.state["params"].items()}
    model.load_state_dict(weights, strict=False)
    p = [torch.tensor(layers[name.removesuffix(".weight")].rate, dtype=DOUBLE) for name in weights]
    if rule == "adam":
        v = lanes.state["optimizer"]["v"]
        p = [r / (v[name][0] / (1 - 0.99**3)).sqrt().clamp(min=1e-12) for name, r in zip(weights, p, strict=True)]
    assert lanes.evaluate()["s"][0].item() == pytest.approx(dense(model, loss, p), rel=1e-3)


@pytest.mark.parametrize(("times", "stable"), [(0.98, True), (1.02, False)])
def test_gradient_descent_is_stable_below_two_over_the_sharpness_of_the_rates(times: float, stable: bool) -> None:
    """A linear network of one matrix, whose loss is a quadratic; the rate is not 1."""
    layer, x = Layer((1, 5), 0.7, 1.0, 3.0), POINTS.double()

    def loss(model: Any) -> Tensor:
        return 0.5 * model(x).square().mean()

    matrix = models.Matrix(layer, torch.Generator().manual_seed(0)).double()
    s = dense(matrix, loss, [matrix.rate])
    closed = 3.0 * 0.49 * torch.linalg.eigvalsh(x.T @ x / len(x))[-1].item()
    assert s == pytest.approx(closed)
    begin = loss(matrix).item()
    for _ in range(400):
        (g,) = torch.autograd.grad(loss(matrix), [matrix.weight])
        with torch.no_grad():
            matrix.weight -= times * 2 / s * layer.rate * g
    assert (loss(matrix).item() < begin) == stable


# --- what they learn ------------------------------------------------------------------------------------------------


def test_risk_and_agreement_take_rows_and_numbers() -> None:
    f, y = torch.randn(6, 4, generator=Z), torch.tensor([[0, 1, 2], [3, 0, 1]])
    rows = F.one_hot(y.flatten(), 4).float()
    assert risk("cross_entropy", f, y).item() == pytest.approx(risk("cross_entropy", f, rows).item())
    assert risk("mse", f, rows).item() == pytest.approx((f - rows).square().sum().item() / 12)
    assert agreement(rows, y).item() == agreement(rows, rows).item() == 1.0


def test_the_systems_hold_what_they_say() -> None:
    text, _, alphabet = bible()
    assert len(alphabet) == KINDS
    x, y = pieces(text, 16, 4)
    assert torch.equal(torch.cat([x.flatten(), y[-1, -1:]]), text[:65]) and torch.equal(x[:, 1:], y[:, :-1])
    x, y = single_index(4000, 10, torch.Generator().manual_seed(0))
    assert y.std().item() == pytest.approx(1, rel=1e-4) and abs(y.mean().item()) < 1e-4
    slopes = (x * y).mean(0)  # Stein: along u, since y is a function of u.x
    u = slopes / slopes.norm()
    beside = torch.linalg.qr(torch.cat([u[:, None], torch.eye(10)[:, :9]], 1))[0][:, 1:]
    assert ((x @ beside).T @ (y * (x @ u)[:, None]) / len(x)).abs().max() < 0.15
    for name, system in SYSTEMS.items():
        (x, y), (held_out, _) = system.examples()
        assert len(x) == len(y) >= system.probe and x.shape[1:] == held_out.shape[1:], name
        assert not {bytes(row) for row in x[:50].numpy()} & {bytes(row) for row in chain(held_out[:50].numpy())}
