"""Ranks, corrected comparisons, winners and seed streams."""

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from swathe.analysis.ranking import (
    compare_methods,
    critical_difference,
    friedman,
    mean_ranks,
    nemenyi,
    rank_stability,
    signed_rank,
)
from swathe.analysis.selection import held_out, winners
from swathe.analysis.streams import decompose, one_at_a_time
from swathe.orchestrator.errors import SwatheError


def frame(costs, cell="c", **rest):
    """A trials frame of costs (configurations, seeds)."""
    number, seed = (index.ravel() for index in np.indices(np.shape(costs)))
    return pd.DataFrame(
        {
            "cell": cell,
            "configuration": number,
            "replicate": seed,
            "state": "COMPLETE",
            "cause": None,
            "value": np.ravel(costs),
        }
    ).assign(**rest)


def methods(scores, tasks=True):
    """A trials frame of costs (methods, tasks, seeds)."""
    parts = []
    for k, rows in enumerate(scores):
        for j, values in enumerate(rows):
            names = {"param.optimizer": f"m{k}"} | ({"param.task": f"t{j}"} if tasks else {})
            parts.append(frame(values[None], f"{k}-{j}", **names))
    return pd.concat(parts, ignore_index=True)


def test_nemenyi_and_friedman_are_those_of_scikit_posthocs_and_scipy():
    scores = np.random.default_rng(0).normal(size=(4, 9)) + np.array([[0.0], [0.5], [1.0], [2.0]])
    ranks = mean_ranks(scores)
    table = scikit_posthocs.posthoc_nemenyi_friedman(scores.T).to_numpy()
    for i in range(4):
        for j in range(i):
            assert nemenyi(np.array([abs(ranks[i] - ranks[j])]), 4, 9)[0] == pytest.approx(table[i, j], abs=1e-9)
    assert friedman(scores) == pytest.approx(stats.friedmanchisquare(*scores).pvalue, abs=1e-12)
    # Demsar (2006), table 5: q at 5% for 4 methods is 2.569.
    assert critical_difference(4, 9) == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 9)), rel=2e-4)


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=2, max_size=5), st.permutations([0, 1, 2])
)
def test_ranks_share_what_there_is_and_follow_their_methods(scores, order):
    table = np.array(scores, dtype=float).T
    ranks = mean_ranks(table)
    assert ranks.sum() == pytest.approx(6.0) and (ranks >= 1).all() and (ranks <= 3).all()
    assert mean_ranks(table[list(order)]) == pytest.approx(ranks[list(order)])
    assert 0.0 <= friedman(table) <= 1.0


def test_a_large_configuration_number_is_kept():
    costs = frame(np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]))
    costs["configuration"] += 1_234_567
    assert winners(costs)[0].configuration == 1_234_567 and len(winners(costs)[0].chosen) == 1


def test_signed_ranks_are_exact_and_take_ties_and_divergence():
    one = np.array([1.0, 2.0, 3.0, 4.0, 5.5])
    assert signed_rank(one, one - 1.0 - np.arange(5) / 10) == pytest.approx(2 / 2**5)
    assert signed_rank(one, one) == 1.0
    assert signed_rank(np.append(one, -np.inf), np.append(one, -np.inf)) == 1.0
    assert 0 < signed_rank(np.append(one, 1.0), np.append(one - np.arange(1, 6), -np.inf)) < 0.05


def test_methods_are_compared_over_tasks_and_over_seeds():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(3, 8, 3)) * 0.1 + np.array([0.0, 1.0, 5.0])[:, None, None]
    found = compare_methods(methods(scores), method="optimizer", task="task")
    assert found.verdict == "differ" and found.blocks == "tasks" and found.n == 8
    assert (found.pairs[0].better, found.pairs[0].worse) == ("m0", "m2") and found.pairs[0].different
    assert list(found.ranks) == ["m0", "m1", "m2"] and found.ranks["m0"] == 1.0
    same = compare_methods(methods(rng.normal(size=(3, 8, 3))), method="optimizer", task="task")
    assert same.verdict == "no difference shown" and not any(pair.different for pair in same.pairs)
    seeds = compare_methods(methods(scores[:2, :1], tasks=False), method="optimizer")
    assert seeds.blocks == "seeds" and seeds.n == 3 and seeds.verdict == "no difference shown"
    assert "3 seeds: a signed-rank test cannot give a p-value below 0.25, whatever they show." in seeds.reasons
    few = methods(scores[:, :1, :2], tasks=False)
    assert compare_methods(few, method="optimizer").verdict == "undecided"
    with pytest.raises(SwatheError, match=r"1 method\(s\) cannot be compared"):
        compare_methods(few[few["param.optimizer"] == "m0"], method="optimizer")


