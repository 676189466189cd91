"""Profiles: where a sweep runs. A profile is a YAML file; its name is that of the file.

A profile holds no secret, only the names of environment variables that the nodes must have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo

from ..orchestrator.errors import SpecError, SwatheError
from ..orchestrator.spec.document import Genre, parse_document
from ..orchestrator.spec.faults import Fault, broken, dotted, from_validation
from ..orchestrator.spec.sections import Section
from ..orchestrator.spec.values import Size

GENRE = Genre("profile", "kind, such as `kind: existing`")
# The path of a profile's values starts with this word, so that errors read `profile.ledger is ...`.
ABOVE = ("profile",)
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


class ProfileError(SwatheError):
    """A profile breaks a rule, or there is none of this name."""


def _variables(names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """Names of environment variables, and nothing but names. Raises `Fault`."""
    path = (*ABOVE, "environment", str(info.field_name))
    for position, name in enumerate(names):
        if not re.fullmatch(_VARIABLE, name):
            # Without the text, which may be the secret itself.
            rule = f"{dotted(path)} has an entry that is no name of a variable; a profile holds names, never values"
            raise Fault(f"{rule}: remove what is not a letter, digit or _", (*path, position))
    return names


def _address(address: str) -> str:
    """The address of Ray's job server. Raises `ValueError`."""
    if urlsplit(address).scheme not in ("http", "https"):
        raise ValueError("the address is that of Ray's dashboard, which takes jobs: http://HOST:8265")
    return address


def _without_password(url: str, info: ValidationInfo) -> str:
    """A URL that is no secret. Raises `Fault`."""
    if urlsplit(url).password:
        path = (*ABOVE, str(info.field_name))
        rule = f"{dotted(path)} holds a password, which files, logs and `ps` would show"
        raise Fault(f"{rule}; remove it and set it on the nodes, for PostgreSQL as PGPASSWORD", path)
    return url


# YAML has lists; what is frozen has tuples.
Names = Annotated[tuple[str, ...], AfterValidator(_variables), Field(strict=False)]


class Pool(Section):
    """A kind of node: what one of them has, and how many workers of a sweep may be on all of them."""

    cpus: float = Field(default=1.0, gt=0, description="CPU cores of one node.", examples=[16])
    gpus: float = Field(default=0.0, ge=0, description="GPUs of one node.", examples=[4])
    memory: Size | None = Field(default=None, description="Memory of one node that Ray grants.", examples=["64GiB"])
    workers: int | None = Field(
        default=None, ge=1, description="Most workers of one sweep on nodes of this kind.", examples=[8]
    )
    resources: Mapping[str, float] = Field(
        default_factory=dict, description="Ray resources that only these nodes have.", examples=[{"a100": 0.001}]
    )

    def holds(self, cpus: float, gpus: float, memory: int | None) -> bool:
        """Whether one node of this kind has so much."""
        return cpus <= self.cpus and gpus <= self.gpus and (memory or 0) <= (self.memory or memory or 0)


class Environment(Section):
    """What processes on the nodes find: code, packages, variables."""

    working_directory: str | None = Field(
        default=None, description="The folder that is shipped; that of the spec by default.", examples=["."]
    )
    excludes: tuple[str, ...] = Field(
        default=(), strict=False, description="What of it is not, as in .gitignore.", examples=[["data/"]]
    )
    pip: tuple[str, ...] = Field(
        default=(), strict=False, description="Requirements to install on the nodes.", examples=[["einops==0.8"]]
    )
    variables: Names = Field(
        default=(), description="Variables that keep the value they have here.", examples=[["WANDB_MODE"]]
    )
    secrets: Names = Field(
        default=(), description="Variables that the nodes themselves must have.", examples=[["PGPASSWORD"]]
    )


class Profile(Section):
    """Where a sweep runs: in this process, on this machine, or as a detached scheduler on an existing Ray cluster."""

    kind: Literal["inline", "embedded", "existing"] = Field(
        description="inline, embedded, or existing: a Ray cluster that runs already.", examples=["existing"]
    )
    address: Annotated[str, AfterValidator(_address)] | None = Field(
        default=None, description="Where Ray's dashboard listens.", examples=["http://127.0.0.1:8265"]
    )
    namespace: str = Field(
        default="swathe", min_length=1, description="Ray's namespace for the actors.", examples=["swathe"]
    )
    authentication: Literal["token", "off"] = Field(
        default="token", description="token: Ray's own, from RAY_AUTH_TOKEN or ~/.ray/auth_token.", examples=["token"]
    )
    ledger: Annotated[str, AfterValidator(_without_password)] | None = Field(
        default=None,
        description="The URL of the ledger's database; a SQLite file in the results by default.",
        examples=["postgresql://swathe@db.example/sweeps"],
    )
    results: Annotated[str, AfterValidator(_without_password)] | None = Field(
        default=None, description="A folder that all nodes see, or a URI.", examples=["s3://bucket/sweeps"]
    )
    pools: Mapping[str, Pool] = Field(
        default_factory=dict,
        description="Kinds of nodes by name; any node by default.",
        examples=[{"gpu": {"gpus": 1}}],
    )
    environment: Environment = Field(
        default=Environment(), description="Code, packages and variables.", examples=[{"pip": ["einops==0.8"]}]
    )

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise from_validation(error, type(self), ABOVE) from None
        needed = ("address", "results") if self.kind == "existing" else ()
        for key in needed:
            if getattr(self, key) is None:
                example = type(self).model_fields[key].examples
                assert example is not None, "every key has an example"
                raise Fault(f"profile lacks the key `{key}`; write for example `{key}: {example[0]}`", ABOVE)
        if self.kind != "existing" and (extra := self.model_fields_set - {"kind"}):
            key = min(extra)
            rule = f"a cluster of kind {self.kind} is this machine"
            raise broken((*ABOVE, key), getattr(self, key), rule, "remove it, or write `kind: existing`")


def parse(text: str, source: str) -> Profile:
    """The profile in the text of a file. Raises `ProfileError` whose message starts with `source:line:`."""
    try:
        document = parse_document(text, source, genre=GENRE)
    except SpecError as error:
        raise ProfileError(str(error)) from None
    try:
        return Profile(**document.data)
    except Fault as fault:
        raise ProfileError(f"{document.place(fault.path[len(ABOVE) :])}: {fault}") from None
