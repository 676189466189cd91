"""Trials per second of lanes beside plain PyTorch loops, calibration and recording inside the clock.

    python -m tests.benchmarks.fusion            about twenty minutes on one idle core
    python -m tests.benchmarks.fusion --quick    a few shapes, fewer steps

Everything on one thread. The loops are what a user writes without a framework: `torch.optim`, eager, one trial after
another. Swathe's side is what a worker does for one shape: it measures how many lanes pay, then trains packs of
them, or plain trials where that is as fast. Data are random, of the sizes of the digits (64 inputs, batches of 32);
each trial has an order of its own. Contenders take turns; the fastest of the repetitions counts, by the clock of the
wall and by the thread's own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swathe.orchestrator.fusion import Data, Program, adam, as_task
from swathe.orchestrator.task import Scalar, Trial

ROWS, BATCH, INPUTS, CLASSES = 1024, 32, 64, 10


def mlp(p: Mapping[str, Scalar], seeds: Any) -> nn.Module:
    """Two hidden layers."""
    n = int(p["width"])
    return nn.Sequential(nn.Linear(INPUTS, n), nn.ReLU(), nn.Linear(n, n), nn.ReLU(), nn.Linear(n, CLASSES))


def convnet(p: Mapping[str, Scalar], seeds: Any) -> nn.Module:
    """Two convolutions on 8 x 8 images."""
    n = int(p["width"])
    first = (nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, n, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, nn.Conv2d(n, n, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * n, CLASSES))


class Transformer(nn.Module):
    """One block over the eight rows of an image."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.read = nn.Linear(8, n)
        self.query, self.key, self.value, self.out = (nn.Linear(n, n) for _ in range(4))
        self.wide, self.narrow = nn.Linear(n, 2 * n), nn.Linear(2 * n, n)
        self.norms = nn.ModuleList(nn.LayerNorm(n) for _ in range(2))
        self.head = nn.Linear(n, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images (batch x 64)."""
        h = self.read(x.unflatten(-1, (8, 8)))
        z = self.norms[0](h)
        q, k, v = (part(z).unflatten(-1, (2, -1)).transpose(-2, -3) for part in (self.query, self.key, self.value))
        h = h + self.out(F.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2))
        h = h + self.narrow(F.gelu(self.wide(self.norms[1](h))))
        return self.head(h.mean(-2))


def transformer(p: Mapping[str, Scalar], seeds: Any) -> nn.Module:
    """See `Transformer`."""
    return Transformer(int(p["width"]))


@dataclass(frozen=True)
class Case:
    """One shape: how many trials of how many steps Swathe is given, how many of them the loop trains, and the goal."""

    title: str
    model: Callable[..., nn.Module]
    width: int
    trials: int
    steps: int
    alone: int
    goal: float = 0.95


CASES = (
    *(Case("MLP", mlp, 16, lanes, 400, 4) for lanes in (8, 32, 512, 1024)),
    Case("MLP", mlp, 16, 128, 400, 4, 10.0),
    Case("MLP", mlp, 64, 128, 400, 4, 4.0),
    Case("MLP", mlp, 256, 32, 200, 2),
    Case("MLP", mlp, 512, 32, 100, 4),
    Case("MLP", mlp, 1024, 16, 100, 2),
    Case("MLP", mlp, 4096, 4, 40, 1),
    Case("convnet", convnet, 8, 64, 200, 3),
    Case("transformer", transformer, 16, 64, 200, 3),
)
QUICK = {(16, 128), (64, 128), (256, 32), (1024, 16)}
X = torch.randn(ROWS, INPUTS, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, CLASSES, (ROWS,), generator=torch.Generator().manual_seed(1))
DATA = Data((X, Y), (X[:64], Y[:64]), BATCH)


def objective(model: Any, batch: tuple[Tensor, Tensor], p: Mapping[str, Any]) -> Tensor:
    """Cross-entropy."""
    return F.cross_entropy(model(batch[0]), batch[1])


def swathe(case: Case) -> int:
    """What a worker does; the number of lanes, 1 for plain trials."""
    program = Program(case.model, objective, adam("lr"), lambda p: DATA, shapes=("width",))
    task = as_task(program, name="bench", summary="")
    assert task.fusible is not None
    params = [
        {"width": case.width, "steps": case.steps, "report_every": case.steps, "lr": 1e-3 * (1 + k / case.trials)}
        for k in range(case.trials)
    ]
    kept: dict[str, Any] = {}  # a worker shares data between the trials of a shape, and recorded updates
    trials = [
        Trial(p, replicate=k, share=lambda name, make: kept[name] if name in kept else kept.setdefault(name, make()))
        for k, p in enumerate(params)
    ]
    lanes = task.fusible.calibrate(params[0], case.trials, "cpu").lanes
    if not lanes:
        for trial in trials:
            task.train(trial)
        return 1
    for first in range(0, case.trials, lanes):
        task.fusible.train_pack(trials[first : first + lanes])
    return lanes


def loop(case: Case) -> None:
    """Plain PyTorch."""
    for k in range(case.alone):
        torch.manual_seed(k)
        model = case.model({"width": case.width}, None)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        order = torch.Generator().manual_seed(k)
        step = 0
        while step < case.steps:
            for rows in torch.randperm(ROWS, generator=order).split(BATCH)[: case.steps - step]:
                loss = F.cross_entropy(model(X[rows]), Y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step += 1


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `work` returns, and its seconds by the wall and by this thread."""
    wall, own = time.perf_counter(), time.thread_time()
    found = work()
    return found, time.perf_counter() - wall, time.thread_time() - own


def measure(case: Case, repetitions: int) -> tuple[int, float, float, float, float]:
    """Lanes; then trials per second of Swathe and of the loop, by the wall and by the thread."""
    times: dict[str, list[tuple[float, float]]] = {"swathe": [], "loop": []}
    lanes = 0
    for _ in range(repetitions):
        lanes, *found = timed(lambda: swathe(case))
        times["swathe"].append((found[0], found[1]))
        _, *found = timed(lambda: loop(case))
        times["loop"].append((found[0], found[1]))
    best = {name: [min(column) for column in zip(*each, strict=True)] for name, each in times.items()}
    mine, its = best["swathe"], best["loop"]
    return lanes, case.trials / mine[0], case.alone / its[0], case.trials / mine[1], case.alone / its[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four shapes, once")
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    timed(lambda: swathe(Case("", mlp, 4, 2, 2, 1)))  # what the first call in a process loads
    timed(lambda: loop(Case("", mlp, 4, 2, 2, 1)))
    print("| shape | width | trials | lanes | Swathe, trials/s | loop, trials/s | ratio | by thread time | goal |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    for case in CASES:
        if given.quick and (case.model is not mlp or (case.width, case.trials) not in QUICK):
            continue
        lanes, mine, its, own, other = measure(case, 1 if given.quick else given.repetitions)
        verdict = "met" if own / other >= case.goal else "missed"
        print(
            f"| {case.title} | {case.width} | {case.trials} | {lanes} | {mine:.2f} | {its:.2f} | {mine / its:.2f} "
            f"| {own / other:.2f} | {case.goal:g}: {verdict} |",
            flush=True,
        )
    print("\nA CUDA-graph loop and Ray Tune on a GPU: not measured.")


if __name__ == "__main__":
    main()
