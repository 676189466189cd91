"""How a fleet follows demand: whom to hire and whom to let go. Pure, but for the worker records that it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .posts import Post, Staffing

# A worker without work is kept for a while: the next generation may be on its way.
IDLE_SECONDS = 20.0
# Workers of a share that ask for a place at a time, at least; more when more have one. Ray's autoscaler sees them.
FEW_PENDING = 2


@dataclass(frozen=True, slots=True)
class Hire:
    """Ask Ray for a worker of this share."""

    share: str


@dataclass(frozen=True, slots=True)
class Release:
    """Let this worker go: when it has come to a checkpoint, or at once when it has not come yet."""

    post: Post


def sized(posts: Sequence[Post], staffing: Staffing, demand: Mapping[str, int], now: float) -> Iterator[Hire | Release]:
    """What to do about all `posts` for so much `demand` by share, at `now` (monotonic seconds).

    Workers of an earlier scheduler that have not come back count, and are left alone.
    """
    wanted = staffing.allotted(demand)
    staying = {share: [post for post in posts if post.share == share and not post.leaving] for share in wanted}
    room = sum(wanted.values()) if staffing.workers is None else staffing.workers - len(posts)
    for share, own in staying.items():
        gone = list(_released(own, wanted[share], now))
        yield from map(Release, gone)
        for post in gone:
            own.remove(post)
    for share, own in staying.items():
        coming = sum(post.info is None for post in own)
        places = max(FEW_PENDING, len(own) - coming) - coming
        count = max(0, min(wanted[share] - len(own), places, room))
        room -= count
        yield from [Hire(share)] * count
        if not own and not count and wanted[share] and not any(post.leaving for post in posts):
            # It has nobody and there is no room: whoever is above its part hands its trial on.
            yield from map(Release, _above(staying, wanted)[:1])
            return


def _released(own: Sequence[Post], wanted: int, now: float) -> Iterator[Post]:
    """Those above `wanted` that have not come, the latest first; then those that have been idle for long."""
    above = len(own) - wanted
    coming = [post for post in reversed(own) if post.info is None]
    idle = [post for post in own if post.info is not None and not post.trial and now - post.busy > IDLE_SECONDS]
    yield from [*coming, *idle][: max(0, above)]


def _above(staying: Mapping[str, Sequence[Post]], wanted: Mapping[str, int]) -> list[Post]:
    """The latest worker of the share that has most workers above what it is to have."""
    share = max(staying, key=lambda each: len(staying[each]) - wanted[each])
    return [staying[share][-1]] if len(staying[share]) > wanted[share] else []
