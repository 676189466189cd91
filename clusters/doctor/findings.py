"""What a doctor finds, and the judgements that need nothing but facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..profile import Pool

# Times of trials are those of their nodes, and a ledger in a file has the clock of whoever writes it.
MOST_SKEW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `fault` is "" where all is well, and `remedy` says what to do about it."""

    check: str
    place: str
    told: str
    fault: str = ""
    remedy: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing is to be done."""
        return not self.fault


def well(check: str, place: str, told: str) -> Finding:
    """A check without fault."""
    return Finding(check, place, told)


def broken(check: str, place: str, fault: str, remedy: str) -> Finding:
    """A check with a fault, and its remedy."""
    return Finding(check, place, "", fault, remedy)


def versions(place: str, what: str, here: str, there: str) -> Finding:
    """Whether a version is the same here and there; of Python the first two numbers count."""
    alike = here.split(".")[:2] == there.split(".")[:2] if what == "Python" else here == there
    if alike:
        return well(what, place, f"{what} {there}")
    return broken(
        what,
        place,
        f"{what} is {there} there and {here} here",
        f"install {what} {there} here, or {what} {here} on the nodes",
    )


def clock(place: str, offset: float, uncertainty: float) -> Finding:
    """Whether a clock, `offset` seconds ahead of ours and measured to `uncertainty`, is right."""
    if abs(offset) - uncertainty <= MOST_SKEW_SECONDS:
        return well("clock", place, f"agrees to {max(abs(offset), uncertainty):.1f} s")
    side = "ahead of" if offset > 0 else "behind"
    return broken(
        "clock",
        place,
        f"its clock is {abs(offset):.0f} s {side} that of the machine that asked it",
        "set both by NTP (`timedatectl set-ntp true`)",
    )


def variables(place: str, missing: Sequence[str]) -> Finding:
    """Whether a node has the variables that `environment.secrets` names."""
    if not missing:
        return well("variables", place, "all are set")
    names = ", ".join(missing)
    return broken(
        "variables",
        place,
        f"{names} not set",
        "set it where Ray is started on that node, or remove it from environment.secrets in the profile",
    )


def pool(name: str, asked: Pool, nodes: Mapping[str, Mapping[str, float]]) -> Finding:
    """Whether some node has what a pool promises; `nodes` are Ray's resources by node."""
    wanted = {"CPU": asked.cpus, "GPU": asked.gpus, "memory": float(asked.memory or 0), **asked.resources}
    place = f"pool {name}"
    for node, have in nodes.items():
        if all(have.get(resource, 0.0) >= much for resource, much in wanted.items() if much):
            return well("pools", place, f"node {node} is of that kind")
    most = {resource: max((have.get(resource, 0.0) for have in nodes.values()), default=0.0) for resource in wanted}
    short = [f"{much:g} {resource}, the largest has {most[resource]:g}" for resource, much in wanted.items()
             if much > most[resource]]  # fmt: skip
    return broken(
        "pools",
        place,
        f"no node has {' and '.join(short) or 'all of it at once'}",
        "mend pools in the profile, or start such a node; an autoscaler may start it when a sweep asks",
    )


def gpus(place: str, granted: float, seen: int | None, wanted: bool) -> Finding | None:
    """Whether a process sees the GPUs that Ray grants on its node; nothing to say where there are none."""
    if not granted:
        return None
    if seen:
        return well("gpu", place, f"{seen} visible")
    if not wanted:
        return well("gpu", place, "not visible to PyTorch, and no pool asks for one")
    return broken(
        "gpu",
        place,
        f"Ray grants {granted:g} GPUs there, and PyTorch sees none",
        "check `nvidia-smi` on the node, that PyTorch is a CUDA build, and the --num-gpus given to `ray start`",
    )


def imports(place: str, told: Mapping[str, Any]) -> Finding:
    """Whether the code is importable there; `told` is what `visiting.look` says."""
    if not told.get("import_error"):
        return well("code", place, f"{told.get('task') or 'swathe'} imports")
    return broken(
        "code",
        place,
        f"{told.get('task') or 'swathe'} does not import: {told['import_error']}",
        "install what is missing on the nodes or name it in environment.pip, and see that environment.excludes and "
        ".gitignore leave out nothing that the code needs",
    )
