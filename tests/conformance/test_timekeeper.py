"""Contract W3: time passes for those who wait, though no thread of ours keeps it.

Real clocks, short delays: nobody calls the service while a waiter waits, so the waiters must notice.
"""

import signal
import threading
import time

import pytest

from jobq import Job, JobOptions, JobService

from .factory import Factory
from .observe import some
from .threads import Background, signal_when, until_waiting

SOON = 0.08
BRIEF = JobOptions(lease=SOON, min_backoff=0, jitter=0.0)


ENDLESS = 1000.0
"""A timeout that no test lives to see: who is not served in time fails by the test's deadline."""


def waiting(svc: JobService, topic: str = "t", timeout: float = ENDLESS) -> Background[list[Job]]:
    """A thread that is blocked when this returns; no call is made to the service after that."""
    thread = Background(svc.reserve, topic, 1, timeout=timeout)
    until_waiting(svc, topic, 1)
    return thread


def test_W3_a_waiter_is_served_when_a_delayed_job_becomes_due(factory: Factory) -> None:
    """Nobody else is there to look at the clock; and it must not be looked at too soon."""
    svc = factory.open()
    waiter = waiting(svc)
    start = time.time()
    id = svc.enqueue("t", b"", delay=SOON)
    assert [job.id for job in waiter.result()] == [id]
    assert SOON - 0.001 <= time.time() - start < 5


def test_W3_a_job_delayed_before_the_wait_is_served(factory: Factory) -> None:
    """The first to wait takes over what was set before it came."""
    svc = factory.open()
    id = svc.enqueue("t", b"", delay=SOON)
    assert [job.id for job in Background(svc.reserve, "t", 1).result()] == [id]


def test_W3_a_waiter_is_served_when_a_lease_runs_out(factory: Factory) -> None:
    """A worker that hangs must not hold the queue up when all others are idle."""
    svc = factory.open()
    svc.enqueue("t", b"", options=BRIEF)
    job = svc.reserve_one("t", timeout=0)
    again = Background(svc.reserve, "t", 1).result()
    assert job is not None
    assert [other.id for other in again] == [job.id]
    assert again[0].token > job.token


def test_W3_a_waiter_is_served_after_a_backoff(factory: Factory) -> None:
    """A retry is a delay like any other."""
    svc = factory.open()
    svc.enqueue("t", b"", options=JobOptions(min_backoff=SOON, jitter=0.0))
    job = svc.reserve_one("t", timeout=0)
    assert job is not None
    waiter = waiting(svc)
    job.retry()
    assert [other.id for other in waiter.result()] == [job.id]


def test_W3_an_earlier_due_wakes_the_timekeeper(factory: Factory) -> None:
    """Who sleeps until the last known instant must be told of one before it."""
    svc = factory.open()
    svc.enqueue("other", b"", options=JobOptions(lease=3600))
    held = svc.reserve("other", 1, timeout=0)
    waiter = waiting(svc)
    id = svc.enqueue("t", b"", delay=SOON)
    assert [job.id for job in waiter.result()] == [id]
    assert len(held) == 1


def test_W3_an_earlier_end_of_a_lease_wakes_the_timekeeper(factory: Factory) -> None:
    """A grant sets an instant too, though it is another waiter that gets it."""
    svc = factory.open()
    keeper = waiting(svc, "other")
    first = waiting(svc)
    second = Background(svc.reserve, "t", 1)
    until_waiting(svc, "t", 2)
    id = svc.enqueue("t", b"", options=BRIEF)
    held, again = first.result(), second.result()
    assert [job.id for job in held + again] == [id, id]
    assert not keeper.over


def test_W3_one_waiter_keeps_time_for_every_topic(factory: Factory) -> None:
    """It sleeps in one topic and serves them all."""
    svc = factory.open()
    keeper = waiting(svc, "first")
    waiter = waiting(svc, "second")
    id = svc.enqueue("second", b"", delay=SOON)
    assert [job.id for job in waiter.result()] == [id]
    assert not keeper.over
    svc.enqueue("first", b"")
    keeper.result()


