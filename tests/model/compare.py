"""Holds everything that can be seen of a service against the model, after every step: invariants I1 to I20.

I1: counts equal a recount of `find()`, and every job is accounted for. I2: `verify()` is silent. I3, I4: one
lease per job, tokens ascend. I7, I11: nothing is Delayed or Reserved beyond its instant. I9: retries are
bounded, attempts add up. The others hold because each outcome and each field equals the model's.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobq import Job, JobInfo, JobService, LogEntry, ServiceStats, TopicStats

from .state import CANCELED, DELAYED, EXHAUSTED, FINISHED, READY, RESERVED, Counts, Lease, Line
from .state import Job as Modelled
from .translate import date, date_or_none, milliseconds, outcome
from .vocabulary import TOPICS

if TYPE_CHECKING:
    from .ground import Ground

DEPTHS = ("ready", "delayed", "reserved", "done", "canceled")
EVENTS = (
    "enqueued",
    "reservations",
    "completions",
    "retries",
    "expiries",
    "releases",
    "cancellations",
    "resets",
    "recoveries",
    "delays",
    "promotions",
    "deleted",
    "purged",
    "lost",
)
MOVED = re.compile(r"(ready|delayed|reserved|done|canceled) -> (ready|delayed|reserved|done|canceled)")
BORN = re.compile(r"(created )?-> (ready|delayed)|created\b.*")


def everything(ground: Ground) -> None:
    """All jobs, all topics, all counts, all handles."""
    model = ground.model
    topics(ground)
    infos = list(ground.svc.find())
    got, wanted = [info.id for info in infos], sorted(model.jobs)
    assert got == wanted, f"find() gives {got}, not {wanted}"
    for info in infos:
        job_is(ground, info, model.jobs[info.id])
    for name in dict.fromkeys(TOPICS):
        topic_is(ground, name, [info for info in infos if info.topic == name])
    service_is(ground, infos)
    for held in ground.held:
        handle_is(ground, held.job, held.lease)
    faults = ground.svc.verify()
    assert faults == [], faults


def topics(ground: Ground) -> None:
    """The names in use."""
    names = ground.svc.topics()
    ground.model.tick()
    assert names == sorted(ground.model.topics), f"topics() is {names}, not {sorted(ground.model.topics)}"


def differences(what: str, real: object, wanted: dict[str, Any]) -> None:
    """Fail with the fields that differ."""
    wrong = {
        name: (getattr(real, name), value) for name, value in wanted.items() if getattr(real, name) != value
    }
    assert not wrong, f"{what}: " + ", ".join(f"{name} is {a!r}, not {b!r}" for name, (a, b) in wrong.items())


# -- jobs ----------------------------------------------------------------------------------------------------


def job_is(ground: Ground, info: JobInfo, job: Modelled) -> None:
    """Every field of JobInfo."""
    model = ground.model
    reserved = job.status == RESERVED
    wanted = {
        "topic": job.topic,
        "name": job.terms.name,
        "weight": job.weight,
        "status": job.status,
        "reason": job.reason,
        "error": job.error,
        "attempts": job.attempts,
        "retries": job.retries,
        "max_retries": job.terms.max_retries,
        "resets": job.resets,
        "crashes": job.crashes,
        "lease": job.terms.lease / 1_000,
        "payload_size": len(job.payload),
        "created_at": date(job.created),
        "due_at": date_or_none(job.due),
        "ready_at": date(job.stamp >> 20) if job.status == READY else None,
        "reserved_at": date_or_none(job.reserved_at),
        "deadline": date(model.wall + job.deadline - model.mono) if reserved else None,
        "finished_at": date_or_none(job.finished),
    }
    differences(f"job {job.id}", info, wanted)
    for moment in (
        info.created_at,
        info.due_at,
        info.ready_at,
        info.reserved_at,
        info.deadline,
        info.finished_at,
    ):
        assert moment is None or moment.utcoffset() == timedelta(0), f"job {job.id}: {moment} is not in UTC"
    log_is(job, info.log, model.settings.caps.max_log)
    now = date(model.wall)
    assert info.due_at is None or info.due_at > now, f"job {job.id} is overdue, yet delayed"
    assert info.deadline is None or info.deadline > now, f"job {job.id} is reserved beyond its lease (I11)"
    assert info.retries <= info.max_retries + (info.reason == EXHAUSTED), (
        f"job {job.id} was retried too often (I9)"
    )
    assert info.attempts == job.ended + reserved, f"job {job.id}: {info.attempts} attempts, {job.ended} ended"


def log_is(job: Modelled, log: Sequence[LogEntry], most: int) -> None:
    """The last lines of the log.

    Left open: whether an expiry's line comes before the change it causes or after, and whether the enqueue is
    a change of status.
    """
    if job.log_open:
        return
    expected = [
        [line for line in lines if born or line.kind != "born"]
        for lines in (job.log, events_last(job.log))
        for born in (True, False)
    ]
    assert any(lines_are(lines[max(0, len(lines) - most) :], log) for lines in expected), (
        f"job {job.id}: the log is {[(str(entry.at), entry.message) for entry in log]}, not {job.log[-most:]}"
    )


def adopt_log(job: Modelled, log: Sequence[LogEntry]) -> None:
    """Take over the log that was found at open.

    Lines are written with the job's next change, so some may be missing; but none may be new, save those of
    a change that was under way at close and undone.
    """
    for entry in log:
        undone = job.log_open and MOVED.fullmatch(entry.message)
        old = any(line_is(line, entry) for line in job.log)
        assert undone or old, (
            f"job {job.id}: its log has {entry.message!r} of {entry.at} after open, not before"
        )
    job.log = [Line("said", entry.message, milliseconds(entry.at)) for entry in log]
    job.log_open = False


def events_last(log: list[Line]) -> list[Line]:
    """The same log, each expiry's line after the change of status it caused."""
    turned = list(log)
    for n in range(len(turned) - 1):
        if turned[n].kind == "ended" and turned[n + 1].kind == "moved":
            turned[n], turned[n + 1] = turned[n + 1], turned[n]
    return turned


