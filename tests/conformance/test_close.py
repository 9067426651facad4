"""Contract C4: the end of a service, for those who wait, those who hold a job, and the repositories."""

import signal
import time
from collections.abc import Callable

import pytest

from jobq import Job, JobOptions, JobService, Memory, ServiceClosed, Status
from jobq.testing import ManualClock

from .dict_repository import Gate
from .factory import DictHome, Factory
from .observe import hold, order, recount
from .threads import Background, handler, signal_when, until, until_waiting

CALLS: dict[str, Callable[[JobService], object]] = {
    "enqueue": lambda svc: svc.enqueue("t", b""),
    "enqueue_many": lambda svc: svc.enqueue_many("t", [b""]),
    "reserve": lambda svc: svc.reserve("t", 1, timeout=0),
    "reserve_one": lambda svc: svc.reserve_one("t"),
    "consume": lambda svc: svc.consume("t"),
    "done_many": lambda svc: svc.done_many([]),
    "retry_many": lambda svc: svc.retry_many([]),
    "release_many": lambda svc: svc.release_many([]),
    "status": lambda svc: svc.status(1),
    "info": lambda svc: svc.info(1),
    "payload": lambda svc: svc.payload(1),
    "find": lambda svc: svc.find(),
    "topics": lambda svc: svc.topics(),
    "topic_stats": lambda svc: svc.topic_stats("t"),
    "stats": lambda svc: svc.stats(),
    "topic": lambda svc: svc.topic("t"),
    "cancel": lambda svc: svc.cancel(1),
    "reset": lambda svc: svc.reset(1),
    "delete": lambda svc: svc.delete([1]),
    "pause": lambda svc: svc.pause("t"),
    "resume": lambda svc: svc.resume("t"),
    "join": lambda svc: svc.join(timeout=0),
    "flush": lambda svc: svc.flush(),
    "compact": lambda svc: svc.compact(),
    "verify": lambda svc: svc.verify(),
    "stop": lambda svc: svc.stop(),
}


@pytest.mark.parametrize("call", CALLS)
def test_C4_every_call_after_close_raises_service_closed(svc: JobService, call: str) -> None:
    """One answer, whatever is asked, and no call that hangs or touches a closed store."""
    svc.enqueue("t", b"")
    svc.close()
    assert svc.closed
    with pytest.raises(ServiceClosed):
        CALLS[call](svc)


def test_C4_every_call_of_a_handle_raises_service_closed(svc: JobService) -> None:
    """A topic's handle is worth as much as its service."""
    topic = svc.topic("t")
    svc.close()
    for call in (
        lambda: topic.enqueue(b""),
        lambda: topic.enqueue_many([b""]),
        lambda: topic.reserve(1),
        topic.reserve_one,
        topic.consume,
        topic.stats,
        topic.pause,
        topic.resume,
        topic.join,
    ):
        with pytest.raises(ServiceClosed):
            call()
    assert topic.name == "t"


def test_C4_close_twice_is_close(svc: JobService) -> None:
    """It is called from finally, from with, and from atexit."""
    assert not svc.closed
    svc.close()
    svc.close()
    assert svc.closed


def test_C4_with_closes_and_swallows_nothing(factory: Factory, clock: ManualClock) -> None:
    """The block's exception goes on."""
    with pytest.raises(ZeroDivisionError), factory.open(clock) as svc:
        svc.enqueue("t", b"")
        raise ZeroDivisionError
    assert svc.closed


def test_C4_every_waiter_returns(svc: JobService) -> None:
    """Fifty threads, five ways to wait: none is left behind."""
    svc.enqueue("busy", b"")
    job = hold(svc, "busy")
    ways: list[Callable[[], object]] = [
        lambda: svc.reserve("t", 3),
        lambda: svc.reserve("t", 3, timeout=1000),
        lambda: svc.reserve_one("u"),
        lambda: svc.topic("u").reserve_one(),
    ]
    waiters = [Background(ways[i % 4]) for i in range(40)]
    joiners = [Background(svc.join, "busy") for _ in range(10)]
    consumer = Background(lambda: list(svc.consume("v")))
    for topic, count in (("t", 20), ("u", 20), ("v", 1)):
        until_waiting(svc, topic, count)
    svc.close()
    errors = [thread.error() for thread in waiters] + [thread.error() for thread in joiners]
    assert all(isinstance(error, ServiceClosed) for error in errors)
    assert consumer.result() == []
    with pytest.raises(ServiceClosed):
        job.done()


def test_C4_closes_from_many_threads_are_one(factory: Factory) -> None:
    """Each returns when the service is closed, not before."""
    svc = factory.open()
    for i in range(200):
        svc.enqueue("t", b"x" * i)
    jobs = svc.reserve("t", 50, timeout=0)

    def close() -> bool:
        svc.close()
        return svc.closed

    assert all(thread.result() for thread in [Background(close) for _ in range(8)])
    assert len(jobs) == 50


def test_C4_held_jobs_go_back_uncharged_to_their_place(jobs_factory: Factory, clock: ManualClock) -> None:
    """A proper end is nobody's failure: no retry, no crash, and not granted alone afterwards."""
    svc = jobs_factory.open(clock)
    ids = [svc.enqueue("t", b"") for _ in range(4)]
    jobs = svc.reserve("t", 2, timeout=0)
    svc = jobs_factory.reopen(clock)
    recovery = svc.recovery
    assert (recovery.clean, recovery.recovered, recovery.ready, recovery.poisoned) == (True, 0, 4, ())
    infos = [svc.info(id) for id in ids]
    assert {info.status for info in infos} == {Status.READY}
    assert [(info.attempts, info.retries, info.crashes) for info in infos] == [(1, 0, 0)] * 2 + [
        (0, 0, 0)
    ] * 2
    assert svc.topic_stats("t").recoveries == 0
    assert [job.id for job in svc.reserve("t", 10, timeout=0)] == ids
    assert len(jobs) == 2


