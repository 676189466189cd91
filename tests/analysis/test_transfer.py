from math import inf, isinf

import numpy as np
import pandas as pd
import pytest

from swathe.analysis.transfer import decide, judge, judge_by
from swathe.orchestrator.errors import SwatheError

OPTIONS = {"axis": "width", "hyperparameter": "lr"}


def verdict(study, **options):
    return judge(study.frame(), **OPTIONS, **options)


@pytest.mark.parametrize(
    ("wide", "narrow", "seeds", "word"),
    [
        ((-0.1, 0.1), (-0.08, 0.08), 3, "transfers"),
        ((-0.2, 0.16), (-0.14, 0.13), 3, "transfers"),
        ((0.16, 0.4), (0.18, 0.38), 3, "drifts"),
        ((-inf, -0.2), (-inf, -0.22), 3, "drifts"),
        ((-inf, 0.1), (-inf, 0.08), 3, "undecided"),
        ((0.1, 0.4), (0.14, 0.36), 3, "undecided"),
        ((-0.01, 0.01), (-0.01, 0.01), 2, "undecided"),
        ((-0.2, 0.2), (-0.15, 0.1), 3, "undecided"),
    ],
)
def test_the_rule(wide, narrow, seeds, word):
    assert decide(wide, narrow, 0.15, seeds) == word


def test_a_steady_optimum_transfers(make_study):
    found = verdict(make_study(np.random.default_rng(0), 0.0, seeds=5))
    assert found.verdict == "transfers" and found.seeds == 5
    assert found.drift_low < found.equivalence_low < found.drift < found.equivalence_high < found.drift_high
    assert found.drift_low < 0.0 < found.drift_high
    assert [level.level for level in found.levels] == [64, 128, 256, 512]
    assert all(level.low < level.optimum < level.high and level.censored is None for level in found.levels)
    assert found.regret is not None and found.regret < 0.002


def test_a_moving_optimum_drifts_and_costs(make_study):
    found = verdict(make_study(np.random.default_rng(1), -0.5, seeds=3))
    assert found.verdict == "drifts" and found.drift == pytest.approx(-0.5, abs=0.1)
    assert isinf(found.regret)
    assert verdict(make_study(np.random.default_rng(1), 0.5, seeds=3)).regret > 0.005


def test_two_seeds_decide_nothing(make_study):
    found = verdict(make_study(np.random.default_rng(2), 1.0, seeds=2, points=13))
    assert found.verdict == "undecided"
    assert any("at least 3 are needed" in reason for reason in found.reasons)
    alone = verdict(make_study(np.random.default_rng(2), 1.0, seeds=1, points=13))
    assert alone.verdict == "undecided" and all(level.error is None for level in alone.levels)


def test_the_order_of_rows_and_the_scale_of_the_loss_do_not_matter(make_study):
    frame = make_study(np.random.default_rng(3), 0.3).frame()
    shuffled = frame.sample(frac=1.0, random_state=0).assign(value=lambda rows: rows["value"] * 7)
    one, other = judge(frame, **OPTIONS), judge(shuffled, **OPTIONS)
    assert one.drift == pytest.approx(other.drift) and one.drift_low == pytest.approx(other.drift_low)


def test_shifting_the_grid_shifts_the_optima_and_leaves_the_drift(make_study):
    frame = make_study(np.random.default_rng(4), 0.3).frame()
    moved = frame.assign(**{"param.lr": frame["param.lr"] * 8})
    one, other = judge(frame, **OPTIONS), judge(moved, **OPTIONS)
    assert one.drift == pytest.approx(other.drift, abs=1e-6)
    assert [level.optimum + 3 for level in one.levels] == pytest.approx([level.optimum for level in other.levels])


def test_arrow_columns_and_plain_ones_agree(make_study):
    frame = make_study(np.random.default_rng(5), 0.3).frame()
    assert judge(frame.convert_dtypes(dtype_backend="pyarrow"), **OPTIONS) == judge(frame, **OPTIONS)


def test_an_optimum_at_the_edge_is_a_bound_and_never_a_number(make_study, make_landscape):
    study = make_study(
        np.random.default_rng(6), 0.5, seeds=5, points=13, landscape=make_landscape("bowl", steepness=0.3)
    )
    frame = study.frame()
    cut = frame[frame["param.lr"] < 2.0**0.6]
    found = judge(cut, **OPTIONS)
    last = found.levels[-1]
    assert last.censored == "high" and last.optimum is None and last.error is None
    assert last.bound <= study.x[study.x < 0.6][-1] - 0.5 and last.high == inf
    assert found.drift is None and found.drift_high == inf and found.verdict != "transfers"
    assert any("may lie above the values tried" in reason and "2^0.5" in reason for reason in found.reasons)


def test_a_bound_can_be_enough_to_see_drift(make_study, make_landscape):
    study = make_study(
        np.random.default_rng(7), -1.0, seeds=5, points=13, landscape=make_landscape("bowl", steepness=0.3)
    )
    frame = study.frame()
    found = judge(frame[frame["param.lr"] > 2.0**-1.1], **OPTIONS)
    assert found.levels[-1].censored == "low" and found.drift_low == -inf
    assert found.verdict == "drifts" and found.drift_high < -0.15


