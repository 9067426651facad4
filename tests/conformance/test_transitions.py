"""The state machine (design, section 3) through the public API: every status, every verb, all refusals."""

from collections.abc import Callable

import pytest

from jobq import (
    InvalidTransition,
    Job,
    JobId,
    JobNotFound,
    JobOptions,
    JobService,
    LeaseLost,
    Reason,
    Retention,
    Status,
)
from jobq.testing import ManualClock

from .factory import Factory
from .observe import AT_ONCE, exists, hold, unchanged

FRAIL = JobOptions(lease=5, max_retries=0)


def ready(svc: JobService) -> JobId:
    return svc.enqueue("t", b"")


def delayed(svc: JobService) -> JobId:
    return svc.enqueue("t", b"", delay=1000)


def reserved(svc: JobService) -> JobId:
    svc.enqueue("t", b"")
    HELD.append(hold(svc))
    return HELD[-1].id


def done(svc: JobService) -> JobId:
    svc.enqueue("t", b"")
    job = hold(svc)
    job.done()
    return job.id


def requested(svc: JobService) -> JobId:
    id = svc.enqueue("t", b"")
    svc.cancel(id)
    return id


def rejected(svc: JobService) -> JobId:
    svc.enqueue("t", b"")
    job = hold(svc)
    job.cancel(error="no use")
    return job.id


def exhausted(svc: JobService) -> JobId:
    svc.enqueue("t", b"", options=FRAIL)
    job = hold(svc)
    job.retry()
    return job.id


HELD: list[Job] = []
"""Handles of the jobs that `reserved` made: dropped, they would expire."""

STATES: dict[str, tuple[Callable[[JobService], JobId], Status]] = {
    "ready": (ready, Status.READY),
    "delayed": (delayed, Status.DELAYED),
    "reserved": (reserved, Status.RESERVED),
    "done": (done, Status.DONE),
    "canceled, requested": (requested, Status.CANCELED),
    "canceled, rejected": (rejected, Status.CANCELED),
    "canceled, exhausted": (exhausted, Status.CANCELED),
}

VERBS: dict[str, tuple[str, Callable[[JobService, JobId], None]]] = {
    "cancel": ("cancel", lambda svc, id: svc.cancel(id)),
    "reset": ("reset", lambda svc, id: svc.reset(id)),
    "reset by force": ("reset", lambda svc, id: svc.reset(id, force=True)),
    "delete": ("delete", lambda svc, id: svc.delete(id)),
}

LIVE = {"ready", "delayed", "reserved"}
ACCEPTED = {
    "cancel": (LIVE, Status.CANCELED),
    "reset": (set(STATES) - {"reserved"}, Status.READY),
    "reset by force": (set(STATES), Status.READY),
    "delete": (set(STATES) - {"reserved"}, None),
}
"""By verb: from where it is accepted, and where it leads; None is out of existence."""


@pytest.fixture(autouse=True)
def let_go() -> None:
    HELD.clear()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", STATES)
def test_L7_every_status_meets_every_verb_by_id(svc: JobService, state: str, verb: str) -> None:
    """The table of the state machine, cell by cell: what it does not name is refused, and changes nothing."""
    make, status = STATES[state]
    name, call = VERBS[verb]
    id = make(svc)
    assert svc.status(id) is status
    sources, target = ACCEPTED[verb]
    if state not in sources:
        with unchanged(svc), pytest.raises(InvalidTransition) as refused:
            call(svc, id)
        assert not isinstance(refused.value, LeaseLost)
        assert (refused.value.id, refused.value.status, refused.value.verb) == (id, status, name)
        assert str(id) in str(refused.value)
        return
    call(svc, id)
    if target is None:
        assert not exists(svc, id)
        return
    info = svc.info(id)
    assert info.status is target
    assert info.reason is (Reason.REQUESTED if verb == "cancel" else None)
    assert (info.finished_at is None) == (target is Status.READY)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("why", ["never enqueued", "deleted", "purged"])
