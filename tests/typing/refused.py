"""What the type checkers must refuse. Checked by mypy and pyright, never run.

Each line in error carries the error it must give: on a line that is no error any more the comment is an
unused one, which is an error itself. What they must accept is in accepted.py.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import Iterable, Sequence

import jobq
from jobq import Job, JobInfo, JobOptions, JobService, Limits, Memory, Repository, Retention, Stats, Topic


class WithoutGet:
    """No Repository: it cannot give a value back."""

    durable = True

    def load(self, prefix: bytes, /) -> Iterable[tuple[bytes, bytes]]:
        return [(prefix, b"")]

    def commit(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], /) -> None: ...

    def compact(self) -> None: ...

    def close(self) -> None: ...


class OfText(WithoutGet):
    """No Repository: it keeps text, where bytes are asked for."""

    def get(self, key: str, /) -> str | None:
        return key


def repositories() -> None:
    JobService(WithoutGet())  # type: ignore[arg-type]
    JobService(topics=OfText())  # type: ignore[arg-type]
    JobService("data")  # type: ignore[arg-type]
    JobService(Memory)  # type: ignore[arg-type]
    repository: Repository = WithoutGet()  # type: ignore[assignment]
    repository.durable = False  # type: ignore[misc]


def opening() -> None:
    jobq.open(sync="sometimes")  # type: ignore[arg-type]
    jobq.open(b"data")  # type: ignore[arg-type]
    jobq.open("data", "always")  # type: ignore[call-arg]
    jobq.Sled()  # type: ignore[call-arg]
    jobq.Sled("data", "always")  # type: ignore[call-arg]
    jobq.Sled("data", sync="sometimes")  # type: ignore[arg-type]
    jobq.Sled("data").sync = "never"  # type: ignore[misc]
    JobService(None, None, JobOptions())  # type: ignore[call-arg]


def producing(svc: JobService, topic: Topic) -> None:
    svc.enqueue("mail", "text")  # type: ignore[arg-type]
    svc.enqueue(b"mail", b"")  # type: ignore[arg-type]
    svc.enqueue("mail", b"", 0.5)  # type: ignore[arg-type]
    svc.enqueue("mail", b"", 0, 10)  # type: ignore[call-arg]
    svc.enqueue("mail", b"", at=0.5)  # type: ignore[arg-type]
    svc.enqueue_many("mail", "text")  # type: ignore[arg-type]
    topic.enqueue("mail", b"")  # type: ignore[arg-type]


def consuming(svc: JobService, topic: Topic) -> None:
    svc.reserve("mail")  # type: ignore[call-arg]
    svc.reserve_one("mail", 1)  # type: ignore[call-overload]
    svc.reserve_one("mail", timeout=1).done()  # type: ignore[union-attr]
    topic.reserve_one(timeout="1")  # type: ignore[call-overload]
    svc.done_many([1, 2])  # type: ignore[list-item]


def handles(job: Job, svc: JobService) -> None:
    job.payload = b""  # type: ignore[misc]
    job.error = "late"  # type: ignore[attr-defined]
    job.retry(error=ValueError)  # type: ignore[arg-type]
    job.release(None)  # type: ignore[arg-type]
    svc.status("1")  # type: ignore[arg-type]
    svc.find("done")  # type: ignore[arg-type]


class Worker(Job):  # type: ignore[misc]
    """A Job is final."""


class Patient(JobOptions):  # type: ignore[misc]
    """JobOptions is final."""


def values(options: JobOptions, info: JobInfo, stats: Stats) -> None:
    JobOptions("send")  # type: ignore[call-arg]
    JobOptions(lease="1m")  # type: ignore[arg-type]
    JobOptions(retries=1)  # type: ignore[call-arg]
    Retention(60)  # type: ignore[call-arg]
    Limits(max_log=None)  # type: ignore[arg-type]
    options.lease = 1.0  # type: ignore[misc]
    options.leese = 1.0  # type: ignore[attr-defined]
    info.weight = 1  # type: ignore[misc]
    print(stats.paused)  # type: ignore[attr-defined]
