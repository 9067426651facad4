"""Contract T1 to T6: when time does its work, on which clock, and before or after which calls."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from jobq import Job, JobNotFound, JobOptions, JobService, LeaseLost, Retention, Status
from jobq.testing import ManualClock

from .factory import Factory
from .observe import AT_ONCE, hold, order, some
from .threads import until, until_past

MS = timedelta(milliseconds=1)


def test_T1_a_job_is_ready_at_its_due_and_not_a_millisecond_sooner(
    svc: JobService, clock: ManualClock
) -> None:
    """Never early is a promise; a second late would be a broken timer."""
    id = svc.enqueue("t", b"", delay=10)
    assert svc.info(id).due_at == clock.now() + timedelta(seconds=10)
    clock.advance(9.999)
    assert svc.status(id) is Status.DELAYED
    assert svc.reserve("t", 1, timeout=0) == []
    clock.advance(0.001)
    assert svc.status(id) is Status.READY
    assert svc.info(id).due_at is None


@pytest.mark.parametrize(
    "seconds", [0.001, 0.255, 0.256, 0.257, 65.535, 65.536, 4194.304, 86400.001, 3e7, 4e9]
)
def test_T1_any_distance_is_kept_to_the_millisecond(
    svc: JobService, clock: ManualClock, seconds: float
) -> None:
    """A wheel may be coarse inside; what it reports must not be, next door or a century ahead."""
    due = clock.now() + timedelta(seconds=seconds)
    id = svc.enqueue("t", b"", at=due)
    clock.jump(timedelta(seconds=seconds) - MS)
    assert svc.status(id) is Status.DELAYED
    clock.jump(MS)
    assert svc.status(id) is Status.READY


@pytest.mark.parametrize("delay", [0.0001, 1e-9, timedelta(microseconds=1), 0.001])
def test_T1_fractions_are_rounded_up(svc: JobService, clock: ManualClock, delay: float | timedelta) -> None:
    """Rounding down would make a job early."""
    id = svc.enqueue("t", b"", delay=delay)
    assert svc.info(id).due_at == clock.now() + MS
    assert svc.status(id) is Status.DELAYED
    clock.advance(0.001)
    assert svc.status(id) is Status.READY


def test_T1_dates_are_instants_whatever_their_zone(svc: JobService, clock: ManualClock) -> None:
    """Two ways to write an instant are one due date, rounded up to the millisecond."""
    utc = clock.now() + timedelta(seconds=10, microseconds=1500)
    tokyo = utc.astimezone(timezone(timedelta(hours=9)))
    for at in (utc, tokyo):
        info = svc.info(svc.enqueue("t", b"", at=at))
        assert info.due_at == clock.now() + timedelta(seconds=10, milliseconds=2)
        assert some(info.due_at).tzinfo is UTC


@pytest.mark.parametrize("seconds", [0, -0.001, -1e6])
def test_T1_due_means_now_or_before(svc: JobService, clock: ManualClock, seconds: float) -> None:
    """A date that has passed asks for no wait, and counts as no delay."""
    id = svc.enqueue("t", b"", at=clock.now() + timedelta(seconds=seconds))
    assert svc.status(id) is Status.READY
    assert svc.topic_stats("t").delays == 0


def test_T1_delay_zero_means_now(svc: JobService) -> None:
    """0 means 0."""
    assert svc.status(svc.enqueue("t", b"", delay=0)) is Status.READY
    assert svc.status(svc.enqueue("t", b"", delay=timedelta(0))) is Status.READY


@pytest.mark.parametrize("verb", ["enqueue", "release", "backoff"])
def test_T1_a_due_is_counted_from_the_exact_clock(factory: Factory, verb: str) -> None:
    """A coarse clock is milliseconds behind, and so would be a due that was counted from it: early."""
    svc = factory.open()
    delay = timedelta(seconds=60)
    options = JobOptions(min_backoff=delay, jitter=0.0)
    for id in range(1, 101):
        job = None
        if verb != "enqueue":
            svc.enqueue("t", b"", options=options)
            job = hold(svc)
        before = datetime.now(UTC)
        if job is None:
            svc.enqueue("t", b"", delay=delay)
        elif verb == "release":
            job.release(delay)
        else:
            job.retry()
        after = datetime.now(UTC)
        assert before + delay <= some(svc.info(id).due_at) <= after + delay + MS


def test_T1_due_dates_follow_the_wall_clock(svc: JobService, clock: ManualClock) -> None:
    """Tomorrow at nine is when the wall says so: a step forward brings it nearer, a step back puts it off."""
    id = svc.enqueue("t", b"", delay=10)
    clock.jump(-5)
    clock.advance(14.999)
    assert svc.status(id) is Status.DELAYED
    clock.jump(0.001)
    assert svc.status(id) is Status.READY


def test_T1_a_promoted_job_stays_ready_when_the_clock_steps_back(svc: JobService, clock: ManualClock) -> None:
    """What was granted to a reader of its status is not taken back."""
    id = svc.enqueue("t", b"", delay=10)
    clock.advance(10)
    clock.jump(-100)
    assert svc.status(id) is Status.READY
    assert order(svc) == [id]


def test_T1_at_open_ready_or_delayed_follows_from_the_clock_of_that_moment(
    jobs_factory: Factory, clock: ManualClock
) -> None:
    """Only the due is kept, so a restart asks the clock anew: forward, and back."""
    svc = jobs_factory.open(clock)
    id = svc.enqueue("t", b"", delay=10)
    svc.close()
    clock.jump(10)
    svc = jobs_factory.open(clock)
    assert svc.status(id) is Status.READY
    assert (svc.recovery.ready, svc.recovery.delayed) == (1, 0)
    svc.close()
    clock.jump(-1)
    svc = jobs_factory.open(clock)
    assert svc.status(id) is Status.DELAYED
    assert (svc.recovery.ready, svc.recovery.delayed) == (0, 1)
    clock.advance(1)
    assert order(svc) == [id]


def test_T2_leases_run_on_the_monotonic_clock(svc: JobService, clock: ManualClock) -> None:
    """A set clock must not take a job from its worker, nor leave it with a dead one."""
    svc.enqueue("t", b"", options=JobOptions(lease=10))
    job = hold(svc)
    assert job.deadline == clock.now() + timedelta(seconds=10)
    clock.jump(86400)
    assert job.remaining() == 10
    assert job.deadline == clock.now() + timedelta(seconds=10)
    clock.advance(9.999)
    assert svc.status(job.id) is Status.RESERVED
    assert job.remaining() == pytest.approx(0.001, abs=1e-6)
    clock.jump(-86400)
    clock.advance(0.001)
    assert svc.status(job.id) is Status.DELAYED


def test_T2_all_leases_are_dead_at_open(jobs_factory: Factory, clock: ManualClock) -> None:
    """Their holders died with the process, however long they were meant to hold."""
    svc = jobs_factory.open(clock)
    svc.enqueue("t", b"", options=JobOptions(lease=1e9))
    job = hold(svc)
    svc = jobs_factory.reopen(clock)
    assert svc.status(job.id) is Status.READY
    assert svc.topic_stats("t").reserved == 0


SHORT = JobOptions(lease=0.001, min_backoff=60, jitter=0.0)
GRAIN = -0.05
"""Seconds by which a lease must be over before every clock, a coarse one too, has noticed."""

HOLDERS: dict[str, Callable[[JobService, Job], object]] = {
    "done": lambda svc, job: job.done(),
    "retry": lambda svc, job: job.retry(),
    "release": lambda svc, job: job.release(),
    "cancel": lambda svc, job: job.cancel(),
    "extend": lambda svc, job: job.extend(60),
    "log": lambda svc, job: job.log("late"),
    "done_many": lambda svc, job: svc.done_many([job]),
    "retry_many": lambda svc, job: svc.retry_many([job]),
    "release_many": lambda svc, job: svc.release_many([job]),
}

OTHERS: dict[str, Callable[[JobService], object]] = {
    "enqueue": lambda svc: svc.enqueue("other", b""),
    "enqueue_many": lambda svc: svc.enqueue_many("other", [b""]),
    "reserve": lambda svc: svc.reserve("other", 1, timeout=0),
    "reserve_one": lambda svc: svc.reserve_one("other", timeout=0),
    "status": lambda svc: svc.status(1),
    "info": lambda svc: svc.info(1),
    "find": lambda svc: list(svc.find()),
    "stats": lambda svc: svc.stats(),
    "topic_stats": lambda svc: svc.topic_stats("t"),
    "topics": lambda svc: svc.topics(),
    "pause": lambda svc: svc.pause("other"),
    "join": lambda svc: svc.join("other", timeout=0),
}


def two_late(svc: JobService) -> tuple[Job, Job]:
    """Two jobs whose leases have run out in real time, without a call that could have noticed."""
    svc.enqueue_many("t", [b"", b""], options=SHORT)
    first, second = svc.reserve("t", 2, timeout=0)
    until(lambda: second.remaining() < GRAIN and first.remaining() < GRAIN, "the end of both leases")
    return first, second


@pytest.mark.parametrize("verb", HOLDERS)
def test_T3_a_late_call_of_the_holder_is_judged_before_time_is(factory: Factory, verb: str) -> None:
    """Work that is done is done: its result counts as long as nobody else has the job. Time comes after."""
    svc = factory.open()
    first, second = two_late(svc)
    HOLDERS[verb](svc, first)
    with pytest.raises(LeaseLost):
        second.done()
    assert svc.topic_stats("t").expiries == (2 if verb == "log" else 1)


@pytest.mark.parametrize("verb", OTHERS)
def test_T3_any_other_call_ticks_first(factory: Factory, verb: str) -> None:
    """What a call tells must be true now: a lease that is over is expired before anybody else is answered."""
    svc = factory.open()
    first, second = two_late(svc)
    OTHERS[verb](svc)
    for job in (first, second):
        with pytest.raises(LeaseLost) as lost:
            job.done()
        assert lost.value.status is Status.DELAYED


def test_T3_the_many_forms_judge_all_before_they_tick(factory: Factory) -> None:
    """Settling a late batch must not expire its second half while it settles the first."""
    svc = factory.open()
    jobs = two_late(svc)
    svc.done_many(jobs)
    assert svc.topic_stats("t").completions == 2


@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
def test_T4_more_due_jobs_than_a_slice_are_all_promoted(
    svc: JobService, clock: ManualClock, count: int
) -> None:
    """Slices bound how long a lock is held, not how much gets done."""
    ids = svc.enqueue_many("t", [b""] * count, delay=10)
    clock.advance(10)
    assert svc.topic_stats("t").ready == count
    assert order(svc) == list(ids)


def test_T4_more_ended_leases_than_a_slice_all_expire(svc: JobService, clock: ManualClock) -> None:
    """The same for the other wheel."""
    ids = svc.enqueue_many("t", [b""] * 1500, options=AT_ONCE)
    jobs = svc.reserve("t", 1500, timeout=0)
    clock.advance(5)
    assert svc.topic_stats("t").expiries == len(jobs)
    assert order(svc) == list(ids)


def test_T4_a_reserve_that_finds_nothing_goes_on_slice_by_slice(factory: Factory) -> None:
    """A crowd of due jobs elsewhere must not hide a due job from the one who asks for it."""
    svc = factory.open()
    at = datetime.now(UTC) + timedelta(seconds=0.3)
    svc.enqueue_many("crowd", [b""] * 2500, at=at)
    id = svc.enqueue("t", b"", at=at + 10 * MS)
    until_past(at.timestamp() + 0.06)
    assert some(svc.reserve_one("t", timeout=0)).id == id


def test_T5_the_backoff_of_an_expiry_counts_from_the_deadline(svc: JobService, clock: ManualClock) -> None:
    """A job must not wait longer because nobody looked."""
    deadline = clock.now() + timedelta(seconds=10)
    svc.enqueue("t", b"", options=JobOptions(lease=10, min_backoff=30, jitter=0.0))
    job = hold(svc)
    clock.advance(25)
    assert svc.info(job.id).due_at == deadline + timedelta(seconds=30)
    clock.advance(14.999)
    assert svc.status(job.id) is Status.DELAYED
    clock.advance(0.001)
    assert svc.status(job.id) is Status.READY


@pytest.mark.parametrize("late", [40, 1000])
def test_T5_a_backoff_already_past_is_ready_in_the_same_tick(
    svc: JobService, clock: ManualClock, late: int
) -> None:
    """One look is enough to bring a job back, and it is charged all the same."""
    svc.enqueue("t", b"", options=JobOptions(lease=10, min_backoff=30, jitter=0.0))
    job = hold(svc)
    other = svc.enqueue("t", b"")
    clock.advance(late)
    assert order(svc) == [other, job.id]
    assert svc.info(job.id).retries == 1
    assert svc.topic_stats("t").expiries == 1


def test_T5_an_expiry_that_exhausts_cancels(svc: JobService, clock: ManualClock) -> None:
    """Expiries are charged as retries are, to the same end."""
    svc.enqueue("t", b"", options=JobOptions(lease=10, max_retries=0))
    job = hold(svc)
    clock.advance(10)
    info = svc.info(job.id)
    assert (info.status, info.reason, info.retries) == (Status.CANCELED, "exhausted", 1)


def test_T6_a_due_that_no_longer_holds_does_nothing(svc: JobService, clock: ManualClock) -> None:
    """A timer armed for what a job was must not touch what it is: canceled, reserved, done, ready, gone."""
    canceled, reserved, done, ready, gone = (svc.enqueue("t", b"", delay=10) for _ in range(5))
    svc.cancel(canceled)
    svc.reset([reserved, done, ready])
    job = hold(svc)
    hold(svc).done()
    svc.delete(gone)
    before = [svc.info(id) for id in (canceled, reserved, done, ready)]
    clock.advance(10)
    assert [svc.info(id) for id in (canceled, reserved, done, ready)] == before
    assert order(svc) == [ready]
    assert svc.topic_stats("t").promotions == 0
    assert job.id == reserved


def test_T6_a_deadline_that_no_longer_holds_does_nothing(svc: JobService, clock: ManualClock) -> None:
    """Settled, extended, or leased again: the first lease's end is nobody's end."""
    svc.enqueue_many("t", [b""] * 4, options=JobOptions(lease=10))
    done, retried, extended, again = svc.reserve("t", 4, timeout=0)
    clock.advance(5)
    done.done()
    retried.retry(100)
    extended.extend(10)
    again.release()
    held = hold(svc)
    clock.advance(9.999)
    expected = [Status.DONE, Status.DELAYED, Status.RESERVED, Status.RESERVED]
    assert [svc.status(job.id) for job in (done, retried, extended, held)] == expected
    assert svc.topic_stats("t").expiries == 0
    clock.advance(0.001)
    assert svc.topic_stats("t").expiries == 2


def test_T6_a_job_in_a_used_slot_is_not_touched_by_its_predecessors_timers(
    svc: JobService, clock: ManualClock
) -> None:
    """Memory is used again; a timer that finds another job in its place must know it."""
    for _ in range(20):
        svc.delete(svc.enqueue("t", b"", delay=10))
    late = [svc.enqueue("t", b"", delay=30) for _ in range(20)]
    clock.advance(10)
    assert [svc.status(id) for id in late] == [Status.DELAYED] * 20
    clock.advance(20)
    assert order(svc) == late


def test_T6_a_delay_taken_anew_counts_alone(svc: JobService, clock: ManualClock) -> None:
    """Two delays of one job in a row: the first timer is still in the wheel, and means nothing."""
    id = svc.enqueue("t", b"", delay=10)
    svc.reset(id)
    hold(svc).release(20)
    clock.advance(19.999)
    assert svc.status(id) is Status.DELAYED
    clock.advance(0.001)
    assert svc.status(id) is Status.READY
    assert svc.topic_stats("t").promotions == 1


def test_T6_a_purge_that_no_longer_holds_does_nothing(factory: Factory, clock: ManualClock) -> None:
    """A finished job that was reset is alive; finished again, its age starts anew."""
    svc = factory.open(clock, retention=Retention(age=10))
    id = svc.enqueue("t", b"")
    hold(svc).done()
    clock.advance(5)
    svc.reset(id)
    clock.advance(5)
    assert svc.status(id) is Status.READY
    hold(svc).done()
    clock.advance(9.999)
    assert svc.status(id) is Status.DONE
    clock.advance(0.001)
    with pytest.raises(JobNotFound):
        svc.status(id)
