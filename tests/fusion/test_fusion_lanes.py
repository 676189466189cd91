"""Lanes do not meet: divergence, clipping, compaction and checkpoints of one leave the others as they were."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swathe.orchestrator.fusion import Data, Flush, Lanes, Program, ProgramError, adamw, cosine, sgd, stacks

Z = torch.Generator().manual_seed(1)
X, Y = torch.randn(96, 6, generator=Z), torch.randint(0, 3, (96,), generator=Z)


def model(p, seeds) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def loss(model, batch, p):
    out = model(batch[0])
    found = F.cross_entropy(out, batch[1])
    return found / (p["fuse"] >= model.tensors["1.num_batches_tracked"]), {"size": out.square().mean()}


def metrics(model, data, p):
    return {"accuracy": (model(data[0]).argmax(1) == data[1]).float().mean()}


def program(**changes) -> Program:
    parts = {
        "model": model,
        "loss": loss,
        "optimizer": adamw("lr", clip="clip", schedule=cosine(20, 3)),
        "data": lambda p: Data((X, Y), (X, Y), 32),
        "metrics": metrics,
    }
    return Program(**{**parts, **changes})


def params(lanes: int, **changes) -> list[dict[str, float]]:
    """`fuse` is the number of steps after which a lane's loss is divided by zero."""
    return [{"lr": 0.02 / (k + 1), "clip": 0.3, "fuse": 1e9, **changes} for k in range(lanes)]


def seeds(k: int):
    return lambda stream: 10 * k + len(stream)


def pack(made: Program, given: list[dict[str, float]], names: list[int] | None = None, **options) -> Lanes:
    return Lanes(made, given, [seeds(k) for k in (names or range(len(given)))], **options)


def same(a: Lanes, b: Lanes, pairs: list[tuple[int, int]]) -> None:
    for (path, x), y in zip(a.save().items(), b.save().values(), strict=True):
        for i, j in pairs if x.ndim else []:
            assert torch.equal(x[i], y[j]), f"{path} of lane {i}"


def test_a_lane_that_diverges_leaves_the_others_bitwise_alone() -> None:
    given = params(4)
    given[1]["fuse"], given[3]["lr"] = 5.0, float("nan")
    sick, well = pack(program(), given), pack(program(), [given[0], given[2]], [0, 2])
    for lanes in (sick, well):
        lanes.run(12)
    same(well, sick, [(0, 0), (1, 2)])
    assert sick.flush().diverged.tolist() == [-1, 5, -1, 1]


def test_a_diverged_lane_keeps_the_state_in_which_it_was_found() -> None:
    given = params(2)
    given[1]["fuse"] = 5.0
    lanes, until = pack(program(), given), pack(program(), params(2))
    until.run(5)
    for _ in range(9):
        lanes.step(report=True)
    for path, x in until.save().items():
        if path not in ("diverged", "steps"):
            assert torch.equal(lanes.save()[path][1], x[1]), path
    found = lanes.flush()
    assert found.diverged.tolist() == [-1, 5]
    losses = found.values[::2]
    assert losses[:, 0].isfinite().all()
    assert losses[:5, 1].isfinite().all() and losses[5, 1].isinf() and losses[6:, 1].isnan().all()


def test_clipping_one_lane_does_not_touch_another() -> None:
    loose, mixed = params(3, clip=float("inf")), params(3, clip=float("inf"))
    mixed[1]["clip"] = 1e-3
    made = program(optimizer=sgd("lr", 0.9, clip="clip"))
    a, b = pack(made, loose), pack(made, mixed)
    for lanes in (a, b):
        lanes.run(6)
    same(a, b, [(0, 0), (2, 2)])
    moved = [lanes.state["params"]["0.weight"][1] for lanes in (a, b, pack(made, loose))]
    assert (moved[1] - moved[2]).norm() <= 6 * 0.01 * 1e-3 / (1 - 0.9) < (moved[0] - moved[2]).norm()


def test_going_on_with_some_lanes_changes_nothing_for_them() -> None:
    whole, kept = pack(program(), params(5)), pack(program(), params(5))
    for lanes in (whole, kept):
        lanes.run(4)
    kept.keep([4, 1])
    assert len(kept) == 2 and kept.params == [params(5)[4], params(5)[1]]
    for lanes in (whole, kept):
        lanes.run(4)
    same(kept, whole, [(0, 4), (1, 1)])
    kept.keep([1])
    for lanes in (whole, kept):
        lanes.run(2)
    same(kept, whole, [(0, 1)])


