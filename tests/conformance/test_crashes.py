"""Contract C1: what open does with the jobs that were reserved when the process died.

A crash is a copy of what the repository holds while the service is alive; a call acknowledged after a
reservation vouches for the reservation being there (R6), so `crash` here makes one first.
"""

import pytest

from jobq import Job, JobOptions, JobService, Reason, Status
from jobq.testing import ManualClock

from .factory import Factory
from .observe import AT_ONCE, exists, hold, recount
from .options import ServiceOptions

HELD: list[list[Job]] = []
"""Leases of services that are about to die: their handles must outlive them."""


def take(svc: JobService, count: int, topic: str = "t") -> list[Job]:
    jobs = svc.reserve(topic, count, timeout=0)
    HELD.append(jobs)
    return jobs


def crash(factory: Factory, svc: JobService, clock: ManualClock, **options: object) -> JobService:
    """Die once everything that happened so far has been written."""
    svc.delete(svc.enqueue("voucher", b""))
    given: ServiceOptions = options  # type: ignore[assignment]
    return factory.crash(clock, **given)


def crash_holding(
    factory: Factory, svc: JobService, clock: ManualClock, id: int, **options: object
) -> JobService:
    """Reserve the job, which must be the next one, and die."""
    assert [job.id for job in take(svc, 1)] == [id]
    return crash(factory, svc, clock, **options)


def test_C1_a_reserved_job_is_ready_again_and_its_crash_is_counted(
    jobs_factory: Factory, clock: ManualClock
) -> None:
    """It is not charged a retry, but it is remembered that it was there when the process died."""
    svc = jobs_factory.open(clock)
    first, second = svc.enqueue("t", b""), svc.enqueue("t", b"")
    svc = crash_holding(jobs_factory, svc, clock, first)
    found = svc.recovery
    assert (found.clean, found.recovered, found.ready, found.poisoned) == (False, 1, 2, ())
    info = svc.info(first)
    assert (info.status, info.crashes, info.retries, info.reason) == (Status.READY, 1, 0, None)
    assert svc.info(second).crashes == 0
    assert svc.topic_stats("t").recoveries == 1
    recount(svc)
    assert hold(svc).id == first


def test_C1_only_what_was_reserved_counts_a_crash(jobs_factory: Factory, clock: ManualClock) -> None:
    """Settled, waiting, delayed or given back before the crash: not its doing."""
    svc = jobs_factory.open(clock)
    svc.enqueue_many("t", [b""] * 5, options=JobOptions(min_backoff=60))
    done, retried, released, canceled, held = take(svc, 5)
    done.done()
    retried.retry()
    released.release()
    canceled.cancel()
    svc.enqueue("t", b"", delay=50)
    svc = crash(jobs_factory, svc, clock)
    assert [info.crashes for info in svc.find(topic="t")] == [0, 0, 0, 0, 1, 0]
    assert svc.recovery.recovered == 1
    assert held.id == 5


def test_O3_a_promoted_job_that_was_held_goes_back_to_its_stamp(
    jobs_factory: Factory, clock: ManualClock
) -> None:
    """By its due date it would overtake who became ready before it, when the clock was set back in between.

    Behind that date it would be delayed again, and the crash not counted.
    """
    svc = jobs_factory.open(clock)
    ready = svc.enqueue("t", b"")
    clock.jump(-60)
    due = svc.enqueue("t", b"", delay=50)
    clock.jump(50)
    assert [job.id for job in take(svc, 2)] == [ready, due]
    clock.jump(-20)
    svc = crash(jobs_factory, svc, clock)
    assert [svc.info(id).crashes for id in (ready, due)] == [1, 1]
    assert [hold(svc).id, hold(svc).id] == [ready, due]


def test_C1_a_crash_without_a_reservation_in_between_counts_once(
    jobs_factory: Factory, clock: ManualClock
) -> None:
    """A process that dies while it starts must not condemn the jobs that it found."""
    svc = jobs_factory.open(clock)
    id = svc.enqueue("t", b"")
    svc = crash_holding(jobs_factory, svc, clock, id)
    for _ in range(5):
        svc = crash(jobs_factory, svc, clock)
        assert (svc.info(id).crashes, svc.recovery.recovered) == (1, 0)


