"""The goals on a GPU: lanes beside an eager loop, a loop of CUDA graphs and Ray Tune, and memory as predicted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from tests.benchmarks.fusion_contenders import graph_loop, loop, tune_apart
from tests.benchmarks.fusion_shapes import Case, data, mlp

CASE = Case("MLP", mlp, 128, 2048, 400, 4, batch=128)
PROCESSES = (1, 2, 4, 8, 16)  # of Ray Tune that share the device; the best number counts
GOALS = {"eager loop": 100.0, "CUDA-graph loop": 25.0, "Ray Tune": 10.0}


def seconds(work: Callable[[], Any], repetitions: int = 3) -> float:
    """The fastest of some repetitions, each until the device has done its work."""
    found: list[float] = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return min(found)


def goals(swathe: Callable[[Case, str], tuple[int, float]]) -> Iterator[str]:
    """The lines of the report; `swathe` trains a case on a device as a worker does."""
    warm = Case("", mlp, 4, 4, 10, 1, batch=128)
    for work in (lambda: swathe(warm, "cuda"), lambda: loop(warm, "cuda"), lambda: graph_loop(warm)):
        seconds(work, 1)
    torch.cuda.reset_peak_memory_stats()
    lanes, size = swathe(CASE, "cuda")
    used = torch.cuda.max_memory_allocated()
    held = sum(x.nbytes for rows in (data(CASE.batch).train, data(CASE.batch).held_out) for x in rows)
    predicted = lanes * size + held
    mine = CASE.trials / seconds(lambda: swathe(CASE, "cuda"))
    yield f"{torch.cuda.get_device_name()}, width {CASE.width}, batch {CASE.batch}, Adam, {CASE.trials} trials of "
    yield f"{CASE.steps} steps, packs of {lanes} lanes: {mine:.1f} trials per second.\n"
    few = Case(CASE.title, CASE.model, CASE.width, 16, CASE.steps, 1, batch=CASE.batch)
    shared = {count: tune_apart(few, count, "cuda") for count in PROCESSES}
    best = max(shared, key=lambda count: shared[count])
    rates = {
        "eager loop": CASE.alone / seconds(lambda: loop(CASE, "cuda")),
        "CUDA-graph loop": CASE.alone / seconds(lambda: graph_loop(CASE)),
        "Ray Tune": shared[best],
    }
    yield f"| contender | trials/s | ratio | goal |\n|---|---:|---:|---|\n| Ray Tune shares it among | {best} | | |"
    for name, rate in rates.items():
        verdict = "met" if mine / rate >= GOALS[name] else "missed"
        yield f"| {name} | {rate:.2f} | {mine / rate:.1f} | {GOALS[name]:g}: {verdict} |"
    verdict = "met" if abs(used / predicted - 1) <= 0.2 else "missed"
    yield f"\n- memory: {used / 1e6:.0f} MB, predicted {predicted / 1e6:.0f} MB; goal within 20%: {verdict}"
