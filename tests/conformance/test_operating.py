"""Contract L7: cancel, reset and delete, of one job or of several. Single cells: test_transitions."""

from collections.abc import Callable, Iterable

import pytest

from jobq import InvalidTransition, JobId, JobNotFound, JobOptions, JobService, LeaseLost, Reason, Status
from jobq.testing import ManualClock

from .observe import AT_ONCE, events, exists, hold, unchanged

Verb = Callable[[JobService, Iterable[JobId]], None]

VERBS: dict[str, Verb] = {
    "cancel": lambda svc, ids: svc.cancel(ids),
    "reset": lambda svc, ids: svc.reset(ids),
    "reset by force": lambda svc, ids: svc.reset(ids, force=True),
    "delete": lambda svc, ids: svc.delete(ids),
}
REFUSED = {"cancel": Status.DONE, "reset": Status.RESERVED, "delete": Status.RESERVED}


def in_status(svc: JobService, status: Status) -> JobId:
    id = svc.enqueue("bad", b"")
    job = hold(svc, "bad")
    KEEP.append(job)
    if status is Status.DONE:
        job.done()
    return id


KEEP: list[object] = []


@pytest.mark.parametrize("verb", VERBS)
def test_L7_several_at_once(svc: JobService, verb: str) -> None:
    """An operator works on what find() gave, in one call."""
    ids = [svc.enqueue("t", b"", delay=delay) for delay in (0, 10, 0, 20)]
    VERBS[verb](svc, ids)
    if verb == "delete":
        assert not any(exists(svc, id) for id in ids)
    else:
        assert {svc.status(id) for id in ids} == {Status.CANCELED if verb == "cancel" else Status.READY}


@pytest.mark.parametrize("verb", REFUSED)
def test_L7_one_that_cannot_be_moved_stops_all(svc: JobService, verb: str) -> None:
    """All or nothing, and the first bad one is named: half an operation is a mess to clean up by hand."""
    good = [svc.enqueue("t", b"") for _ in range(3)]
    status = REFUSED[verb]
    bad, worse = in_status(svc, status), in_status(svc, status)
    for ids in ([*good, bad], [bad, *good], [good[0], worse, good[1], bad]):
        with unchanged(svc), pytest.raises(InvalidTransition) as refused:
            VERBS[verb](svc, ids)
        assert refused.value.id == next(id for id in ids if id in (bad, worse))
        assert refused.value.status is status


@pytest.mark.parametrize("verb", VERBS)
def test_L7_one_that_is_not_there_stops_all(svc: JobService, verb: str) -> None:
    """An id that means nothing means that the list is wrong."""
    good = [svc.enqueue("t", b"") for _ in range(2)]
    with unchanged(svc), pytest.raises(JobNotFound) as missing:
        VERBS[verb](svc, [good[0], 999, good[1], 998])
    assert missing.value.id == 999


def test_L7_the_first_bad_one_is_named_whatever_is_wrong_with_it(svc: JobService) -> None:
    """The order is the caller's, not that of the kinds of error."""
    good, held = svc.enqueue("t", b""), in_status(svc, Status.RESERVED)
    with unchanged(svc), pytest.raises(InvalidTransition) as refused:
        svc.delete([good, held, 999])
    assert refused.value.id == held
    with unchanged(svc), pytest.raises(JobNotFound) as missing:
        svc.delete([good, 999, held])
    assert missing.value.id == 999


@pytest.mark.parametrize("verb", VERBS)
def test_L7_any_iterable_of_ids_will_do(svc: JobService, verb: str) -> None:
    """What enqueue_many returned, a generator, a set, nothing."""
    with unchanged(svc):
        VERBS[verb](svc, [])
    VERBS[verb](svc, svc.enqueue_many("t", [b""] * 2))
    VERBS[verb](svc, (id for id in [svc.enqueue("t", b"")]))
    VERBS[verb](svc, {svc.enqueue("t", b"")})
    assert svc.topic_stats("t").enqueued == 4


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("bad", [0, -1, 2**63, 10**30])
def test_L7_an_id_out_of_range_is_a_value_error(svc: JobService, verb: str, bad: int) -> None:
    """No job can have it, so it is a mistake and not a miss."""
    good = svc.enqueue("t", b"")
    call = VERBS[verb]
    with unchanged(svc):
        with pytest.raises(ValueError, match="id"):
            call(svc, bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="id"):
            call(svc, [good, bad])


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("bad", ["1", b"1", 1.0, None, True], ids=repr)
def test_L7_an_id_is_an_int(svc: JobService, verb: str, bad: object) -> None:
    """A text is not a list of ids, and True is not job 1."""
    good = svc.enqueue("t", b"")
    call = VERBS[verb]
    with unchanged(svc):
        with pytest.raises(TypeError, match="id"):
            call(svc, bad)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="id"):
            call(svc, [good, bad])  # type: ignore[list-item]


