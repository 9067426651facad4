"""What the model remembers: jobs, leases, topics and counts in plain dicts and lists, and the few ways a job
moves.

Nothing here knows jobq. Time is whole milliseconds: `wall` since 1970, `mono` since the model began. Statuses
and reasons are the public strings. Every question ("which job is first?") is answered by looking at all jobs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Protocol

READY, DELAYED, RESERVED, DONE, CANCELED = "ready", "delayed", "reserved", "done", "canceled"
REQUESTED, REJECTED, EXHAUSTED, POISON = "requested", "rejected", "exhausted", "poison"
MAX_CRASHES = 3
"""The default of JobService."""
LIVE = (READY, DELAYED, RESERVED)
FINISHED = (DONE, CANCELED)
KEPT_TEXT = 1_000
"""Characters that are kept of an error and of a log line."""


class Refused(Exception):
    """A call the contract refuses: the name of the exception's class, and the attributes it must carry."""

    def __init__(self, kind: str, **facts: object) -> None:
        super().__init__(f"{kind} {facts}")
        self.kind = kind
        self.facts = facts


class Oracle(Protocol):
    """What the contract leaves open, read from the service and then held to its bounds."""

    def due(self, id: int) -> int | None:
        """When a job whose backoff has jitter is due; None when it is ready."""

    def knows(self, topic: str) -> bool:
        """Whether an empty topic, of which it is open what its last call was, is still known."""


@dataclass(frozen=True)
class Options:
    """A job's options in milliseconds; None is filled in from the next layer."""

    name: str | None = None
    lease: int | None = None
    max_retries: int | None = None
    min_backoff: int | None = None
    max_backoff: int | None = None
    jitter: float | None = None
    log_status_change: bool | None = None

    def __repr__(self) -> str:
        given = (f"{name}={value!r}" for name, value in vars(self).items() if value is not None)
        return f"Options({', '.join(given)})"


@dataclass(frozen=True)
class Terms:
    """Resolved options: what a queued job keeps."""

    name: str = ""
    lease: int = 7_200_000
    max_retries: int = 50
    min_backoff: int = 30_000
    max_backoff: int = 3_600_000
    jitter: float = 0.1
    log_status_change: bool = False


def resolve(*layers: Options | None) -> Terms:
    """Fill each option from the first layer that gives it; the last resort is the built-in default."""
    given = {}
    for item in fields(Options):
        for layer in layers:
            if layer is not None and getattr(layer, item.name) is not None:
                given[item.name] = getattr(layer, item.name)
                break
    return Terms(**given)


@dataclass(frozen=True)
class Bounds:
    """One kind of retention: milliseconds, jobs, bytes. None sets no bound."""

    age: int | None = None
    count: int | None = None
    size: int | None = None


@dataclass(frozen=True)
class Caps:
    """The limits of a service."""

    max_payload: int = 16_777_216
    max_jobs: int | None = None
    max_topics: int | None = None
    max_log: int = 100
    topic_idle: int | None = 86_400_000


@dataclass(frozen=True)
class Settings:
    """What a service was opened with."""

    defaults: Options = Options()
    kept: Bounds = Bounds(age=86_400_000, count=100_000, size=67_108_864)
    dead: Bounds = Bounds(age=30 * 86_400_000)
    caps: Caps = Caps()


@dataclass
class Counts:
    """The events of a topic, or of all of them together."""

    enqueued: int = 0
    reservations: int = 0
    completions: int = 0
    retries: int = 0
    expiries: int = 0
    releases: int = 0
    cancellations: int = 0
    resets: int = 0
    recoveries: int = 0
    delays: int = 0
    promotions: int = 0
    deleted: int = 0
    purged: int = 0
    lost: int = 0
    first_enqueued: int | None = None
    last_enqueued: int | None = None
    first_reserved: int | None = None
    last_reserved: int | None = None


@dataclass
class Topic:
    """A known topic.

    `named` is when it was last called for certain, `touched` when a call may have counted as one to it.
    """

    named: int
    touched: int
    paused: bool = False
    counts: Counts = field(default_factory=Counts)


@dataclass(eq=False)
class Lease:
    """One grant. `order` is its place among all grants; `token` is learned from the handle."""

    id: int
    topic: str
    order: int
    token: int | None = None
    settled: bool = False


@dataclass(frozen=True)
class Line:
    """One line of a log. `kind` is "said" (exact text), "moved" (exact text), "born" or "ended" (a word in
    it).

    `at` is None where the contract does not say whether the instant of the event or of the tick is meant.
    """

    kind: str
    text: str
    at: int | None


@dataclass(eq=False)
class Job:
    """A job; `stamp` is its place while ready or reserved, `due` counts while delayed."""

    id: int
    topic: str
    weight: int
    payload: bytes
    terms: Terms
    created: int
    status: str = READY
    reason: str | None = None
    error: str | None = None
    attempts: int = 0
    retries: int = 0
    resets: int = 0
    crashes: int = 0
    stamp: int = 0
    due: int | None = None
    delayed_order: int = 0
    kept_stamp: int = 0
    """The stamp on disk, of a job that is ready or reserved there."""
    kept_due: int | None = None
    """The due date on disk, of a job that is delayed there: its promotion is not written (R6)."""
    reserved_at: int | None = None
    deadline: int = 0
    lease_order: int = 0
    lease: Lease | None = None
    finished: int | None = None
    log: list[Line] = field(default_factory=list)
    log_open: bool = False
    """True once a grant went back unseen: whether its two changes of status are logged is left open."""
    ended: int = 0
    """Attempts that were ended by a settling, an expiry, a force or a close: I9's bookkeeping."""


