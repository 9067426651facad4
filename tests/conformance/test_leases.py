"""Contract L1, L4 and L6: what a handle tells, how long it holds, and what becomes of one that is dropped."""

import copy
import gc
import pickle
import threading
from datetime import UTC, timedelta

import pytest

from jobq import Job, JobOptions, JobService, LeaseLost, Reason, ServiceClosed, Status
from jobq.testing import ManualClock

from .dict_repository import nothing
from .factory import DictHome, Factory
from .observe import AT_ONCE, EXACT, events, exists, hold, order
from .threads import Background


def test_L1_a_handle_tells_what_was_granted(svc: JobService, clock: ManualClock) -> None:
    """All that a worker needs is in its hand, without another call."""
    options = JobOptions(name="resize", lease=60)
    id = svc.enqueue("t", b"payload", -7, options=options)
    job = hold(svc)
    assert (job.id, job.topic, job.name, job.weight, job.payload) == (id, "t", "resize", -7, b"payload")
    assert (job.attempt, job.settled, job.remaining()) == (1, False, 60)
    assert job.deadline == clock.now() + timedelta(seconds=60)
    assert job.deadline.tzinfo is UTC
    info = job.info()
    assert info == svc.info(id)
    assert (info.status, info.attempts, info.deadline) == (Status.RESERVED, 1, job.deadline)
    assert info.reserved_at == clock.now()


def test_L1_attempts_count_reservations(svc: JobService) -> None:
    """Every grant that reached somebody, whatever became of it."""
    svc.enqueue("t", b"", options=AT_ONCE)
    for attempt in range(1, 5):
        job = hold(svc)
        assert (job.attempt, job.info().attempts) == (attempt, attempt)
        if attempt % 2:
            job.release()
        else:
            job.retry()
    assert svc.info(job.id).retries == 2


def test_L1_a_handle_knows_its_lease_is_over(svc: JobService, clock: ManualClock) -> None:
    """remaining() is negative once the time has passed, also when the job is long with another."""
    svc.enqueue("t", b"", options=AT_ONCE)
    job = hold(svc)
    clock.advance(7)
    assert job.remaining() == -2
    assert not job.settled


def test_L1_what_is_settled_is_settled_for_good(svc: JobService) -> None:
    """done is a command, not a question: the second time is an error, and the first stays."""
    svc.enqueue("t", b"")
    job = hold(svc)
    job.done()
    with pytest.raises(LeaseLost):
        job.done()
    assert job.settled
    assert svc.status(job.id) is Status.DONE
    assert events(svc)["completions"] == 1


def test_L1_handles_are_one_of_a_kind(svc: JobService) -> None:
    """A copy of a lease would be a second holder."""
    svc.enqueue("t", b"")
    job = hold(svc)
    for clone in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            clone(job)
    same = job
    assert job == same
    assert job != object()
    assert bool(job)


def drop_by_del(svc: JobService) -> None:
    job = hold(svc)
    del job


def drop_in_a_list(svc: JobService) -> None:
    jobs = svc.reserve("t", 1, timeout=0)
    jobs.clear()


def drop_at_once(svc: JobService) -> None:
    svc.reserve_one("t", timeout=0)


def drop_by_an_exception(svc: JobService) -> None:
    def fail() -> None:
        job = hold(svc)
        raise ZeroDivisionError(job.id)

    with pytest.raises(ZeroDivisionError):
        fail()
    gc.collect()


def drop_in_a_cycle(svc: JobService) -> None:
    loop: list[object] = [hold(svc)]
    loop.append(loop)
    del loop
    gc.collect()


def drop_in_another_thread(svc: JobService) -> None:
    box = [hold(svc)]
    Background(box.clear).result()


def drop_from_consume(svc: JobService) -> None:
    for job in svc.consume("t", idle=0):
        del job
        break


DROPS = [
    drop_by_del,
    drop_in_a_list,
    drop_at_once,
    drop_by_an_exception,
    drop_in_a_cycle,
    drop_in_another_thread,
    drop_from_consume,
]


@pytest.mark.parametrize("drop", DROPS, ids=lambda drop: drop.__name__)
def test_L4_a_dropped_handle_ends_its_lease(svc: JobService, clock: ManualClock, drop: object) -> None:
    """Nobody can settle it any more, so waiting for it helps nobody: charged, with backoff, and logged."""
    id = svc.enqueue("t", b"", options=EXACT)
    assert callable(drop)
    drop(svc)
    info = svc.info(id)
    assert (info.status, info.retries, info.attempts) == (Status.DELAYED, 1, 1)
    assert info.due_at == clock.now() + timedelta(seconds=30)
    assert "dropped" in info.log[-1].message
    counted = events(svc)
    assert counted["expiries"] == 1
    assert "retries" not in counted


