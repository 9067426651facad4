"""Contract W1: who waits for a job, what serves them, and in which order."""

import itertools
import threading
from collections.abc import Callable

import pytest

from jobq import Job, JobOptions, JobService, Reason, Retention, Status
from jobq.testing import ManualClock

from .factory import Factory
from .observe import AT_ONCE, hold, recount
from .threads import Background, until_waiting

Trigger = Callable[[], object]


def by_enqueue(svc: JobService, clock: ManualClock) -> Trigger:
    return lambda: svc.enqueue("t", b"")


def by_enqueue_many(svc: JobService, clock: ManualClock) -> Trigger:
    return lambda: svc.enqueue_many("t", [b""])


def by_enqueue_through_a_handle(svc: JobService, clock: ManualClock) -> Trigger:
    topic = svc.topic("t")
    return lambda: topic.enqueue(b"")


def by_promotion(svc: JobService, clock: ManualClock) -> Trigger:
    svc.enqueue("t", b"", delay=10)
    return lambda: clock.advance(10)


def by_a_wall_clock_step(svc: JobService, clock: ManualClock) -> Trigger:
    svc.enqueue("t", b"", delay=10)
    return lambda: clock.jump(10)


def by_retry(svc: JobService, clock: ManualClock) -> Trigger:
    svc.enqueue("t", b"")
    job = hold(svc)
    return lambda: job.retry(0)


def by_retry_many(svc: JobService, clock: ManualClock) -> Trigger:
    svc.enqueue("t", b"", options=AT_ONCE)
    job = hold(svc)
    return lambda: svc.retry_many([job])


def by_release(svc: JobService, clock: ManualClock) -> Trigger:
    svc.enqueue("t", b"")
    job = hold(svc)
    return job.release


def by_release_many(svc: JobService, clock: ManualClock) -> Trigger:
    svc.enqueue("t", b"")
    job = hold(svc)
    return lambda: svc.release_many([job])


def by_with_job(svc: JobService, clock: ManualClock) -> Trigger:
    svc.enqueue("t", b"", options=AT_ONCE)
    job = hold(svc)

    def fail() -> None:
        with pytest.raises(ZeroDivisionError), job:
            raise ZeroDivisionError

    return fail


def by_expiry(svc: JobService, clock: ManualClock) -> Trigger:
    svc.enqueue("t", b"", options=AT_ONCE)
    job = hold(svc)

    def expire() -> Job:
        clock.advance(5)
        return job

    return expire


def by_a_dropped_handle(svc: JobService, clock: ManualClock) -> Trigger:
    svc.enqueue("t", b"", options=AT_ONCE)
    return [hold(svc)].clear


def by_reset_of_a_done_job(svc: JobService, clock: ManualClock) -> Trigger:
    id = svc.enqueue("t", b"")
    hold(svc).done()
    return lambda: svc.reset(id)


def by_reset_of_a_canceled_job(svc: JobService, clock: ManualClock) -> Trigger:
    id = svc.enqueue("t", b"")
    svc.cancel(id)
    return lambda: svc.reset([id])


def by_reset_of_a_delayed_job(svc: JobService, clock: ManualClock) -> Trigger:
    id = svc.enqueue("t", b"", delay=10)
    return lambda: svc.reset(id)


def by_reset_of_a_reserved_job(svc: JobService, clock: ManualClock) -> Trigger:
    svc.enqueue("t", b"")
    job = hold(svc)
    return lambda: svc.reset(job.id, force=True)


def by_a_grant_that_consume_gives_back(svc: JobService, clock: ManualClock) -> Trigger:
    svc.enqueue_many("t", [b"", b""])
    consumer = [svc.consume("t", batch=2)]
    job = next(consumer[0])

    def leave() -> Job:
        consumer.clear()
        return job

    return leave


def by_resume(svc: JobService, clock: ManualClock) -> Trigger:
    svc.pause("t")
    svc.enqueue("t", b"")
    return lambda: svc.resume("t")


