"""enqueue alone: N jobs into a topic that is empty before each round, in each form the call has.

Machine and interpreter: printed above the tables. Method: a loop of N turns per round, 15 rounds, median;
collector on; one payload of 64 bytes; what a round queued is taken out untimed, so that records are used
again. Baselines in the same run: put of queue.PriorityQueue and queue.SimpleQueue, heapq.heappush, and noop3
(common.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count, repeat
from queue import PriorityQueue, SimpleQueue

import pytest

import jobq
from benches import common
from benches.common import PAYLOAD, Benchmark, Item, measure

GROUP = "enqueue"
OPTIONS = jobq.JobOptions(name="bench", lease=60)


def plain(n: int, topic: jobq.Topic) -> None:
    payload = PAYLOAD
    for _ in repeat(None, n):
        topic.enqueue(payload)


def weight(n: int, topic: jobq.Topic) -> None:
    payload = PAYLOAD
    for _ in repeat(None, n):
        topic.enqueue(payload, 5)


def keyword(n: int, topic: jobq.Topic) -> None:
    payload = PAYLOAD
    for _ in repeat(None, n):
        topic.enqueue(payload, weight=5)


def rotating(n: int, topic: jobq.Topic) -> None:
    payload = PAYLOAD
    for at in range(n):
        topic.enqueue(payload, at & 1_023)


def options(n: int, topic: jobq.Topic) -> None:
    payload, given = PAYLOAD, OPTIONS
    for _ in repeat(None, n):
        topic.enqueue(payload, options=given)


def unfrozen(n: int, topic: jobq.Topic) -> None:
    payload = bytearray(PAYLOAD)
    for _ in repeat(None, n):
        topic.enqueue(payload)


@pytest.mark.parametrize(
    "form", [plain, weight, keyword, rotating, options, unfrozen], ids=lambda form: form.__name__
)
def test_handle(benchmark: Benchmark, svc: jobq.JobService, form: Callable[[int, jobq.Topic], None]) -> None:
    topic = svc.topic("enqueue")

    def empty(n: int) -> None:
        svc.done_many(topic.reserve(n, timeout=0))

    measure(benchmark, GROUP, lambda n: form(n, topic), prepare=empty)


def test_name(benchmark: Benchmark, svc: jobq.JobService) -> None:
    def empty(n: int) -> None:
        svc.done_many(svc.reserve("enqueue", n, timeout=0))

    def run(n: int) -> None:
        payload, name, service = PAYLOAD, "enqueue", svc
        for _ in repeat(None, n):
            service.enqueue(name, payload)

    measure(benchmark, GROUP, run, prepare=empty)


def test_name_of_1000_topics(benchmark: Benchmark, svc: jobq.JobService) -> None:
    names = [f"topic-{serial}" for serial in range(1_000)]

    def empty(n: int) -> None:
        for name in names:
            svc.done_many(svc.reserve(name, n, timeout=0))

    def run(n: int) -> None:
        payload, service, several = PAYLOAD, svc, names
        for at in range(n):
            service.enqueue(several[at % 1_000], payload)

    measure(benchmark, GROUP, run, prepare=empty)


def test_priority_queue(benchmark: Benchmark) -> None:
    queue: PriorityQueue[Item] = PriorityQueue()

    def run(n: int) -> None:
        payload, serial, queue_ = PAYLOAD, count(), queue
        for _ in repeat(None, n):
            queue_.put((0, next(serial), payload))

    measure(benchmark, GROUP, run, prepare=lambda _: queue.queue.clear())


def test_heap(benchmark: Benchmark) -> None:
    heap: list[Item] = []

    def run(n: int) -> None:
        payload, serial, heap_, push = PAYLOAD, count(), heap, heapq.heappush
        for _ in repeat(None, n):
            push(heap_, (0, next(serial), payload))

    measure(benchmark, GROUP, run, prepare=lambda _: heap.clear())


def test_simple_queue(benchmark: Benchmark) -> None:
    queue: SimpleQueue[bytes] = SimpleQueue()

    def empty(_: int) -> None:
        while not queue.empty():
            queue.get()

    def run(n: int) -> None:
        payload, queue_ = PAYLOAD, queue
        for _ in repeat(None, n):
            queue_.put(payload)

    measure(benchmark, GROUP, run, prepare=empty)


def test_noop3(benchmark: Benchmark) -> None:
    measure(benchmark, GROUP, common.noop3, turns=500_000)
