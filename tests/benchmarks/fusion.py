"""Trials per second of lanes beside plain PyTorch loops, calibration and recording inside the clock.

    python -m tests.benchmarks.fusion            about twenty minutes on one idle core
    python -m tests.benchmarks.fusion --quick    a few shapes, fewer steps

Everything on one thread. The loops are what a user writes without a framework: `torch.optim`, eager, one trial after
another. Swathe's side is what a worker does for one shape: it measures how many lanes pay, then trains packs of
them, or plain trials where that is as fast. Data are random, of the sizes of the digits (64 inputs, batches of 32);
each trial has an order of its own. Contenders take turns, each in a process of its own, as their users run them: what
one leaves in the allocator would make the other faster or slower by a tenth. The fastest of the repetitions counts, by
the clock of the wall and by the thread's own. Ray Tune runs the same loop in one process on one core beside its own;
where there is a GPU, its goals follow.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import Any

import torch

from swathe.orchestrator.fusion import Program, adam, as_task
from swathe.orchestrator.task import Trial
from tests.benchmarks import fusion_gpu
from tests.benchmarks.fusion_contenders import loop, tune_apart
from tests.benchmarks.fusion_shapes import Case, convnet, data, mlp, objective, transformer

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


TUNED = (16, 64)  # widths of the networks that Ray Tune trains, too


def swathe(case: Case, device: str = "cpu") -> tuple[int, float]:
    """What a worker does; the number of lanes, 1 for plain trials, and the bytes that a lane was measured to take."""
    program = Program(case.model, objective, adam("lr"), lambda p: data(case.batch), shapes=("width",))
    task = as_task(program, name="bench", summary="")
    assert task.fusible is not None
    params = [
        {"width": case.width, "steps": case.steps, "report_every": case.steps, "lr": 1e-3 * (1 + k / case.trials)}
        for k in range(case.trials)
    ]
    kept: dict[str, Any] = {}

    def share(name: str, make: Callable[[], Any]) -> Any:
        """As a worker does with data, and with recorded updates, for the trials of a shape."""
        return kept[name] if name in kept else kept.setdefault(name, make())

    trials = [Trial(p, replicate=k, device=device, share=share) for k, p in enumerate(params)]
    found = task.fusible.calibrate(params[0], case.trials, device)
    lanes, size = found.lanes, found.measured.get("lane_bytes", 0.0)
    if not lanes:
        for trial in trials:
            task.train(trial)
        return 1, size
    for first in range(0, case.trials, lanes):
        task.fusible.train_pack(trials[first : first + lanes])
    return lanes, size


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `work` returns, and its seconds by the wall and by this thread."""
    wall, own = time.perf_counter(), time.thread_time()
    found = work()
    return found, time.perf_counter() - wall, time.thread_time() - own


def prepare(contender: Callable[[Case], Any]) -> None:
    """Of a contender's process: one thread, and what its first call loads."""
    torch.set_num_threads(1)
    contender(Case("", mlp, 4, 2, 2, 1))


def timed_apart(contender: Callable[[Case], Any], case: Case) -> tuple[Any, float, float]:
    """As `timed`; what a process is sent."""
    return timed(lambda: contender(case))


def measure(case: Case, repetitions: int) -> tuple[int, float, float, float, float]:
    """Lanes; then trials per second of Swathe and of the loop, by the wall and by the thread."""
    found: dict[Any, list[tuple[Any, float, float]]] = {swathe: [], loop: []}
    with ExitStack() as stack:
        start = multiprocessing.get_context("spawn")
        processes = {
            each: stack.enter_context(ProcessPoolExecutor(1, mp_context=start, initializer=prepare, initargs=(each,)))
            for each in found
        }
        for _ in range(repetitions):
            for each, process in processes.items():
                found[each].append(process.submit(timed_apart, each, case).result())
    (_, *mine), (_, *its) = ([min(column) for column in list(zip(*found[each], strict=True))] for each in found)
    (lanes, _), *_ = found[swathe][-1]
    return lanes, case.trials / mine[0], case.alone / its[0], case.trials / mine[1], case.alone / its[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four shapes, once")
    parser.add_argument("--repetitions", type=int, default=3)
    given = parser.parse_args()
    prepare(swathe)
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
    print()
    tuned(1 if given.quick else given.repetitions)
    print()
    for line in fusion_gpu.goals(swathe) if torch.cuda.is_available() else ["GPU: not measured."]:
        print(line, flush=True)


def tuned(repetitions: int) -> None:
    """Ray Tune on one core beside Swathe, by the clock of the wall: its own process works on another core."""
    print("| width | Swathe, trials/s | Ray Tune, one process, trials/s | ratio |")
    print("|---:|---:|---:|---:|")
    for case in (each for each in CASES if each.goal > 1 and each.width in TUNED):
        few = Case(case.title, case.model, case.width, 24, case.steps, 1)
        rates: list[tuple[float, float]] = []
        for _ in range(repetitions):
            _, wall, _ = timed(lambda case=case: swathe(case))
            rates.append((case.trials / wall, tune_apart(few, 1)))
        mine, its = (max(column) for column in zip(*rates, strict=True))
        print(f"| {case.width} | {mine:.2f} | {its:.2f} | {mine / its:.2f} |", flush=True)


if __name__ == "__main__":
    main()
