"""Committed rows of the ledger become Parquet parts, and parts and tail together become the tables of a sweep.

A part is a pure function of the ledger and its range of commits. Its range is recorded before it is written, so a
part begun by a driver that died is written again with the same name and the same content.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from json import dumps, loads
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa

from . import schema, storage
from .errors import StorageError
from .faultpoints import reach
from .home import Home
from .ledger import Ledger, PartRange, Reader, SweepRecord, Tail, url_of
from .messages import Scalar, TrialKey
from .spec import Sweep, parse
from .storage import Place

# What a part takes while it is written is most of what a scheduler grows by.
PART_ROWS = 10_000
_PART = re.compile(r"part-(\d{12})-(\d{12})\.parquet")


class Tables(NamedTuple):
    """A sweep's two tables, of the schemas in `schema`."""

    trials: pa.Table
    metrics: pa.Table


class Shape(NamedTuple):
    """What turns ledger rows into table rows: the spec, the parameters of each cell, and the declared metrics."""

    sweep: Sweep
    cells: Mapping[str, Mapping[str, Any]]
    metrics: tuple[str, ...]

    @classmethod
    def of(cls, sweep: Sweep, metrics: Sequence[str]) -> Shape:
        """The shape of a sweep whose task declares `metrics`."""
        cells = {cell.key: {**cell.values, **sweep.fixed} for cell in sweep.cells}
        return cls(sweep, cells, tuple(metrics))

    @classmethod
    def read(cls, record: SweepRecord) -> Shape:
        """The shape of a sweep that the ledger knows."""
        return cls.of(parse(record.spec, source="ledger", root=Path(record.root)), record.metrics)

    def trials_schema(self) -> pa.Schema:
        """The schema of this sweep's `trials`."""
        return schema.trials(self.sweep.parameter_kinds(), self.metrics)

    def tables(self, rows: Sequence[Any]) -> list[pa.Table]:
        """Rows of the ledger's trial table (columns as attributes) as `trials`: a list of one."""
        params = [{**self.cells[row.cell], **loads(row.params)} for row in rows]
        finals = [loads(row.metrics) for row in rows]
        layout = self.trials_schema()
        return [pa.Table.from_arrays([_column(each, rows, params, finals, self) for each in layout], schema=layout)]


def write_parts(folder: Place, ledger: Ledger, reader: Reader, shape: Shape) -> int:
    """Write all that has been committed, unfinished parts first; return the number of parts.

    Raises `OwnershipLost` when another driver has taken over, even while a part was being written.
    """
    written = 0
    for part, retired in ledger.retired().items():
        tables = read_part(folder, part, shape, reader, retired)
        storage.write_table(folder / "trials", part_name(part), tables.trials)
        storage.write_table(folder / "metrics", part_name(part), tables.metrics)
        ledger.forget_retired(part)
    while (part := ledger.plan_part()) is not None:
        reach("part.planned")
        tail = reader.tail(part, shape.tables)
        if part in tail.parts:
            # Finished by a later driver while this one slept, and its blobs are gone: the next look at the ledger
            # says so. Writing it from what is left would destroy it.
            continue
        try:
            storage.write_table(folder / "trials", part_name(part), trials_table(tail.trials, shape))
            storage.write_table(folder / "metrics", part_name(part), metrics_table(tail.blobs))
        except FileNotFoundError:
            # A later driver took this one for dead and removed its unfinished file; asking the ledger says so.
            ledger.heartbeat()
            raise
        reach("part.written")
        ledger.finish_part(part)
        reach("part.finished")
        written += 1
    return written


def mend_parts(folder: Place, reader: Reader, shape: Shape) -> int:
    """Write anew what is lost of `trials`, which the ledger has whole; return how many parts that were."""
    parts = reader.tail().parts
    lost = storage.lost_tables(folder / "trials", [part_name(part) for part in parts])
    for part in (each for each in parts if part_name(each) in lost):
        storage.write_table(folder / "trials", part_name(part), _rebuilt(reader, shape, part))
    return len(lost)


def remove_remains(folder: Place, reader: Reader) -> None:
    """Leave of all parts only those that the ledger knows; the others were begun by drivers that died."""
    names = {part_name(part) for part in reader.tail().parts}
    for table in ("trials", "metrics"):
        storage.remove_remains(folder / table, "part-", names)


def place_of(record: SweepRecord, folder: Path) -> Place:
    """Where the results of a sweep lie: in a store, or in its folder on this machine."""
    return storage.place_of(record.results) if record.results else folder


def results_of(home: Home) -> Place:
    """Where the results of the sweep at `home` lie."""
    if home.in_folder and not home.exists():
        return home.folder
    reader = Reader(home.ledger, None if home.in_folder else home.name)
    try:
        return place_of(reader.sweep(), home.folder)
    finally:
        reader.close()


def read_tables(home: Home | Path) -> Tables:
    """The tables of a sweep (or of that in a folder): its parts and the ledger's tail, at one moment. Ended trials."""
    known = isinstance(home, Home) and not home.in_folder
    folder = home.folder if isinstance(home, Home) else home
    reader = Reader(home.ledger if isinstance(home, Home) else url_of(folder), home.name if known else None)
    try:
        record = reader.sweep()
        shape = Shape.read(record)
        return assemble(place_of(record, folder), shape, reader.tail(keep=shape.tables), reader)
    finally:
        reader.close()