def test_L7_reset_clears_the_past_and_keeps_the_rest(svc: JobService, clock: ManualClock) -> None:
    """A second chance: no failure is held against the job, and nothing of its life is forgotten."""
    options = JobOptions(name="x", lease=5, max_retries=1, min_backoff=0, jitter=0.0)
    id = svc.enqueue("t", b"payload", 3, options=options)
    for _ in range(2):
        hold(svc).retry(error="bad luck")
    dead = svc.info(id)
    assert (dead.status, dead.reason, dead.retries) == (Status.CANCELED, Reason.EXHAUSTED, 2)
    assert dead.finished_at == clock.now()
    clock.advance(60)
    svc.reset(id)
    info = svc.info(id)
    assert (info.status, info.reason, info.retries, info.crashes, info.resets) == (
        Status.READY,
        None,
        0,
        0,
        1,
    )
    assert (info.due_at, info.finished_at, info.ready_at) == (None, None, clock.now())
    assert (info.attempts, info.name, info.lease, info.max_retries, info.weight) == (2, "x", 5, 1, 3)
    assert (info.created_at, svc.payload(id)) == (dead.created_at, b"payload")
    svc.reset(id)
    assert svc.info(id).resets == 2


def test_L7_reset_of_a_ready_job_forgives_it(svc: JobService) -> None:
    """It keeps its place, and its retries are taken back all the same."""
    id = svc.enqueue("t", b"", options=AT_ONCE)
    hold(svc).retry()
    other = svc.enqueue("t", b"")
    assert svc.info(id).retries == 1
    svc.reset(id)
    assert (svc.info(id).retries, svc.info(id).resets) == (0, 1)
    assert [hold(svc).id for _ in range(1)] == [id]
    assert svc.status(other) is Status.READY


def test_L7_reset_by_force_voids_the_lease(svc: JobService) -> None:
    """The holder is told at its next call; whoever takes the job next has a greater token."""
    id = svc.enqueue("t", b"")
    old = hold(svc)
    svc.reset(id, force=True)
    new = hold(svc)
    assert new.token > old.token
    with pytest.raises(LeaseLost):
        old.done()
    new.done()
    assert events(svc)["resets"] == 1


def test_L7_a_canceled_job_keeps_what_was_known_of_it(svc: JobService, clock: ManualClock) -> None:
    """A cancellation is an end, not an erasure."""
    id = svc.enqueue("t", b"payload", delay=60)
    clock.advance(1)
    svc.cancel(id)
    info = svc.info(id)
    assert (info.status, info.reason, info.finished_at) == (Status.CANCELED, Reason.REQUESTED, clock.now())
    assert (info.due_at, info.ready_at, info.deadline) == (None, None, None)
    assert svc.payload(id) == b"payload"


def test_L7_delete_leaves_nothing_but_a_count(svc: JobService) -> None:
    """Payload, log and record are gone; that there was a job is still counted."""
    id = svc.enqueue("t", b"payload")
    svc.delete(id)
    for look in (svc.status, svc.info, svc.payload):
        with pytest.raises(JobNotFound):
            look(id)
    assert list(svc.find()) == []
    assert events(svc) == {"enqueued": 1, "deleted": 1}


def test_L7_ids_are_never_used_again(svc: JobService) -> None:
    """An id in somebody's notes must not come to mean another job."""
    seen = []
    for _ in range(5):
        seen.append(svc.enqueue("t", b""))
        svc.delete(seen[-1])
    assert seen == sorted(set(seen))
    assert seen[0] >= 1