def test_a_pack_goes_on_from_a_checkpoint(tmp_path) -> None:
    whole, first = pack(program(), params(3)), pack(program(), params(3))
    whole.run(8)
    first.run(5)
    safetensors.torch.save_file(first.save(), tmp_path / "pack.safetensors")
    first.run(1)  # what was saved does not move with the lanes
    second = pack(program(), params(3))
    second.load(safetensors.torch.load_file(tmp_path / "pack.safetensors"))
    second.run(3)
    same(second, whole, [(k, k) for k in range(3)])


def test_single_lanes_are_taken_out_and_joined_anew() -> None:
    whole, first = pack(program(), params(4)), pack(program(), params(4))
    whole.run(8)
    first.run(5)
    saved = [stacks.lane_of(first.save(), k) for k in range(4)]
    pair = pack(program(), [params(4)[2], params(4)[0]], [2, 0])
    pair.load(stacks.joined([saved[2], saved[0]]))
    alone = pack(program(), [params(4)[3]], [3])
    alone.load(saved[3])
    for lanes in (pair, alone):
        lanes.run(3)
    same(pair, whole, [(0, 2), (1, 0)])
    same(alone, whole, [(0, 3)])
    later = stacks.lane_of(whole.save(), 1)
    with pytest.raises(ProgramError, match="cannot be joined after 5, 8 updates"):
        stacks.joined([saved[0], later])
    with pytest.raises(ProgramError, match=r"'params/0.weight' is \(1, 16, 6\), and the program needs \(2, 16, 6\)"):
        pair.load(saved[0])


def test_reports_are_rows_of_all_lanes() -> None:
    lanes = pack(program(), params(3))
    lanes.run(5, every=2)
    found = lanes.flush()
    assert isinstance(found, Flush)
    assert found.steps == [0, 0, 2, 2, 2, 4, 4, 4]
    assert found.metrics == ["loss", "size", "accuracy", "loss", "size", "accuracy", "loss", "size"]
    assert found.values.shape == (8, 3) and found.values.dtype == torch.float64 and found.values.isfinite().all()
    assert lanes.flush().values.shape == (0, 3)
    lanes.evaluate()
    with pytest.raises(ProgramError, match="call flush"):
        lanes.keep([0])


def test_lanes_leave_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    pack(program(), params(2)).run(2)
    assert torch.equal(torch.rand(2), expected)


class Sized(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))


def wide(p, seeds) -> nn.Module:
    return Sized(int(p["width"]))


class Forgetful(nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.drop, self.out = nn.Dropout(rate), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.drop(x))


MISTAKES = {
    "shapes": (
        {"model": wide},
        [{"width": 4}, {"width": 8}],
        r"tensor 'weight' is \(4,\) in lane 0 and \(8,\) in lane 1; name the parameter",
    ),
    "declared": ({"model": wide, "shapes": ("width",)}, [{"width": 4}, {"width": 8}], "width is 4 in lane 0 and 8"),
    "missing": ({"shapes": ("depth",)}, [{"lr": 0.1}], "'depth' is named in `shapes` but is no parameter"),
    "code": (
        {"model": lambda p, s: Forgetful(p["rate"])},
        [{"rate": 0.1}, {"rate": 0.2}],
        "module's drop.p is 0.1 in lane 0 and 0.2 in lane 1",
    ),
    "text": ({"loss": lambda m, b, p: m(b[0]).mean() * (p["act"] == "relu")}, [{"act": "relu"}], "text must be named"),
    "vector": ({"loss": lambda m, b, p: m(b[0])[:, 0]}, [{}], r"the loss has shape \(32,\)"),
    "batch": ({"data": lambda p: Data((X, Y), (), 100)}, [{}], "a batch of 100 cannot be drawn from 96 rows"),
    "rows": ({"data": lambda p: Data((X, Y[:5]))}, [{}], r"equally many rows; they have \[5, 96\]"),
    "data": ({"data": lambda p: Data((X, Y), (), int(p["size"]))}, [{"size": 8}], "size"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_explained(name: str) -> None:
    changes, given, message = MISTAKES[name]
    with pytest.raises((ProgramError, KeyError), match=message):
        pack(program(**{"optimizer": sgd(0.1), **changes}), given).step()


def test_more_than_one_plain_trial_is_refused() -> None:
    with pytest.raises(ProgramError, match="2 trials cannot run as one plain trial"):
        pack(program(), params(2), fused=False)
