"""What lanes are compared with: an eager loop, a loop that replays a CUDA graph, and Ray Tune that runs the eager loop.

    python -m tests.benchmarks.fusion_contenders WIDTH --trials 24 --steps 400 --processes 1

runs Ray Tune in this process and prints the trials per second, from the start of the first trial to the last result.
Its packing: `processes` trials at a time, each in an actor of its own that is used again, with one core, or on a GPU
with an equal share of it; reports, checkpoints and loggers are left out as its documentation advises.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.benchmarks.contenders import BEST_SETTINGS, first, mark
from tests.benchmarks.fusion_shapes import ROWS, Case, X, Y, mlp


def orders(case: Case, seed: int) -> Iterator[Tensor]:
    """The rows of each step of a trial: all of them in an order of its own, again and again."""
    order = torch.Generator().manual_seed(seed)
    left = case.steps
    while left > 0:
        batches = torch.randperm(ROWS, generator=order).split(case.batch)[:left]
        left -= len(batches)
        yield from batches


def loop(case: Case, device: str = "cpu", lr: float = 1e-3) -> float:
    """Plain PyTorch, one trial after another; the last loss."""
    x, y = X.to(device), Y.to(device)
    loss = torch.zeros(())
    for k in range(case.alone):
        torch.manual_seed(k)
        model = case.model({"width": case.width}, None).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        for rows in orders(case, k):
            rows = rows.to(device, non_blocking=True)
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return float(loss.detach())


def graph_loop(case: Case) -> float:
    """The same on a GPU, each trial a CUDA graph of one step that is replayed; recorded within the clock."""
    x, y = X.cuda(), Y.cuda()
    loss = torch.zeros(())
    for k in range(case.alone):
        torch.manual_seed(k)
        model = case.model({"width": case.width}, None).cuda()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, capturable=True)
        order = torch.stack([rows for rows in orders(case, k) if len(rows) == case.batch]).cuda()
        rows = order[0].clone()

        def step(model: Any = model, optimizer: Any = optimizer, rows: Tensor = rows) -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            return loss

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # a graph is recorded after some steps on another stream
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = step()
        for chosen in order[3:]:
            rows.copy_(chosen)
            graph.replay()
    return float(loss.detach())


def tune(case: Case, processes: int, device: str, folder: Path) -> float:
    """Ray Tune; trials per second."""
    os.environ.update(BEST_SETTINGS)
    import ray
    from ray import tune as rt

    def trainable(config: dict[str, float]) -> dict[str, float]:
        mark(folder)
        torch.set_num_threads(1)
        return {"loss": loop(case, device, config["lr"])}

    share = {"gpu": 1 / processes} if device == "cuda" else {}
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    ray.init(address="local", num_cpus=processes, object_store_memory=100 * 2**20, **quiet)
    tuner = rt.Tuner(
        rt.with_resources(trainable, {"cpu": 1, **share}),
        param_space={"lr": rt.loguniform(1e-4, 1e-2)},
        tune_config=rt.TuneConfig(num_samples=case.trials, max_concurrent_trials=processes, reuse_actors=True),
        run_config=rt.RunConfig(storage_path=str(folder), name="load", verbose=0),
    )
    finished = len([each for each in tuner.fit() if each.error is None])
    seconds = time.time() - first(folder)
    ray.shutdown()
    assert finished == case.trials, f"{finished} of {case.trials} trials ended"
    return finished / seconds


def tune_apart(case: Case, processes: int, device: str = "cpu") -> float:
    """`tune` for an MLP in a process of its own."""
    words = [f"--{name}={getattr(case, name)}" for name in ("trials", "steps", "batch")]
    command = [sys.executable, "-m", "tests.benchmarks.fusion_contenders", str(case.width), *words]
    done = subprocess.run(
        [*command, f"--processes={processes}", f"--device={device}"], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Run Ray Tune; the last line on standard output is its trials per second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("width", type=int)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    case = Case("MLP", mlp, given.width, given.trials, given.steps, 1, batch=given.batch)
    with tempfile.TemporaryDirectory() as place:
        rate = tune(case, given.processes, given.device, Path(place))
    print("\n" + json.dumps(rate), file=sys.__stdout__)


if __name__ == "__main__":
    main()
