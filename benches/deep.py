"""The cycle beside many queued jobs of random weights: each turn adds one and takes the first of all."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from itertools import count, islice
from queue import PriorityQueue

import jobq
from benches.common import PAYLOAD, Item, Run

TURNS = 100_000  # the most turns of one run

Pair = tuple[bytes, int]


def pairs(depth: int, *, distinct: bool = False) -> list[Pair]:
    """What is queued, and after it what the turns add: uniform weights, the same in every run.

    All share one payload, or each has its own, in an order that is not that of their addresses.
    """
    number = depth + TURNS
    source = random.Random(1)
    payloads = [b"%064d" % serial for serial in range(number)] if distinct else [PAYLOAD] * number
    source.shuffle(payloads)
    return [(payload, source.randrange(-32_768, 32_768)) for payload in payloads]


def deep_topic(topic: jobq.Topic, depth: int, given: list[Pair]) -> Run:
    """jobq, by handle."""
    topic.enqueue_many(given[:depth])
    turns = given[depth:]

    def run(n: int, topic: jobq.Topic = topic, turns: list[Pair] = turns) -> None:
        for payload, weight in turns[:n]:
            topic.enqueue(payload, weight)
            topic.reserve_one().done()

    return run


def deep_priority_queue(depth: int, given: list[Pair]) -> Run:
    """queue.PriorityQueue."""
    queue: PriorityQueue[Item] = PriorityQueue()
    serial = count()
    for payload, weight in islice(given, depth):
        queue.put((weight, next(serial), payload))
    turns = given[depth:]

    def run(
        n: int,
        queue: PriorityQueue[Item] = queue,
        serial: Iterator[int] = serial,
        turns: list[Pair] = turns,
    ) -> None:
        for payload, weight in turns[:n]:
            queue.put((weight, next(serial), payload))
            queue.get()

    return run


def deep_heap(depth: int, given: list[Pair]) -> Run:
    """heapq on a list; filled by pushes, as by a running program."""
    heap: list[Item] = []
    serial = count()
    push = heapq.heappush
    for payload, weight in islice(given, depth):
        push(heap, (weight, next(serial), payload))
    turns = given[depth:]

    def run(
        n: int,
        heap: list[Item] = heap,
        serial: Iterator[int] = serial,
        turns: list[Pair] = turns,
    ) -> None:
        push, pop = heapq.heappush, heapq.heappop
        for payload, weight in turns[:n]:
            push(heap, (weight, next(serial), payload))
            pop(heap)

    return run
