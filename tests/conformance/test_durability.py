"""Contract R5, R6 and R7: what is kept of a call, from when on, and who waits for it."""

from collections.abc import Callable

import pytest

from jobq import Job, JobOptions, JobService, Retention, Status
from jobq.testing import ManualClock

from .dict_repository import Gate
from .factory import DictHome, Factory
from .observe import exists, hold, recount, some
from .threads import Background, until

ACTS: dict[str, tuple[Callable[[JobService], object], Callable[[JobService], object]]] = {
    "enqueue": (lambda svc: svc.enqueue("t", b"new"), lambda svc: [info.payload_size for info in svc.find()]),
    "enqueue later": (
        lambda svc: svc.enqueue("t", b"", delay=9),
        lambda svc: [info.due_at for info in svc.find()],
    ),
    "enqueue_many": (lambda svc: svc.enqueue_many("t", [b""] * 3), lambda svc: len(list(svc.find()))),
    "done": (lambda svc: hold(svc).done(), lambda svc: svc.status(1)),
    "done_many": (lambda svc: svc.done_many(svc.reserve("t", 3, timeout=0)), lambda svc: svc.status(1)),
    "retry": (
        lambda svc: hold(svc).retry(9, error="no"),
        lambda svc: (svc.info(1).due_at, svc.info(1).error),
    ),
    "retry at once": (
        lambda svc: hold(svc).retry(0),
        lambda svc: (svc.info(1).retries, svc.info(1).ready_at),
    ),
    "release": (lambda svc: hold(svc).release(), lambda svc: (svc.info(1).crashes, svc.status(1))),
    "release later": (
        lambda svc: hold(svc).release(9),
        lambda svc: (svc.info(1).due_at, svc.info(1).retries),
    ),
    "Job.cancel": (
        lambda svc: hold(svc).cancel(error="no"),
        lambda svc: (svc.info(1).reason, svc.info(1).error),
    ),
    "cancel": (lambda svc: svc.cancel(1), lambda svc: (svc.status(1), svc.info(1).reason)),
    "reset": (lambda svc: svc.reset(2), lambda svc: (svc.status(2), svc.info(2).resets)),
    "delete": (lambda svc: svc.delete(1), lambda svc: exists(svc, 1)),
}


@pytest.mark.parametrize("act", ACTS)
def test_R6_what_was_acknowledged_is_kept(jobs_factory: Factory, clock: ManualClock, act: str) -> None:
    """The moment the call has returned, a kill can take nothing of it away (I15)."""
    svc = jobs_factory.open(clock)
    svc.enqueue("t", b"")
    svc.enqueue("t", b"", delay=500)
    do, see = ACTS[act]
    before = see(svc)
    do(svc)
    after = see(svc)
    found = jobs_factory.crash(clock)
    assert see(found) == after
    assert act == "release" or before != after
    recount(found)


@pytest.mark.parametrize("act", ["pause", "resume"])
def test_R6_an_acknowledged_pause_is_kept(topics_factory: Factory, clock: ManualClock, act: str) -> None:
    """As durable as the topic repository."""
    svc = topics_factory.open(clock)
    svc.pause("t")
    if act == "resume":
        svc.resume("t")
    assert topics_factory.crash(clock).topic_stats("t").paused == (act == "pause")


def test_R6_a_crash_at_any_commit_leaves_a_state_between_two_calls(
    python_factory: Factory, clock: ManualClock
) -> None:
    """Each copy is what was before the call under way or what is after it, never something between (I15)."""
    svc = python_factory.open(clock)
    home = python_factory.home
    assert isinstance(home, DictHome) and home.jobs is not None
    copies: list[DictHome] = []
    home.jobs.after_commit = lambda: copies.append(home.copy())

    def seen(service: JobService) -> list[object]:
        """What must be the same over a crash: a lease is not, and how often a job was tried may not be."""
        return [
            (
                i.id,
                "ready" if i.status == "reserved" else i.status.value,
                i.reason,
                i.retries,
                i.error,
                i.due_at,
            )
            for i in service.find()
        ]

    states = [seen(svc)]
    acts: list[Callable[[], object]] = [
        lambda: svc.enqueue_many("t", [b""] * 4, options=JobOptions(jitter=0.0)),
        lambda: svc.done_many(svc.reserve("t", 2, timeout=0)),
        lambda: hold(svc).retry(error="x"),
        lambda: hold(svc).release(3),
        lambda: svc.reset([1, 2, 3]),
        lambda: svc.cancel([1, 4]),
        lambda: svc.delete([1, 2]),
    ]
    for act in acts:
        copies.clear()
        act()
        states.append(seen(svc))
        assert copies
        for copy in copies:
            found = copy.open(clock)
            assert seen(found) in states[-2:]
            assert all(info.status is not Status.RESERVED for info in found.find())
            found.close()
        last = copies[-1].copy().open(clock)
        assert seen(last) == states[-1]
        last.close()


