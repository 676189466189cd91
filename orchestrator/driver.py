"""Drives a sweep from beginning to end: makes or opens its folder, runs it somewhere, says how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from . import looking, resuming, signals
from .changes import Changes
from .errors import Interrupted, LedgerEmpty, NotYetSupported, SpecError
from .home import Home
from .isolation import pinned_threads
from .ledger import Reader, SweepRecord
from .loading import task_of
from .looking import Decide
from .messages import Cause, Push, Reply
from .resuming import Present
from .runner import declared_metrics
from .scheduler import Scheduler
from .search import Request
from .separate import runner_of
from .shipping import shipped
from .signals import stop_signals
from .spec import Sweep
from .task import Scalar, Task
from .worker import Worker, this_process

CLUSTERS = ("embedded", "inline")


@dataclass(frozen=True, slots=True)
class Launch:
    """How to run a sweep: where its folder goes, on what, with how many workers (None: as many as fit).

    `accept` decides whether to go on when code or packages have changed; `origin` names the sweep that a new one
    branches off. `decide` looks at a sweep that may stop early. `ledger` is the URL of a shared database, `results` the
    URI of a folder in an object store.
    """

    directory: Path = Path("sweeps")
    cluster: str = "embedded"
    workers: int | None = None
    takeover: bool = False
    accept: Callable[[Changes], bool] = lambda changed: False
    origin: str | None = None
    decide: Decide | None = None
    ledger: str | None = None
    results: str | None = None

    def home(self, name: str) -> Home:
        """Where the sweep of this name lives."""
        return Home.at(self.directory, name, self.ledger, self.results)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a sweep ended: `reason` as in `events.CloseSweep`, `exit_code` what the command line returns."""

    folder: Path
    reason: str
    exit_code: int
    failed_share: float


def run(
    sweep: Sweep,
    launch: Launch = Launch(),
    started: Callable[[Home], None] = lambda home: None,
    stopping: Callable[[], None] = lambda: None,
) -> Finished:
    """Run `sweep`, or go on with it, until it is finished or drained.

    `started` is told where it lives; `stopping` is called when a first Ctrl-C or SIGTERM has asked for a drain, inside
    the signal's handler.

    Raises a `SwatheError` before anything is written when the spec, the task or the cluster cannot be used.
    """
    _check_cluster(launch)
    looking.check(sweep, launch.decide)
    finished, asked = None, sweep
    while finished is None:
        if launch.decide is not None and asked.stop is not None:
            sweep = looking.wave(asked, _known(asked, launch))
        finished = _run_wave(sweep, launch, started, stopping)
        if asked.stop is not None and launch.decide is not None and finished.reason == "finished":
            seen = looking.look(launch.home(sweep.name), sweep, launch.decide)
            if not seen.decided and seen.seeds < asked.most_seeds:
                finished, started = None, _silent
    return finished


def _silent(home: Home) -> None:
    """Nobody is told again."""


def _run_wave(sweep: Sweep, launch: Launch, started: Callable[[Home], None], stopping: Callable[[], None]) -> Finished:
    """Run as many replicates as `sweep` says, and no look."""
    task = task_of(sweep)
    home = prepare(sweep, task, launch)
    started(home)
    if home.record().status == "finished":
        reason = _settle(home, launch)
    elif launch.cluster == "inline":
        reason = _run_inline(sweep, task, home, launch, stopping)
    else:
        # Ray takes a second to import, and nothing else here needs it.
        from . import embedded

        reason = embedded.run_embedded(sweep, home, launch.workers, takeover=launch.takeover, stopping=stopping)
    return finish(sweep, home, reason)


def prepare(sweep: Sweep, task: Task, launch: Launch) -> Home:
    """Where the sweep lives, made when it is new; raises when it holds another sweep or is being driven by another."""
    for metric in sweep.objectives if task.metrics else ():
        if metric in task.metrics:
            continue
        near = get_close_matches(metric, task.metrics, n=1, cutoff=0.0)
        raise SpecError(
            f"metric {metric!r} is none that task {task.name} reports ({', '.join(task.metrics)}); "
            f"did you mean metric: {near[0]}?"
        )
    # Absolute, because a trial in this process may change the working directory.
    home = launch.home(sweep.name)
    present = Present(sweep, home, launch.takeover, launch.accept, fusible_shapes(sweep, task))
    record = _existing(home) if home.exists() else None
    if record is None and launch.origin is not None:
        resuming.branch(present, home.folder.parent / launch.origin, declared_metrics(sweep, task))
        record = _existing(home)
    if record is None:
        resuming.begin(present, declared_metrics(sweep, task))
    else:
        resuming.go_on(present, record)
        _check_lanes(sweep, home)
    return home


def _check_lanes(sweep: Sweep, home: Home) -> None:
    """Raises `SpecError` where trials that have begun as lanes would have to go on in processes of their own."""
    if sweep.isolate is None:
        return
    reader = Reader(home.ledger, sweep.name)
    try:
        fused = [shape for shape, known in reader.capacities().items() if known.lanes]
    finally:
        reader.close()
    if fused:
        raise SpecError(
            f"isolate is {sweep.isolate}, but trials of shape {fused[0]} have begun as lanes of one program; "
            "leave isolate out, or give the sweep another name"
        )