class State:
    """All jobs and topics, and the moves they are capable of."""

    def __init__(self, settings: Settings, wall: int, oracle: Oracle, *, has_table: bool) -> None:
        self.settings = settings
        self.oracle = oracle
        self.has_table = has_table
        """Whether reservations are written to a table, and not with the jobs."""
        self.wall = wall
        self.mono = 0
        self.jobs: dict[int, Job] = {}
        self.topics: dict[str, Topic] = {}
        self.total = Counts()
        self.forgotten: list[Counts] = []
        self.kept: list[Job] = []
        self.dead: list[Job] = []
        self.last_id = 0
        self.last_stamp = 0
        self._order = 0

    def order(self) -> int:
        """The next number of the one sequence that breaks ties."""
        self._order += 1
        return self._order

    def of(self, topic: str, *statuses: str) -> list[Job]:
        """The jobs of a topic in one of these statuses."""
        return [job for job in self.jobs.values() if job.topic == topic and job.status in statuses]

    def ready(self, topic: str) -> list[Job]:
        """The ready jobs of a topic in the order in which they are granted (O1)."""
        return sorted(self.of(topic, READY), key=lambda job: (job.weight, job.stamp, job.id))

    def count(self, topic: str, event: str, number: int = 1) -> None:
        """Count an event for its topic and for the service."""
        for counts in (self.topics[topic].counts, self.total):
            setattr(counts, event, getattr(counts, event) + number)

    def date(self, topic: str, event: str) -> None:
        """Note now as the last, and if there was none before as the first, of its kind."""
        for counts in (self.topics[topic].counts, self.total):
            setattr(counts, f"last_{event}", self.wall)
            if getattr(counts, f"first_{event}") is None:
                setattr(counts, f"first_{event}", self.wall)

    def touch(self, topic: str) -> None:
        """A call that may count as one to the topic."""
        if topic in self.topics:
            self.topics[topic].touched = self.mono

    def name(self, topic: str, *, create: bool) -> None:
        """A call that names the topic, and makes it if it is of that sort."""
        if create and topic not in self.topics:
            self.topics[topic] = Topic(named=self.mono, touched=self.mono)
        if topic in self.topics:
            self.topics[topic].named = self.topics[topic].touched = self.mono

    # -- the moves of a job ----------------------------------------------------------------------------------

    def _move(self, job: Job, status: str, *, at: int | None) -> None:
        if job.terms.log_status_change and job.status != status:
            job.log.append(Line("moved", f"{job.status} -> {status}", at))
        job.status = status
        if status != RESERVED:
            job.lease = job.reserved_at = None
        if status != DELAYED:
            job.due = None

    def to_ready(self, job: Job, *, at: int | None = None) -> None:
        """Enter Ready with a new stamp: last of its weight (O1, O2)."""
        self.last_stamp = max(self.last_stamp + 1, self.wall << 20)
        job.stamp = self.last_stamp
        self.keep_stamp(job)
        self._move(job, READY, at=at)

    def to_place(self, job: Job, *, at: int | None = None) -> None:
        """Enter Ready under the stamp it had (O3)."""
        self._move(job, READY, at=at)
        self.keep_stamp(job)

    @staticmethod
    def keep_stamp(job: Job) -> None:
        """Write where the job stands: its stamp is on disk now (O4)."""
        job.kept_stamp, job.kept_due = job.stamp, None

    def to_delayed(self, job: Job, due: int, *, at: int | None = None) -> None:
        """Enter Delayed until due."""
        self._move(job, DELAYED, at=at)
        job.due = due
        job.kept_due = None
        job.delayed_order = self.order()
        self.count(job.topic, "delays")

    def to_ready_or_delayed(self, job: Job, due: int, *, at: int | None = None) -> None:
        """Enter Delayed when due lies ahead, else Ready with a new stamp."""
        if due > self.wall:
            self.to_delayed(job, due, at=at)
        else:
            self.to_ready(job, at=at)

    def to_reserved(self, job: Job) -> Lease:
        """Grant a lease."""
        self._move(job, RESERVED, at=self.wall)
        if not self.has_table:
            self.keep_stamp(job)
        job.attempts += 1
        job.reserved_at = self.wall
        job.deadline = self.mono + job.terms.lease
        job.lease_order = self.order()
        job.lease = Lease(job.id, job.topic, job.lease_order)
        self.count(job.topic, "reservations")
        self.date(job.topic, "reserved")
        return job.lease

    def finish(self, job: Job, status: str, reason: str | None, *, at: int | None = None) -> None:
        """Enter Done or Canceled; what the retention does not keep goes in the same call (S3)."""
        self._move(job, status, at=at)
        job.reason = reason
        job.finished = self.wall
        self.count(job.topic, "completions" if status == DONE else "cancellations")
        self.finished_list(job).append(job)
        self.purge_surplus()

    def finished_list(self, job: Job) -> list[Job]:
        """The retention list a finished job stands in (V2)."""
        return self.kept if job.reason in (None, REQUESTED) else self.dead

    def unfinish(self, job: Job) -> None:
        """Take a finished job out of its retention list."""
        self.finished_list(job).remove(job)
        job.reason = job.finished = None

    def forget(self, job: Job, event: str) -> None:
        """Drop a job for good: it was deleted or purged."""
        del self.jobs[job.id]
        self.count(job.topic, event)
        self.touch(job.topic)

    def purge_surplus(self) -> None:
        """Drop the oldest while there are too many, or too many bytes."""
        for finished, bounds in ((self.kept, self.settings.kept), (self.dead, self.settings.dead)):
            while finished and (
                (bounds.count is not None and len(finished) > bounds.count)
                or (bounds.size is not None and sum(len(job.payload) for job in finished) > bounds.size)
            ):
                self.forget(finished.pop(0), "purged")
