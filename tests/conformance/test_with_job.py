"""Contract L3: what `with job` does, line by line."""

import asyncio
from collections.abc import Callable, Generator

import pytest

from jobq import Job, JobOptions, JobService, LeaseLost, Reason, ServiceClosed, Status
from jobq.testing import ManualClock

from .factory import Factory
from .observe import AT_ONCE, EXACT, events, hold, order, unchanged
from .threads import until


def granted(svc: JobService) -> Job:
    svc.enqueue("t", b"", options=EXACT)
    return hold(svc)


def test_L3_the_end_of_the_block_is_done(svc: JobService) -> None:
    """The commonest program has nothing to say: it ran, so it is done."""
    job = granted(svc)
    with job as same:
        assert same is job
        assert svc.status(job.id) is Status.RESERVED
    assert job.settled
    assert svc.status(job.id) is Status.DONE


def leave_by_return(job: Job) -> int:
    with job:
        return job.id


def leave_by_break(job: Job) -> int:
    for _ in range(3):
        with job:
            break
    return job.id


def leave_by_continue(job: Job) -> int:
    for _ in range(1):
        with job:
            continue
    return job.id


@pytest.mark.parametrize("leave", [leave_by_return, leave_by_break, leave_by_continue])
def test_L3_return_break_and_continue_are_done_too(svc: JobService, leave: Callable[[Job], int]) -> None:
    """Leaving early is not failing."""
    id = leave(granted(svc))
    assert svc.status(id) is Status.DONE
    assert events(svc) == {"enqueued": 1, "reservations": 1, "completions": 1}


def test_L3_an_exception_is_a_retry_that_keeps_it(svc: JobService, clock: ManualClock) -> None:
    """The job comes back after its backoff with what went wrong; the exception goes on."""
    job = granted(svc)
    error = ValueError("no such host")
    with pytest.raises(ValueError) as raised, job:
        raise error
    assert raised.value is error
    assert not hasattr(error, "__notes__")
    info = svc.info(job.id)
    assert (info.status, info.retries, info.error) == (Status.DELAYED, 1, "ValueError: no such host")
    assert (info.due_at is not None) and (info.due_at - clock.now()).total_seconds() == 30
    assert events(svc)["retries"] == 1


def test_L3_an_exception_that_exhausts_is_the_end(factory: Factory) -> None:
    """The last failure is a dead letter; the exception goes on all the same."""
    svc = factory.open(defaults=AT_ONCE)
    svc.enqueue("t", b"")
    for _ in range(51):
        with pytest.raises(ZeroDivisionError), hold(svc):
            raise ZeroDivisionError
    assert svc.info(1).reason is Reason.EXHAUSTED
    assert svc.info(1).error == "ZeroDivisionError"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


def test_L3_an_exception_that_cannot_be_printed_goes_on(svc: JobService) -> None:
    """Nothing that settling trips over may replace what the program raised."""
    job = granted(svc)
    error = Unprintable()
    with pytest.raises(Unprintable) as raised, job:
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    "kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, BaseException]
)
def test_L3_any_other_base_exception_is_a_release(svc: JobService, kind: type[BaseException]) -> None:
    """Ctrl-C and a shutdown are not the job's fault: uncharged, at once, in its old place."""
    first = granted(svc)
    second = svc.enqueue("t", b"")
    error = kind()
    with pytest.raises(kind) as raised, first:
        raise error
    assert raised.value is error
    info = svc.info(first.id)
    assert (info.status, info.retries, info.error) == (Status.READY, 0, None)
    assert order(svc) == [first.id, second]
    assert events(svc)["releases"] == 3


def test_L3_a_closed_generator_releases(svc: JobService) -> None:
    """GeneratorExit as it happens: the consumer of a generator goes away while the block is open."""

    def ids() -> Generator[int, None, None]:
        with granted(svc) as job:
            yield job.id

    generator = ids()
    id = next(generator)
    assert svc.status(id) is Status.RESERVED
    generator.close()
    assert svc.status(id) is Status.READY
    assert svc.info(id).retries == 0


SETTLE: dict[str, tuple[Callable[[Job], object], Status]] = {
    "done": (lambda job: job.done(), Status.DONE),
    "retry": (lambda job: job.retry(error="mine"), Status.DELAYED),
    "release": (lambda job: job.release(), Status.READY),
    "cancel": (lambda job: job.cancel(), Status.CANCELED),
}


@pytest.mark.parametrize("verb", SETTLE)
def test_L3_settled_inside_is_left_alone(svc: JobService, verb: str) -> None:
    """The program has spoken; the block's end has nothing to add."""
    call, status = SETTLE[verb]
    job = granted(svc)
    with job:
        call(job)
        before = svc.info(job.id)
    assert svc.info(job.id) == before
    assert before.status is status