def fusible_shapes(sweep: Sweep, task: Task) -> Mapping[str, Scalar | None] | None:
    """The parameters that decide which trials share a pack, None where they all run alone. Raises `SpecError`."""
    if isinstance(sweep.fuse, int):
        if task.fusible is None:
            raise SpecError(
                f"fuse is {sweep.fuse}, but task {task.name} is a function of one trial and cannot run as lanes; "
                "write `fuse: auto`, or make it a Program (README, section Fusion)"
            )
        if sweep.isolate is not None:
            raise SpecError(
                f"fuse is {sweep.fuse}, but isolate: {sweep.isolate} gives each trial a process of its own; remove one"
            )
    return None if task.fusible is None else dict(task.fusible.shapes)


def _check_cluster(launch: Launch) -> None:
    if launch.cluster not in CLUSTERS:
        near = get_close_matches(launch.cluster, CLUSTERS, n=1, cutoff=0.0)[0]
        raise NotYetSupported(
            f"cluster {launch.cluster!r} is unknown; this version runs {' and '.join(CLUSTERS)}; did you mean {near}?"
        )
    if launch.workers is not None and launch.workers < 1:
        raise SpecError(f"--workers {launch.workers} is below 1; a sweep needs at least one worker")
    if launch.cluster == "inline" and launch.workers not in (None, 1):
        raise SpecError(
            f"--workers {launch.workers} does not go with the inline cluster, which is this one process; "
            "leave it out, or use --cluster embedded"
        )


def _known(sweep: Sweep, launch: Launch) -> SweepRecord | None:
    """What there is of the sweep, or of the one that it branches off."""
    homes = [launch.home(sweep.name), *([] if launch.origin is None else [launch.home(launch.origin)])]
    return next((found for home in homes if home.exists() and (found := _existing(home)) is not None), None)


def _existing(home: Home) -> SweepRecord | None:
    """The sweep, or None when its ledger was made and the driver died before it was filled."""
    try:
        return home.record()
    except LedgerEmpty:
        return None


def _settle(home: Home, launch: Launch) -> str:
    """Nothing is left to run; write the parts that a driver killed at the very end has left out."""
    scheduler = Scheduler(home.folder, home.ledger, takeover=launch.takeover)
    try:
        scheduler.tick(drain=True)
        scheduler.compact(everything=True)
        assert scheduler.closed is not None
        return scheduler.closed
    finally:
        scheduler.close()


def _run_inline(sweep: Sweep, task: Task, home: Home, launch: Launch, stopping: Callable[[], None]) -> str:
    scheduler = Scheduler(home.folder, home.ledger, takeover=launch.takeover)
    draining = threading.Event()
    one_at_a_time = threading.Lock()
    search, waiting = scheduler.search, list[Request]()
    cancel = signals.once(signals.interrupt_main)

    def exchange(push: Push) -> Reply:
        with one_at_a_time:
            ticked = scheduler.tick([push], drain=draining.is_set())
            replies = dict(ticked.replies)
            waiting.extend(ticked.requests)
            # Between trials, whose threads may be others than those of the search.
            while waiting and push.wants_lease:
                with pinned_threads(sweep.threads) if len(sweep.shares) > 1 else nullcontext():
                    proposed = [(request, search.propose(request)) for request in waiting]
                ticked = scheduler.tick(proposed=proposed)
                replies.update(ticked.replies)
                waiting[:] = ticked.requests
            if scheduler.closed == "cancelled":
                cancel()
            scheduler.compact()
            return replies[push.worker]

    def drain() -> None:
        if scheduler.closed == "cancelled":
            raise Interrupted
        draining.set()
        stopping()

    with closing(scheduler):
        try:
            with stop_signals(drain):
                for name in sweep.shares:
                    if scheduler.closed is None:
                        _work(sweep, task, home, scheduler, (name, exchange))
        except Interrupted:
            if scheduler.closed != "cancelled":
                raise
        scheduler.compact(everything=True)
        assert scheduler.closed is not None
        return scheduler.closed


def _work(
    sweep: Sweep, task: Task, home: Home, scheduler: Scheduler, line: tuple[str, Callable[[Push], Reply]]
) -> None:
    """Run all trials of one share in this process; `line` is its name and the way to the scheduler."""
    name, exchange = line
    share, results = sweep.shares[name], home.record().results
    runner, context = runner_of(sweep, task, home.folder, results, share)
    info = this_process("inline", context.device, name)
    scheduler.join(info)
    with pinned_threads(share.threads), shipped(runner, home.folder, results) as shipping:
        while not Worker(info.worker, shipping, exchange).run():
            # A trial left threads behind, and this process cannot be replaced; the next trials share it.
            pass


def finish(sweep: Sweep, home: Home, reason: str) -> Finished:
    """How a sweep that has closed for `reason` ended."""
    folder = home.folder
    reader = Reader(home.ledger, sweep.name)
    try:
        progress = reader.progress()
    finally:
        reader.close()
    causes = progress.causes()
    failed = sum(causes.values()) - causes.get(Cause.DIVERGED, 0)
    share = failed / max(1, progress.count())
    if reason in ("drained", "cancelled"):
        return Finished(folder, reason, 130, share)
    if reason == "failures":
        return Finished(folder, reason, 1, share)
    return Finished(folder, reason, 1 if share > sweep.limits.failures else 0, share)
