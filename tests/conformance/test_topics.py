"""Contract V1, I13: when a topic begins, what keeps it, when it is forgotten; names do not touch."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from jobq import JobOptions, JobService, Limits, Retention
from jobq.testing import ManualClock

from .factory import Factory
from .observe import events, hold, order, recount
from .threads import Background, until_waiting

IDLE = 100.0


@pytest.fixture
def svc(factory: Factory, clock: ManualClock) -> JobService:
    """Finished jobs are gone at once, and an idle topic after a hundred seconds."""
    keep = Retention.none()
    return factory.open(clock, limits=Limits(topic_idle=IDLE), retention=keep, dead_retention=keep)


def used(svc: JobService, topic: str = "t") -> None:
    """A topic that was in use and has no job left."""
    svc.enqueue(topic, b"")
    hold(svc, topic).done()


BIRTHS: dict[str, Callable[[JobService], object]] = {
    "enqueue": lambda svc: svc.enqueue("t", b""),
    "enqueue_many": lambda svc: svc.enqueue_many("t", [b""]),
    "a delayed job": lambda svc: svc.enqueue("t", b"", delay=5),
    "pause": lambda svc: svc.pause("t"),
    "a handle's enqueue": lambda svc: svc.topic("t").enqueue(b""),
    "a handle's pause": lambda svc: svc.topic("t").pause(),
}


@pytest.mark.parametrize("birth", BIRTHS)
def test_V1_a_topic_begins_with_its_first_use(svc: JobService, birth: str) -> None:
    """Nobody has to declare it."""
    assert svc.topics() == []
    BIRTHS[birth](svc)
    assert svc.topics() == ["t"]
    assert svc.stats().topics == 1


def test_V1_looking_makes_no_topic(svc: JobService) -> None:
    """Asking about a name must not fill the memory with names."""
    topic = svc.topic("t", options=JobOptions(lease=5))
    assert topic.stats().enqueued == 0
    assert svc.topic_stats("t").enqueued == 0
    assert list(svc.find(topic="t")) == []
    assert topic.join(timeout=0)
    assert topic.reserve(1, timeout=0) == []
    assert topic.reserve_one(timeout=0) is None
    assert list(topic.consume(idle=0)) == []
    topic.resume()
    assert svc.topics() == []


def test_V1_an_idle_topic_is_forgotten_with_its_statistics(svc: JobService, clock: ManualClock) -> None:
    """Names may be made by the million, one per user; what is over must not stay."""
    used(svc)
    clock.advance(IDLE - 0.001)
    assert svc.topics() == ["t"]
    clock.advance(0.001)
    assert svc.topics() == []
    assert events(svc) == {}
    svc.enqueue("t", b"")
    assert events(svc) == {"enqueued": 1}


def test_V1_idle_time_is_monotonic_time(svc: JobService, clock: ManualClock) -> None:
    """A set clock forgets nothing."""
    used(svc)
    clock.jump(10 * IDLE)
    assert svc.topics() == ["t"]
    clock.jump(-20 * IDLE)
    clock.advance(IDLE)
    assert svc.topics() == []


@pytest.mark.parametrize("call", ["enqueue", "reserve", "a handle's enqueue", "pause and resume"])
def test_V1_a_call_starts_the_idle_time_anew(svc: JobService, clock: ManualClock, call: str) -> None:
    """In use is what somebody uses."""
    used(svc)
    topic = svc.topic("t")
    clock.advance(IDLE - 1)
    if call == "enqueue":
        used(svc)
    elif call == "reserve":
        assert svc.reserve("t", 1, timeout=0) == []
    elif call == "a handle's enqueue":
        topic.enqueue(b"")
        hold(svc).done()
    else:
        topic.pause()
        topic.resume()
    clock.advance(IDLE - 1)
    assert svc.topics() == ["t"]
    clock.advance(1)
    assert svc.topics() == []


KEEPERS: dict[str, tuple[Callable[[JobService], object], Callable[[JobService], object]]] = {
    "a ready job": (lambda svc: svc.enqueue("t", b""), lambda svc: svc.cancel(2)),
    "a delayed job": (lambda svc: svc.enqueue("t", b"", delay=1e6), lambda svc: svc.delete(2)),
    "a pause": (lambda svc: svc.pause("t"), lambda svc: svc.resume("t")),
}


@pytest.mark.parametrize("keeper", KEEPERS)
def test_V1_what_keeps_a_topic(svc: JobService, clock: ManualClock, keeper: str) -> None:
    """As long as it means something, however long nobody calls; then its idle time runs."""
    keep, free = KEEPERS[keeper]
    used(svc)
    keep(svc)
    clock.advance(10 * IDLE)
    assert svc.topics() == ["t"]
    free(svc)
    clock.advance(IDLE)
    assert svc.topics() == []


def test_V1_a_reserved_job_keeps_its_topic(svc: JobService, clock: ManualClock) -> None:
    """Work under way."""
    svc.enqueue("t", b"", options=JobOptions(lease=20 * IDLE))
    job = hold(svc)
    clock.advance(10 * IDLE)
    assert svc.topics() == ["t"]
    job.done()
    clock.advance(IDLE)
    assert svc.topics() == []


def test_V1_a_waiter_keeps_its_topic(svc: JobService, clock: ManualClock) -> None:
    """It waits for the next job of just this name, and must be served by it."""
    used(svc)
    waiter = Background(svc.reserve, "t", 1)
    until_waiting(svc, "t", 1)
    clock.advance(10 * IDLE)
    assert svc.topics() == ["t"]
    svc.enqueue("t", b"")
    [job] = waiter.result()
    job.done()
    clock.advance(IDLE)
    assert svc.topics() == []


def test_V1_a_kept_job_keeps_its_topic(factory: Factory, clock: ManualClock) -> None:
    """Its statistics count the finished jobs that can still be looked at."""
    svc = factory.open(clock, limits=Limits(topic_idle=IDLE), retention=Retention(age=10 * IDLE))
    used(svc)
    clock.advance(10 * IDLE - 1)
    assert svc.topics() == ["t"]
    clock.advance(1)
    clock.advance(IDLE)
    assert svc.topics() == []


def test_V1_without_a_bound_nothing_is_forgotten(factory: Factory, clock: ManualClock) -> None:
    """topic_idle None."""
    svc = factory.open(clock, limits=Limits(topic_idle=None), retention=Retention.none())
    used(svc)
    clock.advance(1e9)
    assert svc.topics() == ["t"]


def test_V1_the_default_is_a_day(factory: Factory, clock: ManualClock) -> None:
    """As documented."""
    svc = factory.open(clock, retention=Retention.none())
    used(svc)
    clock.advance(86_399.999)
    assert svc.topics() == ["t"]
    clock.advance(0.001)
    assert svc.topics() == []


def test_V1_a_handle_outlives_its_topic(svc: JobService, clock: ManualClock) -> None:
    """It is a name: after a drop it finds the topic anew, and never another that took the place."""
    old = svc.topic("t", options=JobOptions(name="mine"))
    old.enqueue(b"")
    hold(svc).done()
    clock.advance(IDLE)
    for i in range(20):
        svc.enqueue(f"other{i}", b"")
    assert old.stats().enqueued == 0
    assert old.reserve(5, timeout=0) == []
    id = old.enqueue(b"")
    assert (svc.info(id).topic, svc.info(id).name) == ("t", "mine")
    assert [job.id for job in old.reserve(5, timeout=0)] == [id]
    assert old.stats() == svc.topic_stats("t")
    recount(svc)


def test_V1_many_names_come_and_go(svc: JobService, clock: ManualClock) -> None:
    """Slots are used again, names are not mixed up."""
    for round in range(3):
        for i in range(300):
            svc.enqueue(f"{round}-{i}", b"")
        assert svc.stats().topics == 300
        for i in range(300):
            hold(svc, f"{round}-{i}").done()
        clock.advance(IDLE)
        assert svc.topics() == []
    assert svc.stats().enqueued == 900


NAMES = [
    "a",
    "ab",
    "abc",
    "A",
    "delayed",
    "ready",
    "a\x1f",
    "a\x1fb",
    "\x01",
    " ",
    "a ",
    "é",
    "e\u0301",
    "\U0001f600",
]
NAMES += ["x" * 254, "x" * 255, "é" * 127 + "x"]


def test_V1_topics_are_isolated_whatever_their_names(svc: JobService) -> None:
    """Prefixes, separators, words of ours, two spellings of one letter: each is a topic of its own (I13)."""
    ids = {name: svc.enqueue(name, name.encode()) for name in NAMES}
    for name in NAMES:
        svc.pause(name)
        svc.resume(name)
    for name in NAMES:
        [job] = svc.reserve(name, 10, timeout=0)
        assert (job.id, job.topic, job.payload) == (ids[name], name, name.encode())
        assert svc.topic_stats(name).enqueued == 1
        job.release()
    assert svc.topics() == sorted(NAMES)


def test_V1_topics_are_isolated_after_a_reopen_too(jobs_factory: Factory, clock: ManualClock) -> None:
    """A key on disk is where one name could reach into another."""
    svc = jobs_factory.open(clock)
    ids = {name: [svc.enqueue(name, b""), svc.enqueue(name, b"", -1)] for name in NAMES}
    for again in (jobs_factory.crash, jobs_factory.reopen):
        svc = again(clock)
        assert svc.topics() == sorted(NAMES)
        for name in NAMES:
            assert order(svc, name) == ids[name][::-1]


def test_V1_statistics_of_a_topic_outlive_a_reopen(topics_factory: Factory, clock: ManualClock) -> None:
    """That is what the topic repository is for; and an idle topic is forgotten after it as before."""
    limits = Limits(topic_idle=IDLE)
    svc = topics_factory.open(clock, limits=limits, retention=Retention.none())
    used(svc)
    start = svc.topic_stats("t").first_enqueued_at
    before = events(svc)
    svc.close()
    clock.advance(timedelta(hours=1))
    svc = topics_factory.open(clock, limits=limits, retention=Retention.none())
    assert events(svc) == before
    assert svc.topic_stats("t").first_enqueued_at == start
    clock.advance(IDLE)
    assert svc.topics() == []
    svc = topics_factory.reopen(clock, limits=limits)
    assert svc.topics() == []
    assert events(svc) == {}
