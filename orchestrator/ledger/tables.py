"""The ledger's tables."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

# Sorted by their bytes everywhere, so that rows come in one order from every database.
Word = sa.String().with_variant(sa.String(collation="C"), "postgresql")
# Of 64 bits; SQLite numbers rows by itself only where the type is called INTEGER.
Long = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Of the tables below: one more with each change of them. A file has it as its `user_version`, a server in a table.
VERSION = 1

metadata = sa.MetaData()
schema_version = sa.Table("schema_version", sa.MetaData(), sa.Column("number", sa.Integer, primary_key=True))

sweep = sa.Table(
    "sweep",
    metadata,
    sa.Column("name", Word, primary_key=True),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("root", sa.Text, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("amendments", sa.JSON, nullable=False),
    sa.Column("epoch", Long, nullable=False),
    sa.Column("heartbeat", sa.Float, nullable=False),
    sa.Column("owner", sa.JSON, nullable=False),
    # Drawn at random by whoever claims the sweep; every later transaction of its driver names it.
    sa.Column("token", sa.String),
    sa.Column("status", Word, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("commits", Long, nullable=False),
    sa.Column("leases", Long, nullable=False),
    # Seconds that drivers have worked on it, over all sessions; what another process asks of the driver at work.
    sa.Column("spent", sa.Float, nullable=False, server_default="0"),
    sa.Column("wish", Word),
    # What earlier sweeps have found out, copied when this one began.
    sa.Column("warm", sa.JSON, nullable=False, server_default="[]"),
    # Parameters that decide the shapes of a task's tensors, with defaults; null for tasks that cannot be fused.
    sa.Column("shapes", sa.JSON),
    # The workers of a sweep on a cluster as its scheduler last saw them, for `status` and `watch`.
    sa.Column("crew", sa.JSON),
    # The URI of the folder in an object store that holds its results; null where they are in the sweep's folder.
    sa.Column("results", sa.Text),
)

generation = sa.Table(
    "generation",
    metadata,
    sa.Column("sweep", Word, primary_key=True),
    sa.Column("cell", Word, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("suggestions", sa.Text, nullable=False),
)

trial = sa.Table(
    "trial",
    metadata,
    sa.Column("sweep", Word, primary_key=True),
    sa.Column("cell", Word, primary_key=True),
    sa.Column("configuration", sa.Integer, primary_key=True),
    sa.Column("replicate", sa.Integer, primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("params", sa.Text, nullable=False),
    sa.Column("proposed_by", Word, nullable=False),
    sa.Column("state", Word, nullable=False),
    sa.Column("cause", Word),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Column("steps", sa.Integer),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float, nullable=False),
    sa.Column("worker", Word, nullable=False),
    sa.Column("node", Word, nullable=False),
    sa.Column("device", Word, nullable=False),
    sa.Column("lanes", sa.Integer, nullable=False),
    sa.Column("lease", Long, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("commit", Long, nullable=False),
    sa.Index("trial_by_commit", "sweep", "commit"),
)

attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("id", Long, primary_key=True),
    sa.Column("sweep", Word, nullable=False),
    sa.Column("cell", Word, nullable=False),
    sa.Column("configuration", sa.Integer, nullable=False),
    sa.Column("replicate", sa.Integer, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("cause", Word),
    sa.Column("late", sa.Boolean, nullable=False),
    sa.Column("lease", Long, nullable=False),
    sa.Column("worker", Word, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    # Forgiven: a later `swathe retry` has given the trial all its attempts back.
    sa.Column("forgiven", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index("attempt_by_trial", "sweep", "cell", "configuration", "replicate"),
)

# Outcomes that `swathe retry` has taken back, while the part of that commit still holds their rows.
retired = sa.Table(
    "retired",
    metadata,
    sa.Column("sweep", Word, primary_key=True),
    sa.Column("trial", Word, primary_key=True),
    sa.Column("commit", Long, primary_key=True),
)

# Trials that gave their worker away, in order; `outcome` and `lineage` are JSON.
pause = sa.Table(
    "pause",
    metadata,
    sa.Column("id", Long, primary_key=True),
    sa.Column("sweep", Word, nullable=False, index=True),
    sa.Column("cell", Word, nullable=False),
    sa.Column("configuration", sa.Integer, nullable=False),
    sa.Column("replicate", sa.Integer, nullable=False),
    sa.Column("lease", Long, nullable=False),
    sa.Column("worker", Word, nullable=False),
    sa.Column("lineage", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
)

# How many lanes the packs of a shape have, in the order of decisions; the last one holds. `measured` is JSON.
capacity = sa.Table(
    "capacity",
    metadata,
    sa.Column("id", Long, primary_key=True),
    sa.Column("sweep", Word, nullable=False, index=True),
    sa.Column("shape", sa.Text, nullable=False),
    sa.Column("lanes", sa.Integer, nullable=False),
    sa.Column("device", Word, nullable=False),
    sa.Column("measured", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

# `trial` is the name of a trial whose end has not been seen; `commit` is null until its rows are known to count.
rows = sa.Table(
    "rows",
    metadata,
    sa.Column("id", Long, primary_key=True),
    sa.Column("sweep", Word, nullable=False),
    sa.Column("trial", Word),
    sa.Column("lease", Long, nullable=False),
    sa.Column("commit", Long),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Index("rows_by_commit", "sweep", "commit"),
    sa.Index("rows_by_trial", "sweep", "trial"),
)

# The last push of a worker that is in the ledger; one whose reply was lost is not to be taken in twice.
heard = sa.Table(
    "heard",
    metadata,
    sa.Column("sweep", sa.String, primary_key=True),
    sa.Column("worker", sa.String, primary_key=True),
    sa.Column("push", sa.Integer, nullable=False),
)

# A part of Parquet that holds the commits first..last; `done` when both of its files are durable.
part = sa.Table(
    "part",
    metadata,
    sa.Column("sweep", Word, primary_key=True),
    sa.Column("first", Long, primary_key=True),
    sa.Column("last", Long, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False),
)


def url_of(folder: Path) -> str:
    """The URL of the SQLite ledger in a sweep's folder."""
    return url_of_file(folder / "ledger.db")


def url_of_file(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path has."""
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F").replace("#", "%23")
