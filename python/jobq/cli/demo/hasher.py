"""The demo's worker: reserves files in batches, reads them, settles the jobs and keeps its own sums.

Each thread has a Hasher of its own, so its sums need no lock; they are added up once all threads have ended.
"""

import hashlib
import os
import stat
import time
from array import array
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import jobq
from jobq.cli.interrupt import Abandoned, Interrupt

BATCH = 16
CHUNK = 262_144

# A symbolic link or a pipe may have taken the file's place since it was found: refuse the one, do not wait
# for the other. Where a system lacks these flags, it opens as it does.
EXTRA_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True, slots=True)
class Digest:
    """What one file came to. lines: newline bytes, as `wc -l` counts them."""

    sha256: str
    size: int
    lines: int

    def __str__(self) -> str:
        """As a line of a job's log."""
        return f"sha256 {self.sha256} size {self.size} lines {self.lines}"

    @classmethod
    def of_log(cls, log: Sequence[jobq.LogEntry]) -> Self | None:
        """The digest that a job's log ends with."""
        match log[-1].message.split() if log else []:
            case ["sha256", sha256, "size", size, "lines", lines]:
                return cls(sha256, int(size), int(lines))
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Result:
    """One done job, for the results file."""

    id: jobq.JobId
    topic: str
    path: bytes
    attempts: int
    digest: Digest


@dataclass(slots=True)
class Sums:
    """What the done jobs of one topic came to."""

    jobs: int = 0
    size: int = 0
    lines: int = 0

    def add(self, other: "Sums | Digest") -> None:
        self.jobs += other.jobs if isinstance(other, Sums) else 1
        self.size += other.size
        self.lines += other.lines


class Hasher:
    """One worker over all topics.

    It takes a batch from each topic in turn. When none has a job ready it sleeps until the first delayed job
    is due or, if there is none, until no job is live: what is neither ready nor delayed is held by another
    worker, and that one looks again before it sleeps. So none polls, and no job waits without one to come.
    """

    def __init__(
        self,
        svc: jobq.JobService,
        topics: Sequence[jobq.Topic],
        index: int,
        workers: int,
        interrupt: Interrupt,
        *,
        keep: bool,
        record: bool = False,
    ) -> None:
        """keep: each result in memory, for the results file. record: each in the store, for the next run."""
        self.sums = {topic.name: Sums() for topic in topics}
        self.size = 0  # bytes of done files, read by the progress meanwhile
        self.waits = array("d")  # seconds from enqueue to the first reservation
        self.runs = array("d")  # seconds of each attempt
        self.results: list[Result] | None = [] if keep else None
        self._svc = svc
        self._topics = topics
        self._index = index
        self._workers = workers
        self._interrupt = interrupt
        self._record = record

    def __call__(self) -> None:
        """Work until no job is live, or until the service is stopped."""
        try:
            while True:
                turns = deque(self._topics)
                turns.rotate(-self._index)  # workers begin at different topics
                while turns:
                    topic = turns.popleft()
                    jobs = topic.reserve(self._share(topic), timeout=0)
                    if jobs:
                        self._batch(jobs)
                        turns.append(topic)
                if not self._more():
                    return
        except (jobq.ServiceClosed, Abandoned):
            return

    def _share(self, topic: jobq.Topic) -> int:
        """A batch, but less when few are left: the biggest files come last, too many for one worker."""
        return max(1, min(BATCH, topic.stats().ready // (2 * self._workers)))

    def _more(self) -> bool:
        """Sleep until it is worth looking again; False when no job is live any more."""
        stats = self._svc.stats()
        if stats.ready:
            return True
        if stats.next_due_at is None:
            return not self._svc.join()
        until_due = (stats.next_due_at - datetime.now(UTC)).total_seconds()
        return not self._svc.join(timeout=max(until_due, 0))

    def _batch(self, jobs: list[jobq.Job]) -> None:
        rest = deque(jobs)
        try:
            self.waits.extend(_waited(job.info()) for job in jobs if job.attempt == 1)
            while rest and not self._interrupt.halted:
                self._run(rest.popleft())
        finally:
            # Those lost are in other hands already; the others are released all the same.
            with suppress(jobq.LeaseLost):
                self._svc.release_many(rest)

    def _run(self, job: jobq.Job) -> None:
        start = time.perf_counter()
        try:
            with job:
                digest = self._read(job.payload)
                if self._record:
                    job.log("%s", digest)  # kept by the commit that makes the job done
        except jobq.LeaseLost:
            return  # read for too long; whoever holds the job now will count it
        except jobq.RepositoryError:
            raise
        except OSError:
            return  # the file cannot be read: `with job` has charged a retry and kept the error
        finally:
            self.runs.append(time.perf_counter() - start)
        self.sums[job.topic].add(digest)
        self.size += digest.size
        if self.results is not None:
            self.results.append(Result(job.id, job.topic, job.payload, job.attempt, digest))

    def _read(self, path: bytes) -> Digest:
        sha256 = hashlib.sha256()
        size = lines = 0
        with open(path, "rb", buffering=0, opener=_open) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError("not a regular file any more")
            while (chunk := file.read(CHUNK)) != b"":
                if chunk is None:  # only some files of /proc, which call themselves regular
                    raise BlockingIOError("has nothing to read now")
                sha256.update(chunk)
                size += len(chunk)
                lines += chunk.count(b"\n")
                if self._interrupt.abandoned:
                    raise Abandoned
        return Digest(sha256.hexdigest(), size, lines)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | EXTRA_FLAGS)


def _waited(info: jobq.JobInfo) -> float:
    if info.reserved_at is None:  # its lease has run out since: a machine stopped for two hours, say
        return 0.0
    return max((info.reserved_at - info.created_at).total_seconds(), 0.0)
