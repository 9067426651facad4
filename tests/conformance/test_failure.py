"""Contract R4: what happens when a write fails, and when a repository calls its own service."""

from collections.abc import Callable

import pytest

from jobq import Job, JobService, RepositoryError, RepositoryFailed, ServiceClosed, Status
from jobq.testing import ManualClock

from .dict_repository import Broken, DictRepository, Gate, nothing, raiser
from .factory import DictHome, Factory
from .observe import hold, recount
from .threads import Background, until, until_waiting


def jobs_of(factory: Factory) -> DictRepository:
    home = factory.home
    assert isinstance(home, DictHome) and home.jobs is not None
    return home.jobs


FAILING: dict[str, Callable[[JobService], object]] = {
    "enqueue": lambda svc: svc.enqueue("t", b"new"),
    "enqueue_many": lambda svc: svc.enqueue_many("t", [b"new"] * 3),
    "done": lambda svc: JOBS[0].done(),
    "retry": lambda svc: JOBS[0].retry(),
    "release": lambda svc: JOBS[0].release(),
    "Job.cancel": lambda svc: JOBS[0].cancel(),
    "done_many": lambda svc: svc.done_many(JOBS),
    "cancel": lambda svc: svc.cancel(2),
    "reset": lambda svc: svc.reset(2),
    "delete": lambda svc: svc.delete(2),
}
JOBS: list[Job] = []


@pytest.mark.parametrize("call", FAILING)
@pytest.mark.parametrize("error", [Broken("no"), OSError(28, "No space left"), ValueError("odd")], ids=repr)
def test_R4_the_caller_gets_the_repositorys_own_exception(
    python_factory: Factory, clock: ManualClock, call: str, error: Exception
) -> None:
    """The very object: whoever wrote the repository knows what it means; and it is final."""
    svc = python_factory.open(clock)
    svc.enqueue("t", b"")
    svc.enqueue("t", b"", delay=100)
    JOBS[:] = [hold(svc)]
    svc.enqueue("voucher", b"")
    before = python_factory.home.copy()
    repository = jobs_of(python_factory)
    repository.before_commit = raiser(error)
    with pytest.raises(type(error)) as raised:
        FAILING[call](svc)
    assert raised.value is error
    repository.before_commit = nothing
    with pytest.raises(RepositoryFailed) as failed:
        svc.enqueue("t", b"")
    assert failed.value.__cause__ is error
    svc.close()
    assert repository.closes == 1
    kept = python_factory.open(clock)
    as_before = before.open(clock)
    assert [(i.id, i.status, i.retries) for i in kept.find()] == [
        (i.id, i.status, i.retries) for i in as_before.find()
    ]
    recount(kept)
    as_before.close()


def broken_service(factory: Factory, clock: ManualClock) -> tuple[JobService, Broken, Job]:
    """A service whose last commit failed, the error, and a job that is held."""
    svc = factory.open(clock)
    svc.enqueue("t", b"")
    job = hold(svc)
    error = Broken("the first error")
    jobs_of(factory).before_commit = raiser(error)
    with pytest.raises(Broken):
        svc.enqueue("t", b"")
    jobs_of(factory).before_commit = nothing
    return svc, error, job