def lines_are(lines: list[Line], log: Sequence[LogEntry]) -> bool:
    return len(lines) == len(log) and all(
        line_is(line, entry) for line, entry in zip(lines, log, strict=True)
    )


def line_is(line: Line, entry: LogEntry) -> bool:
    if line.at is not None and entry.at != date(line.at):
        return False
    if line.kind == "ended":
        return line.text in entry.message and not MOVED.fullmatch(entry.message)
    if line.kind == "born":
        return BORN.fullmatch(entry.message) is not None
    return entry.message == line.text


# -- counts --------------------------------------------------------------------------------------------------


def topic_is(ground: Ground, name: str, infos: list[JobInfo]) -> None:
    """Every field of TopicStats, for a name in use or not."""
    stats = ground.svc.topic_stats(name)
    ground.model.touch(name)
    topic = ground.model.topics.get(name)
    differences(f"topic {name!r}", stats, {"topic": name, "paused": topic is not None and topic.paused})
    counts_are(ground, stats, name, infos)


def service_is(ground: Ground, infos: list[JobInfo]) -> None:
    """Every field of ServiceStats."""
    stats = ground.svc.stats()
    dues = [info.due_at for info in infos if info.due_at is not None]
    wanted = {"topics": len(ground.model.topics), "next_due_at": min(dues, default=None)}
    differences("the service", stats, wanted)
    counts_are(ground, stats, None, infos)


