"""Contract R1, R2 and R8: what each role remembers, and what a repository may count on."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobq import JobId, JobOptions, JobService, Memory, Status
from jobq.testing import ManualClock

from .dict_repository import GATE, Broken, DictRepository, Disk, nothing, raiser
from .factory import DictHome, Factory
from .observe import DEPTHS, events, exists, hold, order, recount, some


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


@pytest.mark.parametrize("make", [Memory, lambda: DictRepository(Disk())], ids=["memory", "python"])
@pytest.mark.parametrize("role", ["jobs", "topics", "both"])
def test_R8_one_service_at_a_time(
    clock: ManualClock, make: Callable[[], Memory | DictRepository], role: str
) -> None:
    """Two services on one store would each believe it is alone: the second is refused, the first unharmed."""
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


@pytest.mark.parametrize("ends", ["opens", "fails"])
def test_R8_a_repository_that_is_being_opened_is_taken(clock: ManualClock, ends: str) -> None:
    """A program whose threads ask for the queue when they first need it may open it twice at once."""
    repository = DictRepository(Disk())
    refusals: list[BaseException] = []

    def open_again() -> None:
        repository.before_load = nothing
        for roles in ({"jobs": repository}, {"topics": repository}):
            with pytest.raises(ValueError, match="serves another open service already") as caught:
                JobService(**roles, clock=clock)
            refusals.append(caught.value)
        if ends == "fails":
            raise Broken

    def beside() -> None:
        with ThreadPoolExecutor(1) as other:
            other.submit(open_again).result(GATE)

    repository.before_load = beside
    if ends == "opens":
        svc = JobService(repository, repository, clock=clock)
        assert svc.enqueue("t", b"") == 1
        svc.close()
    else:
        with pytest.raises(Broken):
            JobService(repository, repository, clock=clock)
    assert len(refusals) == 2
    assert repository.faults == []


@pytest.mark.parametrize("role", ["jobs", "topics"])
def test_R8_a_role_that_fails_to_open_is_no_end(clock: ManualClock, role: str) -> None:
    """The error is the repository's own; if the second role fails the first is closed again."""
    home = DictHome.two_objects()
    svc = home.open(clock)
    svc.enqueue("t", b"")
    svc.close()
    home.connect()
    assert home.jobs is not None and home.topics is not None
    (home.jobs if role == "jobs" else home.topics).before_load = raiser(Broken())
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
    repository.before_load = raiser(Broken())
    with pytest.raises(Broken):
        JobService(memory, repository, clock=clock)
    svc = JobService(memory, clock=clock)
    assert svc.enqueue("t", b"") == 1
    svc.close()


def test_R8_the_roles_share_no_key(clock: ManualClock) -> None:
    """One object can serve both: neither role writes or loads the other's keys."""
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
