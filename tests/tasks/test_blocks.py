"""What papers share: probes against dense linear algebra, data sets, parameterisations, estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from swathe.orchestrator.claims import Frames
from swathe.orchestrator.errors import SwatheError
from swathe.tasks.blocks import datasets, estimators, probes, text
from swathe.tasks.blocks.parameterization import EXPONENTS, Layer, mlp, scaled

# --- probes -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def problem() -> tuple[Any, dict[str, Tensor], tuple[Tensor, ...], Tensor]:
    """A loss, two lanes of a small network, their data, and their dense Hessians (2 x 23 x 23)."""
    z = torch.Generator().manual_seed(0)
    shapes = {"w": (5, 3), "b": (5,), "v": (3, 1)}
    x = {name: torch.randn(2, *shape, generator=z, dtype=torch.float64) for name, shape in shapes.items()}
    inputs = torch.randn(2, 7, 3, generator=z, dtype=torch.float64)

    def f(tree: dict[str, Tensor], inputs: Tensor) -> Tensor:
        h = torch.tanh(inputs @ tree["w"].T + tree["b"])
        return (h.square().sum(1) + (inputs @ tree["v"]).squeeze(1).sin() - 1).square().mean()

    def flat(lane: int) -> Tensor:
        def g(vector: Tensor) -> Tensor:
            parts = vector.split([15, 5, 3])
            return f({n: p.view(shapes[n]) for n, p in zip(shapes, parts, strict=True)}, inputs[lane])

        start = torch.cat([x[name][lane].flatten() for name in shapes])
        return torch.autograd.functional.hessian(g, start)

    return f, x, (inputs,), torch.stack([flat(0), flat(1)])


def test_the_trace_is_that_of_the_dense_hessian(problem) -> None:
    f, x, context, hessian = problem
    found = probes.trace(f, x, context, samples=200)
    exact = hessian.diagonal(dim1=1, dim2=2).sum(1)
    assert ((found.value - exact).abs() < 4 * found.error).all()
    beside = hessian - torch.diag_embed(hessian.diagonal(dim1=1, dim2=2))
    theory = (2 * beside.square().sum((1, 2)) / 200).sqrt()  # of random signs
    torch.testing.assert_close(found.error, theory, rtol=0.2, atol=0.0)


def test_the_density_has_the_moments_and_the_ends_of_the_dense_spectrum(problem) -> None:
    f, x, context, hessian = problem
    spectrum = torch.linalg.eigvalsh(hessian)
    found = probes.spectral_density(f, x, context, iterations=23, samples=20)
    torch.testing.assert_close(found.weights.sum(1), torch.ones(2, dtype=torch.float64))
    for power in (1, 2):
        mean = (found.weights * found.values**power).sum(1)
        spread = (2 * (spectrum ** (2 * power)).mean(1) / 23 / 20).sqrt()  # at most, of random signs
        assert ((mean - (spectrum**power).mean(1)).abs() < 4 * spread).all()
    heavy = torch.where(found.weights > 1e-8, found.values, 0.0)
    torch.testing.assert_close(heavy.amax(1), spectrum[:, -1], rtol=1e-6, atol=0.0)
    torch.testing.assert_close(heavy.amin(1), spectrum[:, 0], rtol=1e-6, atol=0.0)
    for lane in range(2):  # the share of eigenvalues below zero
        below = found.weights[lane][found.values[lane] < 0].sum().item()
        assert below == pytest.approx((spectrum[lane] < 0).double().mean().item(), abs=0.1)


def test_few_lanczos_steps_are_a_quadrature_of_low_polynomials(problem) -> None:
    f, x, context, hessian = problem
    found = probes.spectral_density(f, x, context, iterations=4, samples=1, seed=3)
    (v,) = probes._signs(x, 1, 3)
    v = torch.cat([v[name].flatten(1) for name in x], 1)
    for power in range(8):
        exact = torch.einsum("ki,kij,kj->k", v, torch.linalg.matrix_power(hessian, power), v) / 23
        torch.testing.assert_close((found.weights * found.values**power).sum(1), exact, rtol=1e-9, atol=1e-9)


def test_the_tangent_kernel_is_that_of_an_explicit_jacobian() -> None:
    z = torch.Generator().manual_seed(0)
    x = {"w": torch.randn(2, 4, 3, generator=z), "v": torch.randn(2, 4, generator=z)}
    inputs = torch.randn(5, 3, generator=z)
    found = probes.tangent_kernel(lambda tree: torch.tanh(inputs @ tree["w"].T) @ tree["v"], x)
    for lane in range(2):
        h = torch.tanh(inputs @ x["w"][lane].T)
        by_w = ((1 - h**2) * x["v"][lane])[:, :, None] * inputs[:, None]
        exact = h @ h.T + by_w.flatten(1) @ by_w.flatten(1).T
        torch.testing.assert_close(found[lane], exact)


# --- data and parameterisations -----------------------------------------------------------------------------------


def test_digits_are_complete_disjoint_and_standardised() -> None:
    (x, y), (held_out, classes) = datasets.digits()
    assert (len(x), len(held_out)) == (1437, 360)
    assert x.mean().item() == pytest.approx(0, abs=1e-5) and x.std().item() == pytest.approx(1, rel=1e-5)
    assert len({bytes(row) for row in torch.cat([x, held_out]).numpy()}) == 1797
    assert torch.cat([y, classes]).bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_text_reads_as_it_is_written() -> None:
    (train, held_out, alphabet), z = text.bible(), torch.Generator().manual_seed(0)
    read = "".join(alphabet[number] for number in train[:54])
    assert read == "In the beginning God created the heaven and the earth."
    assert len(alphabet) == 68 and len(held_out) == text.HELD_OUT and len(train) > 3_900_000
    given, following = text.windows(train[:1000], 16, 5, z)
    assert torch.equal(given[:, 1:], following[:, :-1]) and given.shape == (5, 16)


def test_synthetic_data_are_what_they_say() -> None:
    z = torch.Generator().manual_seed(0)
    x, y = datasets.gaussians(4000, 5, 3.0, z)
    gap = x[y == 1].mean(0) - x[y == 0].mean(0)
    assert gap.tolist() == pytest.approx([3, 0, 0, 0, 0], abs=0.15)
    x, y = datasets.spirals(3000, 3, 0.0, z)
    turns = torch.atan2(x[:, 1], x[:, 0]) / (2 * torch.pi) - x.norm(dim=1) - y / 3
    assert (turns - turns.round()).abs().max() < 1e-5 and x.norm(dim=1).max() <= 1
    teacher = nn.Linear(5, 2)
    x, y = datasets.teacher_student(teacher, 2000, 5, 0.1, z)
    assert (y - teacher(x)).std().item() == pytest.approx(0.1, rel=0.1)


def test_mean_field_is_mup_with_unit_deviations() -> None:
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found: dict[str, Tensor] = {}
    for name in ("mup", "mean_field"):
        shapes = {"input": (32, 5), "hidden": (32, 32), "output": (3, 32)}
        layers = [scaled(r, Layer(s, 1.0, 0.5, 1.0), 4.0, name, adaptive=False) for r, s in shapes.items()]
        model = mlp(layers, 0).double()
        for _ in range(5):
            grads = torch.autograd.grad(model(x).square().mean(), list(model.parameters()))
            with torch.no_grad():
                for w, g, layer in zip(model.parameters(), grads, layers, strict=True):
                    w.sub_(0.1 * layer.rate * g)
        found[name] = model(x)
    torch.testing.assert_close(found["mean_field"], found["mup"], rtol=1e-5, atol=1e-6)
    assert not torch.equal(found["mean_field"], torch.zeros_like(found["mup"]))
    assert EXPONENTS["mean_field"]["hidden"][1] == 0


# --- estimators ---------------------------------------------------------------------------------------------------


def frames(values: dict[str, np.ndarray]) -> Frames:
    """Losses (configurations x seeds) of methods, NaN where a trial diverged."""
    rows = [
        {
            "cell": method,
            "configuration": k,
            "replicate": seed,
            "state": "FAIL" if np.isnan(loss) else "COMPLETE",
            "cause": "diverged" if np.isnan(loss) else None,
            "value": loss,
            "param.optimizer": method,
            "param.lr": 2.0**-k,
            "metric.norm": 10 * loss,
        }
        for method, table in values.items()
        for (k, seed), loss in np.ndenumerate(table)
    ]
    return Frames(pd.DataFrame(rows), pd.DataFrame())


def test_one_configuration_gives_the_t_interval_of_paired_differences() -> None:
    tables = {"a": np.array([[1.0, 2.0, 4.0, 5.0]]), "b": np.array([[0.5, 1.4, 3.2, 4.5]])}
    found = estimators.difference("value", optimizer=("a", "b"))(frames(tables))
    gaps = np.array([0.5, 0.6, 0.8, 0.5])
    half = 3.182446 * gaps.std(ddof=1) / 2
    assert (found.estimate, found.low, found.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half), rel=1e-6)
    over = estimators.ratio("norm", optimizer=("a", "b"))(frames(tables))
    assert over.estimate == pytest.approx((tables["a"] / tables["b"]).mean())
    alone = estimators.mean("value", optimizer="b")(frames(tables))
    assert (alone.estimate, alone.n) == (pytest.approx(2.4), 4)


def test_several_pairs_name_two_cells_and_two_metrics_are_compared_in_one() -> None:
    table = frames({"a": np.array([[1.0, 2.0, 4.0]]), "b": np.array([[0.5, 1.4, 3.2]])})
    table.trials["param.steps"] = table.trials["param.optimizer"].map({"a": 400, "b": 800})
    found = estimators.difference("value", optimizer=("a", "b"), steps=(400, 800))(table)
    assert found.estimate == pytest.approx((0.5 + 0.6 + 0.8) / 3)
    with pytest.raises(SwatheError, match="no trial has steps"):
        estimators.difference("value", optimizer=("a", "b"), steps=(800, 400))(table)
    tenfold = estimators.over("norm", "value", optimizer="b")(table)
    assert (tenfold.estimate, tenfold.low, tenfold.high, tenfold.n) == (pytest.approx(10), *[pytest.approx(10)] * 2, 3)


def test_a_seed_is_measured_at_what_the_others_choose() -> None:
    """Pure noise: the best of many configurations looks good on the seeds that chose it, and on no other."""
    noise = np.random.default_rng(0).normal(size=(200, 5))
    found = estimators.mean("value", optimizer="a")(frames({"a": noise}))
    assert noise.mean(axis=1).min() < -1.0
    assert found.low is not None and found.high is not None and found.low < 0 < found.high


def test_diverged_configurations_are_not_chosen_and_diverged_methods_are_infinitely_bad() -> None:
    table = np.array([[np.nan, np.nan, 0.0], [1.0, 1.1, 1.2]])
    assert estimators.mean("value", optimizer="a")(frames({"a": table})).estimate == pytest.approx(1.1)
    lost = frames({"a": np.full((1, 3), np.nan), "b": np.ones((1, 3))})
    found = estimators.difference("value", optimizer=("a", "b"))(lost)
    assert found.estimate == np.inf and found.high == np.inf


def test_what_is_compared_must_be_named_and_there() -> None:
    with pytest.raises(ValueError, match=r"0 of .* are pairs"):
        estimators.difference("value", optimizer="a")
    table = frames({"a": np.ones((1, 3)), "b": np.ones((1, 3))})
    with pytest.raises(SwatheError, match="no trial has optimizer = 'c'; there are a, b"):
        estimators.mean("value", optimizer="c")(table)
    with pytest.raises(SwatheError, match="trials of 2 cells"):
        estimators.mean("value")(table)


@pytest.mark.parametrize(("slope", "stays"), [(0.0, True), (-0.5, False)])
def test_movement_and_drift_say_what_the_verdict_says(slope: float, stays: bool) -> None:
    rows = [
        {
            "cell": str(width),
            "configuration": k,
            "replicate": seed,
            "state": "COMPLETE",
            "cause": None,
            "value": 0.1 * (0.25 * k - 8 - slope * np.log2(width / 64) + 0.02 * seed + 4) ** 2 + 0.001 * seed,
            "param.width": width,
            "param.lr": 2.0 ** (0.25 * k - 8),
        }
        for width in (64, 128, 256, 512)
        for k in range(33)
        for seed in range(4)
    ]
    table = Frames(pd.DataFrame(rows), pd.DataFrame())
    found, size = (make("width", "lr")(table) for make in (estimators.drift, estimators.movement))
    assert found.estimate == pytest.approx(slope, abs=0.02)
    assert size.high is not None and size.low is not None
    assert (size.high < 0.15, size.low > 0.15) == (stays, not stays)


def test_a_slope_is_the_power_of_an_axis_seed_by_seed() -> None:
    powers = np.array([-0.4, -0.5, -0.7, -0.3])
    rows = [
        {"replicate": seed, "param.width": width, "param.depth": depth, "metric.gap": (seed + 1) * width ** (depth * s)}
        for width in (64, 128, 512)
        for depth in (1, 2)
        for seed, s in enumerate(powers)
    ]
    table = Frames(pd.DataFrame(rows).sample(frac=1, random_state=0), pd.DataFrame())
    found = estimators.slope("gap", "width", depth=1)(table)
    half = 3.182446 * powers.std(ddof=1) / 2
    assert (found.estimate, found.high, found.n) == (pytest.approx(-0.475), pytest.approx(-0.475 + half, rel=1e-6), 4)
    assert estimators.slope("gap", "width", depth=2)(table).estimate == pytest.approx(-0.95)
    lost = table.trials["metric.gap"].where((table.trials["replicate"] != 3) | (table.trials["param.width"] != 64))
    found = estimators.slope("gap", "width", depth=1)(
        Frames(table.trials.assign(**{"metric.gap": lost}), pd.DataFrame())
    )
    assert (found.estimate, found.n) == (pytest.approx(powers[:3].mean()), 3)
    assert found.excluded == {"seed without a slope": 1}
