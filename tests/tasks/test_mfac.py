"""M-FAC: against dense inverses, the paper's recursions, and its step and pruning by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from swathe.orchestrator.fusion import Lanes, Program
from swathe.tasks.blocks.fisher import along, product, replaced
from swathe.tasks.blocks.students import loss, points, student
from swathe.tasks.optimizers.mfac import DEFAULTS, mfac, pruned, surgeon

DOUBLE = torch.float64


def rows(m: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def fisher(g: Tensor, lam: float) -> Tensor:
    return lam * torch.eye(g.shape[1], dtype=DOUBLE) + g.T @ g / len(g)


def ours(g: Tensor, x: Tensor, lam: float) -> Tensor:
    return product({"w": g}, g @ g.T, {"w": x}, torch.tensor(lam, dtype=DOUBLE))["w"]


def static(g: Tensor, lam: float) -> tuple[Tensor, Tensor]:
    """The paper's recursion for pruning: F^-1 as a matrix, and its diagonal."""
    m, d = g.shape
    v, q = torch.zeros(m, d, dtype=DOUBLE), torch.zeros(m, dtype=DOUBLE)
    for i in range(m):
        v[i] = g[i] / lam - sum((v[j] * (v[j] @ g[i]) / q[j] for j in range(i)), torch.zeros(d, dtype=DOUBLE))
        q[i] = m + g[i] @ v[i]
    inverse = torch.eye(d, dtype=DOUBLE) / lam - (v / q[:, None]).T @ v
    return inverse, 1 / lam - (v.square() / q[:, None]).sum(0)


def dynamic(g: Tensor, x: Tensor, lam: float) -> Tensor:
    """The paper's algorithm for optimisation: D and q from U of an LU factorisation without pivots, then B."""
    m = len(g)
    u = g @ g.T / lam + m * torch.eye(m, dtype=DOUBLE)
    for k in range(m):
        u[k + 1 :] = u[k + 1 :] - u[k + 1 :, k : k + 1] / u[k, k] * u[k]
    d = torch.triu(u) - m * torch.eye(m, dtype=DOUBLE)
    q = m + d.diagonal()
    b, a = torch.eye(m, dtype=DOUBLE) / lam, g @ x / lam
    for i in range(1, m):
        b[i, :i] = -(d[:i, i] / q[:i]) @ b[:i, :i]
        a[i:] = a[i:] - d[i - 1, i:] * a[i - 1] / q[i - 1]
    return x / lam - (a / q) @ b @ g


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 20), st.sampled_from([1e-5, 1e-3, 0.1, 10.0]), st.integers(0, 99))
def test_products_and_diagonal_are_those_of_the_dense_inverse_and_of_the_paper_s_recursions(
    m: int, d: int, lam: float, seed: int
) -> None:
    g, x = rows(m, d, seed), rows(1, d, seed + 100)[0]
    dense = torch.linalg.inv(fisher(g, lam))
    inverse, diagonal = static(g, lam)
    scale = x.norm() / lam
    for found in (ours(g, x, lam), dynamic(g, x, lam), inverse @ x):
        torch.testing.assert_close(found, dense @ x, rtol=1e-6, atol=1e-9 * scale.item())
    torch.testing.assert_close(diagonal, dense.diagonal(), rtol=1e-6, atol=1e-9 / lam)


def test_the_order_of_rows_one_row_much_damping_and_empty_rows() -> None:
    g, x = rows(6, 9), rows(1, 9, 1)[0]
    torch.testing.assert_close(ours(g[[3, 1, 5, 0, 2, 4]], x, 1e-3), ours(g, x, 1e-3), rtol=1e-9, atol=1e-9)
    one = (x - g[0] * (g[0] @ x) / (1e-3 + g[0] @ g[0])) / 1e-3
    torch.testing.assert_close(ours(g[:1], x, 1e-3), one, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours(g, x, 1e9), x / 1e9, rtol=1e-7, atol=0)
    padded = torch.cat([g[:2], torch.zeros(4, 9, dtype=DOUBLE)])
    expected = torch.linalg.solve(1e-3 * torch.eye(9, dtype=DOUBLE) + g[:2].T @ g[:2] / 6, x)
    torch.testing.assert_close(ours(padded, x, 1e-3), expected, rtol=1e-8, atol=1e-8)  # m stays m


def test_a_row_replaced_is_all_rebuilt_and_lanes_do_not_meet() -> None:
    z = torch.Generator().manual_seed(0)
    window = {"a": torch.zeros(3, 4, 2, 5, dtype=DOUBLE), "b": torch.zeros(3, 4, dtype=DOUBLE)}
    gram, history = torch.zeros(3, 4, 4, dtype=DOUBLE), []
    lam = torch.tensor([1e-3, 0.1, 1.0], dtype=DOUBLE)
    for t in range(7):
        g = {"a": torch.randn(3, 2, 5, generator=z, dtype=DOUBLE), "b": torch.randn(3, generator=z, dtype=DOUBLE)}
        history.append(torch.cat([g["a"].flatten(1), g["b"].unsqueeze(1)], 1))
        window, gram = replaced(window, gram, g, torch.full((3,), t))
        flat = torch.cat([window["a"].flatten(2), window["b"].unsqueeze(2)], 2)
        torch.testing.assert_close(gram, flat @ flat.mT, rtol=1e-12, atol=1e-12)
        assert set(map(tuple, history[-1].tolist())) <= {tuple(row) for lane in flat.tolist() for row in lane}
        found = product(window, gram, g, lam)
        for k in range(3):
            alone = ours(flat[k], history[-1][k], lam[k].item())
            torch.testing.assert_close(torch.cat([found["a"][k].flatten(), found["b"][k : k + 1]]), alone)
    assert sorted(map(tuple, flat[1].tolist())) == sorted(map(tuple, torch.stack(history[-4:])[:, 1].tolist()))


