"""RSS of a process of its own: per queued job, for 100,000 topics, over millions of lives.

`python -m benches.memory ready 2000000` prints bytes; other kinds are delayed, heap, topics, weights, lives.
All jobs share one payload, so what is counted is what jobq needs beyond payloads. Reads /proc: Linux alone.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import jobq
from benches.common import PAYLOAD, cycle_handle, warm
from benches.delayed import BATCH, Entry, fill_heap, fill_jobq_batches, random_delays

ROOT = Path(__file__).parent.parent
TENTH = 10  # of the lives come before the first reading, beside those that fill the retention


def resident() -> int:
    """Bytes of RSS now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def probe(kind: str, number: int) -> int:
    """Bytes that `number` of the kind added to this process."""
    with jobq.JobService() as svc:
        topic = svc.topic("memory")
        delays, payloads = random_delays(), [PAYLOAD] * BATCH
        heap: list[Entry] = []
        cycle_handle(1_000, topic)
        if kind == "lives":
            warm(topic)
            cycle_handle(number // TENTH, topic)
        before = resident()
        match kind:
            case "ready":
                for _ in range(number // BATCH):
                    topic.enqueue_many(payloads)
            case "delayed":
                fill_jobq_batches(number, topic, delays, BATCH)
            case "heap":
                fill_heap(number, heap, delays, count())
            case "topics" | "weights":
                for serial in range(number):
                    for weight in range(5 if kind == "weights" else 1):
                        svc.enqueue(f"topic-{serial}", PAYLOAD, weight * 1_000)
            case "lives":
                cycle_handle(number - number // TENTH, topic)
            case _:
                raise SystemExit(f"no such kind: {kind}")
        return resident() - before


def in_child(kind: str, number: int) -> int:
    """The same, in a fresh process."""
    command = [sys.executable, "-m", "benches.memory", kind, str(number)]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    print(probe(sys.argv[1], int(sys.argv[2])))
