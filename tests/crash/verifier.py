"""The process that looks: opens what a crash left, reports all that is there, then reserves and finishes it.

What it does is journaled like a victim's calls: a store may be killed, looked at, and killed again.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jobq

from . import payloads
from .actor import Actor
from .journal import Journal
from .plan import Plan
from .subjects import open_service
from .workload import TOPICS


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One job, as the opened store showed it."""

    id: int
    status: str
    reason: str | None
    topic: str
    weight: int
    retries: int
    crashes: int
    label: dict[str, Any] | None
    """What its payload says of itself; None where that is damaged."""


@dataclass(kw_only=True)
class Observation:
    """All that a verifier saw."""

    run: int
    error: str | None = None
    """Class and text of the error of opening or of looking."""
    seconds: float = 0.0
    """How long opening took."""
    faults: list[str] = field(default_factory=list)
    """What `verify()` found, and counters that do not add up."""
    jobs: list[Seen] = field(default_factory=list)
    paused: list[str] = field(default_factory=list)
    recovered: int = 0
    quarantined: list[int] = field(default_factory=list)
    drained: list[int] | None = None
    """Ids in the order of delivery: all that was ready at once. None: it was not asked to."""
    late: list[int] = field(default_factory=list)
    """Ids delivered after that: what had been delayed."""

    @classmethod
    def from_json(cls, text: str) -> Observation:
        raw = json.loads(text)
        raw["jobs"] = [Seen(**job) for job in raw["jobs"]]
        return cls(**raw)


def look(service: jobq.JobService, seen: Observation) -> None:
    """Fill in what is there. Changes nothing."""
    seen.faults += service.verify()
    seen.recovered = service.recovery.recovered
    seen.quarantined = list(service.recovery.quarantined)
    for info in service.find():
        try:
            label: payloads.Label | None = payloads.read(service.payload(info.id))
        except (payloads.Damaged, jobq.RepositoryError):
            label = None
        seen.jobs.append(
            Seen(
                id=info.id,
                status=str(info.status),
                reason=None if info.reason is None else str(info.reason),
                topic=info.topic,
                weight=info.weight,
                retries=info.retries,
                crashes=info.crashes,
                label=None if label is None else asdict(label),
            )
        )
    for topic in service.topics():
        stats = service.topic_stats(topic)
        here = stats.ready + stats.delayed + stats.reserved + stats.done + stats.canceled
        if stats.enqueued != here + stats.deleted + stats.purged + stats.lost:
            seen.faults.append(f"the counters of {topic!r} do not add up: {stats}")
        if stats.paused:
            seen.paused.append(topic)


def drain(actor: Actor, seen: Observation) -> None:
    """Reserve and finish everything: first what is ready, then, made ready by hand, what is delayed."""
    service = actor.service
    for topic in seen.paused:
        actor.resume(topic)
    seen.drained = _finish(actor)
    for info in list(service.find(jobq.Status.DELAYED)):
        actor.reset(info.id)
    seen.late = _finish(actor)
    # A number taken now must be above every one that was ever told.
    actor.enqueue(TOPICS[0])
    _finish(actor)


def _finish(actor: Actor) -> list[int]:
    delivered: list[int] = []
    for topic in actor.service.topics():
        while jobs := actor.reserve(topic, 3):
            delivered += [job.id for job in jobs]
            actor.done_many(jobs)
    return delivered


def observe(plan: Plan) -> Observation:
    """Open, look, drain if the plan says so, close."""
    seen = Observation(run=plan.run)
    journal = Journal(plan.folder, plan.run, "verifier")
    began = time.monotonic()
    try:
        with open_service(plan.subject, Path(plan.store), plan.level) as service:
            seen.seconds = time.monotonic() - began
            look(service, seen)
            if plan.drain:
                drain(Actor(service, journal, plan.seed), seen)
                seen.faults += service.verify()
    except Exception as error:
        seen.error = f"{type(error).__name__}: {error}"
    return seen


def main(text: str) -> int:
    plan = Plan.from_json(text)
    plan.report.write_text(json.dumps(asdict(observe(plan))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