def test_C4_what_consume_holds_goes_back_too(jobs_factory: Factory, clock: ManualClock) -> None:
    """Fetched and not yielded, or yielded and not settled."""
    svc = jobs_factory.open(clock)
    ids = [svc.enqueue("t", b"") for _ in range(3)]
    jobs = svc.consume("t", batch=3)
    first = next(jobs)
    svc = jobs_factory.reopen(clock)
    assert list(jobs) == []
    assert order(svc) == ids
    assert [svc.info(id).retries for id in ids] == [0, 0, 0]
    assert first.id == ids[0]


def test_C4_a_new_store_and_a_closed_one_are_clean(jobs_factory: Factory, clock: ManualClock) -> None:
    """recovery says what was found."""
    svc = jobs_factory.open(clock)
    found = svc.recovery
    assert (found.clean, found.ready, found.delayed, found.done, found.canceled) == (True, 0, 0, 0, 0)
    assert (found.recovered, found.poisoned, found.quarantined) == (0, (), ())
    assert found.seconds >= 0
    svc.enqueue_many("t", [b""] * 4)
    svc.enqueue("t", b"", delay=100)
    hold(svc).done()
    svc.cancel(2)
    found = jobs_factory.reopen(clock).recovery
    assert (found.clean, found.ready, found.delayed, found.done, found.canceled) == (True, 2, 1, 1, 1)


def test_C4_a_memory_service_finds_nothing(forgetful_factory: Factory, clock: ManualClock) -> None:
    """What is not kept is gone, and that is said, not guessed."""
    svc = forgetful_factory.open(clock)
    svc.enqueue("t", b"")
    svc = forgetful_factory.reopen(clock)
    found = svc.recovery
    assert (found.clean, found.ready, found.recovered) == (True, 0, 0)
    assert list(svc.find()) == []
    assert svc.enqueue("t", b"") == 1
    recount(svc)


def test_C4_close_is_safe_in_a_signal_handler(factory: Factory) -> None:
    """It must not wait for the very thread that it interrupts."""
    svc = factory.open()
    start = time.monotonic()
    with (
        handler(signal.SIGUSR1, svc.close),
        signal_when(lambda: svc.topic_stats("t").waiting == 1, signal.SIGUSR1),
        pytest.raises(ServiceClosed),
    ):
        svc.reserve("t", 1, timeout=15)
    assert svc.closed
    assert time.monotonic() - start < 10


def test_C4_calls_that_race_with_close_end_well(factory: Factory) -> None:
    """Each one is done before the close or refused: no hang, no other error."""
    svc = factory.open()
    svc.enqueue_many("t", [b""] * 20)

    def work() -> int:
        count = 0
        try:
            while True:
                for job in svc.reserve("t", 2, timeout=0):
                    job.release()
                svc.enqueue("u", b"")
                svc.stats()
                count += 1
        except ServiceClosed:
            return count

    workers = [Background(work) for _ in range(4)]
    until(lambda: svc.topic_stats("u").enqueued > 50, "some work")
    svc.close()
    assert sum(worker.result() for worker in workers) >= 46


def test_C4_a_durable_call_under_way_finishes(python_factory: Factory, clock: ManualClock) -> None:
    """close waits for what was begun: its caller gets its id, and the job is there."""
    svc = python_factory.open(clock)
    home = python_factory.home
    assert isinstance(home, DictHome) and home.jobs is not None
    svc.enqueue("t", b"")
    gate = Gate(home.jobs)
    producer = Background(svc.enqueue, "t", b"under way")
    gate.wait_until_reached()
    closer = Background(svc.close)
    until(lambda: refused(svc), "new calls to be refused")
    assert not producer.over
    assert not closer.over
    assert home.jobs.closes == 0
    gate.open()
    id = producer.result()
    closer.result()
    assert home.jobs.closes == 1
    svc = python_factory.open(clock)
    assert svc.payload(id) == b"under way"


def refused(svc: JobService) -> bool:
    try:
        svc.status(1)
    except ServiceClosed:
        return True
    return False


@pytest.mark.parametrize("found", [DictHome.one_object, DictHome.two_objects])
def test_C4_each_repository_is_closed_once_and_last(
    found: Callable[[], DictHome], clock: ManualClock
) -> None:
    """Also when one object has both roles; after it nothing is asked of it, whatever is still alive."""
    home = found()
    svc = home.open(clock)
    svc.enqueue("t", b"")
    held: list[Job] = [hold(svc)]
    jobs, topics = home.jobs, home.topics
    assert jobs is not None and topics is not None
    svc.close()
    svc.close()
    held.clear()
    assert (jobs.closes, topics.closes) == (1, 1)
    assert home.faults == []


def test_C4_a_handle_dropped_after_close_is_no_harm(svc: JobService) -> None:
    """Interpreters end in no particular order."""
    svc.enqueue_many("t", [b""] * 3, options=JobOptions(min_backoff=0))
    jobs = svc.reserve("t", 2, timeout=0)
    consumer = svc.consume("t")
    job = next(consumer)
    svc.close()
    jobs.clear()
    del job, consumer


def test_C4_memory_can_be_used_again_after_close(clock: ManualClock) -> None:
    """One object serves one service at a time, and forgets each."""
    store = Memory()
    for _ in range(2):
        svc = JobService(store, store, clock=clock)
        assert svc.enqueue("t", b"") == 1
        assert svc.topic_stats("t").enqueued == 1
        svc.close()
