"""Contract O: the order in which ready jobs are granted."""

import random
from datetime import timedelta

import pytest

from jobq import Job, JobId, JobOptions, JobService, Retention, Status
from jobq.testing import ManualClock

from .factory import Factory
from .observe import AT_ONCE, EXACT, hold, order, some


def test_O1_lower_weight_first_and_first_come_first_within_a_weight(svc: JobService) -> None:
    """The order is the product: weight decides, and within it the one that waited longest."""
    ids = [svc.enqueue("t", b"", weight) for weight in (5, 0, -3, 0, 5, -3)]
    assert order(svc) == [ids[i] for i in (2, 5, 1, 3, 0, 4)]


def test_O1_a_batch_is_what_one_at_a_time_would_have_given(svc: JobService) -> None:
    """A worker that takes more at once must not see another order."""
    weights = random.Random(1).choices(range(-3, 4), k=60)
    svc.enqueue_many("t", [(b"", weight) for weight in weights])
    expected = order(svc)
    jobs = []
    for size in (1, 7, 1, 1, 20, 3, 100):
        jobs += svc.reserve("t", size, timeout=0)
    assert [job.id for job in jobs] == expected
    assert [job.weight for job in jobs] == sorted(weights)


def test_O1_every_weight_has_its_place(factory: Factory, clock: ManualClock) -> None:
    """All 65,536 weights are ordered, the extremes too (I14): no wrap-around, no collision of neighbours."""
    svc = factory.open(clock, retention=Retention.none())
    weights = list(range(-32768, 32768))
    random.Random(2).shuffle(weights)
    svc.enqueue_many("t", [(b"", weight) for weight in weights])
    jobs: list[Job] = []
    while batch := svc.reserve("t", len(weights), timeout=0):
        jobs += batch
    assert [job.weight for job in jobs] == list(range(-32768, 32768))
    svc.done_many(jobs)


def test_O1_a_clock_that_steps_back_lets_no_newcomer_overtake(svc: JobService, clock: ManualClock) -> None:
    """Stamps never fall, so that NTP cannot reorder a queue."""
    ids = []
    for step in (0, -3600, 7200, -86400):
        clock.jump(step)
        ids.append(svc.enqueue("t", b""))
    assert order(svc) == ids
    ready = [some(svc.info(id).ready_at) for id in ids]
    assert ready == sorted(ready)


def test_O1_stamps_go_on_from_the_highest_found_at_open(jobs_factory: Factory, clock: ManualClock) -> None:
    """A restart with a clock that is behind must not put new jobs before old ones."""
    svc = jobs_factory.open(clock)
    old = [svc.enqueue("t", b"") for _ in range(3)]
    clock.jump(-86400)
    svc = jobs_factory.reopen(clock)
    new = svc.enqueue("t", b"")
    assert order(svc) == [*old, new]
    assert some(svc.info(new).ready_at) >= some(svc.info(old[-1]).ready_at)


def test_O1_ready_at_tells_when_the_job_became_ready(svc: JobService, clock: ManualClock) -> None:
    """The stamp is also what a person reads as the start of the wait."""
    at_enqueue = clock.now()
    plain, delayed = svc.enqueue("t", b""), svc.enqueue("t", b"", delay=10)
    clock.advance(10)
    assert svc.info(plain).ready_at == at_enqueue
    assert svc.info(delayed).ready_at == at_enqueue + timedelta(seconds=10)


def three(svc: JobService, options: JobOptions | None = None) -> list[JobId]:
    return [svc.enqueue("t", b"", options=options) for _ in range(3)]


def test_O2_a_retry_at_once_stands_last_in_its_weight(svc: JobService) -> None:
    """A job that fails at once must not starve those behind it."""
    a, b, c = three(svc)
    other = svc.enqueue("t", b"", 1)
    assert hold(svc).retry(0) is Status.READY
    assert order(svc) == [b, c, a, other]


def test_O2_a_retry_without_backoff_stands_last_in_its_weight(svc: JobService) -> None:
    """min_backoff 0 is the same as retry(0), not the same as release()."""
    a, b, c = three(svc, AT_ONCE)
    assert hold(svc).retry() is Status.READY
    assert order(svc) == [b, c, a]