CAUSES = [
    by_enqueue,
    by_enqueue_many,
    by_enqueue_through_a_handle,
    by_promotion,
    by_a_wall_clock_step,
    by_retry,
    by_retry_many,
    by_release,
    by_release_many,
    by_with_job,
    by_expiry,
    by_a_dropped_handle,
    by_reset_of_a_done_job,
    by_reset_of_a_canceled_job,
    by_reset_of_a_delayed_job,
    by_reset_of_a_reserved_job,
    by_a_grant_that_consume_gives_back,
    by_resume,
]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_W1_whatever_makes_a_job_ready_serves_the_waiter(
    svc: JobService, clock: ManualClock, cause: Callable[[JobService, ManualClock], Trigger]
) -> None:
    """A wake-up forgotten in one place is a worker that sleeps beside a full queue."""
    trigger = cause(svc, clock)
    waiter = Background(svc.reserve, "t", 10)
    until_waiting(svc, "t", 1)
    trigger()
    jobs = waiter.result()
    assert len(jobs) == 1
    stats = svc.topic_stats("t")
    assert (stats.ready, stats.waiting) == (0, 0)


@pytest.mark.parametrize("verb", ["reserve", "reserve_one", "consume"])
def test_W1_every_waiting_call_is_served(svc: JobService, verb: str) -> None:
    """Three ways to wait, one way to be served."""
    calls: dict[str, Callable[[], Job]] = {
        "reserve": lambda: svc.reserve("t", 1)[0],
        "reserve_one": lambda: svc.reserve_one("t"),
        "consume": lambda: next(svc.consume("t")),
    }
    waiter = Background(calls[verb])
    until_waiting(svc, "t", 1)
    id = svc.enqueue("t", b"")
    assert waiter.result().id == id
    assert svc.topic_stats("t").waiting == 0


def queue_up(svc: JobService, limits: list[int], topic: str = "t") -> list[Background[list[Job]]]:
    """Waiters that blocked in the order of the list."""
    waiters = []
    for count, limit in enumerate(limits, 1):
        waiters.append(Background(svc.reserve, topic, limit))
        until_waiting(svc, topic, count)
    return waiters


def test_W1_the_oldest_waiter_is_served_first_and_alone(svc: JobService) -> None:
    """One job wakes one waiter, the one that has waited longest: no herd, nobody starves."""
    waiters = queue_up(svc, [1, 1, 1])
    for served, waiter in enumerate(waiters, 1):
        id = svc.enqueue("t", b"")
        assert [job.id for job in waiter.result()] == [id]
        assert svc.topic_stats("t").waiting == len(waiters) - served


def test_W1_each_takes_what_its_limit_allows_from_the_head(svc: JobService) -> None:
    """A batch is shared out in order: the first takes its fill, the next what remains."""
    waiters = queue_up(svc, [3, 10, 1])
    ids = svc.enqueue_many("t", [(b"", weight) for weight in (4, 3, 2, 1, 0)])
    assert [job.id for job in waiters[0].result()] == [ids[4], ids[3], ids[2]]
    assert [job.id for job in waiters[1].result()] == [ids[1], ids[0]]
    stats = svc.topic_stats("t")
    assert (stats.ready, stats.waiting) == (0, 1)
    svc.enqueue("t", b"")
    waiters[2].result()


@pytest.mark.parametrize("count", [1000, 4097, 9000])
def test_W1_a_batch_takes_all_that_is_ready_up_to_its_limit(svc: JobService, count: int) -> None:
    """min(limit, ready), however many that is: no bound of the house's own makes a batch shorter."""
    svc.enqueue_many("t", [b""] * count)
    jobs = svc.reserve("t", count - 1, timeout=0)
    assert len(jobs) == count - 1
    jobs += svc.reserve("t", count, timeout=0)
    assert len(jobs) == count
    svc.done_many(jobs)


def test_W1_enqueue_many_serves_at_its_end(svc: JobService) -> None:
    """The whole batch is in order before the first job is handed out, so the most urgent goes first."""
    waiters = queue_up(svc, [1])
    ids = svc.enqueue_many("t", [(b"", 5), (b"", -5), (b"", 0)])
    assert [job.id for job in waiters[0].result()] == [ids[1]]


def test_W1_promotion_of_several_serves_several(svc: JobService, clock: ManualClock) -> None:
    """Each gets its own, by due."""
    ids = [svc.enqueue("t", b"", delay=delay) for delay in (2, 1, 3)]
    waiters = queue_up(svc, [1, 1, 1])
    clock.advance(3)
    served = [job.id for waiter in waiters for job in waiter.result()]
    assert served == [ids[1], ids[0], ids[2]]


def test_W1_a_waiter_is_served_by_its_own_topic_alone(svc: JobService) -> None:
    """What comes elsewhere is nobody's business here."""
    waiter = Background(svc.reserve, "t", 1)
    until_waiting(svc, "t", 1)
    svc.enqueue("other", b"")
    assert svc.topic_stats("t").waiting == 1
    assert svc.topic_stats("other").ready == 1
    id = svc.enqueue("t", b"")
    assert [job.id for job in waiter.result()] == [id]