# Which of two waiters keeps time is nobody's business: each test below has the older leave, and the younger.
who_leaves = pytest.mark.parametrize("leaves", ["older", "younger"])


def two_waiting(
    svc: JobService, leaves: str, timeout: float = ENDLESS
) -> tuple[Background[list[Job]], Background[list[Job]]]:
    """One that will leave, in topic `first`, and one that stays, in `second`."""
    if leaves == "older":
        leaver = waiting(svc, "first", timeout)
        return leaver, waiting(svc, "second")
    stayer = waiting(svc, "second")
    return waiting(svc, "first", timeout), stayer


@who_leaves
def test_W3_the_duty_is_passed_on_by_a_waiter_that_times_out(factory: Factory, leaves: str) -> None:
    """Else the others would sleep on past every due."""
    svc = factory.open()
    leaver, stayer = two_waiting(svc, leaves, timeout=0.2)
    id = svc.enqueue("second", b"", delay=0.4)
    assert leaver.result() == []
    assert [job.id for job in stayer.result()] == [id]


@who_leaves
def test_W3_the_duty_is_passed_on_by_a_waiter_that_gets_a_job(factory: Factory, leaves: str) -> None:
    """The commonest way to leave."""
    svc = factory.open()
    leaver, stayer = two_waiting(svc, leaves)
    id = svc.enqueue("second", b"", delay=2 * SOON)
    svc.enqueue("first", b"")
    assert len(leaver.result()) == 1
    assert [job.id for job in stayer.result()] == [id]


@who_leaves
def test_W3_the_duty_is_passed_on_at_ctrl_c(factory: Factory, leaves: str) -> None:
    """An interrupted wait ends at once, leaves no trace, and takes the clock from nobody."""
    svc = factory.open()
    svc.delete(svc.enqueue("first", b""))  # nothing is left to write when the signal comes
    id = svc.enqueue("second", b"", delay=0.6)
    stayers: list[Background[list[Job]]] = []
    if leaves == "younger":
        stayers.append(waiting(svc, "second"))

    def both_wait() -> bool:
        if not svc.topic_stats("first").waiting:
            return False
        if not stayers:
            stayers.append(waiting(svc, "second"))
        return True

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), signal_when(both_wait, signal.SIGINT):
        svc.reserve("first", 1, timeout=15)
    assert time.monotonic() - start < 10
    assert [job.id for job in stayers[0].result()] == [id]
    assert svc.topic_stats("first").waiting == 0


def test_W3_ctrl_c_at_the_edge_of_a_wait_is_not_lost(factory: Factory) -> None:
    """Between the last look at signals and the sleep is a moment; a Ctrl-C in it must end the wait too."""
    svc = factory.open()
    svc.delete(svc.enqueue("t", b""))
    main = some(threading.main_thread().ident)

    def send() -> None:
        end = time.monotonic() + 10
        while not svc.topic_stats("t").waiting:
            assert time.monotonic() < end
        signal.pthread_kill(main, signal.SIGINT)

    for _ in range(30):
        sender = Background(send)
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            svc.reserve("t", 1, timeout=5)
            raise AssertionError("the wait ended without the signal")
        assert time.monotonic() - start < 4
        sender.result()


def test_W3_jobs_due_one_after_another_are_all_served(factory: Factory) -> None:
    """The timekeeper goes back to sleep until the next instant, and the next one does as it did."""
    svc = factory.open()
    ids = [svc.enqueue("t", b"", delay=0.02 * (i + 1)) for i in range(8)]
    waiters = [Background(svc.reserve_one, "t", timeout=ENDLESS) for _ in ids]
    served = [waiter.result() for waiter in waiters]
    assert sorted(job.id for job in served if job is not None) == ids


def test_W3_a_joiner_sees_a_job_die_by_time(factory: Factory) -> None:
    """join waits for the last lease to end, and nobody but time may end it."""
    svc = factory.open()
    svc.enqueue("t", b"", options=JobOptions(lease=SOON, max_retries=0))
    job = svc.reserve_one("t", timeout=0)
    assert Background(svc.join, "t").result()
    assert job is not None
    assert svc.info(job.id).reason == "exhausted"