def test_O2_an_expired_job_stands_last_in_its_weight(svc: JobService, clock: ManualClock) -> None:
    """A job that hangs its workers must not be given to each of them before the rest has had its turn."""
    a, b, c = three(svc, AT_ONCE)
    job = hold(svc)
    d = svc.enqueue("t", b"")
    clock.advance(5)
    assert order(svc) == [b, c, d, a]
    assert job.id == a


def test_O2_a_reset_job_stands_last_in_its_weight(svc: JobService) -> None:
    """Done, Canceled, Delayed and, by force, Reserved: each becomes ready now, and now is its place."""
    done, canceled, reserved = three(svc)
    delayed = svc.enqueue("t", b"", delay=100)
    hold(svc).done()
    svc.cancel(canceled)
    job = hold(svc)
    plain = svc.enqueue("t", b"")
    for id in (delayed, canceled, done):
        svc.reset(id)
    svc.reset(reserved, force=True)
    assert order(svc) == [plain, delayed, canceled, done, reserved]
    assert job.id == reserved


def test_O2_promotion_stamps_in_the_order_of_due(svc: JobService, clock: ManualClock) -> None:
    """What became due since the last look must come out as if somebody had looked all the time."""
    dues = [50, 10, 40, 20, 30]
    ids = {due: svc.enqueue("t", b"", delay=due) for due in dues}
    clock.advance(100)
    assert order(svc) == [ids[due] for due in sorted(dues)]


def test_O2_a_promoted_job_stands_behind_what_was_ready_before_it(
    svc: JobService, clock: ManualClock
) -> None:
    """The place is the moment of becoming ready, not that of the enqueue."""
    delayed = svc.enqueue("t", b"", delay=10)
    clock.advance(9)
    before = svc.enqueue("t", b"")
    clock.advance(1)
    after = svc.enqueue("t", b"")
    assert order(svc) == [before, delayed, after]


def test_O2_weight_counts_before_due(svc: JobService, clock: ManualClock) -> None:
    """A delayed job keeps its urgency."""
    plain = svc.enqueue("t", b"")
    late = svc.enqueue("t", b"", -1, delay=20)
    early = svc.enqueue("t", b"", 1, delay=10)
    clock.advance(20)
    assert order(svc) == [late, plain, early]


def test_O2_equal_dues_are_promoted_in_the_order_they_were_delayed(
    svc: JobService, clock: ManualClock
) -> None:
    """Equal instants keep first come, first served, also where a lower id was delayed later."""
    at = clock.now() + timedelta(seconds=10)
    first = svc.enqueue("t", b"")
    second = svc.enqueue("t", b"", options=EXACT)
    jobs = svc.reserve("t", 2, timeout=0)
    third = svc.enqueue("t", b"", at=at)
    clock.advance(4)
    fourth = svc.enqueue("t", b"", delay=6)
    jobs[1].retry(6)
    jobs[0].release(6)
    clock.advance(6)
    assert order(svc) == [third, fourth, second, first]


def test_O2_equal_dues_are_promoted_by_id_after_a_reopen(jobs_factory: Factory, clock: ManualClock) -> None:
    """What is on disk has no order of delaying any more; the id stands in for it."""
    svc = jobs_factory.open(clock)
    first = svc.enqueue("t", b"")
    job = hold(svc)
    others = [svc.enqueue("t", b"", delay=10) for _ in range(3)]
    job.release(10)
    svc = jobs_factory.reopen(clock)
    clock.advance(10)
    assert order(svc) == [first, *others]


def test_O3_release_gives_the_old_place_back(svc: JobService) -> None:
    """Handing a job back untouched must cost it nothing."""
    a, b, c = three(svc)
    job = hold(svc)
    svc.enqueue("t", b"")
    job.release()
    assert order(svc)[:3] == [a, b, c]


def test_O3_release_in_any_order_gives_the_old_order_back(svc: JobService) -> None:
    """The places are the jobs' own, whoever comes back first, with newcomers and other weights about."""
    ids = [svc.enqueue("t", b"", i % 2) for i in range(8)]
    expected = [*ids[0::2], *ids[1::2]]
    jobs = svc.reserve("t", 6, timeout=0)
    last = svc.enqueue("t", b"", 1)
    random.Random(3).shuffle(jobs)
    for job in jobs:
        job.release()
    assert order(svc) == [*expected, last]


