"""The process whose disk is cut: works on a store in one thread, drawn by a seed, and notes each
acknowledgement.

    python -m crash.cut_victim '{"subject": "sled", "store": ..., "level": "always", "work": "churn", ...}'

After opening, and after each call that returned, a line of JSON goes to the file JOBQ_RECORD_NOTES, where the
recorder puts it in order among the writes: what was called, the picture of the whole state, the highest id
and token given out so far. A call that is written as several groups lists the pictures in between.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import jobq

from .picture import Picture

TOPICS = ("a", "b")
LATER = 86_400.0
"""A delay that ends in no test."""
INTERVAL = 0.05


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a victim is to do."""

    subject: str
    store: str
    level: str
    work: str
    """A key of WORK."""
    seed: int
    steps: int
    keep: bool = True
    """Finished jobs stay until they are deleted; else they are gone at once."""
    close: bool = True
    """False: end as a killed process does, nothing closed."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def open_service(subject: str, store: Path, level: str, *, keep: bool = True) -> jobq.JobService:
    """Open a store so that no time and no crash changes its jobs: nothing is purged, nobody is poisoned."""
    unbounded = jobq.Retention(age=None, count=None, size=None)
    retention = unbounded if keep else jobq.Retention.none()
    if subject == "sled":
        return jobq.open(
            store,
            sync=level,  # type: ignore[arg-type]
            interval=INTERVAL,
            retention=retention,
            dead_retention=unbounded,
            max_crashes=255,
        )
    if subject == "two sleds":
        jobs, topics = (
            jobq.Sled(store / role, sync=level, interval=INTERVAL)  # type: ignore[arg-type]
            for role in ("jobs", "topics")
        )
        return jobq.JobService(jobs, topics, retention=retention, dead_retention=unbounded, max_crashes=255)
    assert subject == "sqlite", f"no subject is called {subject!r}"
    from sqlite_repository import SQLite

    repository = SQLite(store / "jobs.db")
    return jobq.JobService(
        repository, repository, retention=retention, dead_retention=unbounded, max_crashes=255
    )


class Victim:
    """A service at work, and what it has promised."""

    def __init__(self, service: jobq.JobService, chance: random.Random, sizes: tuple[int, int]) -> None:
        self._service = service
        self._chance = chance
        self._sizes = sizes
        self._notes = os.open(os.environ["JOBQ_RECORD_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._live = [info.id for info in service.find()]
        self._held: list[jobq.Job] = []
        self._picture = Picture(service)
        self._id, self._token = max(self._live, default=0), 0
        self.note("open")

    def note(self, call: str, between: list[int] | None = None) -> None:
        """Write down that this call has returned."""
        line = {"call": call, "state": self._picture.number, "between": between or []}
        line |= {"seconds": time.monotonic(), "id": self._id, "token": self._token}
        os.write(self._notes, json.dumps(line).encode() + b"\n")

    def _payload(self) -> bytes:
        return self._chance.randbytes(self._chance.randint(*self._sizes))

    def _topic(self) -> str:
        return self._chance.choice(TOPICS)

    def enqueue(self) -> None:
        delay = LATER if self._chance.random() < 0.1 else None
        weight = self._chance.choice((-1, 0, 0, 1))
        self._added([self._service.enqueue(self._topic(), self._payload(), weight=weight, delay=delay)])

    def enqueue_many(self) -> None:
        payloads = [self._payload() for _ in range(self._chance.randint(2, 6))]
        self._added(self._service.enqueue_many(self._topic(), payloads))

    def _added(self, ids: Sequence[int]) -> None:
        self._live += ids
        self._id = max(self._id, *ids)
        between = [self._picture.job(id) for id in ids]
        self.note("enqueue", between[:-1])

    def reserve(self) -> None:
        jobs = self._service.reserve(self._topic(), self._chance.randint(1, 3), timeout=0)
        self._held += jobs
        self._token = max([self._token, *(job.token for job in jobs)])
        self.note("reserve")

    def settle(self) -> None:
        if not self._held:
            return self.reserve()
        job = self._held.pop(self._chance.randrange(len(self._held)))
        with suppress(jobq.LeaseLost):  # canceled by id meanwhile
            self._settle(job)
        self._looked("settle", [job.id])
        return None

    def _settle(self, job: jobq.Job) -> None:
        match self._chance.choice(("done", "done", "done", "retry", "later", "release", "reject")):
            case "done":
                job.done()
            case "retry":
                job.retry(0, error="to be done again")
            case "later":
                job.retry(LATER)
            case "release":
                job.release()
            case _:
                job.cancel(error="no good")

    def done_many(self) -> None:
        jobs = [self._held.pop() for _ in range(min(len(self._held), 3))]
        with suppress(jobq.LeaseLost):
            self._service.done_many(jobs)
        self._looked("done_many", [job.id for job in jobs])

    def operate(self) -> None:
        if not self._live:
            return
        id = self._chance.choice(self._live)
        verb = self._chance.choice((self._service.cancel, self._service.reset))
        with suppress(jobq.InvalidTransition, jobq.JobNotFound):
            verb(id)
            self._looked("operate", [id])

    def delete(self) -> None:
        """Drop what is old, so that the store's segments are used again."""
        self._chance.shuffle(self._live)
        while len(self._live) > 60:
            id = self._live.pop()
            with suppress(jobq.InvalidTransition, jobq.JobNotFound):
                self._service.delete(id)
                self._looked("delete", [id])

    def pause(self) -> None:
        topic = self._topic()
        verb = self._service.resume if self._service.topic_stats(topic).paused else self._service.pause
        verb(topic)
        self._picture.topic(topic)
        self.note("pause")

    def compact(self) -> None:
        self.note("compacting")
        self._service.compact()
        self.note("compact")

    def _looked(self, call: str, ids: list[int]) -> None:
        for id in ids:
            self._picture.job(id)
        self.note(call)

    def work(self, steps: list[tuple[str, int]], count: int) -> None:
        """That many steps drawn from a table."""
        names, often = [name for name, _ in steps], [weight for _, weight in steps]
        for name in self._chance.choices(names, weights=often, k=count):
            step: Callable[[], None] = getattr(self, name)
            step()


_MIXED = [("enqueue", 10), ("enqueue_many", 2), ("reserve", 6), ("settle", 8), ("done_many", 1)]
_MIXED += [("operate", 3), ("delete", 2), ("pause", 1)]
WORK: dict[str, tuple[tuple[int, int], list[tuple[str, int]]]] = {
    "small": ((10, 400), _MIXED),
    "churn": ((2_000, 20_000), _MIXED),
    "large": ((20_000, 120_000), _MIXED),
    "compaction": ((10, 3_000), [*_MIXED, ("compact", 1)]),
}
"""Payload sizes in bytes, and what is done how often."""


def main(task: Task) -> None:
    chance = random.Random(task.seed)
    sizes, steps = WORK[task.work]
    service = open_service(task.subject, Path(task.store), task.level, keep=task.keep)
    victim = Victim(service, chance, sizes)
    victim.work(steps, task.steps)
    if not task.close:
        os._exit(0)
    victim.note("closing")
    service.close()
    victim.note("closed")


if __name__ == "__main__":
    main(Task(**json.loads(sys.argv[1])))
