"""Many threads at once: no job is lost, doubled or invented, no call hangs, the statistics hold at the end.

A queue that loses one job in a million looks sound in every test with one thread. How long the big one runs
is told by JOBQ_STRESS_SECONDS (default 10).
"""

import faulthandler
import json
import os
import random
import struct
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest

import jobq
from child import Child
from jobq import JobOptions, JobService, Limits, Retention, Status
from jobq.testing import ManualClock
from surface import METHODS, books_balance
from waits import Crew, until

STRESS = float(os.environ.get("JOBQ_STRESS_SECONDS", "10"))
TOPICS = ("red", "green", "blue")
UNBOUNDED = 2**32 - 1

# -- total-queue checking ------------------------------------------------------------------------------------
#
# Job n of producer p carries (p, n). Whoever finishes it writes down that pair and the id. At the end each
# pair that was ever enqueued must have been written down once, with the id that enqueue returned for it.

KEY = struct.Struct("<Q")  # producer << 48 | n


class Producer:
    """Enqueues numbered jobs, one by one and in batches, now and with a small delay, until told to stop."""

    def __init__(
        self, svc: JobService, number: int, credit: threading.Semaphore, stop: threading.Event
    ) -> None:
        self._svc, self._number, self._credit, self._stop = svc, number, credit, stop
        self._random = random.Random(number)
        self.ids = array("Q")  # by n

    def run(self) -> None:
        handles = [self._svc.topic(name) for name in TOPICS]
        while not self._stop.is_set():
            count = self._random.choice((1, 1, 1, 2, 10, 50))
            for _ in range(count):
                assert self._credit.acquire(timeout=30), "the consumers have stopped"
            first = len(self.ids)
            keys = range(self._number << 48 | first, (self._number << 48 | first) + count)
            pairs = [(KEY.pack(key), self._random.randint(-3, 3)) for key in keys]
            delay = self._random.choice((None, None, 0, 0.002, timedelta(milliseconds=5)))
            if count == 1:
                self.ids.append(self._random.choice(handles).enqueue(*pairs[0], delay=delay))
            else:
                self.ids.extend(self._svc.enqueue_many(self._random.choice(TOPICS), pairs, delay=delay))


class Consumer:
    """Finishes jobs in every way there is, gives some back first, until the service is stopped."""

    def __init__(self, svc: JobService, number: int, credit: threading.Semaphore) -> None:
        self._svc, self._number, self._credit = svc, number, credit
        self._random = random.Random(1000 + number)
        self.finished = array("Q")  # producer << 48 | n
        self.ids = array("Q")  # of the same jobs
        self.ended: Counter[str] = Counter()

    def run(self) -> None:
        with suppress(jobq.ServiceClosed):
            if self._number < 2 * len(TOPICS):
                self._wait_on(self._svc.topic(TOPICS[self._number % len(TOPICS)]))
            else:
                self._roam()

    def _wait_on(self, topic: jobq.Topic) -> None:
        """On one topic, without any timeout: what a lost wake-up would leave asleep for ever."""
        if self._number < len(TOPICS):
            for job in topic.consume(batch=self._random.randint(1, 8)):
                self._settle(job)
                del job  # else this name would hold a handle meant to be dropped through the next wait
        else:
            while True:
                for job in topic.reserve(5):
                    self._settle(job)
                    del job

    def _roam(self) -> None:
        while True:
            jobs = self._svc.reserve(
                self._random.choice(TOPICS), self._random.choice((1, 7, 100)), timeout=0.02
            )
            if self._random.random() < 0.1:
                self._svc.release_many(jobs)
                self.ended["release"] += len(jobs)
            else:
                for job in jobs:
                    self._write_down(job)
                self._svc.done_many(jobs)

    def _settle(self, job: jobq.Job) -> None:
        draw = self._random.random()
        if draw < 0.05:
            job.release(self._random.choice((0, 0.001)))
            self.ended["release"] += 1
        elif draw < 0.1:
            assert job.retry(0) is Status.READY
            self.ended["retry"] += 1
        elif draw < 0.12:
            self.ended["drop"] += 1
        elif draw < 0.5:
            with job:
                self._write_down(job)
        else:
            self._write_down(job)
            job.done()

    def _write_down(self, job: jobq.Job) -> None:
        self.finished.append(KEY.unpack(job.payload)[0])
        self.ids.append(job.id)
        self._credit.release()


