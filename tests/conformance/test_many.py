"""Contract L2: settling many jobs with one call."""

from collections.abc import Callable, Iterable

import pytest

from jobq import Job, JobService, LeaseLost, Status
from jobq.testing import ManualClock

from .factory import DictHome, Factory
from .observe import EXACT, events, hold, order, unchanged

Many = Callable[[JobService, Iterable[Job]], None]

FORMS: dict[str, tuple[Many, Status, str]] = {
    "done_many": (lambda svc, jobs: svc.done_many(jobs), Status.DONE, "completions"),
    "retry_many": (lambda svc, jobs: svc.retry_many(jobs), Status.DELAYED, "retries"),
    "release_many": (lambda svc, jobs: svc.release_many(jobs), Status.READY, "releases"),
}
"""By name: the call, where it leads, and the event that counts it."""


def batch(svc: JobService, count: int) -> list[Job]:
    svc.enqueue_many("t", [b""] * count, options=EXACT)
    return svc.reserve("t", count, timeout=0)


@pytest.mark.parametrize("form", FORMS)
def test_L2_all_are_settled(svc: JobService, form: str) -> None:
    """The common case: a batch that went well, or badly, as a whole."""
    call, status, event = FORMS[form]
    jobs = batch(svc, 5)
    call(svc, jobs)
    assert {svc.status(job.id) for job in jobs} == {status}
    assert all(job.settled for job in jobs)
    assert events(svc)[event] == 5


@pytest.mark.parametrize("form", FORMS)
def test_L2_handles_already_settled_are_skipped(svc: JobService, form: str) -> None:
    """A worker may settle some itself and the rest at the end, without keeping two lists."""
    call, status, _ = FORMS[form]
    jobs = batch(svc, 5)
    for settle in (jobs[0].done, jobs[1].release, jobs[2].cancel):
        settle()
    before = [svc.info(job.id) for job in jobs[:3]]
    call(svc, jobs)
    assert [svc.info(job.id) for job in jobs[:3]] == before
    assert [svc.status(job.id) for job in jobs[3:]] == [status] * 2
    with unchanged(svc):
        call(svc, jobs)


@pytest.mark.parametrize("form", FORMS)
def test_L2_the_lost_are_named_and_the_rest_is_applied(svc: JobService, form: str) -> None:
    """One lost lease must not undo the others' work, nor pass unseen."""
    call, status, event = FORMS[form]
    jobs = batch(svc, 5)
    svc.cancel(jobs[1].id)
    svc.cancel(jobs[3].id)
    svc.delete(jobs[3].id)
    with pytest.raises(LeaseLost) as lost:
        call(svc, jobs)
    assert sorted(lost.value.ids) == [jobs[1].id, jobs[3].id]
    assert lost.value.id in lost.value.ids
    assert [svc.status(jobs[i].id) for i in (0, 2, 4)] == [status] * 3
    assert [job.settled for job in jobs] == [True, False, True, False, True]
    assert events(svc)[event] == 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", ["a job", 1, None, b""])
def test_L2_what_is_no_job_is_refused_before_anything_changes(
    svc: JobService, form: str, bad: object
) -> None:
    """A list put together wrongly is a mistake in the program: half of it must not have happened."""
    jobs = batch(svc, 3)
    mixed: list[object] = [*jobs, bad]
    with unchanged(svc), pytest.raises(TypeError, match=r"\b3\b"):
        FORMS[form][0](svc, mixed)  # type: ignore[arg-type]
    assert not any(job.settled for job in jobs)


@pytest.mark.parametrize("form", FORMS)
def test_L2_a_job_of_another_service_is_refused_before_anything_changes(
    svc: JobService, factory: Factory, form: str
) -> None:
    """Its id may well exist here, and mean another job."""
    jobs = batch(svc, 2)
    other = factory.fresh().open()
    foreign = batch(other, 1)
    with unchanged(svc), pytest.raises(ValueError):
        FORMS[form][0](svc, [*jobs, *foreign])
    assert other.status(foreign[0].id) is Status.RESERVED
    other.close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [None, 5])
