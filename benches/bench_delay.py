"""Delayed jobs: enqueue with a delay, single and in batches, beside up to 1,000,000 delayed ones; promoting.

Machine and interpreter: printed above the tables. Method: a loop of N turns per round, 15 rounds, median;
collector on; one payload of 64 bytes; delays from an hour to a day, the same in every run. Baseline in the
same run: heapq.heappush of (time() + delay, serial number, payload). Ten million at once: `python -m
benches.ratios`.
"""

from __future__ import annotations

from itertools import count

import pytest

import jobq
from benches.common import PAYLOAD, Benchmark, measure, scaled
from benches.delayed import fill_heap, fill_jobq, fill_jobq_batches, random_delays
from jobq.testing import ManualClock

DEPTHS = pytest.mark.parametrize("depth", [0, 1_000_000], ids=lambda depth: f"{depth:,}")
BATCH = 1_000


def title(depth: int) -> str:
    return f"enqueue delayed, {depth:,} there, per job"


@DEPTHS
def test_single(benchmark: Benchmark, svc: jobq.JobService, depth: int) -> None:
    topic, delays = svc.topic("delay"), random_delays()
    fill_jobq_batches(scaled(benchmark, depth), topic, delays, BATCH)
    measure(benchmark, title(depth), lambda n: fill_jobq(n, topic, delays))


@DEPTHS
def test_batches_of_1000(benchmark: Benchmark, svc: jobq.JobService, depth: int) -> None:
    topic, delays = svc.topic("delay"), random_delays()
    fill_jobq_batches(scaled(benchmark, depth), topic, delays, BATCH)
    measure(
        benchmark,
        title(depth),
        lambda n: fill_jobq_batches(n * BATCH, topic, delays, BATCH),
        turns=20,
        per=BATCH,
    )


@DEPTHS
def test_heap(benchmark: Benchmark, depth: int) -> None:
    heap: list[tuple[float, int, bytes]] = []
    delays, serial = random_delays(), count()
    fill_heap(scaled(benchmark, depth), heap, delays, serial)
    measure(benchmark, title(depth), lambda n: fill_heap(n, heap, delays, serial))


@pytest.mark.parametrize("weights", [1, 65_536], ids=["one weight", "all weights"])
def test_promote(benchmark: Benchmark, weights: int) -> None:
    """A manual clock passes the due date of N jobs at once; what is timed is `advance` alone."""
    clock = ManualClock()
    with jobq.JobService(clock=clock) as svc:
        topic = svc.topic("delay")

        def fill(n: int) -> None:
            svc.done_many(topic.reserve(10_000_000, timeout=0))
            topic.enqueue_many(
                [(PAYLOAD, at * 40_503 % weights - weights // 2) for at in range(n)], delay=3_600
            )

        measure(
            benchmark,
            "promote, per job",
            lambda _: clock.advance(3_600),
            turns=200_000,
            prepare=fill,
            rounds=5,
        )