def test_O3_what_consume_had_not_yielded_keeps_its_place(svc: JobService) -> None:
    """A consumer that fetched ahead and left must not have reordered anything."""
    a, b, c = three(svc)
    jobs = svc.consume("t", batch=3)
    first = next(jobs)
    del jobs
    first.release()
    assert order(svc) == [a, b, c]


@pytest.mark.parametrize("way", ["close", "crash"])
def test_O3_a_reserved_job_is_found_at_its_old_place(
    jobs_factory: Factory, clock: ManualClock, way: str
) -> None:
    """Work in progress at a restart goes on first, not last."""
    svc = jobs_factory.open(clock)
    a, b, c = three(svc)
    jobs = svc.reserve("t", 2, timeout=0)
    d = svc.enqueue("t", b"")
    svc = jobs_factory.reopen(clock) if way == "close" else jobs_factory.crash(clock)
    assert order(svc) == [a, b, c, d]
    assert [job.id for job in jobs] == [a, b]


def test_O4_the_order_is_the_same_after_a_reopen(jobs_factory: Factory, clock: ManualClock) -> None:
    """Order is kept, not rebuilt from ids: what was retried stays last, what was released stays first."""
    svc = jobs_factory.open(clock)
    rng = random.Random(4)
    for _ in range(40):
        clock.advance(0.001 * rng.randrange(3))
        svc.enqueue("t", b"", rng.randrange(-2, 3))
    jobs = svc.reserve("t", 20, timeout=0)
    rng.shuffle(jobs)
    for i, job in enumerate(jobs):
        if i % 2:
            job.retry(0)
        else:
            job.release()
    svc.cancel(jobs[0].id)
    svc.reset(jobs[0].id)
    expected = order(svc)
    svc = jobs_factory.reopen(clock)
    assert order(svc) == expected
    svc = jobs_factory.crash(clock)
    assert order(svc) == expected


def test_O4_a_job_due_at_open_stands_at_its_due(jobs_factory: Factory, clock: ManualClock) -> None:
    """What became due while nobody was there takes the place it would have had."""
    svc = jobs_factory.open(clock)
    early = svc.enqueue("t", b"")
    delayed = svc.enqueue("t", b"", delay=10)
    clock.advance(5)
    between = svc.enqueue("t", b"")
    later = svc.enqueue("t", b"", delay=20)
    svc.close()
    clock.jump(60)
    svc = jobs_factory.open(clock)
    last = svc.enqueue("t", b"")
    assert order(svc) == [early, between, delayed, later, last]


@pytest.mark.parametrize("closed", [False, True])
def test_O4_at_open_a_due_counts_as_a_stamp(jobs_factory: Factory, clock: ManualClock, closed: bool) -> None:
    """Stamps that ran ahead of a clock set back must not hold due jobs up for ever: open sorts them in."""
    svc = jobs_factory.open(clock)
    clock.jump(100)
    ahead = svc.enqueue("t", b"")
    clock.jump(-100)
    delayed = svc.enqueue("t", b"", delay=10)
    plain = svc.enqueue("t", b"")
    if closed:
        svc.close()
        clock.jump(60)
        svc = jobs_factory.open(clock)
        assert order(svc) == [delayed, ahead, plain]
    else:
        clock.jump(60)
        assert order(svc) == [ahead, plain, delayed]


def test_O4_reset_of_a_ready_job_keeps_its_place(svc: JobService) -> None:
    """A reset clears a job's past; it is not a way to the end of the queue."""
    a, b, c = three(svc)
    svc.reset(a)
    svc.reset([c, b])
    assert order(svc) == [a, b, c]


def test_O4_a_place_kept_by_reset_outlives_a_reopen(jobs_factory: Factory, clock: ManualClock) -> None:
    """The reset is written, and so is the stamp it kept."""
    svc = jobs_factory.open(clock)
    a, b, c = three(svc)
    svc.reset([b, a])
    svc = jobs_factory.reopen(clock)
    assert order(svc) == [a, b, c]
    assert [svc.info(id).resets for id in (a, b, c)] == [1, 1, 0]
