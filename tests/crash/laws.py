"""Laws that hold over a whole journal, whatever a store shows: of tokens, ids, holders and completions."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import pairwise

from .history import LIVE, Grant, History, Story
from .journal import Call

_Law = tuple[str, str, Call | None]

_ENDS = frozenset(["done", "done_many", "reject", "retry", "release"])
_TAKES = frozenset(["cancel", "reset", "delete"])


def laws(history: History) -> Iterator[_Law]:
    """(kind, text, the acknowledged call that was not kept) of each breach."""
    yield from _increasing("TOKEN", [(grant.call, grant.token) for grant in history.grants])
    numbers = [(call, id) for call in history.calls if call.op == "enqueue" and call.ok for id in call.reply]
    yield from _increasing("ID", numbers)
    for grant in history.grants:
        if grant.key == "!":
            yield "DAMAGED", f"job {grant.id} was delivered with a payload that is damaged", None
        elif grant.key not in history.stories:
            yield "GHOST", f"job {grant.id} was delivered as {grant.key}, which nobody enqueued", None
    openings = [call.began for call in history.calls if call.op == "open"]
    for story in history.stories.values():
        yield from _holders(story, openings)
        yield from _redelivered(story)
        yield from _fenced(story)
    yield from (("SWAPPED", clash, None) for clash in history.clashes)


def _increasing(kind: str, numbers: list[tuple[Call, int]]) -> Iterator[_Law]:
    """What a call is told that began after another had returned is above what that one was told."""
    seen: set[int] = set()
    waiting: list[tuple[float, int]] = []
    highest = 0
    for call, number in sorted(numbers, key=lambda told: told[0].began):
        while waiting and waiting[0][0] < call.began:
            highest = max(highest, heapq.heappop(waiting)[1])
        if number in seen or number <= highest:
            how = f"after {highest}" if number <= highest else "twice"
            yield kind, f"{number} was told {how}", None
        seen.add(number)
        assert call.ended is not None
        heapq.heappush(waiting, (call.ended, number))


def _about(call: Call, grant: Grant) -> bool:
    """This call may have ended this grant."""
    if call.op in _TAKES:
        return True
    return call.op in _ENDS and grant.token in call.args.get("tokens", [call.args.get("token")])


def _holders(story: Story, openings: list[float]) -> Iterator[_Law]:
    """One holder at a time: between two grants stands what may have ended the first, or an opening."""
    for first, second in pairwise(sorted(story.grants, key=lambda grant: grant.token)):
        reopened = any(first.at < began < second.at for began in openings)
        if reopened or first.call.run != second.call.run:
            continue
        ended = any(_about(call, first) and call.began < second.at for call in story.calls)
        if not ended:
            yield "OVERLAP", f"job {first.id} was held under {first.token} and {second.token} at once", None


def _redelivered(story: Story) -> Iterator[_Law]:
    """What was surely over is not delivered."""
    for grant in story.grants:
        before = [call for call in story.calls if call.began < grant.at]
        if not before or any(call.ended is None or call.ended > grant.call.began for call in before):
            # One that had not returned may have come after the grant; what is sure is judged without it.
            before = [call for call in before if call.ended is not None and call.ended < grant.call.began]
        since = [call for call in story.calls if call not in before and call.began < grant.at]
        expected = story.expected_after(before)
        if LIVE not in expected.states and not any(call.op == "reset" for call in since):
            what = f"job {grant.id} was delivered under {grant.token} after {_name(expected.decided)}"
            yield "UNDONE", what, expected.decided


def _fenced(story: Story) -> Iterator[_Law]:
    """A holder's call is not accepted once another has been told a newer token."""
    for call in _accepted(story.calls):
        for grant in story.grants:
            token = _token(call, story)
            if token is not None and grant.token > token and grant.at < call.began:
                yield (
                    "FENCE",
                    f"job {grant.id}: {call.op} was accepted under {token} after {grant.token}",
                    None,
                )


def _accepted(calls: Iterable[Call]) -> Iterator[Call]:
    return (call for call in calls if call.ok and call.op in _ENDS)


def _token(call: Call, story: Story) -> int | None:
    if "tokens" in call.args:
        return dict(zip(call.args["ids"], call.args["tokens"], strict=True)).get(story.id)
    token: int = call.args["token"]
    return token


def _name(call: Call | None) -> str:
    return "it was over" if call is None else f"{call.op} was acknowledged"
