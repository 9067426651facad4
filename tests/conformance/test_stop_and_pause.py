"""Contract W4 and W5: no more grants, for good or for a while."""

import signal
import threading
import time
from collections.abc import Callable

import pytest

from jobq import Job, JobService, ServiceClosed, Status
from jobq.testing import ManualClock

from .factory import Factory
from .observe import AT_ONCE, hold, order
from .threads import Background, handler, signal_when, until_waiting

WAITS: dict[str, Callable[[JobService], object]] = {
    "reserve": lambda svc: svc.reserve("t", 2),
    "reserve with a timeout": lambda svc: svc.reserve("t", 2, timeout=1000),
    "reserve_one": lambda svc: svc.reserve_one("t"),
    "a handle's reserve": lambda svc: svc.topic("t").reserve(2),
    "a handle's reserve_one": lambda svc: svc.topic("t").reserve_one(),
}


@pytest.mark.parametrize("wait", WAITS)
def test_W4_stop_ends_every_wait_with_service_closed(svc: JobService, wait: str) -> None:
    """A worker must learn that no job will come, in a way it cannot take for an empty queue."""
    waiter = Background(WAITS[wait], svc)
    until_waiting(svc, "t", 1)
    svc.stop()
    assert isinstance(waiter.error(), ServiceClosed)
    assert svc.topic_stats("t").waiting == 0


@pytest.mark.parametrize("timeout", [None, 1000.0])
def test_W4_stop_ends_join_with_service_closed(svc: JobService, timeout: float | None) -> None:
    """What is still queued will not be worked off now, so waiting for it makes no sense."""
    svc.enqueue("t", b"")
    joiner = Background(svc.join, "t", timeout=timeout)
    svc.stop()
    assert isinstance(joiner.error(), ServiceClosed)
    with pytest.raises(ServiceClosed):
        svc.join("t", timeout=0)


def test_W4_consume_ends_quietly(svc: JobService) -> None:
    """The loop of a worker ends as a loop does, from the wait and from the next step."""
    waiter = Background(lambda: list(svc.consume("t")))
    until_waiting(svc, "t", 1)
    svc.stop()
    assert waiter.result() == []
    assert list(svc.consume("t")) == []


def test_W4_consume_gives_back_what_it_had_not_yielded(svc: JobService) -> None:
    """A stop between two jobs must not leave the fetched ones leased for two hours."""
    ids = svc.enqueue_many("t", [b""] * 3)
    jobs = svc.consume("t", batch=3)
    first = next(jobs)
    svc.stop()
    assert list(jobs) == []
    assert [svc.status(id) for id in ids] == [Status.RESERVED, Status.READY, Status.READY]
    assert [svc.info(id).attempts for id in ids] == [1, 0, 0]
    first.done()


def test_W4_no_more_grants_though_jobs_are_ready(svc: JobService) -> None:
    """Stopped means stopped, for those who only ask too."""
    svc.enqueue("t", b"")
    svc.stop()
    for timeout in (0, 1, None):
        with pytest.raises(ServiceClosed):
            svc.reserve("t", 1, timeout=timeout)
        with pytest.raises(ServiceClosed):
            svc.reserve_one("t", timeout=timeout)
    assert svc.topic_stats("t").reservations == 0


def test_W4_settling_and_enqueue_go_on(svc: JobService) -> None:
    """What is under way can be finished, and producers are not turned away."""
    svc.enqueue_many("t", [b""] * 6)
    jobs = svc.reserve("t", 5, timeout=0)
    svc.stop()
    jobs[0].done()
    jobs[1].retry(10)
    jobs[2].release()
    jobs[3].extend(1e6)
    jobs[3].cancel()
    with jobs[4]:
        pass
    svc.enqueue("t", b"")
    svc.pause("t")
    svc.resume("t")
    assert [svc.status(job.id).value for job in jobs] == ["done", "delayed", "ready", "canceled", "done"]
    assert not svc.closed


def test_W4_time_goes_on(svc: JobService, clock: ManualClock) -> None:
    """Promotion and expiry need no grant."""
    svc.enqueue("t", b"", options=AT_ONCE)
    delayed = svc.enqueue("t", b"", delay=5)
    job = hold(svc)
    svc.stop()
    clock.advance(5)
    assert [svc.status(id) for id in (job.id, delayed)] == [Status.READY, Status.READY]


def test_W4_stop_twice_is_stop(svc: JobService) -> None:
    """Two signals in a row are common."""
    svc.stop()
    svc.stop()
    with pytest.raises(ServiceClosed):
        svc.reserve("t", 1, timeout=0)


def test_W4_many_waiters_all_return(svc: JobService) -> None:
    """Not one may be forgotten, in whichever topic it sleeps."""
    waiters = [Background(svc.reserve, f"t{i % 5}", 1) for i in range(30)]
    for i in range(5):
        until_waiting(svc, f"t{i}", 6)
    svc.stop()
    assert all(isinstance(waiter.error(), ServiceClosed) for waiter in waiters)
    assert svc.stats().waiting == 0


