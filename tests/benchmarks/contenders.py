"""One contender runs one load in this process and prints what it took; `throughput` starts it.

    python -m tests.benchmarks.contenders NAME --trials 100 --reports 1 --seconds 0

The training function is the same for all: it reports a loss `reports` times and sleeps `seconds` in all. The moment at
which the first trial of each process begins is written down once, so that starting a cluster can be told from running
trials.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WORKERS = 2
SPACE = {"low": 1e-4, "high": 1.0}


@dataclass(frozen=True)
class Load:
    """What is run: so many trials, with so many reports each, lasting so long."""

    trials: int
    reports: int
    seconds: float


@dataclass(frozen=True)
class Took:
    """Unix times: the process is ready to start anything, the first trial began, all results are in."""

    ready: float
    first: float
    end: float
    finished: int


def mark(folder: Path, known: set[int] = set()) -> None:  # noqa: B006
    """Write down when the first trial of this process begins."""
    if os.getpid() not in known:
        known.add(os.getpid())
        (folder / f"first-{os.getpid()}").write_text(repr(time.time()), encoding="utf-8")


def first(folder: Path) -> float:
    """When the first trial of any process began."""
    return min(float(path.read_text(encoding="utf-8")) for path in folder.glob("first-*"))


def train(lr: float, load: Load, folder: Path, report: Callable[[int, float], Any]) -> float:
    """The training function without any framework."""
    mark(folder)
    for step in range(load.reports):
        if load.seconds:
            time.sleep(load.seconds / load.reports)
        report(step, lr + step)
    return lr


# Swathe

TASK = """
from pathlib import Path
from tests.benchmarks.contenders import Load, train as common

LOAD = Load({trials}, {reports}, {seconds})
FOLDER = Path({folder!r})


def train(trial):
    return {{"loss": common(trial.params["lr"], LOAD, FOLDER, lambda step, loss: trial.report(step, loss=loss))}}
"""


def swathe(load: Load, folder: Path, sampler: str) -> int:
    """Swathe embedded: on a Ray of this machine."""
    from swathe.orchestrator.driver import Launch, run
    from swathe.orchestrator.ledger import Reader
    from swathe.orchestrator.ledger.tables import url_of
    from swathe.orchestrator.spec import Sweep

    (folder / "train.py").write_text(TASK.format(folder=str(folder), **asdict(load)), encoding="utf-8")
    sweep = Sweep(
        name="load",
        task="train.py:train",
        metric="loss",
        search={"lr": {**SPACE, "log": True}},
        configurations=load.trials,
        sampler=sampler,
    ).rooted(folder)
    finished = run(sweep, Launch(folder / "sweeps", "embedded", WORKERS))
    reader = Reader(url_of(finished.folder), "load")
    try:
        return reader.progress().count()
    finally:
        reader.close()


# Ray Tune

# Its documentation's advice for many short trials, and what its sources read besides.
BEST_SETTINGS = {
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "8",
    "TUNE_RESULT_BUFFER_LENGTH": "1000",
    "TUNE_RESULT_BUFFER_MAX_TIME_S": "1",
    "TUNE_WARN_THRESHOLD_S": "100",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def tune(load: Load, folder: Path, *, best: bool) -> int:
    """Ray Tune with OptunaSearch."""
    if best:
        os.environ.update(BEST_SETTINGS)
    from ray import tune as rt
    from ray.tune.search.optuna import OptunaSearch

    def trainable(config: dict[str, float]) -> dict[str, float]:
        return {"loss": train(config["lr"], load, folder, lambda step, loss: rt.report({"loss": loss}))}

    if best:
        import optuna

        search = OptunaSearch(metric="loss", mode="min", sampler=optuna.samplers.RandomSampler(seed=0))
        verbosity: dict[str, Any] = {"verbose": 0}
    else:
        search = OptunaSearch(metric="loss", mode="min")
        verbosity = {}
    tuner = rt.Tuner(
        rt.with_resources(trainable, {"cpu": 1}),
        param_space={"lr": rt.loguniform(*SPACE.values())},
        tune_config=rt.TuneConfig(
            search_alg=search,
            num_samples=load.trials,
            # By default only what the cluster has limits it: as many trials as there are workers.
            max_concurrent_trials=WORKERS if best else None,
            reuse_actors=best,
        ),
        run_config=rt.RunConfig(storage_path=str(folder), name="load", **verbosity),
    )
    return len(tuner.fit())


# Plain Optuna


def optimize(journal: str, trials: int, load: Load, folder: Path, sampler: str) -> None:
    """One of the processes that share a journal."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.load_study(
        study_name="load",
        storage=optuna.storages.JournalStorage(JournalFileBackend(journal)),
        sampler=samplers[sampler](),
    )

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", *SPACE.values(), log=True)
        return train(lr, load, folder, lambda step, loss: trial.report(loss, step))

    study.optimize(objective, n_trials=trials)


