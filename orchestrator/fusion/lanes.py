"""Many trials of one shape as lanes of one program: stepped together, measured, compacted, saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from .alone import Alone
from .data import Batches, Data
from .errors import ProgramError
from .lane import Lane, Outcome, Tensors, tensors
from .optim import Hyper
from .probing import Around, Probed, probed
from .program import Params, Program, Seeds
from .stacks import STEPS, agreed, check_code, chosen, columns, flat, narrowed, stacked, unflat
from .tape import Tape, described
from .trees import each, leaves

CHUNK = 16  # lanes measured at a time, so that their activations on the held-out data stay in the cache


class Flush(NamedTuple):
    """What lanes reported since the last flush, on the host.

    Row i of `values` (rows x lanes, double) is `metrics[i]` of all lanes after `steps[i]` updates, NaN where a lane had
    diverged before.

    `diverged` (lanes) is the number of updates after which a lane's loss was not finite, -1 where it always was.
    """

    steps: list[int]
    metrics: list[str]
    values: Tensor
    diverged: Tensor


class Lanes:
    """A pack in training: one lane for each of `params`, with `seeds` that are functions of a stream's name.

    Lanes do not meet: what a lane computes does not depend on the others, nor on their number. A lane whose loss is not
    finite keeps from then on the state in which it was found. `fused=False` is the plain trial, one lane without `vmap`
    and without recording its functions, for programs that do not pay or do not work in lanes. `updates` holds the
    recorded updates of the optimizer, which packs of the same program and shapes can share.
    """

    def __init__(
        self,
        program: Program,
        params: Sequence[Params],
        seeds: Sequence[Seeds],
        *,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        fused: bool = True,
        data: Data | None = None,
        updates: dict[Any, Tape] | None = None,
    ) -> None:
        if not fused and len(params) != 1:
            raise ProgramError(f"{len(params)} trials cannot run as one plain trial; give one, or fuse them")
        dtype = program.dtype if dtype is None else dtype
        self.program, self.params, self.fused, self.done = program, list(params), fused, 0
        shapes = agreed([program.shape(p) for p in params])
        modules = [program.build(p, s) for p, s in zip(params, seeds, strict=True)]
        check_code(modules)
        self._lane = Lane(modules[0], shapes, program.loss, program.metrics, program.final)
        self._optimizer = program.optimizer_of(shapes)
        data = program.data(shapes) if data is None else data
        self.batches = Batches(data, [s("data") for s in seeds], device, dtype)
        trees = [tensors(module) for module in modules]
        tree, buffers = (stacked([pair[i] for pair in trees], device, dtype) for i in (0, 1))
        self.state: dict[str, Any] = {
            "params": tree,
            "buffers": buffers,
            "optimizer": self._optimizer.init(tree, len(params)),
            "noise": torch.tensor([s("noise") for s in seeds], device=device),
            "diverged": torch.full((len(params),), -1, device=device),
        }
        self._values = columns([program.values(p) for p in params], device, dtype)
        hyper = self._optimizer.hyper(params, list(tree), device)
        self._hyper = (hyper.base, hyper.scale)
        self._tapes: dict[str, Tape] = {}
        self._updates = {} if updates is None else updates
        self._recorded: Tape | None = None
        self._alone: Alone | None = None
        self._whole = False  # whether all lanes are known to be finite
        self._reports: list[tuple[int, str, Tensor]] = []

    def __len__(self) -> int:
        return len(self.params)

    def step(self, *, report: bool = False) -> None:
        """One update of every lane. With `report` the loss and the metrics that `loss` returned are reported."""
        loss, metrics, grads, buffers, slots = self._gradients()
        if report:
            self._report({"loss": loss, **metrics}, self.state["diverged"] < 0)
        self._update(grads, buffers, slots, self._alive(loss))
        self.done += 1

    def run(self, steps: int, every: int = 0) -> None:
        """`steps` updates. After every `every`-th the held-out metrics are reported, before the next one the loss."""
        for _ in range(steps):
            self.step(report=every > 0 and self.done % every == 0)
            if every > 0 and self.done % every == 0:
                self.evaluate()

    def evaluate(self, *, final: bool = False) -> Tensors:
        """The program's metrics on its held-out data, or its `final` ones, (lanes) each, double; also reported."""
        params, buffers, given = self._context()
        context, data = (params, buffers, given | {"optimizer": self.state["optimizer"]}), self.batches.held_out
        if self.fused:
            chunks = [each(lambda x, i=i: x[i : i + CHUNK], context) for i in range(0, len(self), CHUNK)]
            parts = [self._measured(chunk, data, final) for chunk in chunks]
            found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        else:
            params, buffers, given = _first(context)
            found = _as_stack(self._lane.measure(params, buffers, data, given, final=final))
        return self._report(found, self.state["diverged"] < 0)

    def flush(self) -> Flush:
        """What was reported since the last flush, moved to the host at once."""
        steps = [step for step, _, _ in self._reports]
        metrics = [name for _, name, _ in self._reports]
        table = torch.stack([*(row for _, _, row in self._reports), self.state["diverged"].to(torch.float64)]).cpu()
        self._reports = []
        return Flush(steps, metrics, table[:-1], table[-1].to(torch.int64))

    def keep(self, lanes: Sequence[int]) -> None:
        """Go on with these lanes only, in this order. Reports must have been flushed."""
        if self._reports:
            raise ProgramError("lanes have reports that were not flushed; call flush() before keep()")
        if not lanes:
            raise ProgramError("a pack keeps at least one lane")
        index = torch.tensor(lanes, device=self.state["noise"].device)
        self.state, self._values, self._hyper = (narrowed(x, index) for x in (self.state, self._values, self._hyper))
        self.params = [self.params[lane] for lane in lanes]
        self.batches.keep(lanes)
        self._whole = False
        self._recorded = None
        self._tapes.clear()  # recorded for another number of lanes

    def save(self) -> Tensors:
        """The whole state as a flat mapping of tensors, which share no memory with the lanes'."""
        return flat(self.state) | {STEPS: torch.tensor(self.done)}

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Go on from what `save` gave for the same trials in the same order (see `stacks.lane_of`, `stacks.joined`)."""
        self.state = unflat(saved, self.state)
        self.done = int(saved[STEPS])
        self._whole = False

    def smooth(self) -> tuple[Callable[..., Tensor], Tensors, tuple[Any, ...]]:
        """f, x and context for `derivatives`: the loss f(x, *context) of one lane in evaluation mode on the next batch;
        x the parameters and context whatever else f needs, both stacked."""
        params, buffers, given = self._context()
        batch = self.batches.at(self.done)
        if self.batches.shared:
            return lambda x, b, g: self._lane.smooth_loss(x, b, batch, g), params, (buffers, given)
        return lambda x, b, g, rows: self._lane.smooth_loss(x, b, rows, g), params, (buffers, given, batch)

    @property
    def peak(self) -> int:
        """Bytes that the steps recorded so far take besides the state, at most."""
        tapes = [*self._tapes.values(), *([] if self._recorded is None else [self._recorded])]
        return max((tape.peak for tape in tapes), default=0)

    def _context(self) -> tuple[Tensors, Tensors, dict[str, Any]]:
        state = self.state
        given = {"values": self._values, "noise": state["noise"], "t": state["optimizer"]["t"]}
        return state["params"], state["buffers"], given

    def _gradients(self) -> Outcome:
        params, buffers, given = self._context()
        batch = self.batches.at(self.done)
        if (probe := self._optimizer.probe_at(self.done)) is not None:
            return self._probed(probe, batch)
        if not self.fused:
            batch = batch if self.batches.shared else _first(batch)
            if not buffers:
                if self._alone is None or self._alone.params is not params:
                    self._alone = Alone(self._lane, params, given["values"], given["noise"])
                return self._alone.gradients(batch, given["t"])
            params, buffers, given = _first((params, buffers, given))
            return _as_stack(self._lane.gradients(params, buffers, batch, given))
        dims = (0, 0, None if self.batches.shared else 0, 0)
        return self._play(
            f"step {dims[2]}", partial(self._lane.gradients, dims=dims), dims, params, buffers, batch, given
        )

    def _probed(self, probe: Callable[[Around], Probed], batch: Any) -> Outcome:
        run = partial(probed, self._lane, probe)
        params, buffers, given = self._context()
        more = (self.state["optimizer"], self._hyper[0])
        if not self.fused:
            params, buffers, given, more = _first((params, buffers, given, more))
            return _as_stack(run(params, buffers, batch if self.batches.shared else _first(batch), given, *more))
        dims = (0, 0, None if self.batches.shared else 0, 0)
        run = partial(run, dims=dims)
        return self._play(f"probe {dims[2]}", run, (*dims, 0, 0), params, buffers, batch, given, *more)

    def _measured(self, context: tuple[Any, ...], data: Any, final: bool) -> Tensors:
        params, buffers, given = context
        if (self._lane.final if final else self._lane.metrics) is None:
            return {}
        dims = (0, 0, None, 0)
        run = vmap(partial(self._lane.measure, lanes=True, final=final), in_dims=dims)
        return self._play(f"measure {len(given['t'])} {final}", run, dims, params, buffers, data, given)

    def _play(self, name: str, run: Callable[..., Any], dims: tuple[int | None, ...], *trees: Any) -> Any:
        """`run(*trees)` from its tape."""
        if name not in self._tapes:
            alone = len(leaves(trees[0])[0]) == 1
            self._tapes[name] = Tape(partial(_doubled, run, dims) if alone else run, *trees)
        return self._tapes[name](*trees)

    def _alive(self, loss: Tensor) -> Tensor | None:
        """Which lanes are to be updated, None for all; those whose loss has become infinite are marked."""
        # A CPU is asked at once whether all are; asking a GPU would wait for it, so there lanes are selected.
        cpu = loss.device.type == "cpu"
        if cpu and self._whole and math.isfinite(loss.sum().item()):
            return None
        before = self.state["diverged"] < 0
        alive = before & loss.isfinite()
        self.state["diverged"].masked_fill_(before & ~alive, self.done)
        self._whole = cpu and bool(alive.all())
        return None if self._whole else alive

    def _update(self, grads: Tensors, buffers: Tensors, slots: Mapping[str, Tensors], alive: Tensor | None) -> None:
        """The optimizer's update; where `alive` is given, of those lanes only."""
        state = self.state
        old = None if alive is None else each(torch.clone, (state["params"], state["optimizer"]))
        given = (state["params"], grads, {**state["optimizer"], **slots}, *self._hyper)
        if self._recorded is None:
            key = described(given)
            if key not in self._updates:
                self._updates[key] = Tape(self._updated, *each(torch.clone, given))
            self._recorded = self._updates[key]
        moments = self._recorded(*given)
        if old is not None and alive is not None:
            state["params"], moments = chosen(alive, (state["params"], moments), old)
            buffers = chosen(alive, buffers, state["buffers"])
        state["optimizer"], state["buffers"] = moments, buffers

    def _updated(self, params: Tensors, grads: Tensors, moments: Any, base: Any, scale: Any) -> dict[str, Any]:
        return self._optimizer.update_(grads, moments, params, Hyper(base, scale))

    def _report(self, found: Mapping[str, Tensor], alive: Tensor) -> Tensors:
        rows = {name: torch.where(alive, x.detach().to(torch.float64), torch.nan) for name, x in found.items()}
        self._reports += [(self.done, name, row) for name, row in rows.items()]
        return rows


def _first(tree: Any) -> Any:
    return each(lambda x: x[0], tree)


def _as_stack(tree: Any) -> Any:
    return each(lambda x: x.unsqueeze(0), tree)


def _doubled(run: Callable[..., Any], dims: Sequence[int | None], *trees: Any) -> Any:
    """`run` for one lane, by way of two equal ones: a single product or convolution has kernels of its own, which round
    otherwise."""
    twice = [
        tree if dim is None else each(lambda x: torch.cat([x, x]), tree) for tree, dim in zip(trees, dims, strict=True)
    ]
    return each(lambda x: x[:1], run(*twice))
