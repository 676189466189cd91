import io
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import pytest

from swathe.analysis import plots
from swathe.analysis.panels import _apart, level_colours, loss_limits
from swathe.analysis.study import TransferStudy
from swathe.analysis.summary import best_configurations
from swathe.analysis.transfer import judge_by


@pytest.fixture
def study(make_study):
    parts = []
    for form, drift in (("mup", 0.0), ("standard", -0.6)):
        rows = make_study(np.random.default_rng(0), drift, seeds=3).frame()
        parts.append(rows.assign(cell=rows["cell"] + form, **{"param.form": form}))
    return pd.concat(parts, ignore_index=True)


def prepared(trials):
    found = TransferStudy("width", "lr", ("form",))
    verdicts = judge_by(trials, found.by, axis=found.axis, hyperparameter=found.hyperparameter)
    return plots.group_curves(trials, found, "value", "minimize"), verdicts, found


def texts(figure):
    figure.draw_without_rendering()
    return [each.get_text() for each in figure.findobj(matplotlib.text.Text)]


def test_the_figure_has_a_panel_a_group_and_one_of_optima(study):
    figure = plots.transfer_figure(*prepared(study), "train_loss")
    shown = texts(figure)
    assert "final training loss" in shown and shown.count("log2 learning rate") == 2 and "width" in shown
    assert any(text.startswith("mup: transfers\ndrift") for text in shown)
    assert any(text.startswith("standard: drifts\ndrift") for text in shown)
    assert {"64", "128", "256"} <= set(shown) and sum(text.startswith("width ") for text in shown) == 2


def test_loss_panels_share_their_limits(study):
    groups, verdicts, found = prepared(study)
    low, high = loss_limits(groups, verdicts)
    figure = plots.transfer_figure(groups, verdicts, found, "loss")
    panels = [axes for axes in figure.axes if axes.get_xlabel().startswith("log2")]
    assert [axes.get_ylim() for axes in panels] == [pytest.approx((low, high))] * 2
    assert {axes.get_yscale() for axes in panels} == {"log"}


def test_svg_is_well_formed_and_repeatable(study):
    groups, verdicts, _ = prepared(study)
    key = ("mup",)
    texts = [
        plots.to_svg(plots.loss_figure(groups[key], verdicts[key], loss_limits(groups, verdicts), "loss"))
        for _ in range(2)
    ]
    assert texts[0] == texts[1] and ElementTree.fromstring(texts[0]).tag.endswith("svg")
    assert "http" not in texts[0].replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert matplotlib.rcParams["svg.hashsalt"] is None


def test_png_is_written(study):
    target = io.BytesIO()
    plots.to_png(plots.optima_figure(*prepared(study)[1:]), target, dpi=50)
    assert target.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize("case", ["cut low", "cut high", "all diverged", "one seed", "accuracy"])
def test_every_kind_of_study_can_be_drawn(study, case):
    lr = study["param.lr"]
    trials = {
        "cut low": study[lr > 1.0],
        "cut high": study[lr < 0.5],
        "all diverged": study.assign(state="FAIL", cause="diverged", value=np.nan),
        "one seed": study[study["replicate"] == 0],
        "accuracy": study.assign(value=study["value"] - 5.0),
    }[case]
    plots.to_svg(plots.transfer_figure(*prepared(trials), "loss"))


def test_configurations_are_drawn_for_other_sweeps(study):
    best = best_configurations(study, "minimize")
    figure = plots.configurations_figure(study, best, "val_loss")
    assert "final validation loss" in texts(figure) and "width 64, mup" in texts(figure)
    plots.to_svg(figure)
    plots.to_svg(plots.configurations_figure(study, (), "val_loss"))


def test_labels_are_moved_apart_no_more_than_needed():
    assert _apart([0.1, 0.5], 0.1) == [0.1, 0.5]
    assert _apart([0.1, 0.1, 0.1], 0.1) == pytest.approx([0.1, 0.2, 0.3])
    assert _apart([0.95, 0.97], 0.1) == pytest.approx([0.9, 1.0])
    assert _apart([], 0.1) == []


def test_colours_can_be_told_apart_in_grey():
    grey = [float(np.dot(colour[:3], (0.299, 0.587, 0.114))) for colour in level_colours(5)]
    assert all(one - other > 0.07 for one, other in pairwise(grey))