def test_W1_what_leaves_nothing_ready_serves_nobody(svc: JobService, clock: ManualClock) -> None:
    """A waiter that wakes for nothing is a poll in disguise: it must stay blocked."""
    svc.enqueue_many("t", [b""] * 4)
    jobs = svc.reserve("t", 4, timeout=0)
    waiter = Background(svc.reserve, "t", 1)
    until_waiting(svc, "t", 1)
    jobs[0].done()
    jobs[1].cancel()
    jobs[2].retry(100)
    svc.cancel(jobs[3].id)
    svc.delete(jobs[3].id)
    svc.enqueue("t", b"", delay=50)
    clock.advance(1)
    assert svc.topic_stats("t").waiting == 1
    assert not waiter.over
    svc.enqueue("t", b"")
    assert len(waiter.result()) == 1


def test_W1_never_a_ready_job_beside_a_waiter(factory: Factory) -> None:
    """The invariant of the rule, looked at from outside while producers and consumers run."""
    svc = factory.open(retention=Retention.none())
    total, taken = 2000, itertools.count()

    def consume() -> int:
        count = 0
        while jobs := svc.reserve("t", 3):
            for job in jobs:
                if next(taken) % 7:
                    job.done()
                else:
                    job.release()
            count += len(jobs)
        return count

    def produce() -> None:
        for i in range(total // 4):
            svc.enqueue("t", b"", i % 5)

    consumers = [Background(consume) for _ in range(3)]
    producers = [Background(produce) for _ in range(4)]
    while not all(producer.over for producer in producers):
        stats = svc.topic_stats("t")
        assert not (stats.ready and stats.waiting), stats
    for producer in producers:
        producer.result()
    assert Background(svc.join, "t").result()
    recount(svc)
    svc.stop()
    for consumer in consumers:
        assert consumer.error() is not None
    assert svc.topic_stats("t").completions == total


def test_O3_a_grant_that_never_reached_its_caller_leaves_no_trace(factory: Factory) -> None:
    """Timeouts race with enqueues: whoever wins, a job is with a caller or in its place, and counted so."""
    svc = factory.open(defaults=JobOptions(max_retries=0))
    held: list[Job] = []
    lock = threading.Lock()
    total = 300

    def impatient() -> None:
        while len(held) < total:
            jobs = svc.reserve("t", 2, timeout=0.0005)
            with lock:
                held.extend(jobs)

    callers = [Background(impatient) for _ in range(4)]
    ids = [svc.enqueue("t", b"") for _ in range(total)]
    for caller in callers:
        caller.result()
    stats = svc.topic_stats("t")
    assert sorted(job.id for job in held) == ids
    assert (stats.reserved, stats.reservations, stats.waiting) == (total, total, 0)
    assert (stats.expiries, stats.retries, stats.releases) == (0, 0, 0)
    assert {(svc.info(job.id).attempts, job.attempt) for job in held} == {(1, 1)}
    assert len({job.token for job in held}) == total
    svc.done_many(held)
    recount(svc)


def test_L1_a_canceled_job_never_reaches_a_waiter(svc: JobService, clock: ManualClock) -> None:
    """Canceled between its delay and its due, it must not come back to life in a waiter's hands (I6)."""
    id = svc.enqueue("t", b"", delay=10)
    waiter = Background(svc.reserve, "t", 1)
    until_waiting(svc, "t", 1)
    svc.cancel(id)
    clock.advance(10)
    assert svc.topic_stats("t").waiting == 1
    other = svc.enqueue("t", b"")
    assert [job.id for job in waiter.result()] == [other]
    assert (svc.status(id), svc.info(id).reason) == (Status.CANCELED, Reason.REQUESTED)


def test_W1_waiters_are_served_when_the_block_of_tokens_runs_out(svc: JobService) -> None:
    # Tokens are kept in blocks of 4,096, and those who wait do not ask for them.
    waiters: list[Background[list[Job]]] = []
    for limit in (3_000, 3_000, 1):
        waiters.append(Background(svc.reserve, "t", limit))
        until_waiting(svc, "t", len(waiters))
    svc.enqueue_many("t", [b""] * 6_001)
    granted = [len(waiter.result()) for waiter in waiters]
    assert granted[0] == 3_000 and all(granted)
