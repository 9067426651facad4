"""The sections of `python -m benches.ratios`: what is set beside what, and the goal of each row.

The goals are the project's own, for a service in memory; those of a durable one have no rows yet.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from queue import PriorityQueue, SimpleQueue
from typing import Any

import jobq
from benches import common, handoff, instructions, memory
from benches.common import PAYLOAD, warm
from benches.deep import deep_heap, deep_priority_queue, deep_topic, pairs
from benches.interleave import Contender, Goal, Row, Settings, Spread, compare, spread

ROOT = Path(__file__).parent.parent
MB = 1_000_000


def one(value: float) -> Spread:
    """A figure that is measured once."""
    return value, value, value


def cycle(settings: Settings) -> list[Row]:
    """one job at a time, shallow, default retention, full"""
    with jobq.JobService() as svc:
        topic = svc.topic("cycle")
        warm(topic, settings.size(110_000, 1_000))
        queue: PriorityQueue[common.Item] = PriorityQueue()
        found = compare(
            "cycle",
            {
                "handle": Contender(partial(common.cycle_handle, topic=topic)),
                "name": Contender(partial(common.cycle_name, svc=svc, name="cycle")),
                "with": Contender(partial(common.cycle_with, topic=topic)),
                "noop3": Contender(common.noop3),
                "simple_empty": Contender(common.simple_empty),
                "reserve_empty": Contender(partial(common.reserve_empty, topic=svc.topic("empty"))),
                "simple_queue": Contender(partial(common.cycle_simple_queue, queue=SimpleQueue())),
                "heap": Contender(partial(common.cycle_heap, heap=[], serial=count())),
                "priority_queue": Contender(
                    partial(common.cycle_priority_queue, queue=queue, serial=count())
                ),
            },
            settings,
        )
    found.times()
    found.ratio("handle / noop3 (3 x deque.clear)", "handle", "noop3", Goal(3.2, "<="))
    found.ratio_with_loops("the same, loops included", "handle", "noop3")
    found.ratio("PriorityQueue / handle", "priority_queue", "handle", Goal(10, ">="))
    found.ratio("name / handle", "name", "handle", Goal(1.15, "<="))
    found.ratio("with / handle", "with", "handle", Goal(1.9, "<="))
    found.ratio("handle / SimpleQueue", "handle", "simple_queue")
    found.ratio("handle / heapq", "handle", "heap")
    found.ratio("reserve_empty / noop3", "reserve_empty", "noop3")
    return found.rows


def deep(settings: Settings) -> list[Row]:
    """one job at a time beside 1,000,000 queued ones of random weights"""
    rows: list[Row] = []
    depth = settings.size(1_000_000, 2_000)
    for payloads in ("one payload", "distinct payloads"):
        given = pairs(depth, distinct=payloads == "distinct payloads")
        with jobq.JobService() as svc:
            topic = svc.topic("deep")
            warm(topic, settings.size(110_000, 1_000))
            found = compare(
                "deep",
                {
                    f"handle, {payloads}": Contender(deep_topic(topic, depth, given), most=100_000),
                    f"priority_queue, {payloads}": Contender(deep_priority_queue(depth, given), most=100_000),
                    f"heap, {payloads}": Contender(deep_heap(depth, given), most=100_000),
                },
                settings,
            )
        found.times()
        ours = f"handle, {payloads}"
        found.ratio(f"PriorityQueue / handle, {payloads}", f"priority_queue, {payloads}", ours, Goal(9, ">="))
        found.ratio(f"heapq / handle, {payloads}", f"heap, {payloads}", ours, Goal(6, ">="))
        rows += found.rows
    return rows


def batch(settings: Settings) -> list[Row]:
    """batches of 1,000, per job"""
    with jobq.JobService() as svc:
        topic = svc.topic("batch")
        warm(topic, settings.size(110_000, 1_000))
        run = partial(common.cycle_batch, svc=svc, topic=topic, payloads=[PAYLOAD] * 1_000)
        contenders = {
            "batch, per job": Contender(run, per=1_000),
            "a third of noop3": Contender(common.noop3, per=3),
        }
        found = compare("batch", contenders, settings)
    found.times()
    found.ratio("batch per job / a third of noop3", "batch, per job", "a third of noop3", Goal(5, "<=", "on"))
    return found.rows


def count_instructions(settings: Settings) -> list[Row]:
    """exact, by callgrind; the loop is counted too (the bounds are for CPython 3.11)"""
    goals = {
        "loop": None,
        "noop3": None,
        "handle": Goal(1_500, "<="),
        "handle, retention full": Goal(1_500, "<="),
        "batch of 1,000, per job": Goal(850, "<="),
    }
    rows: list[Row] = []
    for name, goal in goals.items():
        try:
            found = one(instructions.instructions(name))
        except instructions.ValgrindMissing as missing:
            print(missing, file=sys.stderr)
            return [Row("instructions", what, "instr", None, goal=of) for what, of in goals.items()]
        else:
            rows.append(Row("instructions", name, "instr", found, goal=goal))
    return rows


def delayed(settings: Settings) -> list[Row]:
    """10,000,000 delayed jobs beside a heap of as many, memory touched before, collector off"""
    number = settings.size(10_000_000, 200_000)
    free = _available()
    while free and number * 260 * 2 > free:
        number //= 2
    rows: list[Row] = []
    for form, weights, goal in (("single", "one weight", 2), ("batches", "random weights", 3)):
        found = _child("benches.delayed", form, str(number))
        fill, promote = found["fill"], found["promote"]
        low, median, high = fill["ratio"]
        of = f"{fill['jobs']:,}, {form}"
        rows += [
            Row(
                "delayed",
                f"heappush / enqueue, first fill of {of}",
                "x",
                (low, median, high),
                goal=Goal(goal, ">="),
            ),
            Row("delayed", f"enqueue with delay, {form}", "ns", one(fill["jobq_ns"])),
            Row("delayed", f"heappush, {form}", "ns", one(fill["heap_ns"])),
            Row(
                "delayed",
                f"promote {promote['jobs']:,}, {weights}",
                "s",
                one(promote["seconds"]),
                goal=Goal(0.15, "<="),
            ),
            Row(
                "delayed",
                f"longest slice of promotion, CPU time, {weights}",
                "ms",
                one(promote["slice_ms"]),
                goal=Goal(1, "<="),
            ),
        ]
    if number < 10_000_000:
        for row in rows:
            row.note = f"with {number:,} jobs, not 10,000,000" + (
                "" if settings.quick else ": not enough free memory"
            )
    return rows


def _available() -> int:
    """Bytes that can be had without swapping; 0 where /proc does not say."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if "MemAvailable" in line), 0)


