"""What a victim has promised, and whether what a cut left keeps it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Self

from .cut_looker import Found
from .cut_victim import INTERVAL

SLACK = 0.5
"""Seconds that `interval` may lose beyond its interval on a machine whose cores are busy."""
_MAY_LOSE = {"always": 0.0, "interval": INTERVAL + SLACK}
"""Acknowledged calls of the last so many seconds may be gone; at `always` none at all."""
_QUEUED = 0.1 + SLACK
"""Seconds that a call of `never` may wait until it is written."""


@dataclass(frozen=True)
class Note:
    """What had been promised at one moment."""

    seconds: float
    """On the monotonic clock, after the call had returned."""
    call: str
    state: int
    between: tuple[int, ...]
    """States that a crash before the promise may leave: the call is written in several groups."""
    id: int
    """The highest given out so far."""
    token: int

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        raw = json.loads(line)
        raw["between"] = tuple(raw["between"])
        return cls(**raw)


@dataclass(kw_only=True)
class Tally:
    """What came of a number of images."""

    images: int = 0
    lost_calls: int = 0
    """The most acknowledged calls that any image was without."""
    lost_seconds: float = 0.0
    """The longest time before the cut whose calls an image was without."""
    slowest_open: float = 0.0
    failures: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line of it."""
        lost = f"{self.lost_calls} acknowledged calls of the last {self.lost_seconds * 1000:.0f} ms"
        slowest = f"slowest open {self.slowest_open * 1000:.0f} ms"
        return f"{self.images} images, {len(self.failures)} bad; lost at most {lost}; {slowest}"

    def add(self, other: Tally) -> None:
        """Count those too."""
        self.images += other.images
        self.lost_calls = max(self.lost_calls, other.lost_calls)
        self.lost_seconds = max(self.lost_seconds, other.lost_seconds)
        self.slowest_open = max(self.slowest_open, other.slowest_open)
        self.failures += other.failures


@dataclass(frozen=True, kw_only=True)
class Promises:
    """All notes of one life, and the highest id and token of the lives before it."""

    level: str
    notes: list[Note]
    id: int = 0
    token: int = 0

    def judge(
        self, found: Found, told: int, moment: float, tally: Tally, synced: float | None = None
    ) -> str | None:
        """What is wrong with what a cut at that moment left, after so many notes; None when nothing is.

        `synced`: when the last sync of the store's log began that ended before the cut, where that is known.
        """
        tally.images += 1
        tally.slowest_open = max(tally.slowest_open, found.seconds)
        if found.error is not None:
            return found.error
        if found.faults:
            return f"verify: {found.faults}"
        id, token = self.given(told)
        if found.id <= id:
            return f"id {found.id} was given out again: {id} had been"
        if found.token <= token:
            return f"token {found.token} was given out again: {token} had been"
        return self.place(found.state, told, moment, tally, synced)

    def given(self, told: int) -> tuple[int, int]:
        """The highest id and token given out in this life and before."""
        notes = self.notes[:told]
        return max([self.id, *(n.id for n in notes)]), max([self.token, *(n.token for n in notes)])

    def place(
        self, state: int, told: int, moment: float, tally: Tally, synced: float | None = None
    ) -> str | None:
        """Find the call after which this was the state: the one under way, or the last that must be kept."""
        if any(state in (note.state, *note.between) for note in self.notes[told : told + 1]):
            return None
        for lost in range(told):
            note = self.notes[told - 1 - lost]
            if state == note.state or (lost and state in self.notes[told - lost].between):
                seconds = moment - self.notes[told - lost].seconds if lost else 0.0
                tally.lost_calls = max(tally.lost_calls, lost)
                tally.lost_seconds = max(tally.lost_seconds, seconds)
                return self._may_lose(lost, seconds, moment, synced)
        return f"the state is none that ever was, after {told} calls: a hole, or a mixture"

    def _may_lose(self, lost: int, seconds: float, moment: float, synced: float | None) -> str | None:
        """A call of `never` that was written before a sync began is kept by it."""
        if self.level == "never":
            limit = float("inf") if synced is None else moment - synced + _QUEUED
        else:
            limit = _MAY_LOSE[self.level]
        if lost and seconds >= limit:
            return f"{lost} acknowledged calls of the last {seconds:.3f} s are lost; {limit:.3f} s may be"
        return None