def test_R6_promotion_and_extend_write_nothing(clock: ManualClock) -> None:
    """Time passing must not cost a write: both follow from what is there, or die with the lease."""
    home = DictHome.jobs_alone()
    svc = home.open(clock)
    svc.enqueue_many("t", [b""] * 50, delay=10)
    svc.enqueue("t", b"")
    job = hold(svc)
    svc.enqueue("voucher", b"")
    svc.flush()
    assert home.jobs is not None
    before = len(home.jobs.committers)
    data = home.copy().jobs_disk
    clock.advance(10)
    for _ in range(3):
        job.extend(1e6)
    assert svc.topic_stats("t").promotions == 50
    svc.flush()
    assert len(home.jobs.committers) == before
    assert some(data).data == some(home.jobs_disk).data
    svc.close()


def test_R5_a_job_is_visible_before_its_producer_returns(python_factory: Factory, clock: ManualClock) -> None:
    """Only the producer waits for the disk; the job may be done before its enqueue returns."""
    svc = python_factory.open(clock)
    home = python_factory.home
    assert isinstance(home, DictHome) and home.jobs is not None
    gate = Gate(home.jobs)
    producer = Background(svc.enqueue, "t", b"")
    gate.wait_until_reached()
    assert svc.status(1) is Status.READY
    consumer = Background(lambda: hold(svc).done())
    until(lambda: svc.topic_stats("t").done == 1, "the job to be done")
    assert not producer.over
    assert not consumer.over
    gate.open()
    assert producer.result() == 1
    consumer.result()
    assert svc.status(1) is Status.DONE


def test_R5_a_waiter_is_served_before_the_producer_returns(
    python_factory: Factory, clock: ManualClock
) -> None:
    """A hand-over is not held up by the disk either."""
    svc = python_factory.open(clock)
    home = python_factory.home
    assert isinstance(home, DictHome) and home.jobs is not None
    waiter = Background(svc.reserve, "t", 1)
    until(lambda: svc.topic_stats("t").waiting == 1, "the waiter")
    gate = Gate(home.jobs)
    producer = Background(svc.enqueue, "t", b"")
    gate.wait_until_reached()
    assert [job.id for job in waiter.result()] == [1]
    assert not producer.over
    gate.open()
    producer.result()


@pytest.mark.parametrize("count", [1, 10, 5000])
def test_R7_ids_and_tokens_go_on_over_a_reopen_and_a_crash(
    jobs_factory: Factory, clock: ManualClock, count: int
) -> None:
    """A number that was handed out never comes again: blocks are skipped, never reused."""
    svc = jobs_factory.open(clock, retention=Retention.none())
    last_id = last_token = 0
    for again in (jobs_factory.crash, jobs_factory.crash, jobs_factory.reopen):
        ids = svc.enqueue_many("t", [b""] * count)
        jobs: list[Job] = []
        while batch := svc.reserve("t", count, timeout=0):
            jobs += batch
        tokens = [job.token for job in jobs]
        assert len(tokens) == count
        assert ids[0] > last_id
        assert tokens[0] > last_token
        assert tokens == sorted(set(tokens))
        last_id, last_token = ids[-1], tokens[-1]
        svc.done_many(jobs)
        svc = again(clock, retention=Retention.none())
    assert svc.enqueue("t", b"") > last_id
    assert hold(svc).token > last_token


def test_R7_a_fence_holds_over_a_crash_in_the_middle_of_a_lease(
    jobs_factory: Factory, clock: ManualClock
) -> None:
    """The worker of the dead process may still be writing to a database: its token must be the lower one."""
    svc = jobs_factory.open(clock)
    svc.enqueue("t", b"")
    old = hold(svc)
    found = jobs_factory.crash(clock)
    new = hold(found)
    assert new.id == old.id
    assert new.token > old.token


def test_R7_a_new_store_begins_at_one(factory: Factory, clock: ManualClock) -> None:
    """And with volatile jobs so does every service."""
    svc = factory.open(clock)
    assert svc.enqueue("t", b"") == 1
    assert hold(svc).token >= 1
    if not factory.jobs:
        assert factory.reopen(clock).enqueue("t", b"") == 1