def _child(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def ram(settings: Settings) -> list[Row]:
    """RSS of fresh processes beyond payloads"""
    jobs, topics = settings.size(2_000_000, 50_000), settings.size(100_000, 2_000)
    lives = settings.size(10_000_000, 100_000)
    rows = [
        Row(
            "ram",
            f"per job, {kind}, of {jobs:,}",
            "B",
            one(memory.in_child(kind, jobs) / jobs),
            goal=Goal(goal, "<="),
        )
        for kind, goal in (("ready", 70), ("delayed", 80))
    ]
    rows += [
        Row(
            "ram",
            f"{topics:,} topics, {what}",
            "MB",
            one(memory.in_child(kind, topics) / MB),
            goal=Goal(goal, "<="),
        )
        for kind, what, goal in (("topics", "a job each", 60), ("weights", "five weights each", 100))
    ]
    grown = one(memory.in_child("lives", lives) / MB)
    rows.append(
        Row("ram", f"growth in the last nine tenths of {lives:,} lives", "MB", grown, goal=Goal(1, "<="))
    )
    return rows


def wait(settings: Settings) -> list[Row]:
    """blocked hand-off between two threads, Ctrl-C, idle waiters"""
    rows: list[Row] = []
    most = settings.size(1_000_000, 500)
    for timeout, label, goal in ((None, "no timeout", 1.05), (handoff.PATIENCE, "timeout", 1.15)):
        with ExitStack() as stack:
            svc = stack.enter_context(jobq.JobService())
            ours = Contender(stack.enter_context(handoff.ping_pong(svc, timeout)), most=most)
            peer = Contender(stack.enter_context(handoff.ping_pong_simple(timeout)), most=most)
            pair = {f"round trip, {label}": ours, f"SimpleQueue round trip, {label}": peer}
            found = compare("wait", pair, settings)
        found.times()
        mine, theirs = pair
        found.ratio(f"ping-pong / SimpleQueue, {label}", mine, theirs, Goal(goal, "<="))
        rows += found.rows
    jobs = settings.size(20_000, 500)
    with jobq.JobService() as svc:
        streams = {
            "stream, single": Contender(lambda _: handoff.stream(jobs, svc, 1), per=jobs, most=1),
            "stream, batches of 100": Contender(lambda _: handoff.stream(jobs, svc, 100), per=jobs, most=1),
            "SimpleQueue stream": Contender(lambda _: handoff.stream_simple(jobs), per=jobs, most=1),
        }
        found = compare("wait", streams, settings)
    found.times()
    single, batched, simple = streams
    found.ratio("stream / SimpleQueue, consumer in batches", batched, simple, Goal(1.5, "<="))
    found.ratio("stream / SimpleQueue, consumer one by one", single, simple)
    rows += found.rows
    seconds = [one_ * 1_000 for one_ in handoff.interrupt_seconds(settings.size(20, 3))]
    rows.append(Row("wait", "Ctrl-C until KeyboardInterrupt", "ms", spread(seconds)))
    rows.append(
        Row("wait", f"the same, longest of {len(seconds)}", "ms", one(max(seconds)), goal=Goal(10, "<="))
    )
    idle = settings.size(20, 3) / 10
    cpu, switches = handoff.idle_cost(50, idle)
    rows.append(
        Row("wait", f"CPU of 50 idle waiters, {idle:g} s", "ms", one(cpu * 1_000), goal=Goal(1, "<="))
    )
    rows.append(Row("wait", f"context switches of 50 idle waiters, {idle:g} s", "", one(switches)))
    return rows


def package(settings: Settings) -> list[Row]:
    """the import, in fresh interpreters"""
    code = "import time; start = time.perf_counter(); import jobq; print(time.perf_counter() - start)"
    command = [sys.executable, "-c", code]
    taken = [
        float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout) * 1_000
        for _ in range(settings.size(15, 3))
    ]
    return [
        Row(
            "package", "import jobq", "ms", spread(taken), goal=Goal(30, "<="), note=f"least {min(taken):.1f}"
        )
    ]


SECTIONS: dict[str, Callable[[Settings], list[Row]]] = {
    "cycle": cycle,
    "deep": deep,
    "batch": batch,
    "instructions": count_instructions,
    "delayed": delayed,
    "ram": ram,
    "wait": wait,
    "package": package,
}