def test_seeds_are_paired_by_their_replicate():
    trials = methods(np.array([[[1.0, 2.0, 3.0, 4.0, 5.0]], [[2.0, 3.0, 4.0, 5.0, 6.0]]]), tasks=False)
    kept = trials[~((trials["param.optimizer"] == "m0") & (trials["replicate"] == 0))].iloc[::-1]
    found = compare_methods(kept, method="optimizer")
    assert found.n == 4 and found.ranks == {"m0": 1.0, "m1": 2.0}


def test_the_comparison_errs_in_at_most_one_of_twenty():
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(300):
        scores = rng.normal(size=(3, 10))
        ranks = mean_ranks(scores)
        shown = friedman(scores) < 0.05
        gaps = np.array([abs(ranks[i] - ranks[j]) for i in range(3) for j in range(i)])
        wrong += bool(shown and (nemenyi(gaps, 3, 10) < 0.05).any())
    assert wrong <= 25


def test_ranks_are_stable_when_methods_are_apart():
    rng = np.random.default_rng(3)
    apart = rng.normal(size=(3, 4, 5)) * 0.1 + np.array([2.0, 0.0, 1.0])[:, None, None]
    found = rank_stability(methods(apart), method="optimizer", task="task")
    assert [rank.method for rank in found.ranks] == ["m1", "m2", "m0"] and found.agreement == pytest.approx(1.0)
    assert found.ranks[0].first == 1.0 and (found.ranks[0].low, found.ranks[0].high) == (1.0, 1.0)
    close = rank_stability(methods(rng.normal(size=(3, 1, 5)), tasks=False), method="optimizer")
    assert close.agreement < 0.95 and sum(rank.first for rank in close.ranks) == pytest.approx(1.0)
    few = rank_stability(methods(apart[:, :, :2]), method="optimizer", task="task")
    assert few.agreement is None and few.ranks[0].low is None and "at least 3" in few.reasons[-1]


def test_a_winner_is_worth_what_seeds_say_that_did_not_choose_it():
    costs = np.array([[1.0, 2.0, 3.0], [4.0, 0.0, 5.0], [9.0, 9.0, 9.0]])
    values, rows = held_out(costs)
    # Without seed 0: means 2.5, 2.5 -> the first; without 1: 2, 4.5; without 2: 1.5, 2.
    assert rows.tolist() == [0, 0, 0] and values.tolist() == [1.0, 2.0, 3.0]
    (found,) = winners(frame(costs))
    assert found.configuration == 0 and found.estimate == found.selected == 2.0 and found.chosen == {0: 3}
    assert "The same configuration is chosen every time." in found.reasons
    shaky = winners(frame(np.array([[0.0, 5.0, 5.0], [4.0, 3.0, 4.0], [4.0, 4.0, 3.0]])))[0]
    assert shaky.optimism > 0 and any("takes fresh seeds" in reason for reason in shaky.reasons)
    assert winners(frame(costs[:, :2]))[0].low is None


def test_fresh_seeds_alone_count_where_there_are_some():
    costs = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    fresh = frame(np.array([[7.0, 8.0, 9.0, 8.0]]))
    fresh["replicate"] += 2  # the first of them is not fresh
    (found,) = winners(frame(costs), fresh=fresh)
    assert found.fresh and found.n == 3 and found.estimate == pytest.approx(25 / 3) and found.optimism > 0
    assert found.reasons == ("Chosen among 2 configurations on 3 seed(s), estimated on 3 fresh one(s).",)


def test_gaps_and_divergence_are_told():
    trials = frame(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]))
    gap = trials.copy()
    gap.loc[3, ["state", "cause", "value"]] = ["FAIL", "worker_lost", np.nan]
    (found,) = winners(gap)
    assert found.configuration == 0
    assert found.excluded == {"worker lost": 1, "configurations without every seed": 1}
    diverged = trials.copy()
    diverged.loc[3, ["state", "cause", "value"]] = ["FAIL", "diverged", np.nan]
    assert winners(diverged)[0].configuration == 0
    every = trials.assign(state="FAIL", cause="diverged", value=np.nan)
    assert winners(every)[0].estimate == np.inf and winners(every)[0].optimism is None