@pytest.mark.parametrize("most", [0, 1, 3, None])
def test_C1_more_crashes_than_allowed_are_poison(
    jobs_factory: Factory, clock: ManualClock, most: int | None
) -> None:
    """A job that kills its process must end, or the process never gets past it. The default is 3."""
    options: dict[str, object] = {} if most is None else {"max_crashes": most}
    allowed = 3 if most is None else most
    svc = jobs_factory.open(clock)
    id = svc.enqueue("t", b"")
    for crashes in range(1, allowed + 1):
        svc = crash_holding(jobs_factory, svc, clock, id, **options)
        assert (svc.status(id), svc.info(id).crashes) == (Status.READY, crashes)
    svc = crash_holding(jobs_factory, svc, clock, id, **options)
    info = svc.info(id)
    assert (info.status, info.reason, info.crashes) == (Status.CANCELED, Reason.POISON, allowed + 1)
    assert info.finished_at is not None
    assert (svc.recovery.poisoned, svc.recovery.canceled) == ((id,), 1)
    assert (svc.topic_stats("t").dead, svc.topic_stats("t").canceled) == (1, 1)
    assert svc.reserve("t", 1, timeout=0) == []
    recount(svc)


def test_C1_a_poisoned_job_can_be_brought_back(jobs_factory: Factory, clock: ManualClock) -> None:
    """An operator who has mended the cause gives it a whole second chance."""
    svc = jobs_factory.open(clock, max_crashes=0)
    id = svc.enqueue("t", b"")
    svc = crash_holding(jobs_factory, svc, clock, id, max_crashes=0)
    svc.reset(id)
    assert (svc.status(id), svc.info(id).crashes, svc.info(id).reason) == (Status.READY, 0, None)
    hold(svc).done()


@pytest.fixture
def recovered(jobs_factory: Factory, clock: ManualClock) -> JobService:
    """Five ready jobs in the order of their ids, of which 2 and 4 were reserved at a crash."""
    svc = jobs_factory.open(clock)
    svc.enqueue_many("t", [b""] * 5, options=AT_ONCE)
    jobs = take(svc, 4)
    jobs[2].release()
    jobs[0].release()
    svc = crash(jobs_factory, svc, clock)
    assert [info.crashes for info in svc.find(topic="t")] == [0, 1, 0, 1, 0]
    return svc


def test_C1_a_recovered_job_is_granted_alone(recovered: JobService) -> None:
    """It ends the batch before it and is a batch of its own, so that one killer takes no innocents along."""
    batches = [recovered.reserve("t", 10, timeout=0) for _ in range(6)]
    assert [[job.id for job in batch] for batch in batches] == [[1], [2], [3], [4], [5], []]


def test_C1_alone_means_alone_for_consume_too(recovered: JobService) -> None:
    """Fetching ahead must not put a killer beside others in one buffer."""
    jobs = recovered.consume("t", batch=10, idle=0)
    seen = []
    for job in jobs:
        seen.append((job.id, recovered.topic_stats("t").reserved))
        job.done()
    assert seen == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]


@pytest.mark.parametrize("verb", ["retry", "release", "expire", "reset by force", "reset", "drop"])
def test_C1_settling_alive_clears_the_crashes(jobs_factory: Factory, clock: ManualClock, verb: str) -> None:
    """A job that ran and came back did not kill anything: from then on it is one like the others."""
    svc = jobs_factory.open(clock)
    svc.enqueue_many("t", [b""] * 3, options=AT_ONCE)
    svc = crash_holding(jobs_factory, svc, clock, 1)
    assert svc.info(1).crashes == 1
    if verb == "reset":
        svc.reset(1)
    else:
        job = hold(svc)
        assert job.id == 1
        if verb == "retry":
            job.retry()
        elif verb == "release":
            job.release()
        elif verb == "expire":
            clock.advance(5)
        elif verb == "reset by force":
            svc.reset(1, force=True)
        del job
    info = svc.info(1)
    assert (info.status, info.crashes) == (Status.READY, 0)
    assert len(svc.reserve("t", 10, timeout=0)) == 3


def test_C1_a_recovered_job_may_finish(recovered: JobService) -> None:
    """Done is done; its crashes are history."""
    hold(recovered).done()
    job = hold(recovered)
    assert (job.id, job.info().crashes) == (2, 1)
    job.done()
    assert recovered.status(2) is Status.DONE


def test_C1_recovery_is_recounted(whole_factory: Factory, clock: ManualClock) -> None:
    """Several crashes, several jobs, several topics: every job is somewhere, and counted there."""
    svc = whole_factory.open(clock, max_crashes=1)
    for topic in ("a", "b", "c"):
        svc.enqueue_many(topic, [b""] * 4)
    for round in range(3):
        for topic in ("a", "b"):
            take(svc, 2, topic)
        svc = crash(whole_factory, svc, clock, max_crashes=1)
        recount(svc)
        found = svc.recovery
        stats = svc.stats()
        assert (found.ready, found.canceled) == (stats.ready, stats.canceled), round
        assert stats.reserved == 0
    assert svc.topic_stats("c").ready == 4
    assert (svc.stats().canceled, svc.stats().cancellations) == (4, 4)
    assert all(exists(svc, id) for id in range(1, 13))
