"""What the type checkers must accept, and the types they must infer. Checked by mypy and pyright, never run.

The public API is as much its types as its behaviour: a hint that widened to Any, or an overload that was
lost, is seen here and nowhere else. What they must refuse is in refused.py.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, assert_type

import jobq
from jobq import (
    InvalidTransition,
    Job,
    JobId,
    JobInfo,
    JobNotFound,
    JobOptions,
    JobqError,
    JobService,
    LeaseLost,
    Limits,
    LogEntry,
    Memory,
    Reason,
    Recovery,
    Repository,
    RepositoryError,
    RepositoryLocked,
    Retention,
    ServiceStats,
    Sled,
    Status,
    Topic,
    TopicStats,
)
from jobq.testing import ManualClock


class Table:
    """A repository by its methods alone: it inherits from nothing."""

    durable = False

    def load(self, prefix: bytes, /) -> Iterator[tuple[bytes, bytes]]:
        yield prefix, b""

    def commit(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], /) -> None: ...

    def get(self, key: bytes, /) -> bytes | None:
        return key or None

    def compact(self) -> None: ...

    def close(self) -> None: ...


class Derived(Repository):
    """A repository that inherits from the protocol: all of it must be written then, too."""

    @property
    def durable(self) -> bool:
        return True

    def load(self, prefix: bytes, /) -> Iterable[tuple[bytes, bytes]]:
        return [(prefix, b"")]

    def commit(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], /) -> None: ...

    def get(self, key: bytes, /) -> bytes | None:
        return None

    def compact(self) -> None: ...

    def close(self) -> None: ...


def opening(path: Path, clock: ManualClock) -> None:
    assert_type(jobq.__version__, str)
    assert_type(jobq.open(), JobService)
    assert_type(jobq.open(path, sync="interval", interval=timedelta(seconds=1)), JobService)
    assert_type(jobq.open("data", sync="never", interval=1), JobService)
    assert_type(JobService(Table(), Memory(), max_crashes=0, clock=clock), JobService)
    assert_type(JobService(jobs=Memory(), topics=Derived()), JobService)
    assert_type(JobService(defaults=JobOptions(), retention=Retention.none(), limits=Limits()), JobService)
    store = Sled(path, sync="interval", interval=0.5, create=False)
    assert_type(JobService(store, store), JobService)
    assert_type(JobService(jobs=Sled("data"), topics=Memory()), JobService)
    assert_type(store.path, str)
    assert_type(store.sync, Literal["always", "interval", "never"])
    assert_type(store.interval, float)
    assert_type(store.durable, bool)
    with JobService() as svc:
        assert_type(svc, JobService)
        assert_type(svc.closed, bool)
        assert_type(svc.recovery, Recovery)
    repository: Repository = Table()
    assert_type(repository.durable, bool)
    maker: Callable[[str | os.PathLike[str] | None], JobService] = jobq.open
    maker(None)


def producing(svc: JobService, topic: Topic) -> None:
    assert_type(svc.enqueue("mail", b""), JobId)
    assert_type(svc.enqueue("mail", bytearray(1), -5, delay=0.5), int)
    assert_type(svc.enqueue("mail", memoryview(b""), weight=1, at=datetime.now(UTC)), int)
    assert_type(svc.enqueue("mail", b"", options=JobOptions(lease=timedelta(minutes=1))), int)
    assert_type(svc.enqueue_many("mail", [b"", (b"", 3)]), Sequence[int])
    assert_type(svc.enqueue_many("mail", (str(n).encode() for n in range(9))), Sequence[int])
    assert_type(topic.enqueue(b"", 1, delay=1), int)
    assert_type(topic.enqueue_many([b""]), Sequence[int])
    assert_type(svc.topic("mail"), Topic)
    assert_type(svc.topic("mail", options=JobOptions(name="send")).name, str)


def consuming(svc: JobService, topic: Topic, wait: float | None) -> None:
    assert_type(svc.reserve("mail", 10), list[Job])
    assert_type(svc.reserve("mail", 10, timeout=1), list[Job])
    # Without a timeout a wait ends with a job or an exception; only with one it may end with None.
    assert_type(svc.reserve_one("mail"), Job)
    assert_type(svc.reserve_one("mail", timeout=None), Job)
    assert_type(svc.reserve_one("mail", timeout=0), Job | None)
    assert_type(svc.reserve_one("mail", timeout=0.5), Job | None)
    assert_type(svc.reserve_one("mail", timeout=timedelta(1)), Job | None)
    assert_type(svc.reserve_one("mail", timeout=wait), Job | None)
    assert_type(topic.reserve_one(), Job)
    assert_type(topic.reserve_one(timeout=1), Job | None)
    assert_type(topic.reserve(1), list[Job])
    assert_type(svc.consume("mail", batch=10, idle=1), Iterator[Job])
    for job in topic.consume():
        assert_type(job, Job)
        with job as same:
            assert_type(same, Job)
        svc.release_many({job}, timedelta(seconds=1))
    svc.done_many(svc.reserve("mail", 10))
    svc.retry_many(iter(svc.reserve("mail", 10)), 1.5, error="no answer")


def after_with(job: Job) -> str:
    # `with job` swallows nothing, and the checkers know: no return is missing here.
    with job:
        return "done"


def settling(job: Job) -> None:
    assert_type(job.id, JobId)
    assert_type(job.topic, str)
    assert_type(job.name, str)
    assert_type(job.weight, int)
    assert_type(job.payload, bytes)
    assert_type(job.token, int)
    assert_type(job.attempt, int)
    assert_type(job.deadline, datetime)
    assert_type(job.settled, bool)
    assert_type(job.remaining(), float)
    assert_type(job.info(), JobInfo)
    assert_type(job.retry(), Status)
    assert_type(job.retry(1, error=ValueError("bad")), Status)
    job.log("took %d rows", 3)
    job.extend()
    job.extend(60)
    job.release(timedelta(seconds=1))
    job.cancel(error="no such address")
    job.done()


def looking(svc: JobService, topic: Topic) -> None:
    assert_type(svc.status(1), Status)
    assert_type(svc.payload(1), bytes)
    assert_type(
        svc.find(Status.CANCELED, topic="mail", reason=Reason.POISON, after=7, limit=1), Iterator[JobInfo]
    )
    assert_type(svc.topics(), list[str])
    assert_type(svc.topic_stats("mail"), TopicStats)
    assert_type(svc.topic_stats("mail").paused, bool)
    assert_type(topic.stats().live, int)
    assert_type(svc.stats(), ServiceStats)
    assert_type(svc.stats().next_due_at, datetime | None)
    info = svc.info(1)
    assert_type(info.status, Status)
    assert_type(info.reason, Reason | None)
    assert_type(info.finished_at, datetime | None)
    assert_type(info.log, tuple[LogEntry, ...])
    assert_type(svc.recovery.poisoned, tuple[int, ...])


def operating(svc: JobService) -> None:
    svc.cancel(1)
    svc.cancel([1, 2])
    svc.reset(range(1, 9), force=True)
    svc.delete(info.id for info in svc.find(Status.DONE))
    assert_type(svc.join("mail", timeout=1), bool)
    assert_type(svc.compact(), int)
    assert_type(svc.verify(), list[str])


def values(options: JobOptions, retention: Retention, limits: Limits) -> None:
    assert_type(options.lease, float | None)
    assert_type(options.max_retries, int | None)
    assert_type(options.log_status_change, bool | None)
    assert_type(Retention.forever(), Retention)
    assert_type(retention.age, float | None)
    assert_type(limits.max_payload, int)
    assert_type(limits.topic_idle, float | None)
    assert_type({options: 1, JobOptions(): 2}[options], int)
    assert_type(ManualClock(datetime(2030, 1, 1, tzinfo=UTC)).now(), datetime)


def statuses(status: Status) -> Literal["open", "shut"]:
    # A checker proves that a match over Status is whole: a status added later is an error in each such place.
    match status:
        case Status.READY | Status.DELAYED | Status.RESERVED:
            return "open"
        case Status.DONE | Status.CANCELED:
            return "shut"


def errors(svc: JobService) -> None:
    try:
        svc.cancel(1)
    except JobNotFound as error:
        assert_type(error.id, int)
    except LeaseLost as error:
        assert_type(error.ids, tuple[int, ...])
        assert_type(error.token, int)
    except InvalidTransition as error:
        assert_type(error.status, Status | None)
        assert_type(error.verb, str)
    except RepositoryLocked as error:
        assert_type(error.pid, int | None)
    except RepositoryError as error:
        assert_type(error.path, str | None)
        assert_type(error.errno, int | None)
    lookup: type[LookupError] = JobNotFound
    system: type[OSError] = RepositoryError
    base: type[JobqError] = LeaseLost
    print(lookup, system, base)