@pytest.mark.parametrize(("seeds", "gap"), [(3, 0.3), (5, 1.0)])
def test_winners_are_unbiased_and_covered(seeds, gap):
    rng, hits, bias, naive = np.random.default_rng(4), 0, [], []
    for _ in range(150):
        truth = np.sort(rng.normal(size=15)) * gap
        costs = truth[:, None] + rng.normal(size=(15, seeds))
        (found,) = winners(frame(costs))
        worth = truth[held_out(costs)[1]].mean()
        hits += bool(found.low <= worth <= found.high)
        bias.append(found.estimate - worth)
        naive.append(found.selected - truth[found.configuration])
    assert hits >= 0.90 * 150
    assert abs(np.mean(bias)) < 4 * np.std(bias) / np.sqrt(150) and np.mean(naive) < -0.3


def crossed(rng, sizes=(5, 4, 2), spread=(1.0, 0.3, 0.5)):
    """A balanced crossed design of two streams: seeds, seeds, repetitions; and its standard deviations."""
    one, two, again = (index.ravel() for index in np.indices(sizes))
    value = spread[0] * rng.normal(size=sizes[0])[one] + spread[1] * rng.normal(size=sizes[1])[two]
    value += spread[2] * rng.normal(size=len(one))
    rows = {"cell": "c", "configuration": 0, "replicate": again, "state": "COMPLETE", "cause": None, "value": value}
    return pd.DataFrame(rows).assign(**{"param.init": one, "param.order": two})


def test_variance_components_are_those_of_the_analysis_of_variance():
    trials = crossed(np.random.default_rng(5))
    one, two, rest = decompose(trials, ["init", "order"])
    ols, anova_lm = (
        pytest.importorskip("statsmodels.formula.api").ols,
        pytest.importorskip("statsmodels.stats.anova").anova_lm,
    )
    named = trials.rename(columns=lambda name: name.removeprefix("param."))
    table = anova_lm(ols("value ~ C(init) + C(order)", named).fit())
    square = table["mean_sq"]
    assert rest.estimate == pytest.approx(square["Residual"], rel=1e-9) and rest.n == table["df"]["Residual"]
    assert one.estimate == pytest.approx((square["C(init)"] - square["Residual"]) / 8, rel=1e-9)
    assert two.estimate == pytest.approx(max(square["C(order)"] - square["Residual"], 0) / 10, rel=1e-9)
    assert one.share + two.share + rest.share == pytest.approx(1.0)


def test_variance_components_cover():
    rng, hits = np.random.default_rng(6), np.zeros(3)
    for _ in range(200):
        parts = decompose(crossed(rng, (5, 4, 1)), ["init", "order"])
        hits += [part.low <= truth <= part.high for part, truth in zip(parts, (1.0, 0.09, 0.25), strict=True)]
    assert (hits >= 0.91 * 200).all()


def test_streams_may_vary_one_at_a_time_and_the_replicate_is_one():
    rng = np.random.default_rng(7)
    parts = [frame(rng.normal(size=(1, 6)) * s, n, **{"param.varied": n}) for n, s in (("init", 2.0), ("order", 0.1))]
    found = one_at_a_time(pd.concat(parts, ignore_index=True), "varied")
    assert [part.stream for part in found] == ["init", "order"] and found[0].share > 0.9
    assert found[0].estimate == pytest.approx(parts[0]["value"].var(ddof=1))
    trials = crossed(rng)
    assert decompose(trials, ["init", "order", "replicate"])[2].stream == "replicate"
    assert decompose(trials, ["init", "order", "replicate"])[2].low is None  # two replicates only


def test_designs_that_cannot_tell_are_refused():
    trials = crossed(np.random.default_rng(8))
    with pytest.raises(SwatheError, match="run all of them equally often"):
        decompose(trials.iloc[1:], ["init", "order"])
    with pytest.raises(SwatheError, match=r"stream 'init' has 1 seed\(s\)"):
        decompose(trials[trials["param.init"] == 0], ["init", "order"])
    trials.loc[0, ["state", "cause", "value"]] = ["FAIL", "diverged", np.nan]
    found = decompose(trials, ["init", "order"])
    assert {part.estimate for part in found} == {None} and "1 of 40 trials diverged" in found[0].reasons[0]
