"""Makes a trial in a resident worker equal to the same trial run alone: threads, seeds, output, process state.

What a process cannot undo is left to `isolate: process`: a module's own globals, memory, threads that never end.
"""

from __future__ import annotations

import io
import os
import pdb
import random
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import numpy as np
import threadpoolctl

from .storage import told

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@contextmanager
def pinned_threads(count: int) -> Iterator[None]:
    """Hold OpenMP, BLAS and torch to `count` threads: sums in floating point depend on how many there are."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(count)))
    watcher = _AfterImport("torch", lambda torch: torch.set_num_threads(count))
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else None
    if torch:
        torch.set_num_threads(count)
    try:
        with threadpoolctl.threadpool_limits(count), watcher.installed():
            yield
    finally:
        for name, value in before.items():
            _set_variable(name, value)
        if torch:
            torch.set_num_threads(threads)


@contextmanager
def isolated(seed: int, output: Path | None) -> Iterator[None]:
    """Run one trial's code: global generators seeded, process state put back after.

    What it prints goes to the file `output`, or where it always goes when that is None.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(_kept_process_state())
        stack.enter_context(_seeded(seed))
        if output is not None:
            stack.enter_context(_captured(output))
        yield


def end_copy(error: BaseException | None) -> NoReturn:
    """End this process, which is a copy that training code has forked and not ended: it must not work on as a worker.

    It ends as a script would at its end, or where `error` came out of it.
    """
    status = 0
    try:
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else 1 if error.code else 0
        elif error is not None:
            status = 1
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status & 0xFF)


@contextmanager
def watched_threads(known: set[threading.Thread], grace: float = 0.2) -> Iterator[list[threading.Thread]]:
    """Yields a list that holds, afterwards, the threads that were started inside and still run.

    Threads in `known` are not counted, nor are those that end within `grace` seconds.
    """
    before = set(threading.enumerate())
    left: list[threading.Thread] = []
    try:
        yield left
    finally:
        started = [each for each in threading.enumerate() if each not in before | known and not _harmless(each)]
        for thread in started:
            thread.join(grace / len(started))
        left.extend(thread for thread in started if thread.is_alive())


def _harmless(thread: threading.Thread) -> bool:
    # tqdm keeps one watching thread for the life of the process.
    return type(thread).__module__ == "tqdm._monitor"


@contextmanager
def _kept_process_state() -> Iterator[None]:
    folder, environment, path = os.getcwd(), _environment(), list(sys.path)
    arguments, errors = list(sys.argv), np.geterr()
    handlers = _signal_handlers()
    torch = sys.modules.get("torch")
    states = [_torch_state(torch)] if torch else []
    try:
        with _AfterImport("torch", lambda module: states.append(_torch_state(module))).installed():
            yield
    finally:
        _restore_folder(folder)
        _restore_environment(environment)
        sys.path[:], sys.argv[:] = path, arguments
        np.seterr(**errors)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for restore in states:
            restore()


def _signal_handlers() -> dict[int, signal._HANDLER]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    return {number: handler for number, handler in found.items() if handler is not None}


def _restore_folder(folder: str) -> None:
    try:
        if os.getcwd() == folder:
            return
    except FileNotFoundError:
        # The trial has removed the folder that it was in.
        pass
    os.chdir(folder)


def _environment() -> dict[bytes, bytes]:
    """A copy of the environment. Made variable by variable it would take longer than all the rest of an empty trial."""
    return dict(vars(os.environb)["_data"])


def _restore_environment(environment: dict[bytes, bytes]) -> None:
    now = _environment()
    if now == environment:
        return
    for name in now.keys() - environment.keys():
        del os.environb[name]
    os.environb.update(environment)


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _torch_state(torch: ModuleType) -> Callable[[], None]:
    """What a trial may change in torch, as a function that puts it back."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark

    def restore() -> None:
        torch.set_default_dtype(dtype)
        torch.set_default_device(None)
        torch.set_grad_enabled(grad)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
        cudnn.deterministic, cudnn.benchmark = flags

    return restore


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)
    with _AfterImport("torch", lambda module: module.manual_seed(seed)).installed():
        yield


@contextmanager
def _captured(output: Path) -> Iterator[None]:
    stream = _TrialOutput(output)
    hook = sys.breakpointhook

    def breakpoint_on_terminal(*arguments: object, **named: object) -> object:
        # A debugger needs the terminal; what the trial prints from here on is shown as well.
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        if hook is sys.__breakpointhook__ and not os.environ.get("PYTHONBREAKPOINT"):
            # Stop in the trial's frame, not in this one.
            return pdb.Pdb().set_trace(sys._getframe(1))
        return hook(*arguments, **named)

    sys.breakpointhook = breakpoint_on_terminal
    try:
        with redirect_stdout(stream), redirect_stderr(stream):
            yield
    finally:
        sys.breakpointhook = hook
        stream.release()


class _TrialOutput(io.TextIOBase):
    """A text stream into a file that exists only once something is written.

    It takes late writes too (a logging handler or a thread may keep the stream): they go to the same file.
    """

    encoding = "utf-8"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: io.TextIOWrapper | None = None

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        return self._file.write(text)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def release(self) -> None:
        if self._file is not None:
            with told(self._path):
                self._file.close()
            self._file = None


class _AfterImport(MetaPathFinder):
    """Calls `then(module)` right after the first import of the module `name`."""

    def __init__(self, name: str, then: Callable[[ModuleType], object]) -> None:
        self._name = name
        self._then = then
        self._searching = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Watch while the block runs; costs nothing when the module is there already."""
        if self._name in sys.modules:
            yield
            return
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name or self._searching:
            return None
        self._searching = True
        try:
            spec = find_spec(fullname)
        finally:
            self._searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = _NotifyingLoader(spec.loader, self._then)
        return spec


class _NotifyingLoader(Loader):
    def __init__(self, loader: Loader, then: Callable[[ModuleType], object]) -> None:
        self._loader = loader
        self._then = then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = self._loader  # type: ignore[union-attr]
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._then(module)