def test_L4_a_dropped_handle_can_be_the_last_failure(svc: JobService) -> None:
    """It is charged like any other."""
    id = svc.enqueue("t", b"", options=JobOptions(max_retries=0))
    drop_at_once(svc)
    assert svc.info(id).reason is Reason.EXHAUSTED


@pytest.mark.parametrize("how", ["settled", "lost", "taken"])
def test_L4_a_handle_that_holds_nothing_drops_nothing(svc: JobService, how: str) -> None:
    """The lease of another must not end with the handle of the one before."""
    svc.enqueue("t", b"")
    box = [hold(svc)]
    keep: list[Job] = []
    if how == "settled":
        box[0].release()
    elif how == "lost":
        svc.cancel(box[0].id)
    else:
        svc.reset(box[0].id, force=True)
        keep.append(hold(svc))
    before = list(svc.find())
    box.clear()
    assert list(svc.find()) == before
    assert "expiries" not in events(svc)
    assert len(keep) == (how == "taken")


def test_L4_after_close_a_drop_does_nothing(jobs_factory: Factory, clock: ManualClock) -> None:
    """close has given the job back uncharged; the handle's end comes too late to change that."""
    svc = jobs_factory.open(clock)
    svc.enqueue("t", b"")
    box = [hold(svc)]
    svc.close()
    box.clear()
    info = jobs_factory.open(clock).info(1)
    assert (info.status, info.retries) == (Status.READY, 0)


@pytest.mark.parametrize("what", ["a handle", "a consumer"])
def test_L4_a_drop_inside_a_repository_counts_too(
    python_factory: Factory, clock: ManualClock, what: str
) -> None:
    """The collector runs where it likes, in the middle of a commit too: nobody else will end that lease."""
    svc = python_factory.open(clock)
    svc.enqueue_many("t", [b""] * 3, options=EXACT)
    consumer = svc.consume("t", batch=3)
    box: list[object] = [next(consumer), consumer]
    del consumer
    home = python_factory.home
    assert isinstance(home, DictHome)
    assert home.jobs is not None
    home.jobs.before_commit = box.clear if what == "a handle" else box.pop
    svc.enqueue("other", b"")
    home.jobs.before_commit = nothing
    expected = ["delayed" if what == "a handle" else "reserved", "ready", "ready"]
    assert [info.status.value for info in svc.find(topic="t")] == expected
    box.clear()


def test_L4_handles_may_be_dropped_from_everywhere_at_once(factory: Factory) -> None:
    """The drop takes no lock that its thread may hold: threads, the collector and calls together."""
    svc = factory.open(defaults=JobOptions(min_backoff=0, jitter=0.0, max_retries=2**32 - 1))
    svc.enqueue_many("t", [b""] * 20)
    halt = threading.Event()

    def churn() -> None:
        while not halt.is_set():
            loop: list[object] = list(svc.reserve("t", 3, timeout=0))
            loop.append(loop)

    threads = [Background(churn) for _ in range(3)]
    for _ in range(10):
        gc.collect()
        svc.topic_stats("t")
    halt.set()
    for thread in threads:
        thread.result()
    gc.collect()
    stats = svc.topic_stats("t")
    assert (stats.ready, stats.reserved) == (20, 0)
    assert stats.expiries == stats.reservations


def test_L6_extend_moves_the_deadline(svc: JobService, clock: ManualClock) -> None:
    """From now on, not from the deadline on; without seconds by the job's own lease."""
    svc.enqueue("t", b"", options=JobOptions(lease=10))
    job = hold(svc)
    clock.advance(4)
    job.extend(60)
    assert job.remaining() == 60
    clock.advance(55)
    job.extend()
    assert job.remaining() == 10
    assert svc.info(job.id).deadline == job.deadline == clock.now() + timedelta(seconds=10)
    clock.advance(9.999)
    assert svc.status(job.id) is Status.RESERVED
    clock.advance(0.001)
    assert svc.status(job.id) is Status.DELAYED


@pytest.mark.parametrize("seconds", [0, 5, 59.999, timedelta(seconds=30), None])
def test_L6_extend_never_shortens(
    svc: JobService, clock: ManualClock, seconds: float | timedelta | None
) -> None:
    """Two parts of a program may both ask; the longer wish holds."""
    svc.enqueue("t", b"", options=JobOptions(lease=30))
    job = hold(svc)
    job.extend(60)
    job.extend(seconds)
    assert job.remaining() == 60
    clock.advance(59.999)
    assert svc.status(job.id) is Status.RESERVED
    clock.advance(0.001)
    assert svc.status(job.id) is Status.DELAYED


