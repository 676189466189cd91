"""A state comes back as it was, or was never there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from swathe.orchestrator import checkpoint

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text())
ARRAYS = npst.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_]), npst.array_shapes(min_dims=0, max_side=3)
)
TREES = st.recursive(
    PLAIN | ARRAYS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(), st.integers()), inner, max_size=3),
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@settings(max_examples=60, deadline=None)
@given(tree=st.dictionaries(st.text(), TREES, max_size=3))
def test_trees_come_back_as_they_were(tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("states") / "s"
    checkpoint.save(tree, folder)
    assert same(checkpoint.load(folder), tree)


def test_a_model_and_its_optimizer_come_back(tmp_path: Path) -> None:
    import torch

    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": 7, "tied": [model.weight] * 2}
    checkpoint.save(lambda: state, tmp_path / "s")
    loaded = checkpoint.load(tmp_path / "s")
    twin = torch.nn.Linear(3, 2)
    twin.load_state_dict(loaded["model"])
    again = torch.optim.Adam(twin.parameters())
    again.load_state_dict(loaded["optimizer"])
    assert torch.equal(twin.weight, model.weight) and loaded["step"] == 7
    assert again.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    assert torch.equal(again.state[twin.bias]["exp_avg"], optimizer.state[model.bias]["exp_avg"])


def test_arrays_that_are_views_come_back_unscrambled(tmp_path: Path) -> None:
    grid = np.arange(12.0).reshape(3, 4)
    checkpoint.save({"t": grid.T, "s": grid[:, ::2], "nan": math.nan}, tmp_path / "s")
    loaded = checkpoint.load(tmp_path / "s")
    assert (loaded["t"] == grid.T).all() and (loaded["s"] == grid[:, ::2]).all() and math.isnan(loaded["nan"])


def test_bytes_and_folders_come_back(tmp_path: Path) -> None:
    checkpoint.save(b"\x00state", tmp_path / "s")
    assert checkpoint.load(tmp_path / "s") == b"\x00state"
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    (tmp_path / "mine" / "sub" / "a.txt").write_text("hello")
    checkpoint.save(tmp_path / "mine", tmp_path / "s")
    assert (checkpoint.load(tmp_path / "s") / "sub" / "a.txt").read_text() == "hello"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ([1, 2], "is a list"),
        ({"f": print}, "state.f is a builtin_function_or_method"),
        ({(1, 2): 3}, r"key \(1, 2\)"),
        (Path("/nowhere"), "is no folder"),
        ({"a": {"b": {1, 2}}}, "state.a.b is a set"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_the_last_one_stays(state: Any, words: str, tmp_path: Path) -> None:
    checkpoint.save(b"good", tmp_path / "s")
    with pytest.raises(checkpoint.StateError, match=words):
        checkpoint.save(state, tmp_path / "s")
    assert checkpoint.load(tmp_path / "s") == b"good"
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
