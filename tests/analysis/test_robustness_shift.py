"""Attacks, corruptions, domains, and time to a target."""

import numpy as np
import pandas as pd
import pytest

from swathe.analysis.shift import mean_corruption_error, strength_curves, worst_domain
from swathe.analysis.statistics import t_interval
from swathe.analysis.targets import ratios, score, speeds, time_to_target
from swathe.orchestrator.errors import SwatheError


def frame(method="a", units=1, seeds=3, **columns):
    """A trials frame with metrics given as arrays (units, seeds)."""
    unit, seed = (index.ravel() for index in np.indices((units, seeds)))
    rows = {"cell": method, "configuration": unit, "replicate": seed, "state": "COMPLETE", "cause": None}
    given = {name: np.broadcast_to(values, (units, seeds)).ravel() for name, values in columns.items()}
    value = given.pop("value", np.zeros(units * seeds))
    return pd.DataFrame(
        rows | {"value": value, "param.optimizer": method} | {f"metric.{k}": v for k, v in given.items()}
    )


def test_a_strength_curve_has_an_interval_at_every_strength():
    clean, weak, strong = np.array([0.9, 0.8, 0.85]), np.array([0.7, 0.6, 0.6]), np.array([0.2, 0.1, 0.3])
    trials = frame(clean=clean, weak=weak, strong=strong)
    (found,) = strength_curves(trials, {4.0: "strong", 0.0: "clean", 1.0: "weak"}, method="optimizer")
    assert found.strengths == (0.0, 1.0, 4.0) and found.selection == "One configuration." and found.n == 3
    for point, values in zip(found.points, (clean, weak, strong), strict=True):
        assert (point.low, point.high) == pytest.approx(t_interval(values, 0.95))
    area = ((clean + weak) / 2 + 3 * (weak + strong) / 2) / 4
    assert found.area.estimate == pytest.approx(area.mean()) and found.reasons == ()


def test_an_attack_that_helps_is_suspect_and_few_seeds_are_told():
    odd = frame(clean=[0.5, 0.5, 0.51], strong=[0.8, 0.8, 0.82])
    (found,) = strength_curves(odd, {0: "clean", 1: "strong"})
    assert found.reasons == ("Better at strength 1 than at 0: a stronger attack cannot help, so check it.",)
    (few,) = strength_curves(odd[odd["replicate"] < 2], {0: "clean", 1: "strong"})
    assert few.points[0].low is None and "at least 3" in few.reasons[0]
    with pytest.raises(SwatheError, match=r"1 strength\(s\) make no curve"):
        strength_curves(odd, {0: "clean"})


def test_the_configuration_is_chosen_by_a_named_metric():
    trials = frame(units=2, value=np.array([[2.0], [1.0]]), clean=np.array([[0.9], [0.6]]), bad=0.1)
    (found,) = strength_curves(trials, {0: "clean", 1: "bad"})
    assert found.points[0].estimate == pytest.approx(0.6)
    assert found.selection == "Chosen as the best of 2 configurations by value."
    (other,) = strength_curves(trials, {0: "clean", 1: "bad"}, by="clean", by_direction="maximize")
    assert other.points[0].estimate == pytest.approx(0.9) and other.selection.endswith("by clean.")


