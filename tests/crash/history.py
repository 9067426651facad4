"""What a journal allows: of each job, the states that a store may show after a crash, and who decided so.

A call that was acknowledged fixes the state; one whose result is not known may have taken effect or not; one
that was refused has not. Two calls on one job that overlapped in time may have come in either order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .journal import Call

ABSENT, LIVE, DONE, CANCELED = "absent", "live", "done", "canceled"

_LEADS_TO = {
    "done": DONE,
    "done_many": DONE,
    "reject": CANCELED,
    "cancel": CANCELED,
    "delete": ABSENT,
    "reset": LIVE,
    "retry": LIVE,
    "release": LIVE,
}
_PARTLY = frozenset(["done_many"])
"""Refused for some, they have taken effect for others."""


@dataclass(frozen=True)
class Grant:
    """One job of one reserve that returned."""

    call: Call
    id: int
    token: int
    attempt: int
    key: str

    @property
    def at(self) -> float:
        """When its reserve had returned."""
        assert self.call.ended is not None
        return self.call.ended


@dataclass(frozen=True)
class Expected:
    """The states allowed, and the acknowledged call that rules out the others (None: none does)."""

    states: frozenset[str]
    decided: Call | None


@dataclass
class Story:
    """All that a journal says of one enqueued payload. `id` is None while no result has told it."""

    key: str
    enqueue: Call
    id: int | None
    calls: list[Call] = field(default_factory=list)
    """Calls about it, in the order in which they began."""
    grants: list[Grant] = field(default_factory=list)

    def expected(self) -> Expected:
        """What a store may show now."""
        return self.expected_after(self.calls)

    def expected_after(self, calls: list[Call]) -> Expected:
        """What a store may show after these calls, which are some of its own."""
        straight = self._play(calls)
        states = set(straight.states)
        for place, first in enumerate(calls):
            for later in range(place + 1, len(calls)):
                if first.ended is not None and first.ended <= calls[later].began:
                    break
                moved = [*calls[:place], *calls[place + 1 : later + 1], first, *calls[later + 1 :]]
                states |= self._play(moved).states
        return Expected(frozenset(states), straight.decided)

    def _play(self, calls: list[Call]) -> Expected:
        if self.enqueue.refused:
            return Expected(frozenset([ABSENT]), self.enqueue)
        states = {LIVE} if self.enqueue.ok else {ABSENT, LIVE}
        decided = self.enqueue if self.enqueue.ok else None
        for call in calls:
            leads = CANCELED if call.reply == "canceled" else _LEADS_TO[call.op]
            if call.ok:
                states, decided = {leads}, call
            elif call.doubtful or call.op in _PARTLY:
                states = states | {leads}
        return Expected(frozenset(states), decided)

    def movers(self) -> Iterator[Call]:
        """Calls that may have given it a new place among those of its weight."""
        for call in self.calls:
            if call.refused:
                continue
            if call.op in {"retry", "reset"} or (call.op == "release" and call.args["delay"]):
                yield call


class History:
    """A journal, job by job."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self.calls = list(calls)
        self.stories: dict[str, Story] = {}
        self.by_id: dict[int, Story] = {}
        self.clashes: list[str] = []
        """Ids told twice."""
        self.grants: list[Grant] = []
        for call in self.calls:
            if call.op == "enqueue":
                self._enqueue(call)
            elif call.op == "reserve" and call.ok:
                self.grants += [Grant(call, *granted) for granted in call.reply]
        self._identify()
        self._attach()

    def _identify(self) -> None:
        for grant in self.grants:
            if grant.key in self.stories:
                self.name(grant.key, grant.id)

    def _attach(self) -> None:
        for call in self.calls:
            if call.op in _LEADS_TO:
                for id in _ids(call):
                    if id in self.by_id:
                        self.by_id[id].calls.append(call)
        for grant in self.grants:
            if grant.id in self.by_id:
                self.by_id[grant.id].grants.append(grant)

    def _enqueue(self, call: Call) -> None:
        ids = call.reply if call.ok else [None] * len(call.args["keys"])
        for key, id in zip(call.args["keys"], ids, strict=True):
            self.stories[key] = Story(key, call, None)
            if id is not None:
                self.name(key, id)

    def name(self, key: str, id: int) -> None:
        """This payload was seen under this id; a contradiction is kept in `clashes`."""
        story = self.stories[key]
        other = self.by_id.setdefault(id, story)
        if other is not story:
            self.clashes.append(f"id {id} belongs to {other.key} and to {key}")
        elif story.id not in {None, id}:
            self.clashes.append(f"{key} was told to be job {story.id} and is job {id}")
        else:
            story.id = id


def _ids(call: Call) -> list[int]:
    return call.args["ids"] if "ids" in call.args else [call.args["id"]]
