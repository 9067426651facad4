"""What a walk stands on: a service and a model side by side, and what a program would hold of the service.

Handles, streams and ids are picked by number, so that a walk is told by its steps alone. The ground is also
the model's oracle for the few things that the contract leaves open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jobq import Job, Topic
from jobq.testing import ManualClock

from .factories import Factory
from .model import Model
from .state import RESERVED, Lease, Refused, Settings
from .translate import Outcome, job_options, limits, milliseconds, retention
from .vocabulary import HANDLE_OPTIONS, Pick

_T = TypeVar("_T")


@dataclass
class Held:
    """A handle and the model's lease for it."""

    job: Job
    lease: Lease


@dataclass
class Stream:
    """An iterator of consume(), and what the model has granted to it and it has not yielded."""

    jobs: Iterator[Job]
    topic: str
    batch: int
    ahead: list[Lease] = field(default_factory=list)
    over: bool = False


class Ground:
    """One service of one factory beside one model."""

    def __init__(self, factory: Factory, settings: Settings) -> None:
        self.factory = factory.fresh()
        self.settings = settings
        self.clock = ManualClock()
        self.model = Model(settings, milliseconds(self.clock.now()), self, has_table=self.factory.table)
        self.svc = self.factory.open(self.clock, **self._service_options())
        self.held: list[Held] = []
        self.streams: list[Stream] = []
        self.known: list[int] = []
        """Every id ever given, in order."""
        self.tokens: list[tuple[int, int]] = []
        """(order of the grant, token), ascending in both (I4)."""
        self.payloads = 0
        self._topics: dict[str, Topic] = {}

    def _service_options(self) -> dict[str, Any]:
        return {
            "defaults": job_options(self.settings.defaults),
            "retention": retention(self.settings.kept),
            "dead_retention": retention(self.settings.dead),
            "limits": limits(self.settings.caps),
        }

    # -- what the model may ask ------------------------------------------------------------------------------

    def due(self, id: int) -> int | None:
        info = self.svc.info(id)
        return None if info.due_at is None else milliseconds(info.due_at)

    def knows(self, topic: str) -> bool:
        return topic in self.svc.topics()

    # -- helpers ---------------------------------------------------------------------------------------------

    @staticmethod
    def _nth(things: Sequence[_T], number: int) -> _T:
        """One of the things, counted from the newest."""
        return things[-1 - number % len(things)]

    def _handle(self, pick: Pick) -> Held:
        """A handle of the kind wanted, or any if there is none of that kind."""
        kind, number = pick
        lost = [held for held in self.held if not held.lease.settled and not self.model.holds(held.lease)]
        kinds = {
            "held": [held for held in self.held if self.model.holds(held.lease)],
            "stale": [held for held in lost if self.model.status(held.lease.id) == RESERVED] or lost,
            "lost": lost,
            "any": self.held,
        }
        return self._nth(kinds[kind] or self.held, number)

    def _id(self, pick: Pick) -> int:
        """The id of a job that is there, or any that was given."""
        kind, number = pick
        here = [id for id in self.known if id in self.model.jobs]
        return self._nth(here if kind == "here" and here else self.known, number)

    def _source(self, topic: str) -> str:
        """The topic, or for "*" one that can grant something."""
        if topic != "*":
            return topic
        able = [
            name for name, known in self.model.topics.items() if not known.paused and self.model.ready(name)
        ]
        return able[0] if able else "a"

    @staticmethod
    def _agree(real: Outcome, modelled: Callable[[], object]) -> None:
        """Run the model's call and hold the service's outcome against its return value or refusal."""
        wanted: Refused | None = None
        value: object = None
        try:
            value = modelled()
        except Refused as refused:
            wanted = refused
        if wanted is None:
            assert real.kind is None, f"raised {real.kind}: {real.text}; the model returned {value!r}"
            assert real.value == value, f"returned {real.value!r}, not {value!r}"
            return
        assert real.kind == wanted.kind, f"wanted {wanted}, got {real}"
        got = {name: real.facts.get(name) for name in wanted.facts}
        assert got == wanted.facts, f"{wanted.kind} with {got}, not {wanted.facts}"

    def _payload(self, size: int) -> bytes:
        self.payloads += 1
        return (self.payloads.to_bytes(4, "big") * 3)[-size:] if size else b""

    def _topic(self, name: str) -> Topic:
        if name not in self._topics:
            self._topics[name] = self.svc.topic(name, options=job_options(HANDLE_OPTIONS))
        return self._topics[name]