AFTERWARDS: dict[str, Callable[[JobService, Job], object]] = {
    "enqueue": lambda svc, job: svc.enqueue("t", b""),
    "enqueue_many": lambda svc, job: svc.enqueue_many("t", [b""]),
    "a handle's enqueue": lambda svc, job: svc.topic("t").enqueue(b""),
    "reserve": lambda svc, job: svc.reserve("t", 1, timeout=0),
    "reserve without end": lambda svc, job: svc.reserve("empty", 1),
    "reserve_one": lambda svc, job: svc.reserve_one("t", timeout=5),
    "consume": lambda svc, job: list(svc.consume("t", idle=0)),
    "done": lambda svc, job: job.done(),
    "retry": lambda svc, job: job.retry(),
    "release": lambda svc, job: job.release(),
    "Job.cancel": lambda svc, job: job.cancel(),
    "extend": lambda svc, job: job.extend(5),
    "log": lambda svc, job: job.log("x"),
    "Job.info": lambda svc, job: job.info(),
    "done_many": lambda svc, job: svc.done_many([job]),
    "release_many": lambda svc, job: svc.release_many([job]),
    "status": lambda svc, job: svc.status(1),
    "info": lambda svc, job: svc.info(1),
    "payload": lambda svc, job: svc.payload(1),
    "find": lambda svc, job: list(svc.find()),
    "topics": lambda svc, job: svc.topics(),
    "topic_stats": lambda svc, job: svc.topic_stats("t"),
    "stats": lambda svc, job: svc.stats(),
    "cancel": lambda svc, job: svc.cancel(1),
    "reset": lambda svc, job: svc.reset(1),
    "delete": lambda svc, job: svc.delete(1),
    "pause": lambda svc, job: svc.pause("t"),
    "resume": lambda svc, job: svc.resume("t"),
    "join": lambda svc, job: svc.join("t", timeout=5),
    "flush": lambda svc, job: svc.flush(),
    "compact": lambda svc, job: svc.compact(),
}


@pytest.mark.parametrize("call", AFTERWARDS)
def test_R4_after_a_failure_every_call_is_refused(
    python_factory: Factory, clock: ManualClock, call: str
) -> None:
    """Memory is ahead of the store, so reads would tell what a restart takes back: they are refused too."""
    svc, error, job = broken_service(python_factory, clock)
    with pytest.raises(RepositoryFailed) as failed:
        AFTERWARDS[call](svc, job)
    assert failed.value.__cause__ is error
    assert isinstance(failed.value, RepositoryError)
    assert isinstance(failed.value, OSError)


def test_R4_close_works_after_a_failure_and_open_clears_it(
    python_factory: Factory, clock: ManualClock
) -> None:
    """The way out that the error names: the store is as it was before the failed write."""
    svc, _, job = broken_service(python_factory, clock)
    svc.close()
    assert jobs_of(python_factory).closes == 1
    for call in (svc.stats, job.done):
        with pytest.raises(ServiceClosed):
            call()
    svc = python_factory.open(clock)
    assert [info.id for info in svc.find()] == [1]
    assert hold(svc).id == 1
    recount(svc)


def test_R4_waiters_are_told(python_factory: Factory, clock: ManualClock) -> None:
    """No thread sleeps on in a service that will never serve it."""
    svc = python_factory.open(clock)
    svc.enqueue("busy", b"")
    job = hold(svc, "busy")
    waits: list[Callable[[], object]] = [
        lambda: svc.reserve("t", 1),
        lambda: svc.reserve_one("t", timeout=1000),
        lambda: list(svc.consume("t")),
        lambda: svc.join("busy"),
    ]
    waiters = [Background(wait) for wait in waits]
    until_waiting(svc, "t", 3)
    error = Broken()
    jobs_of(python_factory).before_commit = raiser(error)
    with pytest.raises(Broken):
        svc.enqueue("other", b"")
    for thread in waiters:
        told = thread.error()
        assert isinstance(told, RepositoryFailed)
        assert told.__cause__ is error
    assert not job.settled


def test_R4_callers_in_the_same_batch_get_repository_failed(
    python_factory: Factory, clock: ManualClock
) -> None:
    """One of them made the call and gets its exception; the others are told what it was."""
    svc = python_factory.open(clock)
    repository = jobs_of(python_factory)
    error = Broken()
    gate = Gate(repository)
    first = Background(svc.enqueue, "t", b"")
    gate.wait_until_reached()
    repository.before_commit = raiser(error)
    others = [Background(svc.enqueue, "t", b"") for _ in range(3)]
    until(lambda: svc.topic_stats("t").ready == 4, "all to have queued their change")
    gate.open()
    assert first.result() == 1
    told = [thread.error() for thread in others]
    assert sum(one is error for one in told) == 1
    for one in told:
        assert one is error or (isinstance(one, RepositoryFailed) and one.__cause__ is error)
    svc.close()
    svc = python_factory.open(clock)
    assert [info.id for info in svc.find()] == [1]