def test_nothing_is_lost_doubled_or_invented() -> None:
    options = JobOptions(max_retries=UNBOUNDED, min_backoff=0, jitter=0)
    svc = JobService(defaults=options, retention=Retention.none())
    credit, stop = threading.Semaphore(10_000), threading.Event()
    producers = [Producer(svc, number, credit, stop) for number in range(8)]
    consumers = [Consumer(svc, number, credit) for number in range(8)]
    with Crew() as eating:
        for consumer in consumers:
            eating.start(consumer.run)
        with Crew(STRESS + 30) as making:
            for producer in producers:
                making.start(producer.run)
            stop.wait(STRESS)
            stop.set()
        assert svc.join(timeout=30), svc.stats()
        svc.stop()

    left = [array("Q", producer.ids) for producer in producers]
    for consumer in consumers:
        for key, id in zip(consumer.finished, consumer.ids, strict=True):
            producer, n = key >> 48, key & (1 << 48) - 1
            assert left[producer][n] == id, (
                f"job {id}: number {n} of producer {producer} is invented or doubled"
            )
            left[producer][n] = 0
    assert [number for number, ids in enumerate(left) if any(ids)] == [], "jobs are lost"

    stats, ended = svc.stats(), sum((consumer.ended for consumer in consumers), Counter[str]())
    books_balance(stats)
    assert stats.enqueued == stats.completions == sum(map(len, left))
    assert (stats.live, stats.waiting) == (0, 0)
    gone = (stats.releases, stats.retries, stats.expiries)
    assert gone == (ended["release"], ended["retry"], ended["drop"])
    assert stats.reservations == stats.completions + stats.releases + stats.retries + stats.expiries
    assert svc.verify() == []
    svc.close()


def test_a_hand_over_is_never_missed() -> None:
    """Two threads wake each other by turns, without a timeout: one missed wake-up and both sleep for ever."""
    rounds = 5_000

    def answer(svc: JobService, hears: str, says: str) -> None:
        for _ in range(rounds):
            svc.reserve_one(hears).done()
            svc.enqueue(says, b"")

    with jobq.open() as svc, Crew() as crew:
        crew.start(answer, svc, "ping", "pong")
        crew.start(answer, svc, "pong", "ping")
        svc.enqueue("ping", b"")
        crew.join()
        assert (svc.topic_stats("ping").ready, svc.topic_stats("pong").completions) == (1, rounds)


# -- a clock moved by several threads ------------------------------------------------------------------------


def test_a_clock_moved_by_several_threads_promotes_each_job_once_and_never_early() -> None:
    clock = ManualClock()
    start, count, span = clock.now(), 3_000, 1_000_000
    svc = JobService(clock=clock, retention=Retention.none())
    draw = random.Random(7)
    for _ in range(count):
        due = draw.randint(1, span)
        svc.enqueue("late", struct.pack("<Q", due), delay=timedelta(milliseconds=due))
    seen: list[int] = []

    def move(number: int) -> None:
        steps = random.Random(number)
        while clock.now() < start + timedelta(milliseconds=span):
            clock.advance(timedelta(milliseconds=steps.randint(1, 2_000)))

    def eat() -> None:
        for job in svc.consume("late", batch=10):
            with job:
                (due,) = struct.unpack("<Q", job.payload)
                assert clock.now() >= start + timedelta(milliseconds=due), "a job was early"
                seen.append(job.id)

    with Crew() as crew:
        for _ in range(4):
            crew.start(eat)
        for number in range(4):
            crew.start(move, number)
        assert svc.join(timeout=30), svc.stats()
        svc.stop()
    assert sorted(seen) == list(range(1, count + 1))
    stats = svc.stats()
    books_balance(stats)
    assert (stats.delays, stats.promotions, stats.completions, stats.expiries) == (count, count, count, 0)
    svc.close()


def test_a_lease_that_ends_under_its_holder_is_completed_by_one_of_them() -> None:
    """Six jobs at a time under eight workers: what one has lost, another has when the loser says done()."""
    clock, count = ManualClock(), 400
    options = JobOptions(lease=5, max_retries=UNBOUNDED, min_backoff=0)
    svc = JobService(clock=clock, defaults=options)
    svc.enqueue_many("t", [b""] * 6)
    more = iter(range(count - 6))
    granted: list[tuple[int, int]] = []  # id, token
    accepted: list[tuple[int, int]] = []
    lost: list[tuple[int, int]] = []

    def finish(job: jobq.Job) -> None:
        try:
            job.done()
        except jobq.LeaseLost:
            lost.append((job.id, job.token))
        else:
            accepted.append((job.id, job.token))
            if next(more, None) is not None:
                svc.enqueue("t", b"")

    def work(seed: int) -> None:
        draw = random.Random(seed)
        while (job := svc.reserve_one("t", timeout=0.05)) is not None or svc.stats().live:
            if job is None:
                continue
            clock.advance(draw.choice((0, 1, 2, 6)))
            # A call of nobody's lease makes time do its work; it may well lease the very job again.
            others = svc.reserve("t", draw.choice((1, 9)), timeout=0)
            for held in (job, *others):
                granted.append((held.id, held.token))
                finish(held)

    with Crew() as crew:
        for seed in range(8):
            crew.start(work, seed)
    newest = dict(sorted(granted))
    assert sorted(accepted) == sorted(newest.items()), "an older token was accepted"
    assert list(newest) == list(range(1, count + 1))
    assert len({token for _, token in granted}) == len(granted)
    stats = svc.stats()
    books_balance(stats)
    assert stats.expiries == len(lost) > 0
    assert stats.reservations == count + stats.expiries
    assert svc.verify() == []
    svc.close()


