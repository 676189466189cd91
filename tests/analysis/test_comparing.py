"""Two sweeps beside each other: pairs, intervals that cover, and what cannot be compared."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from swathe.analysis.compared import Side, changes, decide_difference
from swathe.analysis.comparing import comparison
from swathe.analysis.differences import difference_of_best, difference_of_drifts
from swathe.analysis.estimates import Estimate
from swathe.analysis.study import TransferStudy
from swathe.orchestrator.errors import SwatheError
from swathe.orchestrator.spec import parse
from tests.analysis.conftest import study_spec

SPEC = study_spec(seeds=5)
STUDY = TransferStudy("width", "lr", ())


def frame(values):
    """Trials (configurations, seeds) of one cell."""
    unit, seed = (index.ravel() for index in np.indices(values.shape))
    rows = {"cell": "c", "configuration": unit, "replicate": seed, "state": "COMPLETE", "cause": None}
    return pd.DataFrame(rows | {"value": values.ravel(), "param.lr": unit + 1.0})


def test_without_a_choice_it_is_the_t_test():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(1, 6)), rng.normal(0.5, 2.0, size=(1, 6))
    paired = difference_of_best(frame(one), frame(other), "minimize", shared=True)
    wanted = stats.ttest_rel(other[0], one[0]).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx(tuple(wanted)) and paired.n == 6
    apart = difference_of_best(frame(one), frame(other), "minimize", shared=False)
    wanted = stats.ttest_ind(other[0], one[0], equal_var=False).confidence_interval(0.95)
    assert (apart.low, apart.high) == pytest.approx(tuple(wanted)) and "not paired" in apart.reasons[0]


def test_more_configurations_alone_do_not_look_better():
    rng, missed, luck = np.random.default_rng(1), 0, []
    for _ in range(60):
        few, many = rng.normal(size=(1, 5)), rng.normal(size=(20, 5))
        found = difference_of_best(frame(few), frame(many), "minimize", shared=False)
        missed += not found.low <= 0.0 <= found.high
        luck.append(many.mean(axis=1).min() - few.mean())
    assert missed <= 8 and np.mean(luck) < -0.5


def test_two_seeds_and_divergence_have_no_interval():
    two = frame(np.ones((1, 2)))
    assert difference_of_best(two, two, "minimize", shared=True).low is None
    bad = frame(np.ones((1, 4))).assign(state="FAIL", cause="diverged", value=np.nan)
    found = difference_of_best(bad, frame(np.ones((1, 4))), "minimize", shared=True)
    assert found.estimate is None and "diverged" in found.reasons[0]


def test_the_difference_of_drifts_covers(make_study):
    rng, held = np.random.default_rng(2), 0
    for _ in range(20):
        one, other = (make_study(rng, drift, seeds=5).frame() for drift in (0.0, -0.3))
        found = difference_of_drifts(one, other, STUDY, "minimize", shared=False)
        held += found.low <= -0.3 <= found.high
    assert held >= 17  # of 20 at 95%: fewer come by chance once in 60


def test_pairs_cancel_what_seeds_share(make_study):
    one = make_study(np.random.default_rng(3), -0.4, seeds=5).frame()
    paired = difference_of_drifts(one, one, STUDY, "minimize", shared=True)
    apart = difference_of_drifts(one, one, STUDY, "minimize", shared=False)
    assert paired.estimate == apart.estimate == 0.0
    assert paired.high - paired.low < apart.high - apart.low


def test_a_censored_optimum_opens_the_difference(make_study):
    one = make_study(np.random.default_rng(4), -0.5, seeds=5).frame()
    cut = one[one["param.lr"] > 1.0]
    found = difference_of_drifts(one, cut, STUDY, "minimize", shared=True)
    assert found.estimate is None and (np.isinf(found.low) or np.isinf(found.high))


@pytest.mark.parametrize(
    ("wide", "narrow", "word"),
    [
        ((-0.1, 0.1), (-0.08, 0.08), "alike"),
        ((0.02, 0.4), (0.05, 0.35), "differ"),
        ((-0.1, 0.4), (0.0, 0.3), "undecided"),
        ((None, None), (None, None), "undecided"),
    ],
)
def test_words_follow_the_intervals(wide, narrow, word):
    assert decide_difference(Estimate(0.0, *wide, 5), Estimate(0.0, *narrow, 5), 0.15) == word


def sides(make_study, change=lambda frame: frame, text=SPEC):
    rows = make_study(np.random.default_rng(5), 0.0, seeds=5).frame().assign(trial="t", error="")
    return Side("one", rows, parse(SPEC), {"python": "3.11"}), Side(
        "two", change(rows), parse(text), {"python": "3.12"}
    )


def test_a_comparison_leads_with_which_is_better(make_study):
    slower = SPEC + "fixed: {steps: 9}\n"
    found = comparison(*sides(make_study, lambda rows: rows.assign(value=rows["value"] * 1.2), slower))
    assert [each.headline for each in found.verdicts] == [
        "one has the better training loss.",
        "all trials: the optima drift alike, within 0.15 octaves per doubling.",
    ]
    tables = {table.title: table.rows for table in found.tables}
    assert tables["What differs in the specs"] == [("fixed.steps", "absent", "9")]
    assert tables["What differs in provenance"] == [("python", "3.11", "3.12")]
    assert len(tables["Best of each cell, compared"]) == 4 and len(tables["Verdicts side by side"]) == 2
    assert all("paired" in row[-1] for row in tables["Best of each cell, compared"])
    assert len(found.figures) == 2 and "are paired" in found.methods.paragraphs[0]


def test_other_seeds_are_not_paired(make_study):
    found = comparison(*sides(make_study, text=SPEC + "seed: 7\n"))
    assert found.verdicts[0].word == "undecided" and "not paired" in " ".join(found.verdicts[0].reasons)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SPEC.replace("train_loss", "val_loss"), "one has the metric train_loss and two has the metric val_loss"),
        (SPEC + "direction: maximize\n", "one would minimize train_loss and two would maximize train_loss"),
    ],
)
def test_other_metrics_and_directions_are_refused(make_study, text, said):
    with pytest.raises(SwatheError, match=said):
        comparison(*sides(make_study, text=text))


def test_a_sweep_without_results_is_refused(make_study):
    with pytest.raises(SwatheError, match="two has no result yet"):
        comparison(*sides(make_study, lambda rows: rows.iloc[:0]))


def test_changes_are_named_by_their_path():
    one, other = {"a": {"b": 1, "c": [1, 2]}, "d": 0}, {"a": {"b": 2, "c": [1, 2]}, "e": True}
    assert changes(one, other) == [("a.b", "1", "2"), ("d", "0", "absent"), ("e", "absent", "True")]
