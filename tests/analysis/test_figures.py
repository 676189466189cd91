"""Figures as files: what is drawn is what the numbers beside it say."""

import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from swathe.analysis.figures import file_names, files_of, save_figures
from swathe.analysis.pages import page
from swathe.orchestrator.errors import SwatheError
from swathe.orchestrator.spec import parse
from tests.analysis.conftest import study_spec

SPEC = study_spec()
ROBUST = SPEC + "study: {name: robustness, hyperparameter: lr}\n"


@pytest.fixture
def trials(make_study):
    frame = make_study(np.random.default_rng(0), 0.0, seeds=3).frame()
    return frame.assign(trial=frame["cell"], error="")


def numbers(picture):
    return pd.read_csv(io.BytesIO(files_of(picture)["csv"]))


def test_the_numbers_of_a_transfer_study_are_what_is_drawn(trials):
    loss, optima = page(trials, parse(SPEC)).figures
    told = numbers(loss)
    drawn = [
        line
        for axes in loss.figure.axes
        for line in axes.lines
        if line.get_linestyle() == "-" and len(line.get_xdata()) > 2
    ]
    for width, line in zip(sorted(set(told["width"])), drawn, strict=True):
        mine = told[(told["width"] == width) & (told["diverged"] == 0)]
        assert np.allclose(line.get_xdata(), mine["log2_lr"]) and np.allclose(line.get_ydata(), mine["mean"])
    assert told["diverged"].sum() == (trials["cause"] == "diverged").sum()
    each = told[["seed_0", "seed_1", "seed_2"]].replace(np.inf, np.nan)
    assert np.allclose(each.mean(axis=1), told["mean"], equal_nan=True)
    points = [line for line in optima.figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert np.allclose([line.get_ydata()[0] for line in points], numbers(optima)["best_log2_lr"])


def test_other_sweeps_have_their_numbers_too(trials):
    sensitivity, configurations = page(trials, parse(ROBUST)).figures
    told = numbers(configurations)
    assert told["best"].sum() == 4 and (told["seeds"] <= 3).all()
    dots = [line for line in configurations.figure.axes[0].lines if line.get_marker() == "o"]
    assert np.allclose(sorted(np.concatenate([line.get_xdata() for line in dots])), sorted(told["mean"]))
    assert set(numbers(sensitivity)["method"]) == {f"width {width}" for width in (64, 128, 256, 512)}


def test_each_figure_is_vector_and_the_same_every_time(trials, tmp_path):
    figures = page(trials, parse(SPEC)).figures
    paths = save_figures(figures, tmp_path / "figures")
    assert [path.suffix for path in paths] == [".pdf", ".svg", ".csv"] * 2 and all(path.is_file() for path in paths)
    before = [path.read_bytes() for path in paths]
    assert before == [path.read_bytes() for path in save_figures(figures, tmp_path / "figures")]
    for pdf, svg in zip(before[::3], before[1::3], strict=True):
        assert ElementTree.fromstring(svg).tag.endswith("svg") and b"<image" not in svg
        assert pdf.startswith(b"%PDF") and b"/Type3" not in pdf and not re.search(rb"/Subtype\s*/Image", pdf)


def test_a_folder_that_cannot_be_is_an_error_in_words(trials, tmp_path):
    (tmp_path / "figures").write_text("a file", encoding="utf-8")
    with pytest.raises(SwatheError, match="cannot be written"):
        save_figures(page(trials, parse(SPEC)).figures, tmp_path / "figures")


def test_names_suit_any_file_system():
    assert file_names(["mup", "Optimum against width", "mup", "±/\\", "a, b 1.5"]) == [
        "mup",
        "optimum-against-width",
        "mup-2",
        "figure",
        "a-b-1.5",
    ]
