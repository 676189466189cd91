"""How many lanes fit and pay on a device, from a measurement that is made once and recorded.

Time per step is taken as a + b K for K lanes: a is what a step costs whatever it does, b what a lane adds. The plan is
a function of the measurement alone, so a sweep that is resumed, or repeated from its record, makes the same packs.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .data import Data
from .lanes import Lanes
from .program import Params, Program, Seeds
from .trees import leaves

FEW, MANY = 2, 8  # lanes measured; one lane would be computed as two
SHARE = 0.5  # of the free memory that lanes may take
GAIN = 1.15  # times as fast as plain trials lanes must be measured to be, to be worth it; measurements err
LONG = 0.02  # seconds of a step beside which the overhead that lanes save on a CPU is nothing
LARGE = 2**24  # bytes of weights that a CPU takes longer to update than to be told to
CALL = 5e-6  # seconds of Python and of launching that one operation takes on a CPU, at most
RECORDING = 0.05  # seconds that the recording of a small step takes
SIZES = sorted({2**i * k // 2 for i in range(1, 11) for k in (2, 3)} - {1536})  # 2, 3, 4, 6, ..., 1024 lanes
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Measurement:
    """Seconds of one step of a plain trial, of `FEW` lanes and of `MANY`; bytes that a lane takes and that are free."""

    plain: float
    few: float
    many: float
    lane_bytes: int
    free_bytes: int


def plan(measured: Measurement, trials: int) -> int:
    """Lanes of a pack for `trials` trials of this shape; 0 where plain trials are as fast, or two lanes do not fit.

    As many as bring the cost of a lane within a tenth of b, as far as memory and the number of trials allow.
    """
    slope = (measured.many - measured.few) / (MANY - FEW)
    each = max(slope, measured.many / MANY / 100, 1e-9)  # noise can turn the slope around
    fixed = max(measured.many - MANY * each, 0.0)
    fitting = int(SHARE * measured.free_bytes / max(measured.lane_bytes, 1))
    if min(fitting, trials) < 2:
        return 0
    enough = next((size for size in SIZES if size >= 10 * fixed / each), SIZES[-1])
    lanes = min(enough, max(size for size in SIZES if size <= fitting), trials)
    return lanes if (fixed / lanes + each) * GAIN <= measured.plain else 0


def steady_clock() -> Callable[[], float]:
    """Seconds of this thread's own work, where it is the only one that computes: neighbours do not count then."""
    return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter


@dataclass(frozen=True)
class Bench:
    """Where a shape is measured: its program, the parameters of one trial and its seeds, and the device.

    A trial makes `length` updates; data may have an order for no more.
    """

    program: Program
    params: Params
    seeds: Seeds
    device: str = "cpu"
    data: Data | None = None
    clock: Callable[[], float] = field(default_factory=lambda: steady_clock())
    length: int = 2**20

    def pack(self, lanes: int, *, fused: bool = True) -> Lanes:
        """Lanes that differ in their seeds, as those of a sweep do: equal ones would read the same rows."""
        seeds = [lambda stream, lane=lane: self.seeds(f"{stream} {lane}") for lane in range(lanes)]
        return Lanes(self.program, [self.params] * lanes, seeds, device=self.device, fused=fused, data=self.data)

    def seconds(self, pack: Lanes, steps: int = 1) -> float:
        """Of each of so many steps. What would go on after a trial's last goes on with the first again."""
        cuda = torch.device(self.device).type == "cuda"
        clock = time.perf_counter if cuda else self.clock  # a device works beside this thread
        steps = min(steps, self.length)
        if pack.done + steps > self.length:
            pack.done = 0
        start = clock()
        pack.run(steps)
        if cuda:
            torch.cuda.synchronize(self.device)
        return (clock() - start) / steps