def test_L7_a_job_that_is_not_there_is_not_found(
    factory: Factory, clock: ManualClock, verb: str, why: str
) -> None:
    """A gone job and one that never was are the same to a caller: JobNotFound, nothing changed."""
    svc = factory.open(clock, retention=Retention.none())
    ready(svc)
    id = 4711
    if why == "deleted":
        id = ready(svc)
        svc.delete(id)
    elif why == "purged":
        id = ready(svc)
        svc.cancel(id)
    with unchanged(svc), pytest.raises(JobNotFound) as missing:
        VERBS[verb][1](svc, id)
    assert missing.value.id == id
    assert isinstance(missing.value, LookupError)
    for look in (svc.status, svc.info, svc.payload):
        with pytest.raises(JobNotFound):
            look(id)


HOLDERS: dict[str, tuple[str, Callable[[Job], object], Status, Reason | None]] = {
    "done": ("done", lambda job: job.done(), Status.DONE, None),
    "retry": ("retry", lambda job: job.retry(), Status.DELAYED, None),
    "retry at once": ("retry", lambda job: job.retry(0), Status.READY, None),
    "release": ("release", lambda job: job.release(), Status.READY, None),
    "release later": ("release", lambda job: job.release(5), Status.DELAYED, None),
    "cancel": ("cancel", lambda job: job.cancel(), Status.CANCELED, Reason.REJECTED),
    "extend": ("extend", lambda job: job.extend(5), Status.RESERVED, None),
    "log": ("log", lambda job: job.log("here"), Status.RESERVED, None),
}
"""By verb: its name in errors, the call, and where it leads while the lease stands."""


@pytest.mark.parametrize("verb", HOLDERS)
def test_L1_the_holder_is_heard(svc: JobService, verb: str) -> None:
    """Every verb of a holder, from the one status it is meant for."""
    _, call, status, reason = HOLDERS[verb]
    ready(svc)
    job = hold(svc)
    call(job)
    info = svc.info(job.id)
    assert (info.status, info.reason) == (status, reason)
    assert job.settled == (status is not Status.RESERVED)


@pytest.mark.parametrize("exhaust", ["retry", "expiry"])
def test_L1_one_retry_too_many_is_the_end(svc: JobService, clock: ManualClock, exhaust: str) -> None:
    """The bound holds for both kinds of failure; the job ends as a dead letter."""
    svc.enqueue("t", b"", options=FRAIL)
    job = hold(svc)
    if exhaust == "retry":
        assert job.retry(0) is Status.CANCELED
    else:
        clock.advance(5)
    info = svc.info(job.id)
    assert (info.status, info.reason, info.retries) == (Status.CANCELED, Reason.EXHAUSTED, 1)
    assert svc.topic_stats("t").dead == 1


def settled_by(verb: str) -> Callable[[JobService, ManualClock, Job], object]:
    return lambda svc, clock, job: HOLDERS[verb][1](job)


def expired(svc: JobService, clock: ManualClock, job: Job) -> None:
    clock.advance(7200)


def canceled_by_id(svc: JobService, clock: ManualClock, job: Job) -> None:
    svc.cancel(job.id)


def reset_by_force(svc: JobService, clock: ManualClock, job: Job) -> None:
    svc.reset(job.id, force=True)


def taken_by_another(svc: JobService, clock: ManualClock, job: Job) -> None:
    svc.reset(job.id, force=True)
    HELD.append(hold(svc))


def finished_by_another(svc: JobService, clock: ManualClock, job: Job) -> None:
    svc.reset(job.id, force=True)
    hold(svc).done()


def deleted(svc: JobService, clock: ManualClock, job: Job) -> None:
    svc.cancel(job.id)
    svc.delete(job.id)


def purged(svc: JobService, clock: ManualClock, job: Job) -> None:
    svc.cancel(job.id)
    clock.advance(86_400)