def counts_are(
    ground: Ground, stats: TopicStats | ServiceStats, name: str | None, infos: list[JobInfo]
) -> None:
    """Depths equal the model's and a recount, events the model's, and no job is unaccounted for."""
    what = "the service" if name is None else f"topic {name!r}"
    counts: Counts = ground.model.counts(name)
    differences(what, stats, ground.model.depths(name))
    differences(what, stats, {event: getattr(counts, event) for event in EVENTS})
    dates = {
        "first_enqueued_at": date_or_none(counts.first_enqueued),
        "last_enqueued_at": date_or_none(counts.last_enqueued),
        "first_reserved_at": date_or_none(counts.first_reserved),
        "last_reserved_at": date_or_none(counts.last_reserved),
    }
    differences(what, stats, {"waiting": 0, **dates})
    recount = {status: sum(info.status == status for info in infos) for status in DEPTHS}
    recount["dead"] = sum(info.status == CANCELED and info.reason != "requested" for info in infos)
    recount["live"] = sum(info.status in (READY, DELAYED, RESERVED) for info in infos)
    differences(f"{what}, recounted", stats, recount)
    here = sum(getattr(stats, status) for status in DEPTHS)
    assert stats.enqueued == here + stats.deleted + stats.purged + stats.lost, (
        f"{what} is not conserved: {stats} (I1)"
    )
    age_is(ground, stats, [info.ready_at for info in infos if info.ready_at is not None])


def age_is(ground: Ground, stats: TopicStats | ServiceStats, ready: list[datetime]) -> None:
    """oldest_ready_age; if the clock stepped back behind the stamp, 0 or a negative age both are answers."""
    now = date(ground.model.wall)
    if not ready:
        assert stats.oldest_ready_age is None, (
            f"nothing is ready, yet the oldest is {stats.oldest_ready_age} s old"
        )
        return
    age = (now - min(ready)).total_seconds()
    assert stats.oldest_ready_age in (age, max(age, 0.0)), f"the oldest ready job is {age} s old: {stats}"


# -- handles -------------------------------------------------------------------------------------------------


def granted(ground: Ground, job: Job, lease: Lease) -> None:
    """A handle that was just given out: what it says of its job, and that its token is the greatest yet."""
    modelled = ground.model.jobs[lease.id]
    wanted = {
        "id": modelled.id,
        "topic": modelled.topic,
        "name": modelled.terms.name,
        "weight": modelled.weight,
        "payload": modelled.payload,
        "attempt": modelled.attempts,
        "settled": False,
    }
    differences(f"the handle of job {modelled.id}", job, wanted)
    assert type(job.payload) is bytes
    lease.token = job.token
    place = bisect.bisect(ground.tokens, (lease.order, lease.token))
    ground.tokens.insert(place, (lease.order, lease.token))
    near = [token for _, token in ground.tokens[max(0, place - 1) : place + 2]]
    assert near == sorted(set(near)), f"tokens do not ascend: {near} (I4)"


def handle_is(ground: Ground, job: Job, lease: Lease) -> None:
    """A handle at any time; the deadline is asked only while the lease stands."""
    model = ground.model
    assert job.settled is lease.settled, f"job {job.id}: settled is {job.settled}, not {lease.settled}"
    assert job.token == lease.token
    if not model.holds(lease):
        return
    assert job.info() == ground.svc.info(job.id)
    left = model.jobs[lease.id].deadline - model.mono
    assert job.remaining() == left / 1_000, f"job {job.id}: {job.remaining()} s remain, not {left / 1_000}"
    assert job.deadline == date(model.wall + left), f"job {job.id}: the deadline is {job.deadline}"


def closed(svc: JobService) -> None:
    """A closed service refuses every call but close (I20)."""
    assert svc.closed
    svc.close()
    calls: dict[str, Callable[[], object]] = {
        "enqueue": lambda: svc.enqueue("a", b""),
        "reserve": lambda: svc.reserve("a", 1, timeout=0),
        "reserve_one": lambda: svc.reserve_one("a", timeout=0),
        "status": lambda: svc.status(1),
        "find": svc.find,
        "cancel": lambda: svc.cancel(1),
        "pause": lambda: svc.pause("a"),
        "stats": svc.stats,
        "topic_stats": lambda: svc.topic_stats("a"),
        "topics": svc.topics,
        "join": lambda: svc.join(timeout=0),
        "verify": svc.verify,
    }
    for name, call in calls.items():
        assert outcome(call).kind == "ServiceClosed", f"{name}() after close"


__all__ = ["FINISHED", "closed", "everything", "granted"]
