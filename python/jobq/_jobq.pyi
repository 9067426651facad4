"""What the extension module gives Python: the service, its handles, the clock of tests; private functions.

Rules for every member, not repeated below
  Seconds   float or timedelta; finite, not negative; kept in milliseconds, rounded up: nothing is ever early.
  Dates     in: aware datetimes (a naive one is a ValueError); out: aware datetimes in UTC.
  None, 0   None means the default (which the docstring names); 0 means 0.
  Threads   every method may be called from any thread; objects hold no per-thread state.
  Errors    wrong type -> TypeError, wrong value -> ValueError; both name the parameter, what was wanted and
            what came. After close(), and in a forked child, every method but close() -> ServiceClosed.
            A failing store -> RepositoryError. An error changes nothing, unless its docstring says otherwise.
            Arguments are checked by the call itself, also where an iterator is returned.
  Identity  JobService, Topic, Job: equality is identity, always true, no len(), no subclass, no copy, no
            pickle (TypeError). No repr, log line or error text ever shows a payload.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TypeAlias, final, overload

from typing_extensions import Buffer

from jobq.options import JobId, JobOptions, Limits, Reason, Retention, Status
from jobq.repositories import Memory, Repository, Sled
from jobq.views import JobInfo, Recovery, ServiceStats, TopicStats

__all__ = [
    "Job",
    "JobService",
    "ManualClock",
    "Topic",
    "__version__",
    "_close_all",
    "_compact",
    "_dump",
    "_examine",
    "_forked",
    "_milliseconds",
    "_salvage",
]

_Seconds: TypeAlias = float | timedelta
_Store: TypeAlias = Memory | Sled | Repository

__version__: str

@final
class JobService:
    """Topics of jobs.

    A topic is a name: 1 to 255 bytes of UTF-8 without NUL, born on first use, never "not found". A job is at
    most in one place: ready, delayed, reserved, done or canceled. A service is a context manager: leaving it
    closes it.
    """

    def __new__(
        cls,
        jobs: _Store | None = None,
        topics: _Store | None = None,
        *,
        defaults: JobOptions | None = None,
        retention: Retention | None = None,
        dead_retention: Retention | None = None,
        limits: Limits | None = None,
        max_crashes: int = 3,
        clock: ManualClock | None = None,
    ) -> Self:
        """Open both repositories (None: a new Memory()) and recover what they hold.

        defaults: for the fields that a job's own options leave at None (None: those of JobOptions).
        retention: of done jobs and requested cancellations (None: Retention()). dead_retention: of dead
        letters (None: 30 days, any number). limits: None: Limits(). max_crashes: a job reserved at more
        crashes is poison; 0 to 255. clock: for tests (None: the machine's).

        RepositoryLocked, RepositoryCorrupt, RepositoryError; ValueError for an object that serves another
        service.
        """

    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        """close(). Swallows nothing."""

    # producing
    def enqueue(
        self,
        topic: str,
        payload: Buffer,
        weight: int = 0,
        *,
        delay: _Seconds | None = None,
        at: datetime | None = None,
        options: JobOptions | None = None,
    ) -> JobId:
        """Queue one job; return its id once it is kept at the repository's level.

        payload: bytes-like, copied. weight: -32768 to 32767, lower is sooner; equal weights go in the order
        in which jobs became ready. Not before now + delay, or at; both -> ValueError. options: None means the
        service's defaults. QueueFull.
        """

    def enqueue_many(
        self,
        topic: str,
        payloads: Iterable[Buffer | tuple[Buffer, int]],
        weight: int = 0,
        *,
        delay: _Seconds | None = None,
        at: datetime | None = None,
        options: JobOptions | None = None,
    ) -> Sequence[JobId]:
        """Queue all or none, in one commit; ids in the order given (a range where they are consecutive).

        An item is a payload or a (payload, weight) pair; an error names the index of the bad one. The
        iterable is read to its end first. Else as enqueue. QueueFull.
        """

    # consuming
    def reserve(self, topic: str, limit: int, *, timeout: _Seconds | None = None) -> list[Job]:
        """Lease what is ready, at most limit (1 or more), lowest weight first; wait until there is one.

        timeout: None waits for ever, 0 not at all, always in real time; then []. Ctrl-C ends the wait.
        Unsettled jobs of the list are yours: end with release_many(jobs). ServiceClosed, also after stop().
        """

    @overload
    def reserve_one(self, topic: str, *, timeout: None = None) -> Job:
        """Lease one job; wait as reserve does. With a timeout: None when it passes."""

    @overload
    def reserve_one(self, topic: str, *, timeout: _Seconds) -> Job | None: ...
    def consume(self, topic: str, *, batch: int = 1, idle: _Seconds | None = None) -> Iterator[Job]:
        """Lease jobs one after another, for ever, or until none came for `idle` seconds (0: none is ready).

        Ends quietly on stop() and close(). Reserves up to batch at a time and yields only leases that still
        stand; what it has not yielded when it ends or is dropped goes back uncharged, in its place. Ctrl-C is
        raised from the wait.
        """

    def done_many(self, jobs: Iterable[Job]) -> None:
        """done() for all in one commit. Handles already settled are skipped; each other is judged alone.

        LeaseLost after the rest was applied; its `ids` names the lost.
        """

    def retry_many(
        self, jobs: Iterable[Job], delay: _Seconds | None = None, *, error: str | BaseException | None = None
    ) -> None:
        """retry() for all, as done_many."""

    def release_many(self, jobs: Iterable[Job], delay: _Seconds = 0) -> None:
        """release() for all, as done_many."""

    # looking
    def status(self, id: JobId) -> Status:
        """Where the job stands. JobNotFound: never enqueued, deleted, or purged by the retention."""

    def info(self, id: JobId) -> JobInfo:
        """All that is known of the job but its payload, at one instant. JobNotFound."""

    def payload(self, id: JobId) -> bytes:
        """The job's payload, whatever its status. JobNotFound."""

    def find(
        self,
        status: Status | None = None,
        *,
        topic: str | None = None,
        reason: Reason | None = None,
        after: JobId = 0,
        limit: int | None = None,
    ) -> Iterator[JobInfo]:
        """Jobs that match all that is given, by ascending id above `after`, at most limit.

        Read as you go, in pages: jobs may change, and be changed by you, meanwhile. One that matches
        throughout is yielded exactly once.
        """

    def topics(self) -> list[str]:
        """Names in use, sorted."""

    def topic_stats(self, topic: str) -> TopicStats:
        """Counts of one topic, in O(1). All zero for a name not in use."""

    def stats(self) -> ServiceStats:
        """Counts of all topics together, in O(1)."""

    def topic(self, name: str, *, options: JobOptions | None = None) -> Topic:
        """A handle of the topic, faster than the name. Makes no topic.

        `options` are its defaults for what it enqueues; they come before the service's.
        """

    # operating: one id, or several: then all or none, and the error names the first bad one
    def cancel(self, id: JobId | Iterable[JobId]) -> None:
        """Cancel a ready, delayed or reserved job; the holder of a reserved one gets LeaseLost.

        JobNotFound, InvalidTransition.
        """

    def reset(self, id: JobId | Iterable[JobId], *, force: bool = False) -> None:
        """Make a done, canceled or delayed job ready now, its retries and crashes 0.

        A ready one keeps its place. A reserved one needs force; its holder gets LeaseLost. JobNotFound,
        InvalidTransition.
        """

    def delete(self, id: JobId | Iterable[JobId]) -> None:
        """Forget a job that is not reserved, payload and log too. JobNotFound, InvalidTransition."""

    def pause(self, topic: str) -> None:
        """Grant nothing more of a topic: reserve waits, leases and enqueue go on.

        As durable as the topic repository.
        """

    def resume(self, topic: str) -> None:
        """Undo pause; wakes the waiters. No error when it was not paused."""

    def join(self, topic: str | None = None, *, timeout: _Seconds | None = None) -> bool:
        """Wait until the topic (None: every one) has no ready, delayed or reserved job.

        True then, False when timeout passes (None: never, 0: at once). ServiceClosed, also after stop().
        """

    def flush(self) -> None:
        """Return when all that was acknowledged is on the disk, at any level of sync.

        It then survives a power cut. Waits until what is queued is written and synced: milliseconds, longer
        behind a large call, compact or verify. Others go on meanwhile. Memory: returns at once.
        """

    def compact(self) -> int:
        """Give back disk space; return bytes freed. Writers wait meanwhile.

        Flushes, then writes every record into a new store beside the old one, and gives that its name in one
        step: a kill or a power cut leaves one of the two, whole. No job is changed. Needs as much free space
        as the jobs take, and about 40 s per million jobs of 200 bytes (2-core virtual machine). Calls that
        only look do not wait. 0 for Memory and for a Repository of yours, whose own compact() is called.
        RepositoryError when the store refuses: the service has failed then, as after any write.
        """

    def verify(self) -> list[str]:
        """Check store, indexes and counters; one line per fault, [] when sound. Writers wait meanwhile.

        Compares counters and indexes with the jobs in memory; then flushes and reads every record of the
        store, which must pass its checksum and agree with the store's count and sum. Changes nothing. Takes
        some 6 s per million jobs of 200 bytes (2-core virtual machine). Calls that only look do not wait. A
        Repository of yours is not read.
        """

    def stop(self) -> None:
        """Grant no more jobs: consume ends, reserve and join raise ServiceClosed. Settling and enqueue go on.

        Never blocks; made for signal handlers; cannot be undone.
        """

    def close(self) -> None:
        """stop(), free every waiter, write everything out, close both repositories.

        Held jobs go back uncharged. No error when closed already. Called in a signal handler, it does not
        wait for the thread it interrupts. Runs at interpreter exit if you do not call it. In a forked child
        it does nothing.
        """

    @property
    def closed(self) -> bool:
        """True once close() was called."""

    @property
    def recovery(self) -> Recovery:
        """What was found when this service was opened."""

@final
class Topic:
    """A topic's handle: JobService's verbs without the name. Valid as long as the service is.

    Made by JobService.topic().
    """

    @property
    def name(self) -> str:
        """The topic's name."""

    def enqueue(
        self,
        payload: Buffer,
        weight: int = 0,
        *,
        delay: _Seconds | None = None,
        at: datetime | None = None,
        options: JobOptions | None = None,
    ) -> JobId:
        """As JobService.enqueue."""

    def enqueue_many(
        self,
        payloads: Iterable[Buffer | tuple[Buffer, int]],
        weight: int = 0,
        *,
        delay: _Seconds | None = None,
        at: datetime | None = None,
        options: JobOptions | None = None,
    ) -> Sequence[JobId]:
        """As JobService.enqueue_many."""

    def reserve(self, limit: int, *, timeout: _Seconds | None = None) -> list[Job]:
        """As JobService.reserve."""

    @overload
    def reserve_one(self, *, timeout: None = None) -> Job:
        """As JobService.reserve_one."""

    @overload
    def reserve_one(self, *, timeout: _Seconds) -> Job | None: ...
    def consume(self, *, batch: int = 1, idle: _Seconds | None = None) -> Iterator[Job]:
        """As JobService.consume."""

    def stats(self) -> TopicStats:
        """As JobService.topic_stats."""

    def pause(self) -> None:
        """As JobService.pause."""

    def resume(self) -> None:
        """As JobService.resume."""

    def join(self, *, timeout: _Seconds | None = None) -> bool:
        """As JobService.join."""

@final
class Job:
    """One lease of one job. Made by reserve, reserve_one and consume.

    Settled once: by done, retry, release or cancel; after that, and when the lease was lost, each of them,
    extend and log raise LeaseLost and change nothing. Time alone takes nothing away: a late done() is
    accepted until another has the job. A handle dropped unsettled expires at once, as if its time had run
    out.

    with job:  done() at the end, however the block is left; on an Exception retry(error=exc); on any other
               BaseException (KeyboardInterrupt, SystemExit, CancelledError, ...) release(). The exception
               always goes on. A job settled inside is left alone. An error of settling after an exception
               becomes a note on it.
    """

    @property
    def id(self) -> JobId:
        """The job's id."""

    @property
    def topic(self) -> str:
        """The name of the job's topic."""

    @property
    def name(self) -> str:
        """The name given by its options."""

    @property
    def weight(self) -> int:
        """The weight given at enqueue."""

    @property
    def payload(self) -> bytes:
        """The payload given at enqueue."""

    @property
    def token(self) -> int:
        """Names this lease: a fence for your database.

        Greater than every earlier token of this job, over restarts too, where the job repository is durable.
        """

    @property
    def attempt(self) -> int:
        """1 for the job's first reservation."""

    @property
    def deadline(self) -> datetime:
        """When the lease runs out, on the wall clock as it is now. To measure, use remaining()."""

    @property
    def settled(self) -> bool:
        """True once done, retry, release or cancel was accepted through this handle."""

    def remaining(self) -> float:
        """Seconds until the lease runs out; negative after. Safe against clock steps."""

    def info(self) -> JobInfo:
        """As JobService.info. JobNotFound."""

    def done(self) -> None:
        """Finish the job: a command, not a question. LeaseLost."""

    def retry(self, delay: _Seconds | None = None, *, error: str | BaseException | None = None) -> Status:
        """Charge a retry and queue the job again after delay (None: the backoff).

        `error` is kept, 1,000 characters of it. Returns DELAYED, READY, or CANCELED when that was one retry
        too many. LeaseLost.
        """

    def release(self, delay: _Seconds = 0) -> None:
        """Give the job back uncharged: at once to its old place in the queue, or after delay. LeaseLost."""

    def cancel(self, *, error: str | BaseException | None = None) -> None:
        """Give the job up for good: CANCELED, REJECTED, a dead letter. LeaseLost."""

    def extend(self, seconds: _Seconds | None = None) -> None:
        """Hold until now + seconds (None: the job's lease) if that is later than the deadline.

        Never shortens. LeaseLost.
        """

    def log(self, message: str, *args: object) -> None:
        """Add message % args (message alone without args) to the job's log.

        Written with the job's next change. LeaseLost.
        """

    def __enter__(self) -> Self:
        """LeaseLost, and the block does not run, when the lease is settled or lost."""

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...

@final
class ManualClock:
    """Time that moves when told: due dates, leases, retention and statistics; never the timeout of a wait.

    May serve several services. Moving it wakes those who wait for a job that became due.
    """

    def __new__(cls, start: datetime | None = None) -> Self:
        """start: an aware datetime (None: 2000-01-01 00:00 UTC)."""

    def now(self) -> datetime:
        """The time it shows, in UTC."""

    def advance(self, seconds: _Seconds) -> None:
        """Move the wall clock and the monotonic clock on."""

    def jump(self, seconds: _Seconds) -> None:
        """Step the wall clock alone, back too (negative): what NTP or a suspend does."""

def _milliseconds(value: _Seconds, name: str) -> int:
    """Return a duration in whole milliseconds, rounded up; `name` is the parameter that an error is to name.

    `_milliseconds(n / 1000, name) == n`: the float nearest to a whole millisecond is that millisecond.
    TypeError for what is neither a number nor a timedelta (bool too); ValueError for what is negative, not
    finite, or more than 2**63 - 1 milliseconds.
    """

def _forked() -> list[str]:
    """Mark every open service as its parent's; return the folders of their stores, as far as can be told.

    Called in a forked child before anything else runs.
    """

def _close_all() -> None:
    """Close every open service. Called at interpreter exit."""

def _examine(
    path: str, step: Callable[[int], object]
) -> tuple[list[str], ServiceStats, list[TopicStats], int]:
    """Look through a store: its faults, statistics, each topic's, and the number of records read.

    step: called with the number of records read so far, now and then; what it raises ends the reading.
    """

def _dump(
    path: str, step: Callable[[int], object], write: Callable[[JobInfo, bytes | None], object]
) -> list[str]:
    """Call write(info, payload) for each job of a store by ascending id; return the faults.

    A payload that cannot be read is None. step as in _examine.
    """

def _compact(path: str, step: Callable[[int], object]) -> int:
    """Give back a store's disk space; return the bytes freed. step as in _examine."""

def _salvage(old: str, new: str, step: Callable[[int], object]) -> tuple[int, list[str]]:
    """Copy what can be read of a damaged store into a new one: (records copied, faults).

    step as in _examine.
    """
