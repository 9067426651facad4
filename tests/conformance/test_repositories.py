"""Contract R1, R2 and R5 to R8: what each role remembers, what survives, and what a repository may count on."""

import threading
from collections.abc import Callable

import pytest

from jobq import Job, JobId, JobOptions, JobService, Memory, Retention, Status
from jobq.testing import ManualClock

from .dict_repository import DictRepository, Disk
from .factory import DictHome, Factory
from .observe import DEPTHS, events, exists, hold, order, recount, some
from .threads import Background, until


def three_jobs(svc: JobService) -> list[JobId]:
    options = JobOptions(name="kept", lease=77, max_retries=5)
    return [svc.enqueue(topic, topic.encode(), i, options=options) for i, topic in enumerate(("a", "b", "a"))]


def test_R1_the_job_repository_stands_alone(clock: ManualClock) -> None:
    """Lose every pause and every count, and not one job is lost, misnamed or out of order."""
    home = DictHome.two_objects()
    svc = home.open(clock)
    ids = three_jobs(svc)
    svc.pause("a")
    job = hold(svc, "b")
    before = [svc.info(id) for id in (ids[0], ids[2])]
    svc.close()
    svc = DictHome(home.jobs_disk, Disk()).open(clock)
    assert [svc.info(id) for id in (ids[0], ids[2])] == before
    assert [(info.topic, info.name, info.lease) for info in svc.find()] == [
        (t, "kept", 77) for t in ("a", "b", "a")
    ]
    assert not svc.topic_stats("a").paused
    assert order(svc, "a") == [ids[0], ids[2]]
    again = hold(svc, "b")
    assert (again.id, again.payload) == (job.id, b"b")
    assert again.token > job.token
    assert svc.enqueue("a", b"") > ids[2]
    recount(svc)
    svc.close()


@pytest.mark.parametrize("age", ["older", "newer", "of another store"])
def test_R1_the_topic_repository_is_corrected_from_the_jobs(clock: ManualClock, age: str) -> None:
    """Older, newer or foreign: the jobs are what is there, and the sums come out right."""
    home = DictHome.two_objects()
    svc = home.open(clock)
    three_jobs(svc)
    svc.flush()
    early = home.copy()
    svc.enqueue_many("a", [b""] * 5)
    hold(svc, "b").done()
    svc.delete(1)
    svc.enqueue("c", b"")
    svc.flush()
    late = home.copy()
    svc.close()
    if age == "older":
        jobs, topics = late.jobs_disk, early.topics_disk
    elif age == "newer":
        jobs, topics = early.jobs_disk, late.topics_disk
    else:
        other = DictHome.two_objects()
        stranger = other.open(clock)
        stranger.pause("a")
        stranger.enqueue_many("z", [b""] * 9)
        stranger.close()
        jobs, topics = late.jobs_disk, other.topics_disk
    mixed = DictHome(jobs, topics)
    svc = mixed.open(clock)
    recount(svc)
    expected = {"older": [6, 1, 1], "newer": [2, 1, 0], "of another store": [6, 1, 1]}[age]
    found = [svc.topic_stats(name) for name in ("a", "b", "c")]
    assert [stats.ready + stats.done for stats in found] == expected
    assert svc.topic_stats("a").paused == (age == "of another store")
    svc.close()
    svc = mixed.open(clock)
    recount(svc)
    svc.close()


def test_R2_jobs_that_a_volatile_repository_forgot_are_lost(clock: ManualClock) -> None:
    """Enqueued stays what it was, and the difference has a name."""
    home = DictHome.topics_alone()
    svc = home.open(clock)
    svc.enqueue_many("t", [b""] * 6)
    hold(svc).done()
    svc.delete(2)
    svc.close()
    svc = home.open(clock)
    stats = svc.topic_stats("t")
    assert (stats.enqueued, stats.lost, stats.deleted, stats.completions) == (6, 5, 1, 1)
    assert [getattr(stats, name) for name in DEPTHS] == [0] * 6
    assert svc.enqueue("t", b"") == 1
    recount(svc)
    svc.close()
    svc = home.open(clock)
    assert (svc.topic_stats("t").enqueued, svc.topic_stats("t").lost) == (7, 6)
    recount(svc)
    svc.close()


def test_R2_jobs_that_a_volatile_topic_repository_never_saw_count_as_enqueued(clock: ManualClock) -> None:
    """What is there must have come in; the events start over."""
    home = DictHome.jobs_alone()
    svc = home.open(clock)
    svc.enqueue_many("t", [b""] * 6)
    hold(svc).done()
    hold(svc).retry(0)
    svc.delete(3)
    svc.close()
    svc = home.open(clock)
    assert events(svc) == {"enqueued": 5}
    assert (svc.topic_stats("t").ready, svc.topic_stats("t").done) == (4, 1)
    recount(svc)
    svc.close()


def test_R2_counts_are_exact_over_a_crash_with_one_object(clock: ManualClock) -> None:
    """Jobs and statistics go in one batch: whichever commit is the last, they agree."""
    home = DictHome.one_object()
    svc = home.open(clock)
    copies: list[DictHome] = []
    assert home.jobs is not None
    home.jobs.after_commit = lambda: copies.append(home.copy())
    svc.enqueue_many("t", [b""] * 3)
    hold(svc).done()
    hold(svc).retry(0)
    hold(svc).release(50)
    hold(svc).cancel()
    svc.reset(1)
    svc.delete(1)
    assert len(copies) >= 7
    for copy in copies:
        found = copy.open(clock)
        recount(found)
        stats = found.topic_stats("t")
        assert stats.lost == 0
        assert stats.enqueued == 3
        assert stats.deleted == (not exists(found, 1))
        assert stats.completions >= stats.done
        found.close()
    svc.close()


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
        """What must be the same before and after a crash: a lease is not, and how often a job was tried may not be."""
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
        assert seen(last := copies[-1].copy().open(clock)) == states[-1]
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


