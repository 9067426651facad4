"""Looking at a service: all of it at once, its order, and its statistics against a recount."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from jobq import Job, JobId, JobInfo, JobNotFound, JobOptions, JobService, ServiceStats, Status, TopicStats

_T = TypeVar("_T")

EVENTS = (
    "enqueued",
    "reservations",
    "completions",
    "retries",
    "expiries",
    "releases",
    "cancellations",
    "resets",
    "recoveries",
    "delays",
    "promotions",
    "deleted",
    "purged",
    "lost",
)
"""The fields of Stats that only grow."""

DEPTHS = ("ready", "delayed", "reserved", "done", "canceled", "dead")
"""The fields of Stats that count jobs which exist now."""

EXACT = JobOptions(jitter=0.0)
"""Backoffs as the formula has them."""

AT_ONCE = JobOptions(lease=5, min_backoff=0, jitter=0.0)
"""A short lease, and ready again as soon as it is over."""


def some(value: _T | None) -> _T:
    """The value, which must be there."""
    assert value is not None
    return value


@dataclass(frozen=True)
class Picture:
    """All that can be seen of a service at one instant."""

    jobs: tuple[JobInfo, ...]
    topics: tuple[TopicStats, ...]
    whole: ServiceStats


def picture(svc: JobService) -> Picture:
    jobs = tuple(svc.find())
    return Picture(jobs, tuple(svc.topic_stats(name) for name in svc.topics()), svc.stats())


@contextmanager
def unchanged(svc: JobService) -> Iterator[None]:
    """Hold that the block changed nothing that can be seen."""
    before = picture(svc)
    yield
    assert picture(svc) == before


def exists(svc: JobService, id: JobId) -> bool:
    try:
        svc.status(id)
    except JobNotFound:
        return False
    return True


def hold(svc: JobService, topic: str = "t") -> Job:
    """Reserve the next job, which must be there."""
    return some(svc.reserve_one(topic, timeout=0))


def order(svc: JobService, topic: str = "t") -> list[JobId]:
    """The ids of what is ready, in the order they would be granted; each is given back to its place."""
    jobs: list[Job] = []
    while batch := svc.reserve(topic, 1_000_000, timeout=0):
        jobs += batch
    svc.release_many(jobs)
    return [job.id for job in jobs]


def events(svc: JobService, topic: str = "t") -> dict[str, int]:
    """The events of a topic that happened at all."""
    stats = svc.topic_stats(topic)
    return {name: count for name in EVENTS if (count := getattr(stats, name))}


def recount(svc: JobService) -> None:
    """Hold that the statistics are what counting the jobs one by one gives (contract R2, V5)."""
    seen = picture(svc)
    for stats in seen.topics:
        jobs = [job for job in seen.jobs if job.topic == stats.topic]
        for status in Status:
            assert getattr(stats, status.value) == sum(job.status is status for job in jobs), (
                stats.topic,
                status,
            )
        assert stats.dead == sum(job.reason is not None and job.reason != "requested" for job in jobs), (
            stats.topic
        )
        assert_conserved(stats)
    assert {job.topic for job in seen.jobs} <= {stats.topic for stats in seen.topics}
    for field in DEPTHS:
        assert getattr(seen.whole, field) == sum(getattr(stats, field) for stats in seen.topics), field
    for field in EVENTS:
        assert getattr(seen.whole, field) >= sum(getattr(stats, field) for stats in seen.topics), field
    assert_conserved(seen.whole)
    assert seen.whole.topics == len(seen.topics)
    dues = [job.due_at for job in seen.jobs if job.due_at is not None]
    assert seen.whole.next_due_at == min(dues, default=None)
    assert svc.verify() == []


def assert_conserved(stats: TopicStats | ServiceStats) -> None:
    """Hold that every job that was ever enqueued is accounted for."""
    now = stats.ready + stats.delayed + stats.reserved + stats.done + stats.canceled
    assert stats.enqueued == now + stats.deleted + stats.purged + stats.lost
    assert stats.live == stats.ready + stats.delayed + stats.reserved
