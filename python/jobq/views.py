"""The views that a service gives: of one job (JobInfo), of the counts (Stats), of its opening (Recovery).

All of them are immutable, compared by value, hashable and picklable. A view belongs to the instant it was
taken: it does not follow the service. This file is imported when the first view is: see the package.
"""

from dataclasses import dataclass
from datetime import datetime

from jobq.options import JobId, Reason, Status

__all__ = ["JobInfo", "LogEntry", "Recovery", "ServiceStats", "Stats", "TopicStats"]


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One line of a job's log, and when it was written."""

    at: datetime
    message: str


@dataclass(frozen=True, kw_only=True)
class JobInfo:
    """What is known of a job, at one instant; without its payload. All dates are in UTC."""

    id: JobId
    topic: str
    name: str
    weight: int
    status: Status
    reason: Reason | None  # CANCELED only
    error: str | None  # the last one given to retry() or cancel(), or met by `with job:`
    attempts: int  # reservations made
    retries: int  # retries and expiries charged since enqueue or reset
    max_retries: int
    resets: int
    crashes: int  # times it was reserved when the process died, since enqueue or reset
    lease: float  # seconds
    payload_size: int  # bytes
    created_at: datetime
    due_at: datetime | None  # DELAYED only
    ready_at: datetime | None  # READY only
    reserved_at: datetime | None  # RESERVED only
    deadline: datetime | None  # RESERVED only; as Job.deadline
    finished_at: datetime | None  # DONE and CANCELED only
    log: tuple[LogEntry, ...]


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Counts, exact at one instant.

    enqueued == ready + delayed + reserved + done + canceled + deleted + purged + lost, always. Where jobs and
    topics lie in two durable stores, the counts of events may lag after a crash.
    """

    # jobs now
    ready: int
    delayed: int
    reserved: int
    done: int  # kept by the retention
    canceled: int  # kept by the retention
    dead: int  # those of `canceled` that are dead letters
    # events, since the topic was born (or, with a volatile topic repository, since open)
    enqueued: int
    reservations: int
    completions: int
    retries: int
    expiries: int
    releases: int
    cancellations: int
    resets: int
    recoveries: int  # found reserved at open
    delays: int  # entries into Delayed
    promotions: int  # Delayed to Ready, by time
    deleted: int
    purged: int
    lost: int  # forgotten by a volatile job repository at a restart, or damaged beyond recognition
    waiting: int  # threads of this service blocked in reserve, reserve_one or consume now
    first_enqueued_at: datetime | None
    last_enqueued_at: datetime | None
    first_reserved_at: datetime | None
    last_reserved_at: datetime | None
    oldest_ready_age: float | None  # seconds; None when nothing is ready

    @property
    def live(self) -> int:
        """Jobs that still have their work before them: ready + delayed + reserved."""
        return self.ready + self.delayed + self.reserved


@dataclass(frozen=True, kw_only=True)
class TopicStats(Stats):
    """Stats of one topic."""

    topic: str
    paused: bool


@dataclass(frozen=True, kw_only=True)
class ServiceStats(Stats):
    """Stats of all topics together, forgotten ones included."""

    topics: int
    next_due_at: datetime | None  # of the first delayed job


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What was found when a service was opened."""

    clean: bool  # the last close was a proper one (True for a new store)
    ready: int
    delayed: int
    done: int
    canceled: int
    recovered: int  # found reserved, now ready
    poisoned: tuple[JobId, ...]  # found reserved once too often, now canceled
    quarantined: tuple[JobId, ...]  # records set aside as damaged
    seconds: float


# As the package does for its other names; the engine imports this file without asking the package.
for _view in (JobInfo, LogEntry, Recovery, ServiceStats, Stats, TopicStats):
    _view.__module__ = "jobq"
del _view
