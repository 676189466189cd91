"""Clusters that sweeps are sent to, by the names of their profiles."""

from __future__ import annotations

from ...clusters import finding
from ...clusters.profile import Profile, ProfileError


def existing(cluster: str) -> Profile:
    """The profile of this name, of a cluster that takes sweeps. Raises `ProfileError`."""
    profile = finding.profile(cluster)
    if profile.kind != "existing":
        raise ProfileError(
            f"cluster {cluster} is this machine, and nothing is sent to it; use `swathe run --cluster {cluster}`, "
            "or a profile of kind existing"
        )
    return profile
