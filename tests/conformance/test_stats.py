"""Contract V5, R2 and I1: statistics are exact after every operation, against a recount and a script."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from jobq import JobOptions, JobService, Limits, Retention, TopicStats
from jobq.testing import ManualClock

from .factory import Factory
from .observe import DEPTHS, EVENTS, events, hold, recount

BRIEF = JobOptions(lease=5, max_retries=2, min_backoff=4, jitter=0.0)
Step = tuple[Callable[[JobService, ManualClock], object], dict[str, int]]


def expire(svc: JobService, clock: ManualClock) -> None:
    job = hold(svc)
    clock.advance(5)
    assert not job.settled


def leave_consume(svc: JobService, clock: ManualClock) -> None:
    jobs = svc.consume("t", batch=3)
    job = next(jobs)
    del jobs
    job.done()


SCRIPT: list[Step] = [
    (lambda svc, clock: svc.enqueue("t", b"", options=BRIEF), {"enqueued": 1, "ready": 1}),
    (
        lambda svc, clock: svc.enqueue_many("t", [b""] * 4, options=BRIEF),
        {"enqueued": 4, "ready": 4},
    ),
    (
        lambda svc, clock: svc.enqueue("t", b"", delay=3, options=BRIEF),
        {"enqueued": 1, "delayed": 1, "delays": 1},
    ),
    (
        lambda svc, clock: hold(svc).done(),
        {"reservations": 1, "completions": 1, "ready": -1, "done": 1},
    ),
    (
        lambda svc, clock: hold(svc).retry(0),
        {"reservations": 1, "retries": 1},
    ),
    (
        lambda svc, clock: hold(svc).retry(),
        {"reservations": 1, "retries": 1, "ready": -1, "delayed": 1, "delays": 1},
    ),
    (lambda svc, clock: hold(svc).release(), {"reservations": 1, "releases": 1}),
    (
        lambda svc, clock: hold(svc).release(2),
        {"reservations": 1, "releases": 1, "ready": -1, "delayed": 1, "delays": 1},
    ),
    (lambda svc, clock: clock.advance(4), {"promotions": 3, "delayed": -3, "ready": 3}),
    (
        lambda svc, clock: hold(svc).cancel(),
        {"reservations": 1, "cancellations": 1, "ready": -1, "canceled": 1, "dead": 1},
    ),
    (
        expire,
        {"reservations": 1, "expiries": 1, "delays": 1, "ready": -1, "delayed": 1},
    ),
    (
        lambda svc, clock: svc.reserve("t", 1, timeout=0).clear(),
        {"reservations": 1, "expiries": 1, "delays": 1, "ready": -1, "delayed": 1},
    ),
    (
        lambda svc, clock: clock.advance(60),
        {"promotions": 2, "delayed": -2, "ready": 2},
    ),
    (
        lambda svc, clock: svc.cancel(next(svc.find(topic="t")).id + 1),
        {"cancellations": 1, "ready": -1, "canceled": 1},
    ),
    (
        lambda svc, clock: svc.reset(next(svc.find(topic="t")).id),
        {"resets": 1, "done": -1, "ready": 1},
    ),
    (leave_consume, {"reservations": 1, "completions": 1, "ready": -1, "done": 1}),
    (
        lambda svc, clock: svc.delete([info.id for info in svc.find(topic="t") if info.status == "ready"]),
        {"deleted": 3, "ready": -3},
    ),
    (
        lambda svc, clock: clock.advance(86_400),
        {"purged": 2, "done": -1, "canceled": -1},
    ),
    (
        lambda svc, clock: clock.advance(30 * 86_400),
        {"purged": 1, "canceled": -1, "dead": -1},
    ),
]
"""What is done, and what it adds to the statistics; what is not named must not change."""


def numbers(stats: TopicStats) -> dict[str, int]:
    return {name: getattr(stats, name) for name in (*EVENTS, *DEPTHS)}


def test_V5_statistics_are_exact_after_every_operation(factory: Factory, clock: ManualClock) -> None:
    """Each step adds what it should and nothing else, to the topic and the service; a recount agrees."""
    svc = factory.open(clock, limits=Limits(topic_idle=None))
    svc.pause("bystander")
    svc.enqueue("bystander", b"")
    expected = dict.fromkeys((*EVENTS, *DEPTHS), 0)
    still = svc.topic_stats("bystander")
    for number, (act, adds) in enumerate(SCRIPT):
        act(svc, clock)
        for name, count in adds.items():
            expected[name] += count
        recount(svc)
        assert numbers(svc.topic_stats("t")) == expected, f"after step {number}"
        assert numbers(svc.topic_stats("bystander")) == numbers(still)
        whole = svc.stats()
        for name in EVENTS:
            assert getattr(whole, name) == expected[name] + getattr(still, name), (number, name)


def test_R2_every_job_is_accounted_for_over_a_reopen(whole_factory: Factory, clock: ManualClock) -> None:
    """With everything kept, a restart after each step changes no number but those of the restart itself."""
    svc = whole_factory.open(clock)
    for act, _ in SCRIPT:
        act(svc, clock)
        recount(svc)
        before = numbers(svc.topic_stats("t"))
        svc = whole_factory.reopen(clock)
        assert numbers(svc.topic_stats("t")) == before
        recount(svc)


def test_V5_a_topic_not_in_use_is_all_zero(svc: JobService) -> None:
    """Never an error: a name is not found out by asking, nor made."""
    stats = svc.topic_stats("nowhere")
    assert stats.topic == "nowhere"
    assert not any(numbers(stats).values())
    assert (stats.paused, stats.waiting, stats.live, stats.oldest_ready_age) == (False, 0, 0, None)
    assert (stats.first_enqueued_at, stats.last_reserved_at) == (None, None)
    assert svc.topic("nowhere").stats() == stats
    assert svc.topics() == []
    whole = svc.stats()
    assert (whole.topics, whole.next_due_at, whole.enqueued) == (0, None, 0)


def test_V5_dates_of_the_first_and_the_last(svc: JobService, clock: ManualClock) -> None:
    """When a topic began and when it was last alive; the grain may be that of a coarse clock."""
    grain = timedelta(milliseconds=20)
    start = clock.now()
    svc.enqueue("t", b"")
    clock.advance(10)
    svc.enqueue_many("t", [b"", b""])
    clock.advance(10)
    hold(svc).release()
    clock.advance(10)
    hold(svc).release()
    stats = svc.topic_stats("t")
    found = [stats.first_enqueued_at, stats.last_enqueued_at, stats.first_reserved_at, stats.last_reserved_at]
    for date, seconds in zip(found, (0, 10, 20, 30), strict=True):
        assert date is not None
        assert abs(date - (start + timedelta(seconds=seconds))) <= grain
    whole = svc.stats()
    assert (whole.first_enqueued_at, whole.last_reserved_at) == (found[0], found[3])


def test_V5_the_age_of_the_oldest_ready_job(svc: JobService, clock: ManualClock) -> None:
    """The figure an alarm is set on: how long the one that waits longest has waited, in any weight."""
    assert svc.topic_stats("t").oldest_ready_age is None
    svc.enqueue("t", b"", 5)
    clock.advance(10)
    svc.enqueue("t", b"", -5)
    svc.enqueue("u", b"")
    clock.advance(5)
    assert svc.topic_stats("t").oldest_ready_age == pytest.approx(15, abs=0.05)
    assert svc.topic_stats("u").oldest_ready_age == pytest.approx(5, abs=0.05)
    assert svc.stats().oldest_ready_age == pytest.approx(15, abs=0.05)
    svc.cancel(1)
    assert svc.topic_stats("t").oldest_ready_age == pytest.approx(5, abs=0.05)
    job = hold(svc)
    assert svc.topic_stats("t").oldest_ready_age is None
    clock.advance(1)
    job.release()
    assert svc.topic_stats("t").oldest_ready_age == pytest.approx(6, abs=0.05)


def test_V5_the_next_due_of_the_service(svc: JobService, clock: ManualClock) -> None:
    """The first of all topics; what is canceled, reset or promoted does not count."""
    for topic, delay in (("a", 30), ("b", 10), ("a", 20)):
        svc.enqueue(topic, b"", delay=delay)
    start = clock.now()
    due = [start + timedelta(seconds=seconds) for seconds in (10, 20, 30)]
    assert svc.stats().next_due_at == due[0]
    svc.cancel(2)
    assert svc.stats().next_due_at == due[1]
    clock.advance(20)
    assert svc.stats().next_due_at == due[2]
    svc.reset(1)
    assert svc.stats().next_due_at is None


def test_V5_the_service_counts_forgotten_topics_too(factory: Factory, clock: ManualClock) -> None:
    """Its totals never fall because a name was dropped."""
    svc = factory.open(clock, retention=Retention.none())
    svc.enqueue("gone", b"")
    hold(svc, "gone").done()
    before = svc.stats()
    clock.advance(86_400)
    after = svc.stats()
    assert svc.topics() == []
    assert (before.topics, after.topics) == (1, 0)
    assert [getattr(after, name) for name in EVENTS] == [getattr(before, name) for name in EVENTS]
    assert (after.enqueued, after.completions, after.purged) == (1, 1, 1)


def test_V5_what_is_refused_counts_nothing(svc: JobService) -> None:
    """Statistics tell what happened."""
    id = svc.enqueue("t", b"")
    before = events(svc)
    for bad in (lambda: svc.enqueue("t", "text"), lambda: svc.delete(99), lambda: svc.reserve("t", 0)):  # type: ignore[arg-type]
        with pytest.raises(Exception):  # noqa: B017
            bad()
    assert svc.reserve("other", 1, timeout=0) == []
    assert events(svc) == before
    assert svc.stats().enqueued == 1
    assert id == 1