@pytest.mark.parametrize("found", [DictHome.topics_alone, DictHome.two_objects, DictHome.one_object])
def test_R4_the_topic_repository_fails_alike(found: Callable[[], DictHome], clock: ManualClock) -> None:
    """For every repository, whatever it remembers."""
    home = found()
    svc = home.open(clock)
    svc.enqueue("t", b"")
    error = Broken()
    assert home.topics is not None
    home.topics.before_commit = raiser(error)
    with pytest.raises(Broken) as raised:
        svc.pause("t")
    assert raised.value is error
    with pytest.raises(RepositoryFailed) as failed:
        svc.status(1)
    assert failed.value.__cause__ is error
    home.topics.before_commit = nothing
    svc.close()
    svc = home.open(clock)
    assert not svc.topic_stats("t").paused
    svc.close()
    assert home.faults == []


INSIDE: dict[str, Callable[[JobService, Job], object]] = {
    "enqueue": lambda svc, job: svc.enqueue("t", b"inner"),
    "reserve": lambda svc, job: svc.reserve("t", 1, timeout=0),
    "done": lambda svc, job: job.done(),
    "status": lambda svc, job: svc.status(1),
    "stats": lambda svc, job: svc.stats(),
    "cancel": lambda svc, job: svc.cancel(1),
    "pause": lambda svc, job: svc.pause("t"),
    "flush": lambda svc, job: svc.flush(),
    "join": lambda svc, job: svc.join(timeout=0),
}


def test_C4_close_from_inside_commit_waits_for_nobody(python_factory: Factory, clock: ManualClock) -> None:
    """A signal handler may interrupt a repository at work: close leaves the rest to that call."""
    svc = python_factory.open(clock)
    repository = jobs_of(python_factory)

    def close_once() -> None:
        repository.before_commit = nothing
        svc.close()

    repository.before_commit = close_once
    assert Background(svc.enqueue, "t", b"").result() == 1
    assert svc.closed
    again = python_factory.reopen(clock)
    assert again.status(1) is Status.READY


@pytest.mark.parametrize("call", INSIDE)
def test_R4_a_call_from_inside_commit_raises_runtime_error(
    python_factory: Factory, clock: ManualClock, call: str
) -> None:
    """It would wait for itself: a clear error instead of a standstill, and the outer call goes on."""
    svc = python_factory.open(clock)
    svc.enqueue("t", b"")
    job = hold(svc)
    told: list[BaseException] = []

    def reenter() -> None:
        try:
            INSIDE[call](svc, job)
        except BaseException as error:
            told.append(error)

    repository = jobs_of(python_factory)
    repository.before_commit = reenter
    outer = Background(svc.enqueue, "t", b"outer")
    assert outer.result() == 2
    repository.before_commit = nothing
    assert told
    assert all(type(error) is RuntimeError for error in told), told
    assert not svc.closed
    assert svc.status(1) is Status.RESERVED
    assert svc.topic_stats("t").enqueued == 2
    job.done()


def test_R4_a_call_from_inside_close_raises_runtime_error(
    python_factory: Factory, clock: ManualClock
) -> None:
    """The same in the last call that a repository gets."""
    svc = python_factory.open(clock)
    svc.enqueue("t", b"")
    told: list[BaseException] = []

    def reenter() -> None:
        try:
            svc.stats()
        except BaseException as error:
            told.append(error)

    jobs_of(python_factory).before_close = reenter
    Background(svc.close).result()
    assert [isinstance(error, RuntimeError) for error in told] == [True]


def test_R4_another_service_may_be_called_from_inside(python_factory: Factory, clock: ManualClock) -> None:
    """A repository may itself be built on a queue, as long as it is another one."""
    svc = python_factory.open(clock)
    other = python_factory.fresh().open(clock)
    jobs_of(python_factory).before_commit = lambda: other.enqueue("audit", b"")
    svc.enqueue("t", b"")
    jobs_of(python_factory).before_commit = nothing
    assert other.topic_stats("audit").ready >= 1
    jobs_of(python_factory).before_commit = nothing
    other.close()