LOSSES: dict[str, tuple[Callable[[JobService, ManualClock, Job], object], Status | None]] = {
    "settled by done": (settled_by("done"), Status.DONE),
    "settled by retry": (settled_by("retry"), Status.DELAYED),
    "settled by retry at once": (settled_by("retry at once"), Status.READY),
    "settled by release": (settled_by("release"), Status.READY),
    "settled by cancel": (settled_by("cancel"), Status.CANCELED),
    "expired": (expired, Status.DELAYED),
    "canceled by id": (canceled_by_id, Status.CANCELED),
    "reset by force": (reset_by_force, Status.READY),
    "taken by another": (taken_by_another, Status.RESERVED),
    "finished by another": (finished_by_another, Status.DONE),
    "deleted": (deleted, None),
    "purged": (purged, None),
}
"""By name: how the lease was lost, and the job's status after it; None: it is gone."""


@pytest.mark.parametrize("loss", LOSSES)
def test_L1_a_lost_lease_is_refused_everything(svc: JobService, clock: ManualClock, loss: str) -> None:
    """The fence: whatever became of the job, a stale handle moves nothing and says where the job is (I5)."""
    svc.enqueue("t", b"secret payload")
    job = hold(svc)
    lose, status = LOSSES[loss]
    lose(svc, clock, job)
    was_settled = job.settled
    assert was_settled == loss.startswith("settled")
    for name, call, _, _ in HOLDERS.values():
        with unchanged(svc), pytest.raises(LeaseLost) as lost:
            call(job)
        error = lost.value
        assert (error.id, error.ids, error.token) == (job.id, (job.id,), job.token)
        assert (error.status, error.verb) == (status, name)
        assert str(job.id) in str(error)
        assert "secret" not in str(error)
        assert job.settled == was_settled


@pytest.mark.parametrize("state", STATES)
def test_L1_only_a_ready_job_is_granted(svc: JobService, state: str) -> None:
    """Delayed, reserved, done or canceled, a job is nobody's to take."""
    id = STATES[state][0](svc)
    granted = svc.reserve("t", 10, timeout=0)
    assert [job.id for job in granted] == ([id] if state == "ready" else [])


@pytest.mark.parametrize("state", STATES)
def test_T6_time_moves_only_what_waits_for_it(factory: Factory, clock: ManualClock, state: str) -> None:
    """Delayed is promoted, Reserved expires; Ready, Done and Canceled are not touched, in ten years."""
    keep = Retention.forever()
    svc = factory.open(clock, defaults=AT_ONCE, retention=keep, dead_retention=keep)
    make, status = STATES[state]
    id = make(svc)
    before = svc.info(id)
    clock.advance(3.2e8)
    after = svc.info(id)
    if state in {"delayed", "reserved"}:
        assert after.status is Status.READY
        assert after.retries == (state == "reserved")
    else:
        assert after == before
        assert after.status is status


def test_L1_tokens_only_grow(svc: JobService, clock: ManualClock) -> None:
    """A token fences a database outside, so a later lease has a greater one, over all jobs (I3, I4)."""
    tokens = []
    svc.enqueue_many("t", [b""] * 3, options=AT_ONCE)
    for _ in range(4):
        jobs = svc.reserve("t", 2, timeout=0)
        tokens += [job.token for job in jobs]
        jobs[0].release()
        clock.advance(5)
    assert tokens == sorted(set(tokens))
    assert tokens[0] > 0


def test_L1_cancel_by_id_is_not_fenced(svc: JobService) -> None:
    """An operator needs no lease: the holder's next call finds it gone."""
    ready(svc)
    job = hold(svc)
    svc.cancel(job.id)
    assert svc.info(job.id).reason is Reason.REQUESTED
    with pytest.raises(LeaseLost):
        job.done()


def test_L1_a_late_done_after_the_expiry_is_lost_though_nobody_took_the_job(
    svc: JobService, clock: ManualClock
) -> None:
    """Once a call has expired the lease the job is queued again; accepting both would run it twice."""
    svc.enqueue("t", b"", options=AT_ONCE)
    job = hold(svc)
    clock.advance(5)
    with pytest.raises(LeaseLost) as lost:
        job.done()
    assert lost.value.status is Status.READY
    other = hold(svc)
    assert other.id == job.id
    other.done()
    assert svc.topic_stats("t").completions == 1