@pytest.mark.parametrize("verb", SETTLE)
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_L3_settled_inside_and_then_an_exception(
    svc: JobService, verb: str, kind: type[BaseException]
) -> None:
    """What was settled stays so, and the exception goes on bare: there is no error of settling to note."""
    call, status = SETTLE[verb]
    job = granted(svc)
    error = kind("later")
    with pytest.raises(kind) as raised, job:
        call(job)
        raise error
    assert raised.value is error
    assert not hasattr(error, "__notes__")
    assert svc.status(job.id) is status
    assert svc.info(job.id).error == ("mine" if verb == "retry" else None)


def test_L3_settled_inside_by_a_many_form(svc: JobService) -> None:
    """However it was settled."""
    job = granted(svc)
    with job:
        svc.release_many([job])
    assert svc.status(job.id) is Status.READY


def lose(svc: JobService, clock: ManualClock, job: Job, how: str) -> None:
    if how == "expired":
        clock.advance(7200)
    elif how == "canceled":
        svc.cancel(job.id)
    elif how == "deleted":
        svc.cancel(job.id)
        svc.delete(job.id)
    else:
        svc.reset(job.id, force=True)


HOW = ["expired", "canceled", "deleted", "reset"]


@pytest.mark.parametrize("how", HOW)
def test_L3_a_lease_lost_inside_is_raised_at_the_end(svc: JobService, clock: ManualClock, how: str) -> None:
    """The work was done, but for nobody: the program must not take it for done."""
    job = granted(svc)
    with pytest.raises(LeaseLost) as lost, job:
        lose(svc, clock, job, how)
        before = list(svc.find())
    assert (lost.value.id, lost.value.token) == (job.id, job.token)
    assert list(svc.find()) == before
    assert not job.settled


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_L3_a_lease_lost_inside_becomes_a_note_on_the_exception(
    svc: JobService, clock: ManualClock, how: str, kind: type[BaseException]
) -> None:
    """The first error explains the rest; the lost lease stands beside it, never in its place."""
    job = granted(svc)
    error = kind("first")
    with pytest.raises(kind) as raised, job:
        lose(svc, clock, job, how)
        raise error
    assert raised.value is error
    assert len(error.__notes__) == 1
    assert str(job.id) in error.__notes__[0]
    assert not job.settled


def test_L3_a_note_that_cannot_be_added_replaces_nothing(svc: JobService) -> None:
    """Some exceptions take no notes; even then it is the program's own that goes on."""
    job = granted(svc)
    error = ValueError("first")
    error.__notes__ = "no list"  # type: ignore[assignment]
    with pytest.raises(ValueError) as raised, job:
        svc.cancel(job.id)
        raise error
    assert raised.value is error


def test_L3_a_closed_service_is_an_error_of_settling_too(svc: JobService) -> None:
    """Without an exception it is raised."""
    job = granted(svc)
    with pytest.raises(ServiceClosed), job:
        svc.close()


def test_L3_a_closed_service_is_noted_on_an_exception(svc: JobService) -> None:
    """With one it is a note."""
    job = granted(svc)
    error = ValueError("first")
    with pytest.raises(ValueError) as raised, job:
        svc.close()
        raise error
    assert raised.value is error
    assert len(error.__notes__) == 1


@pytest.mark.parametrize("why", [*SETTLE, *HOW])
def test_L3_entry_needs_a_lease_that_stands(svc: JobService, clock: ManualClock, why: str) -> None:
    """A block that ran on a lost lease would do another's work a second time: it does not run."""
    job = granted(svc)
    if why in SETTLE:
        SETTLE[why][0](job)
    else:
        lose(svc, clock, job, why)
    ran = False
    with unchanged(svc), pytest.raises(LeaseLost) as lost, job:
        ran = True
    assert not ran
    assert lost.value.id == job.id


def test_L3_a_late_end_of_the_block_counts(factory: Factory) -> None:
    """The end of the block is a holder's call like any other: judged before time is (T3)."""
    svc = factory.open()
    svc.enqueue("t", b"", options=JobOptions(lease=0.1))
    job = hold(svc)
    with job:
        until(lambda: job.remaining() < -0.05, "the end of the lease")
    assert svc.info(job.id).status is Status.DONE


def test_L3_blocks_may_be_nested_over_different_jobs(svc: JobService) -> None:
    """Each answers for its own: the inner exception, caught between the two, is not the outer's."""
    outer, inner = granted(svc), granted(svc)
    with outer, pytest.raises(ValueError), inner:
        raise ValueError
    assert [svc.status(job.id) for job in (outer, inner)] == [Status.DONE, Status.DELAYED]
