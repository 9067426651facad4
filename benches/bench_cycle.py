"""The whole life of one job: enqueue, reserve_one, done; shallow, and beside up to 1,000,000 queued jobs.

Machine and interpreter: printed above the tables. Method: a loop of N turns per round, 15 rounds, median;
collector on; one payload of 64 bytes; the service has finished 110,000 jobs before, so that its retention is
full. Baselines in the same run: noop3, jobq's and SimpleQueue's cheapest calls, queue.PriorityQueue, heapq,
queue.SimpleQueue (common.py).
"""

from __future__ import annotations

from functools import partial
from itertools import count
from queue import PriorityQueue, SimpleQueue

import pytest

import jobq
from benches import common
from benches.common import Benchmark, measure, scaled, warm
from benches.deep import deep_heap, deep_priority_queue, deep_topic, pairs

SHALLOW = "cycle, shallow"
DEPTHS = [1_000, 100_000, 1_000_000]
deep = pytest.mark.parametrize("depth", DEPTHS, ids=lambda depth: f"{depth:,}")


def test_handle(benchmark: Benchmark, svc: jobq.JobService) -> None:
    topic = svc.topic("cycle")
    warm(topic, scaled(benchmark, 110_000))
    measure(benchmark, SHALLOW, partial(common.cycle_handle, topic=topic), turns=100_000)


def test_name(benchmark: Benchmark, svc: jobq.JobService) -> None:
    warm(svc.topic("cycle"), scaled(benchmark, 110_000))
    measure(benchmark, SHALLOW, partial(common.cycle_name, svc=svc, name="cycle"), turns=100_000)


def test_with(benchmark: Benchmark, svc: jobq.JobService) -> None:
    topic = svc.topic("cycle")
    warm(topic, scaled(benchmark, 110_000))
    measure(benchmark, SHALLOW, partial(common.cycle_with, topic=topic), turns=100_000)


def test_no_retention(benchmark: Benchmark) -> None:
    with jobq.JobService(retention=jobq.Retention.none()) as svc:
        measure(benchmark, SHALLOW, partial(common.cycle_handle, topic=svc.topic("cycle")), turns=100_000)


def test_noop3(benchmark: Benchmark) -> None:
    measure(benchmark, SHALLOW, common.noop3, turns=500_000)


def test_empty_loop(benchmark: Benchmark) -> None:
    measure(benchmark, SHALLOW, common.loop, turns=1_000_000)


def test_simple_empty(benchmark: Benchmark) -> None:
    measure(benchmark, SHALLOW, common.simple_empty, turns=500_000)


def test_reserve_empty(benchmark: Benchmark, svc: jobq.JobService) -> None:
    measure(benchmark, SHALLOW, partial(common.reserve_empty, topic=svc.topic("empty")), turns=200_000)


def test_priority_queue(benchmark: Benchmark) -> None:
    measure(benchmark, SHALLOW, partial(common.cycle_priority_queue, queue=PriorityQueue(), serial=count()))


def test_heap(benchmark: Benchmark) -> None:
    measure(benchmark, SHALLOW, partial(common.cycle_heap, heap=[], serial=count()), turns=100_000)


def test_simple_queue(benchmark: Benchmark) -> None:
    measure(benchmark, SHALLOW, partial(common.cycle_simple_queue, queue=SimpleQueue()), turns=200_000)


@deep
def test_deep_handle(benchmark: Benchmark, svc: jobq.JobService, depth: int) -> None:
    queued = scaled(benchmark, depth)
    topic = svc.topic("cycle")
    warm(topic, scaled(benchmark, 110_000))
    measure(benchmark, f"cycle, {depth:,} deep", deep_topic(topic, queued, pairs(queued)), turns=50_000)


@deep
def test_deep_priority_queue(benchmark: Benchmark, depth: int) -> None:
    queued = scaled(benchmark, depth)
    measure(benchmark, f"cycle, {depth:,} deep", deep_priority_queue(queued, pairs(queued)), turns=10_000)


@deep
def test_deep_heap(benchmark: Benchmark, depth: int) -> None:
    queued = scaled(benchmark, depth)
    measure(benchmark, f"cycle, {depth:,} deep", deep_heap(queued, pairs(queued)), turns=10_000)
