"""Every public method of JobService, Topic and Job, each with a call that it accepts and that does not block.

The tests that speak of *every* method (closed, forked, hammered, wrongly called) run over this table, and one
of them holds it against the classes, so that no method can be forgotten.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jobq
from jobq.testing import ManualClock

SECRET = b"payload-7f3a91"
"""The payload of every job of a World; no text of jobq's may show it."""


@dataclass(frozen=True)
class World:
    """A service on a manual clock with one job in each status, in the topic "mail"."""

    svc: jobq.JobService
    clock: ManualClock
    topic: jobq.Topic
    job: jobq.Job  # RESERVED, and the only handle of it
    ready: int
    delayed: int
    done: int
    canceled: int

    def snapshot(self) -> tuple[object, ...]:
        """All that can be seen of it: two are equal when nothing has changed in between."""
        names = self.svc.topics()
        jobs = tuple(self.svc.find())
        return (
            self.clock.now(),
            self.svc.stats(),
            tuple(self.svc.topic_stats(name) for name in names),
            jobs,
            tuple(self.svc.payload(info.id) for info in jobs),
            (self.job.settled, self.job.remaining(), self.job.deadline, self.topic.name),
        )


def make_world(**settings: Any) -> World:
    """A new World; `settings` go to JobService."""
    clock = ManualClock()
    svc = jobq.JobService(clock=clock, **settings)
    topic = svc.topic("mail")
    ready = svc.enqueue("mail", SECRET, 1)  # less urgent than those that are taken and finished here
    done = svc.enqueue("mail", SECRET)
    svc.reserve("mail", 1, timeout=0)[0].done()
    canceled = svc.enqueue("mail", SECRET)
    svc.cancel(canceled)
    reserved = svc.enqueue("mail", SECRET)
    job = svc.reserve("mail", 1, timeout=0)[0]
    assert job.id == reserved
    delayed = svc.enqueue("mail", SECRET, delay=3600)
    return World(svc, clock, topic, job, ready, delayed, done, canceled)


Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

METHODS: dict[str, Callable[[World], Call]] = {
    "JobService.enqueue": lambda w: (w.svc.enqueue, ("mail", SECRET), {}),
    "JobService.enqueue_many": lambda w: (w.svc.enqueue_many, ("mail", [SECRET]), {}),
    "JobService.reserve": lambda w: (w.svc.reserve, ("mail", 1), {"timeout": 0}),
    "JobService.reserve_one": lambda w: (w.svc.reserve_one, ("mail",), {"timeout": 0}),
    "JobService.consume": lambda w: (w.svc.consume, ("mail",), {"idle": 0}),
    "JobService.done_many": lambda w: (w.svc.done_many, ([w.job],), {}),
    "JobService.retry_many": lambda w: (w.svc.retry_many, ([w.job],), {}),
    "JobService.release_many": lambda w: (w.svc.release_many, ([w.job],), {}),
    "JobService.status": lambda w: (w.svc.status, (w.ready,), {}),
    "JobService.info": lambda w: (w.svc.info, (w.ready,), {}),
    "JobService.payload": lambda w: (w.svc.payload, (w.ready,), {}),
    "JobService.find": lambda w: (w.svc.find, (), {}),
    "JobService.topics": lambda w: (w.svc.topics, (), {}),
    "JobService.topic_stats": lambda w: (w.svc.topic_stats, ("mail",), {}),
    "JobService.stats": lambda w: (w.svc.stats, (), {}),
    "JobService.topic": lambda w: (w.svc.topic, ("mail",), {}),
    "JobService.cancel": lambda w: (w.svc.cancel, (w.ready,), {}),
    "JobService.reset": lambda w: (w.svc.reset, (w.done,), {}),
    "JobService.delete": lambda w: (w.svc.delete, (w.done,), {}),
    "JobService.pause": lambda w: (w.svc.pause, ("mail",), {}),
    "JobService.resume": lambda w: (w.svc.resume, ("mail",), {}),
    "JobService.join": lambda w: (w.svc.join, ("mail",), {"timeout": 0}),
    "JobService.flush": lambda w: (w.svc.flush, (), {}),
    "JobService.compact": lambda w: (w.svc.compact, (), {}),
    "JobService.verify": lambda w: (w.svc.verify, (), {}),
    "JobService.stop": lambda w: (w.svc.stop, (), {}),
    "JobService.close": lambda w: (w.svc.close, (), {}),
    "Topic.enqueue": lambda w: (w.topic.enqueue, (SECRET,), {}),
    "Topic.enqueue_many": lambda w: (w.topic.enqueue_many, ([SECRET],), {}),
    "Topic.reserve": lambda w: (w.topic.reserve, (1,), {"timeout": 0}),
    "Topic.reserve_one": lambda w: (w.topic.reserve_one, (), {"timeout": 0}),
    "Topic.consume": lambda w: (w.topic.consume, (), {"idle": 0}),
    "Topic.stats": lambda w: (w.topic.stats, (), {}),
    "Topic.pause": lambda w: (w.topic.pause, (), {}),
    "Topic.resume": lambda w: (w.topic.resume, (), {}),
    "Topic.join": lambda w: (w.topic.join, (), {"timeout": 0}),
    "Job.remaining": lambda w: (w.job.remaining, (), {}),
    "Job.info": lambda w: (w.job.info, (), {}),
    "Job.done": lambda w: (w.job.done, (), {}),
    "Job.retry": lambda w: (w.job.retry, (), {}),
    "Job.release": lambda w: (w.job.release, (), {}),
    "Job.cancel": lambda w: (w.job.cancel, (), {}),
    "Job.extend": lambda w: (w.job.extend, (), {}),
    "Job.log": lambda w: (w.job.log, ("line",), {}),
}

REFUSED_WHEN_CLOSED: dict[str, Callable[[World], Call]] = {
    **{name: make for name, make in METHODS.items() if name != "JobService.close"},
    "JobService.__enter__": lambda w: (w.svc.__enter__, (), {}),
    "Job.__enter__": lambda w: (w.job.__enter__, (), {}),
}


def books_balance(stats: jobq.Stats) -> None:
    """Assert that no job was lost or invented (design: what is promised, 6)."""
    now = stats.ready + stats.delayed + stats.reserved + stats.done + stats.canceled
    assert stats.enqueued == now + stats.deleted + stats.purged + stats.lost, stats


def public_methods() -> set[str]:
    """What the three classes offer, as "Class.method"."""
    return {
        f"{owner.__name__}.{name}"
        for owner in (jobq.JobService, jobq.Topic, jobq.Job)
        for name in dir(owner)
        if not name.startswith("_") and callable(getattr(owner, name))
    }


def not_refused(world: World) -> list[str]:
    """Which methods of a closed (or forked) world do not raise ServiceClosed, and what they do instead."""
    wrong = []
    for name, make in REFUSED_WHEN_CLOSED.items():
        method, args, options = make(world)
        try:
            answer = method(*args, **options)
        except jobq.ServiceClosed:
            continue
        except BaseException as error:
            wrong.append(f"{name}: {error!r}")
        else:
            wrong.append(f"{name}: returned {answer!r}")
    return wrong