def test_the_mean_corruption_error_is_its_formula():
    rng = np.random.default_rng(0)
    errors = {f"{c}{s}": rng.uniform(0.1, 0.6, size=(2, 4)) for c in "nb" for s in range(3)}
    parts = [frame(m, seeds=4, **{k: v[j] for k, v in errors.items()}) for j, m in enumerate("ab")]
    trials = pd.concat(parts, ignore_index=True)
    corruptions = {"noise": ["n0", "n1", "n2"], "blur": ["b0", "b1", "b2"]}
    one, other = mean_corruption_error(trials, corruptions, method="optimizer", reference="b")
    ratio = {
        name: sum(errors[k][0].mean() for k in keys) / sum(errors[k][1].mean() for k in keys)
        for name, keys in corruptions.items()
    }
    assert one.by_corruption == pytest.approx(ratio) and one.estimate == pytest.approx(np.mean(list(ratio.values())))
    assert one.low < one.estimate < one.high and other.estimate == 1.0 and one.reference == "b"
    plain, _ = mean_corruption_error(trials, corruptions, method="optimizer")
    assert plain.estimate == pytest.approx(np.mean([v[0].mean() for v in errors.values()]))
    assert "no reference" in plain.reasons[0]
    accurate = trials.assign(**{f"metric.{k}": 1 - trials[f"metric.{k}"] for k in errors})
    same, _ = mean_corruption_error(accurate, corruptions, method="optimizer", reference="b", direction="maximize")
    assert same.estimate == pytest.approx(one.estimate) and same.low == pytest.approx(one.low)
    with pytest.raises(SwatheError, match="no trials of 'c'; there are a, b"):
        mean_corruption_error(trials, corruptions, method="optimizer", reference="c")


def test_the_mean_corruption_error_covers():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(120):
        parts = [
            frame(m, seeds=5, n=rng.normal(level, 0.03, 5), b=rng.normal(level, 0.03, 5))
            for m, level in (("a", 0.3), ("b", 0.4))
        ]
        trials = pd.concat(parts, ignore_index=True)
        found = mean_corruption_error(trials, {"n": ["n"], "b": ["b"]}, method="optimizer", reference="b")[0]
        hits += bool(found.low <= 0.75 <= found.high)
    assert hits >= 0.91 * 120


def test_the_worst_domain_names_its_rule():
    one, two = np.array([[0.9], [0.7]]), np.array([[0.3], [0.5]])
    trials = frame(units=2, value=np.array([[1.0], [2.0]]), day=one, night=two)
    domains = {"day": "day", "night": "night"}
    worst = {rule: worst_domain(trials, domains, rule)[0] for rule in ("validation", "leave-one-domain-out", "oracle")}
    assert {rule: found.rule for rule, found in worst.items()} == {rule: rule for rule in worst}
    assert (worst["validation"].worst, worst["validation"].estimate) == ("night", pytest.approx(0.3))
    # Chosen on the other domain: for the night the one that is best by day, and the other way round.
    assert worst["leave-one-domain-out"].by_domain["day"].estimate == pytest.approx(0.7)
    assert worst["leave-one-domain-out"].by_domain["night"].estimate == pytest.approx(0.3)
    assert worst["oracle"].estimate == pytest.approx(0.5) and "oracle: optimistic" in worst["oracle"].selection
    assert worst["oracle"].average.estimate == pytest.approx(0.7)
    with pytest.raises(SwatheError, match="rule 'best' is unknown"):
        worst_domain(trials, domains, "best")
    with pytest.raises(SwatheError, match="none is left to choose on"):
        worst_domain(trials, {"day": "day"}, "leave-one-domain-out")


def test_divergence_is_the_worst_that_can_happen_to_a_domain():
    trials = frame(day=[0.9, 0.8, 0.9], night=[0.5, 0.4, 0.6])
    trials.loc[1, ["state", "cause"]] = ["FAIL", "diverged"]
    (found,) = worst_domain(trials, {"day": "day", "night": "night"}, "validation")
    assert found.estimate == -np.inf and found.low is None and found.reasons == ("It diverges.",)
    (curve,) = strength_curves(trials, {0: "day", 1: "night"})
    assert curve.points[0].estimate == -np.inf and "1 of 3 seed(s) diverged" in curve.reasons[0]


START = pd.Timestamp("2026-01-01", tz="UTC")


