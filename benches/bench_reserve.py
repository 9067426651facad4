"""reserve_one, reserve and consume on a topic with enough ready jobs, and the poll of an empty one.

Machine and interpreter: printed above the tables. Method: N jobs are queued untimed, then all are reserved in
one loop, 15 rounds, median; collector on; the handles are kept until the round is over, settling them is not
timed. Baselines in the same run: get of queue.PriorityQueue and queue.SimpleQueue, heapq.heappop, and noop3
(common.py).
"""

from __future__ import annotations

import heapq
from functools import partial
from itertools import repeat
from queue import PriorityQueue, SimpleQueue

import pytest

import jobq
from benches import common
from benches.common import PAYLOAD, Benchmark, Item, Run, measure

GROUP = "reserve"


class Stock:
    """A topic that each round finds filled with n jobs; the handles of the last round are settled first."""

    def __init__(self, svc: jobq.JobService) -> None:
        self.svc = svc
        self.topic = svc.topic("reserve")
        self.held: list[jobq.Job] = []

    def fill(self, n: int) -> None:
        self.svc.done_many(self.held)
        self.held.clear()
        self.topic.enqueue_many([PAYLOAD] * n)


def test_one_by_handle(benchmark: Benchmark, svc: jobq.JobService) -> None:
    stock = Stock(svc)

    def run(n: int) -> None:
        topic, held = stock.topic, stock.held
        for _ in repeat(None, n):
            held.append(topic.reserve_one())

    measure(benchmark, GROUP, run, prepare=stock.fill)


def test_one_by_name(benchmark: Benchmark, svc: jobq.JobService) -> None:
    stock = Stock(svc)

    def run(n: int) -> None:
        held, name, service = stock.held, "reserve", stock.svc
        for _ in repeat(None, n):
            held.append(service.reserve_one(name))

    measure(benchmark, GROUP, run, prepare=stock.fill)


def test_one_with_timeout(benchmark: Benchmark, svc: jobq.JobService) -> None:
    stock = Stock(svc)

    def run(n: int) -> None:
        topic, held = stock.topic, stock.held
        for _ in repeat(None, n):
            job = topic.reserve_one(timeout=5)
            if job is not None:
                held.append(job)

    measure(benchmark, GROUP, run, prepare=stock.fill)


@pytest.mark.parametrize("limit", [1, 10, 100, 1_000])
def test_limit(benchmark: Benchmark, svc: jobq.JobService, limit: int) -> None:
    stock = Stock(svc)

    def run(n: int) -> None:
        topic, held, most = stock.topic, stock.held, limit
        for _ in repeat(None, n):
            held.extend(topic.reserve(most, timeout=0))

    turns = max(20_000 // limit, 20)
    measure(benchmark, GROUP, run, turns=turns, per=limit, prepare=lambda n: stock.fill(n * limit))


@pytest.mark.parametrize("batch", [1, 100])
def test_consume(benchmark: Benchmark, svc: jobq.JobService, batch: int) -> None:
    stock = Stock(svc)

    def run(n: int) -> None:
        held = stock.held
        for job in stock.topic.consume(batch=batch, idle=0):
            held.append(job)

    measure(benchmark, GROUP, run, prepare=stock.fill)


def test_priority_queue(benchmark: Benchmark) -> None:
    queue: PriorityQueue[Item] = PriorityQueue()
    held: list[Item] = []

    def fill(n: int) -> None:
        held.clear()
        for serial in range(n):
            queue.put((0, serial, PAYLOAD))

    def run(n: int) -> None:
        queue_, held_ = queue, held
        for _ in repeat(None, n):
            held_.append(queue_.get())

    measure(benchmark, GROUP, run, prepare=fill)


def test_heap(benchmark: Benchmark) -> None:
    heap: list[Item] = []
    held: list[Item] = []

    def fill(n: int) -> None:
        held.clear()
        heap.extend((0, serial, PAYLOAD) for serial in range(n))

    def run(n: int) -> None:
        heap_, held_, pop = heap, held, heapq.heappop
        for _ in repeat(None, n):
            held_.append(pop(heap_))

    measure(benchmark, GROUP, run, prepare=fill)


def test_simple_queue(benchmark: Benchmark) -> None:
    queue: SimpleQueue[bytes] = SimpleQueue()
    held: list[bytes] = []

    def fill(n: int) -> None:
        held.clear()
        for _ in repeat(None, n):
            queue.put(PAYLOAD)

    def run(n: int) -> None:
        queue_, held_ = queue, held
        for _ in repeat(None, n):
            held_.append(queue_.get())

    measure(benchmark, GROUP, run, prepare=fill)


def test_empty_reserve_one(benchmark: Benchmark, svc: jobq.JobService) -> None:
    run: Run = partial(common.reserve_empty, topic=svc.topic("empty"))
    measure(benchmark, "reserve, nothing ready", run, turns=200_000)


def test_empty_reserve(benchmark: Benchmark, svc: jobq.JobService) -> None:
    topic = svc.topic("empty")

    def run(n: int) -> None:
        topic_ = topic
        for _ in repeat(None, n):
            topic_.reserve(10, timeout=0)

    measure(benchmark, "reserve, nothing ready", run, turns=200_000)


def test_simple_empty(benchmark: Benchmark) -> None:
    measure(benchmark, "reserve, nothing ready", common.simple_empty, turns=500_000)


def test_noop3(benchmark: Benchmark) -> None:
    measure(benchmark, "reserve, nothing ready", common.noop3, turns=500_000)
