"""Contract R3: who writes, in which order, and what may go on meanwhile."""

import threading

from jobq import Job, JobId, Status
from jobq.testing import ManualClock

from .dict_repository import DictRepository, Gate, nothing
from .factory import DictHome, Factory
from .observe import order, recount
from .threads import Background


def jobs_of(factory: Factory) -> DictRepository:
    home = factory.home
    assert isinstance(home, DictHome) and home.jobs is not None
    return home.jobs


def test_R3_the_caller_that_changed_something_commits(python_factory: Factory, clock: ManualClock) -> None:
    """A Python repository is called in its caller's own thread, before the call returns."""
    svc = python_factory.open(clock)
    repository = jobs_of(python_factory)
    svc.enqueue("t", b"")

    def in_thread() -> int:
        svc.enqueue("t", b"")
        return threading.get_ident()

    repository.committers.clear()
    other = Background(in_thread).result()
    assert set(repository.committers) == {other}
    repository.committers.clear()
    svc.cancel(1)
    assert set(repository.committers) == {threading.get_ident()}


def test_R3_a_reader_commits_nothing(python_factory: Factory, clock: ManualClock) -> None:
    """Looking costs no write."""
    svc = python_factory.open(clock)
    svc.enqueue("t", b"")
    svc.flush()
    repository = jobs_of(python_factory)
    repository.committers.clear()
    svc.status(1)
    svc.info(1)
    svc.payload(1)
    list(svc.find())
    svc.stats()
    svc.topic_stats("t")
    svc.topics()
    assert repository.committers == []


def test_R3_one_committer_at_a_time_and_none_is_lost(python_factory: Factory) -> None:
    """Many threads at once: the repository sees one call at a time, and every acknowledged job is in it."""
    svc = python_factory.open()
    per_thread = 60

    def produce(topic: str) -> list[JobId]:
        ids = []
        for _ in range(per_thread):
            ids.append(svc.enqueue(topic, topic.encode()))
            for job in svc.reserve(topic, 1, timeout=0):
                job.retry(0)
        return ids

    threads = [Background(produce, f"t{i}") for i in range(6)]
    ids = {f"t{i}": thread.result() for i, thread in enumerate(threads)}
    found = python_factory.crash()
    for topic, made in ids.items():
        kept = list(found.find(topic=topic))
        assert [info.id for info in kept] == made
        assert sum(info.retries for info in kept) == per_thread
    assert len(set().union(*ids.values())) == 6 * per_thread
    recount(found)


def test_R3_changes_are_written_in_the_order_they_happened(
    python_factory: Factory, clock: ManualClock
) -> None:
    """Whatever commit is the last before a crash, what is there is a beginning of the history."""
    svc = python_factory.open(clock)
    home = python_factory.home
    assert isinstance(home, DictHome) and home.jobs is not None
    copies: list[DictHome] = []
    home.jobs.after_commit = lambda: copies.append(home.copy())

    def produce() -> None:
        for _ in range(15):
            svc.enqueue("t", b"")

    threads = [Background(produce) for _ in range(4)]
    for thread in threads:
        thread.result()
    home.jobs.after_commit = nothing
    counts = []
    for copy in copies:
        found = copy.open(clock)
        kept = order(found)
        assert kept == list(range(1, len(kept) + 1))
        counts.append(len(kept))
        found.close()
    assert counts == sorted(counts)
    assert counts[-1] == 60


def test_R3_no_lock_is_held_while_a_repository_works(python_factory: Factory, clock: ManualClock) -> None:
    """Others read, reserve and look at the clock while a commit takes its time."""
    svc = python_factory.open(clock)
    svc.enqueue_many("t", [b""] * 2)
    gate = Gate(jobs_of(python_factory))
    producer = Background(svc.enqueue, "t", b"")
    gate.wait_until_reached()

    def look() -> tuple[Status, int, list[Job]]:
        clock.advance(1)
        return svc.status(1), svc.stats().ready, svc.reserve("t", 1, timeout=0)

    status, ready, jobs = Background(look).result()
    assert (status, ready, len(jobs)) == (Status.READY, 3, 1)
    assert not producer.over
    gate.open()
    assert producer.result() == 3
