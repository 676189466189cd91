import numpy as np
import pytest

from swathe.analysis.curves import gather
from swathe.orchestrator.errors import SwatheError


def read(frame, **changes):
    options = {"axis": "width", "hyperparameter": "lr", "metric": "value", "direction": "minimize"}
    return gather(frame, **{**options, **changes})


def test_levels_points_and_seeds_are_found(make_study):
    study = make_study(np.random.default_rng(0), 0.1, seeds=3)
    curves = read(study.frame().sample(frac=1.0, random_state=1))
    assert [curve.level for curve in curves.curves] == [64, 128, 256, 512]
    assert curves.seeds == 3 and curves.logarithmic and not curves.scattered and not curves.excluded
    for curve, loss in zip(curves.curves, np.moveaxis(study.loss, 1, 0), strict=True):
        assert curve.x == pytest.approx(study.x)
        np.testing.assert_allclose(curve.cost, np.where(np.isnan(loss), np.inf, np.log(loss)))


def test_what_says_nothing_is_left_out_and_counted(make_study):
    frame = make_study(np.random.default_rng(0), 0.1, seeds=3).frame()
    frame.loc[0, ["state", "cause", "value"]] = ["FAIL", "worker_lost", np.nan]
    frame.loc[1, "state"] = "PRUNED"
    frame.loc[2, ["state", "value"]] = ["RUNNING", np.nan]
    assert read(frame).excluded == {"pruned": 1, "running": 1, "worker lost": 1}


def test_a_complete_trial_without_a_finite_metric_counts_as_diverged(make_study):
    frame = make_study(np.random.default_rng(0), 0.1).frame()
    frame["metric.score"] = frame["value"]
    frame.loc[0, "metric.score"] = np.inf
    curve = read(frame, metric="score").curves[0]
    assert np.isinf(curve.cost[0, 0]) and not curve.clean[0]


def test_a_maximised_metric_keeps_its_units(make_study):
    frame = make_study(np.random.default_rng(0), 0.1).frame()
    frame["value"] = 1 - frame["value"]
    curves = read(frame, direction="maximize")
    assert not curves.logarithmic
    assert curves.metric(float(curves.curves[0].mean[0])) == pytest.approx(
        frame["value"][frame["configuration"] == 0].iloc[::4].mean(), rel=0.1
    )


def test_seeds_that_not_every_level_has_are_left_out(make_study):
    frame = make_study(np.random.default_rng(0), 0.1, seeds=4).frame()
    assert read(frame[(frame["replicate"] != 2) | (frame["param.width"] != 64)]).seeds == 3


def test_scattered_points_are_recognised_and_joined():
    rng = np.random.default_rng(0)
    import pandas as pd

    rows = [
        {"replicate": k, "state": "COMPLETE", "cause": None, "value": 1.0, "param.width": w, "param.lr": 2.0**x}
        for w in (1, 2, 4)
        for x in [*rng.uniform(-4, 4, 20), 1.01, 1.02]
        for k in range(2)
    ]
    curves = read(pd.DataFrame(rows))
    assert curves.scattered
    assert all(np.diff(curve.x).min() > 0 and len(curve.x) <= 21 for curve in curves.curves)


def test_other_parameters_that_vary_are_named(make_study):
    frame = make_study(np.random.default_rng(0), 0.1).frame()
    frame["param.depth"] = 3
    frame["param.wd"] = frame["replicate"] * 0.1
    assert read(frame).varying == ("wd",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axis": "depth"}, "no column 'param.depth'"),
        ({"direction": "down"}, "minimize or maximize"),
        ({"hyperparameter": "name"}, "does not hold numbers"),
        ({"hyperparameter": "zero"}, "must be > 0"),
        ({"metric": "accuracy"}, "no column 'metric.accuracy'"),
    ],
)
def test_what_cannot_be_judged_is_refused(make_study, changes, message):
    frame = make_study(np.random.default_rng(0), 0.1).frame()
    frame["param.name"], frame["param.zero"] = "a", 0.0
    with pytest.raises(SwatheError, match=message):
        read(frame, **changes)