def journal(load: Load, folder: Path, sampler: str) -> int:
    """Plain Optuna: a journal file shared by two processes."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    path = str(folder / "journal.log")
    storage = optuna.storages.JournalStorage(JournalFileBackend(path))
    study = optuna.create_study(study_name="load", storage=storage)
    context = multiprocessing.get_context("spawn")
    shares = [load.trials // WORKERS + (index < load.trials % WORKERS) for index in range(WORKERS)]
    processes = [context.Process(target=optimize, args=(path, share, load, folder, sampler)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return len(study.get_trials(deepcopy=False))


# Ray alone


def pool(load: Load, folder: Path) -> int:
    """Bare Ray actors: one call a trial, two in flight at each, nothing searched and nothing kept."""
    import ray

    class Bare:
        def run(self, lr: float) -> list[float]:
            losses: list[float] = []
            train(lr, load, folder, lambda step, loss: losses.append(loss))
            return losses

    actors = [ray.remote(num_cpus=1)(Bare).remote() for _ in range(WORKERS)]
    in_flight: dict[Any, Any] = {}
    results: list[list[float]] = []
    for number in range(load.trials):
        if len(in_flight) < 2 * WORKERS:
            actor = actors[number % WORKERS]
        else:
            (done, *_), _ = ray.wait(list(in_flight), num_returns=1)
            actor = in_flight.pop(done)
            results.append(ray.get(done))
        in_flight[actor.run.remote(1.0 / (number + 1))] = actor
    results += ray.get(list(in_flight))
    return len(results)


CONTENDERS: dict[str, Callable[[Load, Path], int]] = {
    "swathe": lambda load, folder: swathe(load, folder, "random"),
    "swathe-tpe": lambda load, folder: swathe(load, folder, "tpe"),
    "tune": lambda load, folder: tune(load, folder, best=False),
    "tune-best": lambda load, folder: tune(load, folder, best=True),
    "optuna": lambda load, folder: journal(load, folder, "random"),
    "optuna-tpe": lambda load, folder: journal(load, folder, "tpe"),
    "pool": pool,
}


@contextlib.contextmanager
def cluster(name: str, address: str) -> Iterator[None]:
    """A local Ray with as many processors as there are workers, as Swathe would start it, or that at `address`; plain
    Optuna needs none."""
    if name.startswith("optuna"):
        yield
        return
    import ray

    if address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        yield
        ray.shutdown()
        return
    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100 * 2**20,
    )
    yield
    ray.shutdown()


def measure(name: str, load: Load, address: str = "") -> Took:
    """Run the load once, on a Ray of its own or that at `address`."""
    with tempfile.TemporaryDirectory() as place:
        ready = time.time()
        with cluster(name, address):
            finished = CONTENDERS[name](load, Path(place))
            end = time.time()
        return Took(ready, first(Path(place)), end, finished)


def main() -> None:
    """Run one contender; its record is the last line on standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=list(CONTENDERS))
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--reports", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--address", default="", help="of a Ray that runs already")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    took = measure(given.name, Load(given.trials, given.reports, given.seconds), given.address)
    print("\n" + json.dumps(asdict(took)), file=sys.__stdout__)


if __name__ == "__main__":
    main()
