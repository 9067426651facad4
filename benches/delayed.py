"""Millions of delayed jobs in a process of their own: the first fill beside heapq, then a tenth of them
coming due.

`python -m benches.delayed single 10000000` (or `batches`) prints its figures as JSON. Memory is written once
before, because the first touch of a page that the machine has not backed yet costs more than what is
measured. jobq and the heap are filled in turn, in blocks, and stand side by side. Jobs come due by the real
clock; then calls of another topic run one slice each, whose CPU time bounds how long the lock was held.
"""

from __future__ import annotations

import gc
import heapq
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count

import jobq
from benches.common import PAYLOAD

BATCH = 1_000
SLICE = 1_000  # jobs that one call promotes at most
MOST_CALLS = 20  # times as many calls as full slices would need
BYTES = 260  # of a job in both queues, with room to spare
LEAD = 6.0  # seconds in which the jobs that come due are queued
SPREAD = 2.0  # seconds over which they come due

Entry = tuple[float, int, bytes]


def random_delays(number: int = 20_000) -> list[float]:
    """From an hour to a day, the same in every run."""
    source = random.Random(3)
    return [source.uniform(3_600, 86_400) for _ in range(number)]


def fill_jobq(n: int, topic: jobq.Topic, delays: list[float]) -> None:
    """One call for each job."""
    payload = PAYLOAD
    while n > 0:
        for delay in delays[:n]:
            topic.enqueue(payload, delay=delay)
        n -= len(delays)


def fill_jobq_batches(n: int, topic: jobq.Topic, delays: list[float], batch: int) -> None:
    """One call, and one delay, for each batch."""
    payloads = [PAYLOAD] * batch
    for at in range(n // batch):
        topic.enqueue_many(payloads, delay=delays[at % len(delays)])


def fill_heap(n: int, heap: list[Entry], delays: list[float], serial: Iterator[int]) -> None:
    """One push for each job."""
    payload, push, now = PAYLOAD, heapq.heappush, time.time
    while n > 0:
        for delay in delays[:n]:
            push(heap, (now() + delay, next(serial), payload))
        n -= len(delays)


def fill_heap_batches(
    n: int, heap: list[Entry], delays: list[float], serial: Iterator[int], batch: int
) -> None:
    """The same dues as fill_jobq_batches; a heap takes them one by one all the same."""
    payload, push, now = PAYLOAD, heapq.heappush, time.time
    for at in range(n // batch):
        due = now() + delays[at % len(delays)]
        for _ in range(batch):
            push(heap, (due, next(serial), payload))


def touch(size: int) -> None:
    """Write every page once and give the memory back."""
    memory = b"\1" * size
    del memory


def timed(run: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def fill(
    number: int, blocks: int, topic: jobq.Topic, heap: list[Entry], *, batches: bool
) -> dict[str, object]:
    """Fill both in turn; nanoseconds per job, and the ratio of each pair of blocks."""
    delays, serial = random_delays(), count()
    size = number // blocks // BATCH * BATCH
    ours: list[float] = []
    theirs: list[float] = []

    def fill_ours() -> None:
        if batches:
            fill_jobq_batches(size, topic, delays, BATCH)
        else:
            fill_jobq(size, topic, delays)

    def fill_theirs() -> None:
        if batches:
            fill_heap_batches(size, heap, delays, serial, BATCH)
        else:
            fill_heap(size, heap, delays, serial)

    for block in range(blocks):
        source = random.Random(block)  # delays of its own for each block, so that dues do not repeat
        delays[:] = [delay + source.random() for delay in delays]
        pair = [(fill_ours, ours), (fill_theirs, theirs)]
        for run, seconds in pair if block % 2 else pair[::-1]:
            seconds.append(timed(run))
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return {
        "jobs": size * blocks,
        "ratio": statistics.quantiles(ratios, n=4, method="inclusive"),
        "jobq_ns": statistics.median(ours) / size * 1e9,
        "heap_ns": statistics.median(theirs) / size * 1e9,
    }


def promote(svc: jobq.JobService, topic: jobq.Topic, number: int, *, weights: bool) -> dict[str, object]:
    """Queue jobs that come due soon, let them, and time the slices that promote them."""
    source = random.Random(4)
    drawn = [source.randrange(-32_768, 32_768) if weights else 0 for _ in range(number)]
    start = time.monotonic()
    for first in range(0, number, BATCH):
        batch = [(PAYLOAD, weight) for weight in drawn[first : first + BATCH]]
        topic.enqueue_many(batch, delay=LEAD + source.random() * SPREAD)
    taken = time.monotonic() - start
    if taken > LEAD:
        raise SystemExit(f"queueing took {taken:.1f} s: the first came due before the last was there")
    time.sleep(LEAD + SPREAD + 0.1)
    other = svc.topic("other")
    slices: list[int] = []
    ready = 0
    begin = time.perf_counter()
    for _ in range(MOST_CALLS):
        for _ in range(number // SLICE):
            before = time.thread_time_ns()
            other.enqueue(PAYLOAD)
            slices.append(time.thread_time_ns() - before)
        ready = topic.stats().ready
        if ready == number:
            break
    seconds = time.perf_counter() - begin
    if ready != number:
        raise SystemExit(f"{ready:,} of {number:,} jobs were promoted in {len(slices):,} calls: not measured")
    return {
        "jobs": number,
        "seconds": seconds,
        "slice_ms": max(slices) / 1e6,
        "slice_p50_ms": statistics.median(slices) / 1e6,
    }


def main(form: str, number: int) -> None:
    """Fill, then promote a tenth; of one weight after single calls, of random weights after batches."""
    batches = form == "batches"
    touch(number * BYTES)
    gc.disable()
    heap: list[Entry] = []
    with jobq.JobService() as svc:
        topic = svc.topic("delay")
        filled = fill(number - number // 10, 20, topic, heap, batches=batches)
        promoted = promote(svc, topic, number // 10 // BATCH * BATCH, weights=batches)
    print(json.dumps({"fill": filled, "promote": promoted}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