# -- every method at once ------------------------------------------------------------------------------------


class Field:
    """What one of the hammering threads calls: the shared service, and the handles it holds itself."""

    def __init__(self, svc: JobService, clock: ManualClock, seed: int) -> None:
        self.svc, self.clock, self.draw = svc, clock, random.Random(seed)
        self.mine: list[jobq.Job] = []

    @property
    def name(self) -> str:
        return self.draw.choice(TOPICS)

    @property
    def topic(self) -> jobq.Topic:
        return self.svc.topic(self.name)

    @property
    def delay(self) -> float | None:
        return self.draw.choice((None, 0, 1, 20))

    @property
    def timeout(self) -> float:
        return self.draw.choice((0, 0.0005))

    @property
    def id(self) -> int:
        return self.draw.randint(1, max(1, self.svc.stats().enqueued))

    @property
    def job(self) -> jobq.Job:
        """A handle it holds, or one it takes now; without any, the move ends as if the job were gone."""
        if not self.mine:
            self.mine += self.svc.reserve(self.name, 3, timeout=0)
        if not self.mine:
            raise jobq.JobNotFound("nothing to hold", 1)
        return self.draw.choice(self.mine)

    def keep(self, jobs: list[jobq.Job]) -> None:
        self.mine += jobs
        del self.mine[:-5]  # the oldest are dropped, settled or not


MOVES: dict[str, Callable[[Field], object]] = {
    "JobService.enqueue": lambda f: f.svc.enqueue(f.name, b"x", f.draw.randint(-5, 5), delay=f.delay),
    "JobService.enqueue_many": lambda f: f.svc.enqueue_many(
        f.name, [b"x", (b"y", f.draw.randint(-5, 5))], delay=f.delay
    ),
    "JobService.reserve": lambda f: f.keep(f.svc.reserve(f.name, 4, timeout=f.timeout)),
    "JobService.reserve_one": lambda f: f.keep(
        [j] if (j := f.svc.reserve_one(f.name, timeout=f.timeout)) else []
    ),
    "JobService.consume": lambda f: [job.done() for job in f.svc.consume(f.name, batch=3, idle=0)],
    "JobService.done_many": lambda f: f.svc.done_many(f.mine),
    "JobService.retry_many": lambda f: f.svc.retry_many(f.mine, f.delay, error="again"),
    "JobService.release_many": lambda f: f.svc.release_many(f.mine),
    "JobService.status": lambda f: f.svc.status(f.id),
    "JobService.info": lambda f: f.svc.info(f.id),
    "JobService.payload": lambda f: f.svc.payload(f.id),
    "JobService.find": lambda f: list(f.svc.find(topic=f.name, after=f.id - 1, limit=20)),
    "JobService.topics": lambda f: f.svc.topics(),
    "JobService.topic_stats": lambda f: books_balance(f.svc.topic_stats(f.name)),
    "JobService.stats": lambda f: books_balance(f.svc.stats()),
    "JobService.topic": lambda f: f.svc.topic(f.name, options=JobOptions(max_retries=1)),
    "JobService.cancel": lambda f: f.svc.cancel([f.id]),
    "JobService.reset": lambda f: f.svc.reset(f.id, force=f.draw.random() < 0.5),
    "JobService.delete": lambda f: f.svc.delete(f.id),
    "JobService.pause": lambda f: f.svc.pause(f.name),
    "JobService.resume": lambda f: f.svc.resume(f.name),
    "JobService.join": lambda f: f.svc.join(f.name, timeout=f.timeout),
    "JobService.flush": lambda f: f.svc.flush(),
    "JobService.compact": lambda f: f.svc.compact(),
    "JobService.verify": lambda f: sound(f.svc.verify()),
    "Topic.enqueue": lambda f: f.topic.enqueue(b"x", f.draw.randint(-5, 5), delay=f.delay),
    "Topic.enqueue_many": lambda f: f.topic.enqueue_many([b"x"] * 5, f.draw.randint(-5, 5)),
    "Topic.reserve": lambda f: f.keep(f.topic.reserve(2, timeout=f.timeout)),
    "Topic.reserve_one": lambda f: f.keep([j] if (j := f.topic.reserve_one(timeout=f.timeout)) else []),
    "Topic.consume": lambda f: next(f.topic.consume(batch=5, idle=f.timeout), None),
    "Topic.stats": lambda f: books_balance(f.topic.stats()),
    "Topic.pause": lambda f: f.topic.pause(),
    "Topic.resume": lambda f: f.topic.resume(),
    "Topic.join": lambda f: f.topic.join(timeout=f.timeout),
    "Job.remaining": lambda f: f.job.remaining(),
    "Job.info": lambda f: f.job.info(),
    "Job.done": lambda f: f.job.done(),
    "Job.retry": lambda f: f.job.retry(f.delay, error=ValueError("again")),
    "Job.release": lambda f: f.job.release(),
    "Job.cancel": lambda f: f.job.cancel(error="enough"),
    "Job.extend": lambda f: f.job.extend(30),
    "Job.log": lambda f: f.job.log("%s", "line"),
    "drop": lambda f: f.mine.clear(),
    "clock.advance": lambda f: f.clock.advance(f.draw.randint(0, 20)),
    "clock.jump": lambda f: f.clock.jump(f.draw.randint(-20, 20)),
}