def test_L2_jobs_must_be_iterable(svc: JobService, form: str, bad: object) -> None:
    """The error names the parameter."""
    with pytest.raises(TypeError, match="jobs"):
        FORMS[form][0](svc, bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_L2_any_iterable_will_do(svc: JobService, form: str) -> None:
    """A generator, a tuple, nothing at all."""
    call, status, _ = FORMS[form]
    jobs = batch(svc, 4)
    call(svc, (job for job in jobs[:2]))
    call(svc, tuple(jobs[2:]))
    assert {svc.status(job.id) for job in jobs} == {status}
    with unchanged(svc):
        call(svc, [])


@pytest.mark.parametrize("form", FORMS)
def test_L2_a_handle_given_twice_is_settled_once(svc: JobService, form: str) -> None:
    """The second time it is settled already, and skipped."""
    call, _, event = FORMS[form]
    jobs = batch(svc, 2)
    call(svc, [jobs[0], jobs[1], jobs[0]])
    assert events(svc)[event] == 2


def test_L2_the_iterable_that_fails_changes_nothing(svc: JobService) -> None:
    """It is read to its end before the first job is looked at, and its error is the caller's own."""
    jobs = batch(svc, 2)

    def broken() -> Iterable[Job]:
        yield jobs[0]
        raise ZeroDivisionError

    with unchanged(svc), pytest.raises(ZeroDivisionError):
        svc.done_many(broken())


def test_L2_retry_many_takes_delay_and_error(svc: JobService, clock: ManualClock) -> None:
    """As retry does, for all."""
    jobs = batch(svc, 2)
    svc.retry_many(jobs, 7, error=ValueError("no"))
    infos = [svc.info(job.id) for job in jobs]
    assert {info.error for info in infos} == {"ValueError: no"}
    clock.advance(6.999)
    assert svc.topic_stats("t").delayed == 2
    clock.advance(0.001)
    assert order(svc) == [job.id for job in jobs]


def test_L2_retry_many_exhausts_each_alone(svc: JobService) -> None:
    """Jobs differ in what they have left."""
    svc.enqueue_many("t", [b""] * 2)
    jobs = svc.reserve("t", 2, timeout=0)
    frail = svc.enqueue("t", b"", options=EXACT)
    jobs.append(hold(svc))
    for _ in range(50):
        jobs[2].retry(0)
        jobs[2] = hold(svc)
    svc.retry_many(jobs)
    assert [svc.status(job.id) for job in jobs] == [Status.DELAYED, Status.DELAYED, Status.CANCELED]
    assert svc.info(frail).retries == 51


def test_L2_release_many_takes_delay(svc: JobService, clock: ManualClock) -> None:
    """With a delay the place is lost, without it is kept; neither is charged."""
    jobs = batch(svc, 4)
    svc.release_many(reversed(jobs[2:]))
    svc.release_many(jobs[:2], 7)
    assert order(svc) == [jobs[2].id, jobs[3].id]
    clock.advance(7)
    assert order(svc) == [jobs[2].id, jobs[3].id, jobs[0].id, jobs[1].id]
    assert {svc.info(job.id).retries for job in jobs} == {0}


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf")])
def test_L2_a_bad_delay_changes_nothing(svc: JobService, bad: float) -> None:
    """Arguments are judged before jobs are."""
    jobs = batch(svc, 2)
    with unchanged(svc):
        with pytest.raises(ValueError, match="delay"):
            svc.retry_many(jobs, bad)
        with pytest.raises(ValueError, match="delay"):
            svc.release_many(jobs, bad)


def test_L2_the_valid_ones_are_applied_in_one_batch(python_factory: Factory, clock: ManualClock) -> None:
    """Whatever commit a crash follows, all of the batch is done or none of it."""
    svc = python_factory.open(clock)
    home = python_factory.home
    assert isinstance(home, DictHome)
    jobs = batch(svc, 100)
    svc.cancel(jobs[0].id)
    svc.flush()
    copies: list[DictHome] = []
    assert home.jobs is not None
    home.jobs.after_commit = lambda: copies.append(home.copy())
    with pytest.raises(LeaseLost):
        svc.done_many(jobs)
    assert copies
    for copy in copies:
        found = copy.open(clock)
        assert found.stats().done in {0, 99}
        found.close()