def test_a_level_where_all_diverged_bounds_from_above(make_study):
    frame = make_study(np.random.default_rng(8), 0.0, seeds=3).frame()
    wide = frame["param.width"] == 512
    frame.loc[wide, ["state", "cause"]] = ["FAIL", "diverged"]
    frame.loc[wide, "value"] = np.nan
    found = judge(frame, **OPTIONS)
    last = found.levels[-1]
    assert last.censored == "low" and last.bound == pytest.approx(-2.5) and np.isnan(last.best)
    assert found.verdict == "drifts" or found.drift_low == -inf


def test_levels_without_three_points_are_named(make_study):
    frame = make_study(np.random.default_rng(9), 0.0, seeds=3).frame()
    found = judge(frame[(frame["param.width"] != 64) | (frame["configuration"] < 2)], **OPTIONS)
    assert [level.level for level in found.levels] == [128, 256, 512]
    assert any(reason.startswith("width 64 is left out") for reason in found.reasons)


def test_nothing_to_judge_is_undecided(make_study):
    frame = make_study(np.random.default_rng(10), 0.0, seeds=3).frame()
    empty = judge(frame.iloc[:0], **OPTIONS)
    assert empty.verdict == "undecided" and empty.levels == () and empty.seeds == 0
    lost = judge(frame.assign(state="FAIL", cause="timeout", value=np.nan), **OPTIONS)
    assert lost.verdict == "undecided" and lost.excluded == {"timeout": len(frame)}
    diverged = judge(frame.assign(state="FAIL", cause="diverged", value=np.nan), **OPTIONS)
    assert diverged.verdict == "undecided" and {level.censored for level in diverged.levels} == {"low"}


def test_environmental_gaps_leave_the_verdict_standing(make_study):
    frame = make_study(np.random.default_rng(11), 0.5, seeds=5).frame()
    lost = frame.sample(frac=0.08, random_state=0).index
    frame.loc[lost, ["state", "cause"]] = ["FAIL", "worker_lost"]
    frame.loc[lost, "value"] = np.nan
    found = judge(frame, **OPTIONS)
    assert found.verdict == "drifts" and found.drift == pytest.approx(0.5, abs=0.12)
    assert found.excluded == {"worker lost": len(lost)}


def test_one_exploded_seed_does_not_ruin_the_fit(make_study):
    frame = make_study(np.random.default_rng(12), 0.0, seeds=5).frame()
    far = frame.index[(frame["replicate"] == 1) & (frame["param.lr"] == frame["param.lr"].max())]
    frame.loc[far, ["state", "cause", "value"]] = ["COMPLETE", None, 1e30]
    assert judge(frame, **OPTIONS).drift == pytest.approx(0.0, abs=0.1)


def test_advice_says_how_many_seeds(make_study, make_landscape):
    land = make_landscape(noise=0.05, jitter=0.2)
    words = [
        judge(make_study(np.random.default_rng(seed), 0.0, seeds=3, landscape=land).frame(), **OPTIONS)
        for seed in range(6)
    ]
    undecided = [found for found in words if found.verdict == "undecided" and found.drift is not None]
    assert undecided
    assert all(any("seed" in reason for reason in found.reasons) for found in undecided)


def random_search(seed):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"replicate": k, "state": "COMPLETE", "cause": None, "param.width": w, "param.lr": 2.0**x,
         "value": np.exp(0.15 * (x - 0.5 * np.log2(w)) ** 2 + 0.01 * rng.normal())}
        for w in (1, 2, 4, 8)
        for x in rng.uniform(-5, 6, 30)
        for k in range(4)
    )  # fmt: skip


def test_random_search_is_judged_and_told_of_lattices():
    found = [judge(random_search(seed), **OPTIONS) for seed in range(8)]
    assert {each.verdict for each in found} == {"drifts"}
    assert sum(each.drift_low < 0.5 < each.drift_high for each in found) >= 7
    assert all(any("lattice" in reason for reason in each.reasons) for each in found)


def test_groups_are_judged_apart(make_study):
    steady = make_study(np.random.default_rng(13), 0.0, seeds=3).frame().assign(**{"param.form": "mup"})
    moving = make_study(np.random.default_rng(13), -0.6, seeds=3).frame().assign(**{"param.form": "standard"})
    found = judge_by(pd.concat([moving, steady], ignore_index=True), ["form"], **OPTIONS)
    assert {key: each.verdict for key, each in found.items()} == {("mup",): "transfers", ("standard",): "drifts"}
    assert list(judge_by(steady, [], **OPTIONS)) == [()]


def test_unknown_columns_are_refused(make_study):
    with pytest.raises(SwatheError, match=r"no column 'param\.momentum'"):
        judge(make_study(np.random.default_rng(0), 0.0).frame(), axis="width", hyperparameter="momentum")