def test_work_grows_with_the_number_of_weights_and_not_with_its_square() -> None:
    """Counted in matrix products; what is done entry by entry is m for each weight."""

    def work(d: int) -> int:
        g = rows(8, d)
        with FlopCounterMode(display=False) as counter:
            g @ g.T
            along({"w": g}, {"w": g[0]}, 0)
            ours(g, g[0], 1e-3)
        return counter.get_total_flops()

    assert work(20_000) <= 10.5 * work(2_000)
    assert ours(rows(8, 1_000_000), rows(1, 1_000_000)[0], 1e-3).isfinite().all()  # 8 TB as a matrix


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_are_those_by_a_dense_inverse(momentum: float) -> None:
    p = {**DEFAULTS, "width": 4, "lr": 0.01, "m": 5, "weight_decay": 0.1, "momentum": momentum, "steps": 20}
    made = Program(student, loss, lambda q: mfac(5), points, shapes=("width", "batch_size"), dtype=DOUBLE)
    lanes = Lanes(made, [p], [len], fused=False)
    model = student(p, len).to(DOUBLE)
    names = [name for name, _ in model.named_parameters()]
    w = torch.cat([x.detach().flatten() for x in model.parameters()])
    g, v = torch.zeros(5, len(w), dtype=DOUBLE), torch.zeros_like(w)
    for t in range(12):
        torch.nn.utils.vector_to_parameters(w, model.parameters())
        batch = tuple(x[0] for x in lanes.batches.at(t))
        slope = torch.autograd.grad(loss(model, batch, p), list(model.parameters()))
        g[t % 5] = torch.cat([x.flatten() for x in slope]) + 0.1 * w
        v = momentum * v + (1 - momentum) * torch.linalg.solve(fisher(g, 1e-3), g[t % 5])
        w = w - 0.01 * v
        lanes.step()
        found = torch.cat([lanes.state["params"][name].flatten() for name in names])
        torch.testing.assert_close(found, w, rtol=1e-6, atol=1e-9)


# --- pruning --------------------------------------------------------------------------------------------------------


def test_the_surgeon_takes_what_costs_least_and_moves_the_rest() -> None:
    g, w, lam = rows(6, 10), rows(1, 10, 1)[0], 1e-2
    kept = torch.ones(10, dtype=torch.bool)
    kept[3], w[3] = False, 0.0
    inverse = torch.linalg.inv(fisher(g * kept, lam))
    cost = torch.where(kept, w.square() / (2 * inverse.diagonal()), torch.inf)
    gone = cost.argsort()[:3]
    moved = w - inverse[:, gone] @ (w[gone] / inverse.diagonal()[gone])
    moved[gone], moved[3] = 0.0, 0.0
    found, left = surgeon(w, kept, g, torch.tensor(4.0), torch.tensor(lam, dtype=DOUBLE))
    torch.testing.assert_close(found, moved, rtol=1e-8, atol=1e-10)
    assert sorted((~left).nonzero().flatten().tolist()) == sorted([3, *gone.tolist()])


def test_one_weight_gone_costs_the_quadratic_model_what_the_paper_says() -> None:
    """min of dw'F dw / 2 where w_q + dw_q = 0."""
    g, w = rows(6, 10), rows(1, 10, 1)[0]
    f = fisher(g, 0.1)
    found, left = surgeon(w, torch.ones(10, dtype=torch.bool), g, torch.tensor(1.0), torch.tensor(0.1, dtype=DOUBLE))
    (q,) = (~left).nonzero().flatten().tolist()
    inverse = torch.linalg.inv(f)
    assert (0.5 * (found - w) @ f @ (found - w)).item() == pytest.approx((w[q] ** 2 / 2 / inverse[q, q]).item())


def test_pruning_leaves_as_many_weights_as_asked_and_none_without_rounds() -> None:
    p = {**DEFAULTS, "width": 8, "lr": 0.01, "m": 4, "steps": 5, "gradients": 32, "lam": 1e-3, "sparsity": 0.75}
    for rounds in (0, 3):
        given = {**p, "rounds": rounds}
        shapes = ("width", "batch_size", "rounds", "gradients", "m")
        found: list[int] = []

        def counting(model, data, q, found=found):
            at = model.at
            model.at = lambda tensors: found.append(sum(int((x == 0).sum()) for x in tensors.values())) or at(tensors)
            return pruned(model, data, q)

        made = Program(student, loss, lambda q: mfac(4), points, None, shapes, final=counting, dtype=DOUBLE)
        lanes = Lanes(made, [given], [len], fused=False)
        measured = lanes.evaluate(final=True)
        if rounds:
            assert found[-2:] == [150, 150]  # of 200
            assert measured["surgeon_loss"] != measured["magnitude_loss"]
        else:
            assert found == [0, 0] and measured["surgeon_loss"] == measured["magnitude_loss"]
