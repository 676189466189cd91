"""A sweep as TensorBoard shows it: a run for each trial, with its curves and hyperparameters."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ...orchestrator.messages import State
from ...orchestrator.storage import write_text
from .following import Follower
from .labels import cell_labels
from .records import Point, TrialView

SUFFIX = ".swathe"
STATE = "swathe.json"
_STATUS = {State.COMPLETE: "STATUS_SUCCESS", State.PRUNED: "STATUS_SUCCESS", State.FAIL: "STATUS_FAILURE"}


class EventFiles:
    """Writes event files below a folder, `CELL/CONFIGURATION.REPLICATE`, and nothing twice.

    Beside them stands how far they go. It is missing while they are written, so those of a writer that was killed are
    written anew.
    """

    def __init__(self, folder: Path, follower: Follower) -> None:
        self._folder = folder
        self._follower = follower
        self._writers: dict[str, Any] = {}

    def refresh(self) -> int:
        """Bring it up to date; returns how many trials have changed."""
        labels, written = cell_labels(self._follower.sweep), 0
        for view in self._follower.changes():
            run = self._folder / labels[view.key.cell] / f"{view.key.configuration}.{view.key.replicate}"
            written += self._write(run, view)
        return written

    def close(self) -> None:
        """Let go of the files of trials that still run."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _write(self, run: Path, view: TrialView) -> bool:
        state = run / STATE
        before = json.loads(state.read_text(encoding="utf-8")) if state.exists() else None
        if before is not None and before["mark"] == view.mark != "":
            return False
        points = sorted(view.points, key=lambda each: (each.time, each.metric, each.step))
        done = before["points"] if before else 0
        if before is None or before["mark"] or _digest(points[:done]) != before["digest"]:
            self._remove(run, view.name)
            done = 0
        state.unlink(missing_ok=True)
        self._append(run, view, points[done:], fresh=done == 0)
        digest = _digest(points)
        write_text(state, json.dumps({"points": len(points), "digest": digest, "mark": view.mark}))
        return True

    def _remove(self, run: Path, name: str) -> None:
        """Only what this class has written: the folder is the user's choice."""
        if (writer := self._writers.pop(name, None)) is not None:
            writer.close()
        for old in run.glob(f"events.out.tfevents.*{SUFFIX}"):
            old.unlink()

    def _append(self, run: Path, view: TrialView, points: Sequence[Point], *, fresh: bool) -> None:
        writer = self._writers.get(view.name) or _open(run)
        self._writers[view.name] = writer
        if fresh:
            for summary in _hyperparameters(view, self._follower.sweep.objectives):
                _event(writer, summary, view.started)
        for point in [*points, *(view.closing() if view.ended else ())]:
            _event(writer, _scalar(point), point.time, point.step)
        if view.ended is not None:
            _event(writer, _end(view.state), view.ended)
            self._writers.pop(view.name).close()
        else:
            writer.flush()


def _open(run: Path) -> Any:
    # `SummaryWriter` keeps a thread for each run until the process ends, and there may be thousands.
    from tensorboardX.event_file_writer import EventsWriter

    run.mkdir(parents=True, exist_ok=True)
    number = len(list(run.glob(f"events.out.tfevents.*{SUFFIX}")))
    return EventsWriter(str(run / "events"), f".{number:06d}{SUFFIX}")


def _event(writer: Any, summary: Any, time: float, step: int = 0) -> None:
    writer.write_event(_messages("event").Event(wall_time=time, step=step, summary=summary))


def _scalar(point: Point) -> Any:
    from tensorboardX.summary import scalar

    # It says of each value that is not finite that it is not; a diverged trial is expected to have such.
    logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
    return scalar(point.metric, point.value)


def _hyperparameters(view: TrialView, objectives: Sequence[str]) -> list[Any]:
    """What the HParams page needs to know of a run when it begins."""
    from tensorboardX.summary import hparams

    experiment, start, _ = hparams(dict(view.params), dict.fromkeys(objectives))
    return [experiment, start]


def _end(state: State) -> Any:
    plugin, summary = _messages("plugin_hparams"), _messages("summary")
    end = plugin.SessionEndInfo(status=_messages("api").Status.Value(_STATUS[state]))
    content = plugin.HParamsPluginData(session_end_info=end, version=0).SerializeToString()
    data = summary.SummaryMetadata.PluginData(plugin_name="hparams", content=content)
    metadata = summary.SummaryMetadata(plugin_data=data)
    return summary.Summary(value=[summary.Summary.Value(tag="_hparams_/session_end_info", metadata=metadata)])


def _messages(name: str) -> Any:
    """A module of protocol buffers: its classes are made at import, where type checkers do not see them."""
    return import_module(f"tensorboardX.proto.{name}_pb2")


def _digest(points: Sequence[Point]) -> str:
    return hashlib.sha256(repr([tuple(each) for each in points]).encode()).hexdigest()