def race(rates, workloads=("x", "y"), seeds=3, configurations=2):
    """Losses that fall as exp(-rate * step) with a rate that falls with the configuration."""
    trials, rows = [], []
    for method, rate in rates.items():
        for workload in workloads:
            for c, r in np.ndindex(configurations, seeds):
                name = f"{method}{workload}{c}{r}"
                trials.append(
                    {"cell": method + workload, "configuration": c, "replicate": r, "trial": name, "attempt": 2}
                    | {"state": "COMPLETE", "cause": None, "value": 0.0, "started": START}
                    | {"param.optimizer": method, "param.task": workload}
                )
                rows += [
                    {"trial": name, "attempt": a, "step": s, "time": START + pd.Timedelta(seconds=3 * s)}
                    | {"metric": "loss", "value": 0.0 if a == 1 else np.exp(-rate / (1 + c + 0.1 * r) * s)}
                    for s in range(60)
                    for a in (1, 2)
                ]
    return pd.DataFrame(trials), pd.DataFrame(rows)


def test_times_are_the_first_to_reach_the_target_in_the_last_attempt():
    trials, metrics = race({"a": 0.1}, ("x",))
    found = time_to_target(trials, metrics, "loss", 0.5, "minimize")
    expected = [np.ceil(np.log(2) / 0.1 * (1 + c + 0.1 * r)) for c, r in np.ndindex(2, 3)]
    assert found.tolist() == expected
    assert time_to_target(trials, metrics, "loss", 0.5, "minimize", "seconds").tolist() == [3 * e for e in expected]
    assert np.isinf(time_to_target(trials, metrics, "loss", 1e-9, "minimize")).all()
    with pytest.raises(SwatheError, match="cannot be counted in 'hours'"):
        time_to_target(trials, metrics, "loss", 0.5, "minimize", "hours")


def test_the_score_is_the_area_under_the_profile():
    times = np.array([[10.0, 30.0, 50.0, np.inf], [20.0, 30.0, 25.0, np.inf], [np.inf, 90.0, 25.0, 7.0]])
    found = ratios(times)
    assert found.tolist() == [[1, 1, 2, np.inf], [2, 1, 1, np.inf], [np.inf, 3, 1, 1]]
    fine = np.linspace(1, 4, 300_001)
    for row, value in zip(found, score(found), strict=True):
        profile = np.mean([fine >= ratio for ratio in row], axis=0)
        assert value == pytest.approx(np.trapezoid(profile, fine) / 3, abs=1e-5)


def test_speeds_take_the_best_trial_of_a_study_and_the_median_of_studies():
    trials, metrics = race({"fast": 0.2, "slow": 0.1, "never": 0.001})
    found = speeds(trials, metrics, metric="loss", target=0.5, method="optimizer", workload="task")
    assert [each.method for each in found] == ["fast", "slow", "never"]
    fast, slow, never = found
    assert fast.times == {"x": np.ceil(np.log(2) / 0.2 * 1.1), "y": np.ceil(np.log(2) / 0.2 * 1.1)}
    assert fast.estimate == 1.0 and fast.profile[0] == 1.0 and fast.n == 3
    ratio = slow.times["x"] / fast.times["x"]
    assert slow.estimate == pytest.approx((4 - ratio) / 3) and slow.low <= slow.estimate <= slow.high
    assert never.estimate == 0.0 and "The target was missed on x, y." in never.reasons
    assert "So few studies make the range too narrow." in slow.reasons
    apart = speeds(trials, metrics, metric="loss", target={"x": 0.5, "y": 0.9}, method="optimizer", workload="task")
    assert apart[0].times["y"] < apart[0].times["x"]
    with pytest.raises(SwatheError, match="workload 'y' has no target"):
        speeds(trials, metrics, metric="loss", target={"x": 0.5}, method="optimizer", workload="task")
    lacking = trials[(trials["param.task"] != "y") | (trials["param.optimizer"] != "slow")]
    with pytest.raises(SwatheError, match="'slow' has no trials on 'y'"):
        speeds(lacking, metrics, metric="loss", target=0.5, method="optimizer", workload="task")
