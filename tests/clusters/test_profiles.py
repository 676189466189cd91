"""Profiles: found by name, checked with place and remedy, and never a secret in an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from swathe.clusters.finding import own_folder, profile, profiles
from swathe.clusters.profile import Pool, ProfileError, parse

WHOLE = """
kind: existing
address: http://127.0.0.1:8265
ledger: postgresql://swathe@db.example/sweeps
results: s3://bucket/sweeps
pools:
  cpu: {cpus: 16, memory: 64GiB}
  gpu: {cpus: 8, gpus: 4, workers: 8, resources: {a100: 0.001}}
environment:
  pip: [einops==0.8]
  secrets: [PGPASSWORD]
"""

FAULTS = {
    "": "x.yaml:1: the profile is empty; write at least kind, such as `kind: existing`",
    "- 1": "x.yaml:1: the profile is [1], but must be a mapping; write `key: value` lines",
    "kind: exsting": "x.yaml:1: profile.kind is \"exsting\", but must be 'inline', 'embedded' or 'existing'",
    "kind: existing\nresults: a": "x.yaml:1: profile lacks the key `address`; write for example",
    "kind: existing\nadress: 1": 'x.yaml:2: "adress" is not a key of profile; did you mean `address`?',
    "kind: inline\nresults: a": 'x.yaml:2: profile.results is "a", but a cluster of kind inline is this machine',
    "kind: existing\naddress: ray://a": 'x.yaml:2: profile.address is "ray://a", but the address is that of Ray\'s',
    WHOLE + "  secret: [A]": 'x.yaml:12: "secret" is not a key of profile.environment; did you mean `secrets`?',
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own profiles."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    own_folder().mkdir(parents=True)
    return own_folder()


def test_profiles_that_come_with_the_package(own: Path) -> None:
    assert {name: profile(name).kind for name in profiles()} == {
        "embedded": "embedded",
        "existing": "existing",
        "inline": "inline",
    }


def test_a_profile_of_the_users_own_comes_first(own: Path) -> None:
    (own / "existing.yaml").write_text(WHOLE, encoding="utf-8")
    (own / "lab.yaml").write_text(WHOLE.replace("8265", "9000"), encoding="utf-8")
    assert profile("existing").results == "s3://bucket/sweeps"
    assert profile("lab").address == "http://127.0.0.1:9000"
    assert profile("lab").pools["gpu"] == Pool(cpus=8, gpus=4, workers=8, resources={"a100": 0.001})


def test_a_relative_config_home_is_none() -> None:
    assert own_folder({"XDG_CONFIG_HOME": "somewhere"}) == Path.home() / ".config/swathe/clusters"


def test_an_unknown_name_is_told_with_the_nearest_and_where_to_write_it(own: Path) -> None:
    with pytest.raises(ProfileError, match=r"no cluster 'exsting'; did you mean `existing`.*swathe/clusters/exsting"):
        profile("exsting")


@pytest.mark.parametrize("text", FAULTS, ids=range(len(FAULTS)))
def test_a_broken_rule_is_told_with_place_and_remedy(text: str) -> None:
    with pytest.raises(ProfileError) as raised:
        parse(text, "x.yaml")
    assert str(raised.value).startswith(FAULTS[text])


@pytest.mark.parametrize(
    "text",
    [
        WHOLE.replace("swathe@db", "swathe:hunter2@db"),
        WHOLE.replace("s3://bucket", "s3://key:hunter2@bucket"),
        WHOLE.replace("[PGPASSWORD]", "[PGPASSWORD=hunter2]"),
    ],
)
def test_a_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ProfileError) as raised:
        parse(text, "x.yaml")
    assert "hunter2" not in str(raised.value)
    assert "password" in str(raised.value) or "names" in str(raised.value)


def test_what_a_node_of_a_pool_holds() -> None:
    pool = Pool(cpus=8, gpus=1, memory=2**30)
    assert pool.holds(8, 0.5, 2**30)
    assert not pool.holds(9, 0, None)
    assert not pool.holds(1, 2, None)
    assert not pool.holds(1, 0, 2**31)
    assert Pool(cpus=8).holds(1, 0, 2**40), "a pool that names no memory does not bound it"