def measure(bench: Bench, trials: int = 1024) -> Measurement:
    """Trains a few steps of a plain trial and of packs of it, in turns, so that `trials` are run well.

    On a CPU lanes save overhead only: Python and launches, which are the same for a large step as for a small one.
    Where that is little beside a step, or all of it beside a measurement, no lanes are measured, for that might take
    longer than they save; the measurement then says that lanes cost what plain trials cost.
    """
    if torch.device(bench.device).type != "cpu":
        return _beside(bench, bench.pack(1, fused=False), lambda plain, few: True)
    module = bench.program.build(bench.params, bench.seeds)
    weights = sum(p.nbytes for p in module.parameters())
    if weights > LARGE:
        return _as_plain(bench, weights * 10 / 1e10, 3 * weights)  # ten times through memory at 10 GB/s
    alone = bench.pack(1, fused=False)
    plain, overhead = _first_steps(bench, alone)
    cost = RECORDING + 10 * FEW * plain
    if (plain - overhead) * GAIN > plain or trials * bench.length * min(plain, overhead) < 4 * cost:
        return _as_plain(bench, plain, sum(x.nbytes for x in leaves(alone.state)))
    most = 1.0 if plain < 2 * overhead else 0.85

    def hopeful(plain: float, few: float) -> bool:
        saved = trials * bench.length * (plain - few / FEW)
        return few <= most * FEW * plain and saved >= 4 * (2 * RECORDING + 20 * MANY * plain)

    return _beside(bench, alone, hopeful)


def _as_plain(bench: Bench, plain: float, size: int) -> Measurement:
    return Measurement(plain, FEW * plain, MANY * plain, size, _free(bench.device))


def _first_steps(bench: Bench, alone: Lanes) -> tuple[float, float]:
    """Seconds of a step, and at most how many of them are overhead. Few steps where one is long."""
    with _Calls() as calls:
        bench.seconds(alone)  # loads what a process needs for its first step; to be counted takes time, too
    seconds = bench.seconds(alone)
    if seconds < LONG:
        seconds = min(bench.seconds(alone) for _ in range(3))
    return seconds, calls.count * CALL


class _Calls(TorchDispatchMode):
    """Counts the operations that reach a kernel."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def _beside(bench: Bench, alone: Lanes, hopeful: Callable[[float, float], bool]) -> Measurement:
    """The plain trial beside lanes; many are measured where `hopeful(plain, few)` says so."""
    device = bench.device
    pair = bench.pack(FEW)
    plain, few = _seconds(bench, (alone, pair), rounds=2)
    if not hopeful(plain, few):
        return Measurement(plain, few, MANY * few / FEW, sum(x.nbytes for x in leaves(alone.state)), _free(device))
    eight = bench.pack(MANY)
    (many,) = _seconds(bench, (eight,))
    lane_bytes = (_bytes(eight, device) - _bytes(pair, device)) // (MANY - FEW)
    return Measurement(plain, few, many, lane_bytes, _free(device))


def fastest(bench: Bench, measured: Measurement, most: int) -> int:
    """As many lanes, up to `most`, as are fastest per lane: what many lanes work on leaves the caches of a CPU.

    Four times as many are tried each time, until a lane takes a third longer; neighbours on the machine make noise.
    """
    lanes = tried = min(MANY, most)
    each = measured.many / MANY
    while tried < most:
        tried = min(4 * tried, most)
        (seconds,) = _seconds(bench, [bench.pack(tried)], rounds=3)
        if seconds / tried > 1.33 * each:
            break
        if seconds / tried < 0.98 * each:
            lanes, each = tried, seconds / tried
    return lanes


def _seconds(bench: Bench, packs: Sequence[Lanes], rounds: int = 4) -> list[float]:
    """Of one step of each: the fastest of some rounds, since others can only slow a step down."""
    for pack in packs:
        bench.seconds(pack, 2)  # the recording, and first calls of kernels
    steps = [max(1, min(50, int(0.01 / max(bench.seconds(pack), 1e-6)))) for pack in packs]
    times = [[bench.seconds(pack, count) for pack, count in zip(packs, steps, strict=True)] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def _bytes(pack: Lanes, device: str) -> int:
    """What the pack and one step of it take at most, data aside."""
    held = sum(x.nbytes for x in leaves(pack.state))
    if torch.device(device).type != "cuda":
        return held + pack.peak
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    pack.step()
    torch.cuda.synchronize(device)
    return held + torch.cuda.max_memory_allocated(device) - before


def _free(device: str) -> int:
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def halving(run: Callable[[int], T], lanes: int) -> tuple[T, int]:
    """`run(lanes)` with half as many lanes after each time it runs out of memory; its result, and the lanes it had.

    With one lane the error is raised: then it is the trial that does not fit.
    """
    while True:
        try:
            return run(lanes), lanes
        except (MemoryError, RuntimeError) as error:
            if lanes == 1 or not out_of_memory(error):
                raise
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        lanes //= 2


def out_of_memory(error: BaseException) -> bool:
    """Whether the device or the host had no memory left; torch says so of the host's in words only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
