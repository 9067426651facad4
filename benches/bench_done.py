"""Settling: done, retry, release, cancel, extend on held jobs, done_many, and what a stale handle costs.

Machine and interpreter: printed above the tables. Method: N jobs are queued and reserved untimed, then each
is settled in one loop, 15 rounds, median; collector on; freeing the handles is not timed. Baselines in the
same run: queue.Queue.task_done, the only acknowledgement of the standard library, and noop3 (common.py).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from queue import Queue

import pytest

import jobq
from benches import common
from benches.common import PAYLOAD, Benchmark, measure

GROUP = "settle"


class Held:
    """n jobs reserved before each round; what the last round left anywhere is gone by then."""

    def __init__(self) -> None:
        self.svc = jobq.JobService(dead_retention=jobq.Retention(count=1_000))
        self.jobs: list[jobq.Job] = []

    def fill(self, n: int) -> None:
        self.clear()
        self.svc.enqueue_many("settle", [PAYLOAD] * n)
        self.jobs.extend(self.svc.reserve("settle", n))

    def clear(self) -> None:
        self.svc.done_many(self.jobs)
        self.jobs.clear()
        self.svc.done_many(self.svc.reserve("settle", 1_000_000, timeout=0))


def done(jobs: list[jobq.Job]) -> None:
    for job in jobs:
        job.done()


def retry(jobs: list[jobq.Job]) -> None:
    for job in jobs:
        job.retry(0)


def retry_error(jobs: list[jobq.Job]) -> None:
    for job in jobs:
        job.retry(0, error="mailbox full")


def release(jobs: list[jobq.Job]) -> None:
    for job in jobs:
        job.release()


def cancel(jobs: list[jobq.Job]) -> None:
    for job in jobs:
        job.cancel()


def extend(jobs: list[jobq.Job]) -> None:
    for job in jobs:
        job.extend()


def log(jobs: list[jobq.Job]) -> None:
    for job in jobs:
        job.log("half of it")


def with_block(jobs: list[jobq.Job]) -> None:
    for job in jobs:
        with job:
            pass


@pytest.mark.parametrize(
    "verb",
    [done, retry, retry_error, release, cancel, extend, log, with_block],
    ids=lambda verb: verb.__name__,
)
def test_held(benchmark: Benchmark, verb: Callable[[list[jobq.Job]], None]) -> None:
    held = Held()
    with held.svc:
        measure(benchmark, GROUP, lambda _: verb(held.jobs), prepare=held.fill)


def test_done_many(benchmark: Benchmark) -> None:
    held = Held()
    with held.svc:
        measure(benchmark, GROUP, lambda _: held.svc.done_many(held.jobs), prepare=held.fill)


def test_done_lost(benchmark: Benchmark, svc: jobq.JobService) -> None:
    svc.enqueue("settle", PAYLOAD)
    stale = svc.reserve_one("settle")
    stale.done()

    def run(n: int) -> None:
        job, lost = stale, jobq.LeaseLost
        for _ in repeat(None, n):
            try:  # noqa: SIM105  # as a program would; suppress() costs more than what is measured
                job.done()
            except lost:
                pass

    measure(benchmark, GROUP, run)


def test_task_done(benchmark: Benchmark) -> None:
    queue: Queue[bytes] = Queue()

    def fill(n: int) -> None:
        for _ in repeat(None, n):
            queue.put(PAYLOAD)
            queue.get()

    def run(n: int) -> None:
        queue_ = queue
        for _ in repeat(None, n):
            queue_.task_done()

    measure(benchmark, GROUP, run, prepare=fill)


def test_noop3(benchmark: Benchmark) -> None:
    measure(benchmark, GROUP, common.noop3, turns=500_000)
