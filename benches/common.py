"""What the benches share: loops of jobq and its peers, the helper that times them, the machine.

Baselines, all of one process and one loop shape, `for _ in repeat(None, n)` inside a function (`range` would
make a number in each turn, which costs more instructions than a call that does nothing):

noop3           three calls of `deque.clear` on an empty deque: a C method that takes and does nothing. The
                public API has none (`Topic.noop` does not exist), so the peer is the interpreter's.
reserve_empty   `Topic.reserve_one(timeout=0)` on an empty topic, jobq's own cheapest call with an answer.
simple_empty    `queue.SimpleQueue.empty`, another C method that does next to nothing.
priority_queue  `queue.PriorityQueue` put and get of (weight, serial number, payload).
heap            heapq push and pop of the same tuples: no lock, no wait, no thread safety beyond the GIL.
simple_queue    `queue.SimpleQueue` put and get: no weight, no lease, no acknowledgement.
"""

from __future__ import annotations

import heapq
import os
import platform
import statistics
import sysconfig
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from queue import PriorityQueue, SimpleQueue
from typing import Any, Protocol, TypeAlias

import jobq

PAYLOAD = b"x" * 64
ROUNDS = 15
CHECKED = 20  # turns, and depth / 1,000, where nothing is measured
KEPT = 100_000  # finished jobs that the default retention keeps; after as many lives a service is steady

Run: TypeAlias = Callable[[int], object]
Item: TypeAlias = tuple[int, int, bytes]


class Benchmark(Protocol):
    """What is used of pytest-benchmark's fixture."""

    name: str
    group: str | None
    enabled: bool
    extra_info: dict[str, Any]
    stats: Any

    def pedantic(
        self,
        target: Callable[..., object],
        *,
        setup: Callable[[], tuple[tuple[int], dict[str, object]]] | None = None,
        rounds: int = 1,
        warmup_rounds: int = 0,
    ) -> object: ...


@dataclass(frozen=True)
class Figure:
    """A line of the summary: one bench, per operation."""

    group: str
    name: str
    median: float
    low: float
    high: float
    unit: str


FIGURES: list[Figure] = []


def measure(
    benchmark: Benchmark,
    group: str,
    run: Run,
    *,
    turns: int = 20_000,
    per: int = 1,
    prepare: Run | None = None,
    rounds: int = ROUNDS,
) -> None:
    """Time `run(turns)`, each round after an untimed `prepare(turns)`; report ns for each of turns * per."""
    number = scaled(benchmark, turns, CHECKED)
    benchmark.group = group

    def setup() -> tuple[tuple[int], dict[str, object]]:
        if prepare is not None:
            prepare(number)
        return (number,), {}

    benchmark.pedantic(run, setup=setup, rounds=rounds, warmup_rounds=1)
    if not benchmark.enabled:
        return
    seconds: list[float] = benchmark.stats.stats.data
    low, median, high = (
        part / (number * per) * 1e9 for part in statistics.quantiles(seconds, n=4, method="inclusive")
    )
    benchmark.extra_info.update(
        operations=number * per,
        ns_per_operation=median,
        quartiles=[low, high],
        payload=len(PAYLOAD),
        load=os.getloadavg(),
    )
    FIGURES.append(Figure(group, benchmark.name.removeprefix("test_"), median, low, high, "ns"))


def scaled(benchmark: Benchmark, full: int, checked: int = CHECKED * 50) -> int:
    """A size: `full` where something is measured, at most `checked` where the code is only run once."""
    return full if benchmark.enabled else min(full, checked)


def machine() -> list[str]:
    """Machine, interpreter and load, without which a figure means nothing."""
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    built = ", ".join(
        f"{what} {'yes' if flag in flags else 'no'}"
        for what, flag in (
            ("PGO", "--enable-optimizations"),
            ("LTO", "--with-lto"),
            ("shared", "--enable-shared"),
        )
    )
    cpus = len(os.sched_getaffinity(0))
    loads = " ".join(f"{load:.1f}" for load in os.getloadavg())
    pages = _line("/sys/kernel/mm/transparent_hugepage/enabled", "[").partition("[")[2].partition("]")[0]
    cpu = _line("/proc/cpuinfo", "model name").partition(":")[2].strip() or platform.machine()
    system = f"{platform.system()} {platform.release()}, huge pages {pages or 'unknown'}"
    python = f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}"
    return [
        f"machine: {cpu}, {cpus} cpus, {system}",
        f"interpreter: {python}, configured with {built}; jobq {jobq.__version__}",
        f"load: {loads} (above {cpus} other work shares the cpus; figures below are then for orientation)",
    ]


def _line(path: str, word: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if word in line), "")


def warm(topic: jobq.Topic, lives: int = KEPT + KEPT // 10) -> None:
    """Lead a service to its steady state, in which each finished job pushes one out of the retention."""
    cycle_handle(lives, topic)


# -- loops that do nothing ----------------------------------------------------------------------


def loop(n: int) -> None:
    """The loop alone."""
    for _ in repeat(None, n):
        pass


def noop3(n: int) -> None:
    """The denominator of the single cycle: three calls that do nothing."""
    nothing: deque[object] = deque()
    for _ in repeat(None, n):
        nothing.clear()
        nothing.clear()
        nothing.clear()


def simple_empty(n: int) -> None:
    """A C method that reads one field."""
    queue: SimpleQueue[bytes] = SimpleQueue()
    for _ in repeat(None, n):
        queue.empty()


def reserve_empty(n: int, topic: jobq.Topic) -> None:
    """Ask an empty topic; never waits."""
    for _ in repeat(None, n):
        topic.reserve_one(timeout=0)


# -- whole lives of one job ---------------------------------------------------------------------


def cycle_handle(n: int, topic: jobq.Topic) -> None:
    """enqueue, reserve_one, done by the topic's handle."""
    payload = PAYLOAD
    for _ in repeat(None, n):
        topic.enqueue(payload)
        topic.reserve_one().done()


def cycle_name(n: int, svc: jobq.JobService, name: str) -> None:
    """The same by the topic's name."""
    payload = PAYLOAD
    for _ in repeat(None, n):
        svc.enqueue(name, payload)
        svc.reserve_one(name).done()


def cycle_with(n: int, topic: jobq.Topic) -> None:
    """The same, settled by the end of a `with` block."""
    payload = PAYLOAD
    for _ in repeat(None, n):
        topic.enqueue(payload)
        with topic.reserve_one():
            pass


def cycle_priority_queue(n: int, queue: PriorityQueue[Item], serial: Iterator[int]) -> None:
    """put and get; the queue is emptied as it is filled."""
    payload = PAYLOAD
    for _ in repeat(None, n):
        queue.put((0, next(serial), payload))
        queue.get()


def cycle_heap(n: int, heap: list[Item], serial: Iterator[int]) -> None:
    """heappush and heappop."""
    payload = PAYLOAD
    push, pop = heapq.heappush, heapq.heappop
    for _ in repeat(None, n):
        push(heap, (0, next(serial), payload))
        pop(heap)


def cycle_simple_queue(n: int, queue: SimpleQueue[bytes]) -> None:
    """put and get."""
    payload = PAYLOAD
    for _ in repeat(None, n):
        queue.put(payload)
        queue.get()


def cycle_batch(n: int, svc: jobq.JobService, topic: jobq.Topic, payloads: list[bytes]) -> None:
    """enqueue_many, reserve, done_many of as many jobs as there are payloads."""
    limit = len(payloads)
    for _ in repeat(None, n):
        topic.enqueue_many(payloads)
        svc.done_many(topic.reserve(limit))