def test_L6_extend_is_no_settling(svc: JobService) -> None:
    """It may be called again and again, and nothing is counted."""
    svc.enqueue("t", b"")
    job = hold(svc)
    before = svc.topic_stats("t")
    for _ in range(3):
        job.extend(1e6)
    assert svc.topic_stats("t") == before
    assert not job.settled
    job.done()


def test_L6_retry_tells_where_the_job_went(svc: JobService, clock: ManualClock) -> None:
    """A worker that wants to shout at the last failure must learn that it was the last."""
    svc.enqueue("t", b"", options=JobOptions(max_retries=3))
    seen = []
    for delay in (None, 0, 10, 0):
        seen.append(hold(svc).retry(delay))
        clock.advance(60)
    assert seen == [Status.DELAYED, Status.READY, Status.DELAYED, Status.CANCELED]


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        ("it broke", "it broke"),
        (ValueError("no such thing"), "ValueError: no such thing"),
        (ValueError(), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        ("é" * 1000, "é" * 1000),
        ("é" * 1001, "é" * 1000),
        (OSError("x" * 2000), ("OSError: " + "x" * 2000)[:1000]),
    ],
)
def test_L6_the_error_is_kept(svc: JobService, error: str | BaseException, kept: str) -> None:
    """What went wrong is read weeks later, at the dead letter: kind and text, 1,000 characters of it."""
    svc.enqueue_many("t", [b""] * 2)
    retried, canceled = svc.reserve("t", 2, timeout=0)
    retried.retry(error=error)
    canceled.cancel(error=error)
    assert [svc.info(job.id).error for job in (retried, canceled)] == [kept, kept]


def test_L6_the_last_error_stays_until_another_is_given(svc: JobService) -> None:
    """A later step without an error does not wipe out what is known."""
    svc.enqueue("t", b"", options=AT_ONCE)
    job = hold(svc)
    assert job.info().error is None
    job.retry(error="first")
    hold(svc).retry()
    hold(svc).release()
    assert svc.info(job.id).error == "first"
    hold(svc).retry(error="second")
    hold(svc).done()
    assert svc.info(job.id).error == "second"


@pytest.mark.parametrize("error", [1, b"bytes", ValueError, ["list"]])
def test_L6_an_error_is_a_text_or_an_exception(svc: JobService, error: object) -> None:
    """Anything else is refused before the job is settled."""
    svc.enqueue("t", b"")
    job = hold(svc)
    for settle in (job.retry, job.cancel):
        with pytest.raises(TypeError, match="error"):
            settle(error=error)  # type: ignore[arg-type]
    assert svc.status(job.id) is Status.RESERVED


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), timedelta(seconds=-1)])
def test_L6_a_bad_length_of_time_settles_nothing(svc: JobService, delay: float | timedelta) -> None:
    """The job stays with its holder, who can say it again."""
    svc.enqueue("t", b"")
    job = hold(svc)
    for settle in (job.retry, job.release):
        with pytest.raises(ValueError, match="delay"):
            settle(delay)
    with pytest.raises(ValueError, match="seconds"):
        job.extend(delay)
    assert svc.status(job.id) is Status.RESERVED
    assert not job.settled


def test_L6_release_is_not_charged(svc: JobService, clock: ManualClock) -> None:
    """However often, with a delay or without: the job has as many retries left as before."""
    svc.enqueue("t", b"", options=JobOptions(max_retries=0))
    for delay in (0, 1, 0, 5, timedelta(seconds=2)):
        hold(svc).release(delay)
        clock.advance(5)
    info = svc.info(1)
    assert (info.status, info.retries, info.attempts) == (Status.READY, 0, 5)
    assert order(svc) == [1]


def test_L1_a_job_deleted_under_its_handle_is_gone(svc: JobService) -> None:
    """info is a question about the job, and there is none."""
    svc.enqueue("t", b"")
    job = hold(svc)
    svc.cancel(job.id)
    svc.delete(job.id)
    assert not exists(svc, job.id)
    with pytest.raises(LookupError):
        job.info()


def test_L1_a_closed_service_ends_every_lease(svc: JobService) -> None:
    """Not LeaseLost: the job is where it was, it is the service that is gone."""
    svc.enqueue("t", b"")
    job = hold(svc)
    svc.close()
    for call in (job.done, job.retry, job.release, job.cancel, job.extend, job.info):
        with pytest.raises(ServiceClosed):
            call()
    with pytest.raises(ServiceClosed):
        job.log("late")