def sound(faults: list[str]) -> None:
    assert faults == []


def hammer(seconds: float, *, closing: bool) -> None:
    """16 threads call every method in random order; run in a child, whose end a hang cannot prevent."""
    faulthandler.dump_traceback_later(seconds + 45, exit=True)
    sys.setswitchinterval(1e-6)
    clock, stop = ManualClock(), threading.Event()
    svc = JobService(
        clock=clock,
        defaults=JobOptions(lease=30, max_retries=3, min_backoff=1, log_status_change=True),
        retention=Retention(count=500),
        dead_retention=Retention(count=500),
        limits=Limits(max_jobs=2_000, topic_idle=60),
    )
    called: list[Counter[str]] = []

    def run(seed: int) -> None:
        field, mine, names = Field(svc, clock, seed), Counter[str](), list(MOVES)
        called.append(mine)
        try:
            while not stop.is_set():
                name = field.draw.choice(names)
                with suppress(jobq.JobNotFound, jobq.InvalidTransition, jobq.QueueFull):
                    MOVES[name](field)
                mine[name] += 1
        except jobq.ServiceClosed:
            assert closing

    with Crew(seconds + 30) as crew:
        for seed in range(16):
            crew.start(run, seed)
        stop.wait(seconds)
        if closing:
            began = time.monotonic()
            svc.close()
            crew.join()
            assert time.monotonic() - began < 5
        stop.set()
    total = sum(called, Counter[str]())
    if not closing:
        look_through(svc)
    print(
        json.dumps(
            {"calls": total.total(), "missing": sorted(set(MOVES) - set(total)), "threads": len(called)}
        )
    )


def look_through(svc: JobService) -> None:
    until(lambda: svc.stats().waiting == 0, "no waiter is left")
    stats, found = svc.stats(), Counter(info.status for info in svc.find())
    books_balance(stats)
    assert {status: getattr(stats, status) for status in Status} == {
        status: found[status] for status in Status
    }
    for name in svc.topics():
        books_balance(svc.topic_stats(name))
    assert svc.verify() == []
    svc.resume("red")
    new = svc.enqueue("red", b"after", -(2**15)) if stats.live < 2_000 else None
    assert new is None or svc.reserve_one("red", timeout=5) is not None
    svc.close()


def test_the_hammer_strikes_every_method() -> None:
    assert set(METHODS) - set(MOVES) == {"JobService.stop", "JobService.close"}


@pytest.mark.parametrize("closing", [False, True], ids=["to-the-end", "closed-meanwhile"])
def test_every_method_at_once_ends_in_no_deadlock(closing: bool) -> None:
    """A core lock held while the GIL is wanted deadlocks only if a switch falls between: so it does here."""
    seconds = STRESS / 2
    with Child(f"from test_threads import hammer; hammer({seconds}, closing={closing})") as child:
        told = json.loads(child.finish(seconds + 60).succeeded().out)
    assert (told["missing"], told["threads"]) == ([], 16)
    assert told["calls"] > 1_000
