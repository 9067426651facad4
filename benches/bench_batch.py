"""Batches of 10, 100 and 1,000: enqueue_many, reserve and done_many in turn, per job.

Machine and interpreter: printed above the tables. Method: a loop of whole batches per round, 15 rounds,
median; collector on; one payload of 64 bytes; retention full. Baselines in the same run: the single cycle by
handle, put and get of queue.PriorityQueue and queue.SimpleQueue and heapq one at a time (they have no
batches), a third of noop3.
"""

from __future__ import annotations

from functools import partial
from itertools import count, repeat
from queue import PriorityQueue, SimpleQueue

import pytest

import jobq
from benches import common
from benches.common import PAYLOAD, Benchmark, measure, scaled, warm

GROUP = "batch, per job"


@pytest.mark.parametrize("size", [1_000, 100, 10], ids=lambda size: f"{size:,}")
def test_batch(benchmark: Benchmark, svc: jobq.JobService, size: int) -> None:
    topic = svc.topic("batch")
    warm(topic, scaled(benchmark, 110_000))
    run = partial(common.cycle_batch, svc=svc, topic=topic, payloads=[PAYLOAD] * size)
    measure(benchmark, GROUP, run, turns=200_000 // size, per=size)


def test_pairs_of_1000(benchmark: Benchmark, svc: jobq.JobService) -> None:
    topic = svc.topic("batch")
    warm(topic, scaled(benchmark, 110_000))
    given = [(PAYLOAD, weight % 8) for weight in range(1_000)]

    def run(n: int) -> None:
        topic_, service, pairs = topic, svc, given
        for _ in repeat(None, n):
            topic_.enqueue_many(pairs)
            service.done_many(topic_.reserve(1_000))

    measure(benchmark, GROUP, run, turns=200, per=1_000)


def test_single_cycle(benchmark: Benchmark, svc: jobq.JobService) -> None:
    topic = svc.topic("batch")
    warm(topic, scaled(benchmark, 110_000))
    measure(benchmark, GROUP, partial(common.cycle_handle, topic=topic), turns=100_000)


def test_priority_queue(benchmark: Benchmark) -> None:
    measure(benchmark, GROUP, partial(common.cycle_priority_queue, queue=PriorityQueue(), serial=count()))


def test_heap(benchmark: Benchmark) -> None:
    measure(benchmark, GROUP, partial(common.cycle_heap, heap=[], serial=count()), turns=100_000)


def test_simple_queue(benchmark: Benchmark) -> None:
    measure(benchmark, GROUP, partial(common.cycle_simple_queue, queue=SimpleQueue()), turns=200_000)


def test_third_of_noop3(benchmark: Benchmark) -> None:
    measure(benchmark, GROUP, common.noop3, turns=500_000, per=3)