class Gate:
    """Holds the next commits of a repository up until it is opened."""

    def __init__(self, repository: DictRepository) -> None:
        self._reached, self._open = threading.Event(), threading.Event()
        repository.before_commit = self._pass

    def _pass(self) -> None:
        self._reached.set()
        assert self._open.wait(20)

    def wait_until_reached(self) -> None:
        assert self._reached.wait(20)

    def open(self) -> None:
        self._open.set()


@pytest.mark.parametrize("count", [1, 10, 5000])
def test_R7_ids_and_tokens_go_on_over_a_reopen_and_a_crash(
    jobs_factory: Factory, clock: ManualClock, count: int
) -> None:
    """A number that was handed out never comes again, whoever it was told to: blocks are skipped, never reused."""
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


@pytest.mark.parametrize("make", [Memory, lambda: DictRepository(Disk())], ids=["memory", "python"])
@pytest.mark.parametrize("role", ["jobs", "topics", "both"])
def test_R8_one_service_at_a_time(
    clock: ManualClock, make: Callable[[], Memory | DictRepository], role: str
) -> None:
    """Two services on one store would each believe that it is alone; the second is refused, the first is not harmed."""
    store = make()
    svc = JobService(store, store, clock=clock)
    svc.enqueue("t", b"")
    with pytest.raises(ValueError):
        if role == "both":
            JobService(store, store, clock=clock)
        elif role == "jobs":
            JobService(jobs=store, clock=clock)
        else:
            JobService(topics=store, clock=clock)
    assert svc.topic_stats("t").ready == 1
    svc.enqueue("t", b"")
    svc.close()


class Broken(Exception):
    """Raised by a repository of a test."""


def fail() -> None:
    raise Broken


@pytest.mark.parametrize("role", ["jobs", "topics"])
def test_R8_a_role_that_fails_to_open_is_no_end(clock: ManualClock, role: str) -> None:
    """The error is the repository's own; where the second role failed the first is closed again; open may be retried."""
    home = DictHome.two_objects()
    svc = home.open(clock)
    svc.enqueue("t", b"")
    svc.close()
    home.connect()
    assert home.jobs is not None and home.topics is not None
    (home.jobs if role == "jobs" else home.topics).before_load = fail
    with pytest.raises(Broken):
        JobService(home.jobs, home.topics, clock=clock)
    if role == "topics":
        assert home.jobs.closes == 1
    svc = home.open(clock)
    assert svc.topic_stats("t").ready == 1
    svc.close()
    assert home.faults == []


def test_R8_a_memory_repository_is_free_after_a_failed_open(clock: ManualClock) -> None:
    """It was never used."""
    memory = Memory()
    repository = DictRepository(Disk())
    repository.before_load = fail
    with pytest.raises(Broken):
        JobService(memory, repository, clock=clock)
    svc = JobService(memory, clock=clock)
    assert svc.enqueue("t", b"") == 1
    svc.close()


def test_R8_the_roles_share_no_key(clock: ManualClock) -> None:
    """One object can serve both, or two that are later merged: neither role reads, writes or loads the other's keys."""
    home = DictHome.two_objects()
    for _ in range(2):
        svc = home.open(clock)
        svc.resume("t")
        svc.enqueue_many("t", [b"payload" * 500] * 5, options=JobOptions(log_status_change=True))
        svc.enqueue("u", b"", delay=50)
        hold(svc).done()
        hold(svc).retry(error="x")
        svc.pause("t")
        svc.delete(some(next(svc.find(Status.READY))).id)
        svc.close()
    assert home.jobs is not None and home.topics is not None
    jobs, topics = some(home.jobs_disk).data, some(home.topics_disk).data
    assert jobs and topics
    assert not jobs.keys() & topics.keys()
    for loads, foreign in ((home.jobs.loads, topics), (home.topics.loads, jobs)):
        assert loads
        for prefix, _ in loads:
            assert not any(key.startswith(prefix) for key in foreign)


def test_R8_payloads_need_not_be_read_at_open(python_factory: Factory, clock: ManualClock) -> None:
    """A store of large payloads opens as fast as one of small ones."""
    svc = python_factory.open(clock)
    size = 1_000_000
    ids = svc.enqueue_many("t", [bytes([i]) * size for i in range(4)])
    svc = python_factory.reopen(clock)
    home = python_factory.home
    assert isinstance(home, DictHome) and home.jobs is not None
    assert sum(given for _, given in home.jobs.loads) < size
    assert [svc.payload(id) for id in ids] == [bytes([i]) * size for i in range(4)]
    svc.close()


def test_R8_what_is_no_repository_is_refused(clock: ManualClock) -> None:
    """The error names the role."""
    for bad in (object(), "memory", 1, dict):
        with pytest.raises(TypeError, match="jobs"):
            JobService(jobs=bad, clock=clock)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="topics"):
            JobService(topics=bad, clock=clock)  # type: ignore[arg-type]


def test_R8_housekeeping_is_offered_everywhere(factory: Factory, clock: ManualClock) -> None:
    """flush, compact and verify mean something, or nothing, but never an error."""
    svc = factory.open(clock)
    svc.enqueue_many("t", [b"x" * 1000] * 10)
    svc.done_many(svc.reserve("t", 5, timeout=0))
    svc.flush()
    assert svc.compact() >= 0
    assert svc.verify() == []
    assert svc.topic_stats("t").ready == 5