def test_W4_stop_is_safe_in_a_signal_handler(factory: Factory) -> None:
    """That is where it is called: in the thread that waits, in the middle of its wait."""
    svc = factory.open()
    ready = svc.enqueue("t", b"")
    seen = []
    start = time.monotonic()
    with (
        handler(signal.SIGUSR1, svc.stop),
        signal_when(lambda: svc.topic_stats("t").waiting == 1, signal.SIGUSR1),
    ):
        for job in svc.consume("t", idle=15):
            job.done()
            seen.append(job.id)
    assert seen == [ready]
    assert time.monotonic() - start < 10


def test_W5_pause_stops_grants_and_resume_brings_them_back(svc: JobService) -> None:
    """The operator's brake: nothing is lost, nothing moves."""
    ids = [svc.enqueue("t", b"") for _ in range(3)]
    svc.pause("t")
    assert svc.reserve("t", 10, timeout=0) == []
    assert svc.reserve_one("t", timeout=0.01) is None
    assert list(svc.consume("t", idle=0)) == []
    assert svc.topic_stats("t").paused
    svc.resume("t")
    assert not svc.topic_stats("t").paused
    assert order(svc) == ids


def test_W5_everything_but_grants_goes_on(svc: JobService, clock: ManualClock) -> None:
    """Enqueue, promotion, expiry and settling do not touch the brake."""
    svc.enqueue_many("t", [b""] * 4, options=AT_ONCE)
    jobs = svc.reserve("t", 4, timeout=0)
    svc.pause("t")
    queued = svc.enqueue("t", b"")
    delayed = svc.enqueue("t", b"", delay=5)
    jobs[0].done()
    jobs[1].retry()
    jobs[2].release()
    clock.advance(5)
    assert svc.status(delayed) is Status.READY
    assert svc.topic_stats("t").expiries == 1
    assert svc.reserve("t", 10, timeout=0) == []
    svc.resume("t")
    assert order(svc) == [jobs[2].id, queued, jobs[1].id, jobs[3].id, delayed]


def test_W5_a_paused_topic_keeps_its_waiters(svc: JobService) -> None:
    """They need not come back; resume serves them, in their order."""
    svc.pause("t")
    waiters = []
    for count in (1, 2):
        waiters.append(Background(svc.reserve_one, "t"))
        until_waiting(svc, "t", count)
    ids = [svc.enqueue("t", b""), svc.enqueue("t", b"")]
    stats = svc.topic_stats("t")
    assert (stats.ready, stats.waiting) == (2, 2)
    svc.resume("t")
    assert [waiter.result().id for waiter in waiters] == ids


def test_W5_a_pause_under_a_waiter_holds(svc: JobService) -> None:
    """Blocked before the pause or after it, nobody is granted anything."""
    waiter = Background(svc.reserve_one, "t")
    until_waiting(svc, "t", 1)
    svc.pause("t")
    id = svc.enqueue("t", b"")
    stats = svc.topic_stats("t")
    assert (stats.ready, stats.waiting) == (1, 1)
    svc.resume("t")
    assert waiter.result().id == id


def test_W5_other_topics_run_on(svc: JobService) -> None:
    """A pause is a topic's own."""
    svc.pause("t")
    svc.enqueue("other", b"")
    assert svc.reserve_one("other", timeout=0) is not None
    assert not svc.topic_stats("other").paused


def test_W5_pause_is_a_state_and_no_counter(svc: JobService) -> None:
    """Twice paused, once resumed, is running; resumed without a pause is no error and makes no topic."""
    svc.resume("t")
    assert svc.topics() == []
    svc.pause("t")
    svc.pause("t")
    assert svc.topics() == ["t"]
    svc.enqueue("t", b"")
    svc.resume("t")
    svc.resume("t")
    assert svc.reserve_one("t", timeout=0) is not None


def test_W5_once_pause_has_returned_nothing_is_granted(factory: Factory) -> None:
    """Workers at full speed: the count of grants stands still between pause's return and resume (I12)."""
    svc = factory.open()
    svc.enqueue_many("t", [b""] * 50)
    halt = threading.Event()

    def work() -> None:
        while not halt.is_set():
            svc.release_many(svc.reserve("t", 2, timeout=0.01))

    workers = [Background(work) for _ in range(3)]
    grants = []
    for _ in range(20):
        svc.pause("t")
        before = svc.topic_stats("t").reservations
        svc.enqueue("t", b"")
        assert svc.reserve("t", 1, timeout=0.001) == []
        grants.append(svc.topic_stats("t").reservations - before)
        svc.resume("t")
    halt.set()
    for worker in workers:
        worker.result()
    assert grants == [0] * 20


def test_W5_a_pause_outlives_a_reopen_with_the_topics(topics_factory: Factory, clock: ManualClock) -> None:
    """A topic paused in the evening must not start at a restart in the night."""
    svc = topics_factory.open(clock)
    svc.pause("t")
    svc.pause("other")
    svc.resume("other")
    for again in (topics_factory.reopen, topics_factory.crash):
        svc = again(clock)
        assert svc.topic_stats("t").paused
        assert not svc.topic_stats("other").paused
        svc.enqueue("t", b"")
        assert svc.reserve("t", 1, timeout=0) == []


def test_W4_a_stopped_service_opens_again_running(jobs_factory: Factory, clock: ManualClock) -> None:
    """stop is of this service, not of the data."""
    svc = jobs_factory.open(clock)
    id = svc.enqueue("t", b"")
    svc.stop()
    svc = jobs_factory.reopen(clock)
    job: Job = hold(svc)
    assert job.id == id