def assemble(folder: Place, shape: Shape, tail: Tail, reader: Reader) -> Tables:
    """Parts and tail, which holds slices made by `Shape.tables`, as whole tables; `reader` is that of the ledger."""
    parts = [
        read_part(
            folder, part, shape, reader, {name for name, commit in tail.retired if part.first <= commit <= part.last}
        )
        for part in tail.parts
    ]
    return Tables(
        pa.concat_tables([*(each.trials for each in parts), trials_table(tail.trials, shape)]).unify_dictionaries(),
        pa.concat_tables([*(each.metrics for each in parts), metrics_table(tail.blobs)]).unify_dictionaries(),
    )


def read_part(folder: Place, part: PartRange, shape: Shape, reader: Reader, retired: Collection[str] = ()) -> Tables:
    """The tables of one part, without the rows of trials whose outcome in it was taken back.

    A file of `trials` that is lost or damaged is made anew from the ledger. Rows of metrics are in their file alone:
    without it `StorageError` is raised.
    """
    metrics = storage.read_table(folder / "metrics", part_name(part), schema.METRICS)
    try:
        trials = storage.read_table(folder / "trials", part_name(part), shape.trials_schema())
    except (StorageError, FileNotFoundError):
        trials = _rebuilt(reader, shape, part)
    return Tables(_without(trials, retired), _without(metrics, retired))


def _rebuilt(reader: Reader, shape: Shape, part: PartRange) -> pa.Table:
    """The trials of a part from the ledger, which keeps their rows for good."""
    return trials_table(reader.tail(part, shape.tables).trials, shape)


def _without(table: pa.Table, retired: Collection[str]) -> pa.Table:
    if not retired:
        return table
    # In pure Python: this is done once for a part, and type checkers do not see the functions of pyarrow.compute.
    keep = [trial not in retired for trial in table.column("trial").to_pylist()]
    return table.filter(pa.array(keep, pa.bool_()))


def row_params(row: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Scalar]:
    """The parameters of a row, as the training function got them; values of mixed types are kept as JSON text."""
    given = {name: row[schema.PARAM + name] for name in kinds if row[schema.PARAM + name] is not None}
    return {name: loads(value) if kinds[name] == "json" else value for name, value in given.items()}


def rename_parts(folder: Place, reader: Reader) -> None:
    """Write all finished parts anew, with the sweep's present name in them."""
    record = reader.sweep()
    shape = Shape.read(record)
    for part in reader.tail().parts:
        trials = read_part(folder, part, shape, reader).trials
        names = schema.column(trials.schema.field("sweep").type, [record.name] * len(trials))
        place = trials.schema.get_field_index("sweep")
        renamed = trials.set_column(place, trials.schema.field(place), names)
        storage.write_table(folder / "trials", part_name(part), renamed)


def read_parts(place: Place) -> Tables:
    """The tables of a sweep of which only the results are at hand: its finished parts, without the ledger's tail.

    Raises `StorageError` where a part is missing: parts follow each other without a gap, and each has two files. The
    latest one may be under way, and does not count until both are there.
    """
    trials, metrics = ({*storage.names(place / table)} for table in ("trials", "metrics"))
    whole = sorted(name for name in trials & metrics if _PART.fullmatch(name))
    if not whole:
        raise StorageError(f"{place} holds no results yet, or no sweep: there is no part in {place / 'trials'}")
    _refuse_gaps(place, whole, trials ^ metrics)
    trials = [storage.read_table(place / "trials", name, None) for name in whole]
    metrics = [storage.read_table(place / "metrics", name, schema.METRICS) for name in whole]
    return Tables(pa.concat_tables(trials).unify_dictionaries(), pa.concat_tables(metrics).unify_dictionaries())


def _refuse_gaps(place: Place, whole: Sequence[str], halves: Collection[str]) -> None:
    expected = 1
    for name in whole:
        first, last = map(int, cast(Any, _PART.fullmatch(name)).groups())
        if first != expected:
            lost = next((each for each in sorted(halves) if each < name), f"the one before {name}")
            raise StorageError(
                f"{place} lacks a part of its results, {lost}; read the sweep with its ledger, or restore the part"
            )
        expected = last + 1


def part_name(part: PartRange) -> str:
    """The file name of a part; both tables use the same."""
    return f"part-{part.first:012d}-{part.last:012d}.parquet"


def metrics_table(blobs: Sequence[bytes]) -> pa.Table:
    """Metric rows of ledger blobs as one table."""
    tables = [schema.decode_rows(blob) for blob in blobs]
    return pa.concat_tables([schema.empty(schema.METRICS), *tables]).unify_dictionaries().combine_chunks()


def trials_table(slices: Sequence[pa.Table], shape: Shape) -> pa.Table:
    """Slices made by `Shape.tables` as one table."""
    return pa.concat_tables([schema.empty(shape.trials_schema()), *slices]).unify_dictionaries().combine_chunks()


def _column(
    field: pa.Field,
    rows: Sequence[Any],
    params: Sequence[Mapping[str, Any]],
    finals: Sequence[Mapping[str, float]],
    shape: Shape,
) -> pa.Array:
    name: str = field.name
    if name.startswith(schema.PARAM):
        values = [each.get(name.removeprefix(schema.PARAM)) for each in params]
        if shape.sweep.parameter_kinds()[name.removeprefix(schema.PARAM)] == "json":
            values = [None if value is None else dumps(value) for value in values]
    elif name.startswith(schema.METRIC):
        values = [each.get(name.removeprefix(schema.METRIC)) for each in finals]
    elif name == "trial":
        values = [str(TrialKey(row.cell, row.configuration, row.replicate)) for row in rows]
    elif pa.types.is_timestamp(field.type):
        values = [round(getattr(row, name) * 1e6) for row in rows]
    else:
        values = [getattr(row, name) for row in rows]
    return schema.column(field.type, values)
