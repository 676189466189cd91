"""How a fleet follows the demand of several shares: whom it hires, whom it lets go."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swathe.clusters.posts import Post, Share, Staffing
from swathe.clusters.sizing import IDLE_SECONDS, Hire, Release, sized
from swathe.orchestrator.messages import WorkerInfo

SHARES = {"small": Share(1.0), "gpu": Share(1.0, 1.0, workers=3), "large": Share(8.0)}


def post(name: str, share: str | None, *, came: bool = True, trial: str = "", busy: float = 0.0) -> Post:
    info = WorkerInfo(name, "node", "cpu", 1, share or "") if came else None
    return Post(name, None, 0.0, share, info, trial=trial, busy=busy)


@given(
    demand=st.fixed_dictionaries({name: st.integers(0, 20) for name in SHARES}),
    workers=st.none() | st.integers(1, 12),
)
def test_what_shares_are_allotted(demand: dict[str, int], workers: int | None) -> None:
    wanted = Staffing(SHARES, workers).allotted(demand)
    most = {**demand, "gpu": min(3, demand["gpu"])}
    assert all(wanted[name] <= most[name] for name in SHARES)
    total = sum(most.values())
    assert sum(wanted.values()) == (total if workers is None else min(workers, total)), "no room is left unused"
    for name in SHARES:
        short = wanted[name] < most[name]
        assert not short or all(wanted[name] >= wanted[other] - 1 for other in SHARES), "nobody has two more than it"
    if workers is not None and workers >= len(SHARES):
        assert all(wanted[name] for name in SHARES if demand[name])


@given(
    demand=st.fixed_dictionaries({name: st.integers(0, 9) for name in SHARES}),
    workers=st.none() | st.integers(1, 6),
    there=st.lists(st.tuples(st.sampled_from([*SHARES, None]), st.booleans(), st.booleans()), max_size=6),
)
def test_limits_hold_whoever_is_there(demand: dict[str, int], workers: int | None, there: list[Any]) -> None:
    posts = [
        post(f"w{number}", share, came=came, trial="t" if runs and came else "")
        for number, (share, came, runs) in enumerate(there)
    ]
    done = list(sized(posts, Staffing(SHARES, workers), demand, 0.0))
    hired = [each for each in done if isinstance(each, Hire)]
    let_go = [each.post for each in done if isinstance(each, Release)]
    assert all(each.share is not None for each in let_go), "who has not come back is left alone"
    if workers is not None:
        assert not hired or len(posts) + len(hired) <= workers
    assert not {each.share for each in hired} & {each.share for each in let_go}


def test_a_share_is_staffed_until_it_has_what_it_wants() -> None:
    posts: list[Post] = []
    for _ in range(8):
        done = list(sized(posts, Staffing(SHARES, 6), {"small": 50, "gpu": 50, "large": 1}, 0.0))
        posts += [post(f"w{len(posts) + k}", each.share, trial="t") for k, each in enumerate(done)]
    assert [sum(each.share == name for each in posts) for name in SHARES] == [2, 3, 1], "scarce ones first"


def test_idle_workers_go_after_a_while_and_busy_ones_stay() -> None:
    posts = [post("a", "small", trial="t"), post("b", "small"), post("c", "small")]
    staffing = Staffing({"small": Share(1.0)})
    assert list(sized(posts, staffing, {"small": 1}, IDLE_SECONDS)) == []
    assert list(sized(posts, staffing, {"small": 1}, IDLE_SECONDS + 1)) == [Release(posts[1]), Release(posts[2])]
    assert list(sized(posts, staffing, {"small": 3}, IDLE_SECONDS + 1)) == []


def test_a_share_without_anybody_gets_the_place_of_one_that_has_more_than_its_part() -> None:
    posts = [post(f"w{k}", "small", trial="t") for k in range(3)]
    staffing = Staffing({"small": Share(1.0), "large": Share(2.0)}, 3)
    demand = {"small": 9, "large": 1}
    assert list(sized(posts, staffing, demand, 0.0)) == [Release(posts[2])]
    posts[2].leaving = True
    assert list(sized(posts, staffing, demand, 0.0)) == [], "one at a time, and no place is given twice"
    assert list(sized(posts[:2], staffing, demand, 0.0)) == [Hire("large")]
