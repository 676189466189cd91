"""A sweep in an MLflow tracking store: an experiment a sweep, a run for each trial that has reported or ended."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

from ...orchestrator.errors import SwatheError
from ...orchestrator.messages import State
from .following import Follower
from .labels import cell_labels
from .records import TrialView

ORIGIN, TRIAL, MARK = "swathe.created", "swathe.trial", "swathe.mark"
BATCH = 1000
PAGE = 1000
_STATUS = {State.COMPLETE: "FINISHED", State.PRUNED: "KILLED", State.FAIL: "FAILED"}


class Tracking:
    """Keeps an MLflow experiment in step with a sweep. What is sent twice counts once."""

    def __init__(self, uri: str | None, follower: Follower) -> None:
        # Ours are off by default, too.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.uri = uri or mlflow.get_tracking_uri()
        self._follower = follower
        with warnings.catch_warnings():
            # Its own use of SQLAlchemy, whatever version is installed.
            warnings.simplefilter("ignore")
            self._client = mlflow.MlflowClient(self.uri)
            self._experiment = self._open()
        self._runs = self._existing()
        self._sent: dict[str, int] = {}

    def refresh(self) -> int:
        """Bring it up to date; returns how many runs have changed."""
        return sum(self._write(view) for view in self._follower.changes())

    def close(self) -> None:
        """Nothing is left to do."""

    def _open(self) -> str:
        name, created = self._follower.record.name, repr(self._follower.record.created)
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return self._client.create_experiment(name, tags={ORIGIN: created})
        if found.lifecycle_stage == "deleted":
            raise SwatheError(
                f"experiment {name!r} of {self.uri} has been deleted; restore it (`mlflow experiments restore "
                f"--experiment-id {found.experiment_id}`), or name another tracking URI with --output"
            )
        if found.tags.get(ORIGIN) != created:
            raise SwatheError(
                f"{self.uri} holds another experiment named {name!r}; name another tracking URI with --output"
            )
        return found.experiment_id

    def _existing(self) -> dict[str, tuple[str, str]]:
        """Run id and mark of each trial that is there."""
        found: dict[str, tuple[str, str]] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=PAGE, page_token=token)
            for run in page:
                if TRIAL in run.data.tags:
                    found[run.data.tags[TRIAL]] = run.info.run_id, run.data.tags.get(MARK, "")
            token = page.token
            if not token:
                return found

    def _write(self, view: TrialView) -> bool:
        run, mark = self._runs.get(view.name, ("", ""))
        if run and mark and mark == view.mark:
            return False
        if mark:
            # Retried since: its former outcome does not count any more.
            self._client.delete_run(run)
            self._sent.pop(view.name, None)
            run = ""
        run = run or self._begin(view)
        points = sorted(view.points, key=lambda each: (each.time, each.metric, each.step))
        self._log(run, view.name, points)
        if view.ended is not None:
            self._end(run, view)
        self._runs[view.name] = run, view.mark
        return True

    def _begin(self, view: TrialView) -> str:
        from mlflow.entities import Param

        cell, number, replicate = view.key
        label = cell_labels(self._follower.sweep)[cell]
        tags = {TRIAL: view.name, "swathe.cell": cell, "swathe.configuration": str(number)}
        tags |= {"swathe.replicate": str(replicate), "swathe.state": view.state.value}
        made = self._client.create_run(
            self._experiment,
            start_time=_milliseconds(view.started),
            tags=tags,
            run_name=f"{label}/{number}.{replicate}".lstrip("/"),
        )
        run: str = made.info.run_id
        self._client.log_batch(run, params=[Param(name, str(value)) for name, value in view.params.items()])
        self._runs[view.name] = run, ""
        return run

    def _log(self, run: str, name: str, points: Any) -> None:
        """What has not been sent by this process; a store takes a point that it has already for the same."""
        from mlflow.entities import Metric

        fresh = points[self._sent.get(name, 0) :]
        for begin in range(0, len(fresh), BATCH):
            batch = fresh[begin : begin + BATCH]
            self._client.log_batch(
                run, metrics=[Metric(each.metric, each.value, _milliseconds(each.time), each.step) for each in batch]
            )
        self._sent[name] = len(points)

    def _end(self, run: str, view: TrialView) -> None:
        from mlflow.entities import Metric, RunTag

        closing = [Metric(each.metric, each.value, _milliseconds(each.time), each.step) for each in view.closing()]
        facts = {**view.facts, "state": view.state.value, **({"cause": view.cause.value} if view.cause else {})}
        # The mark is last: a run without it is written again.
        tags = [RunTag(f"swathe.{name}", text) for name, text in facts.items()]
        self._client.log_batch(run, metrics=closing, tags=tags)
        self._client.set_terminated(run, _STATUS[view.state], _milliseconds(view.ended or 0.0))
        self._client.set_tag(run, MARK, view.mark)
        self._sent.pop(view.name, None)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
