"""RAM: bytes per queued job beyond its payload, 100,000 topics, growth over the lives of jobs.

Machine and interpreter: printed above the tables. Method: the difference of VmRSS in a fresh process for each
row, one round; the seconds in the table above are of no interest, the bytes stand in the summary and in
extra_info. Baseline in the same run: heapq entries of (due, serial number, payload).
"""

from __future__ import annotations

import pytest

from benches.common import FIGURES, Benchmark, Figure, scaled
from benches.memory import in_child

MB = 1_000_000


def note(benchmark: Benchmark, group: str, value: float, unit: str) -> None:
    benchmark.group = group
    benchmark.extra_info.update({"value": value, "unit": unit})
    if benchmark.enabled:
        FIGURES.append(Figure(group, benchmark.name.removeprefix("test_"), value, value, value, unit))


def probed(benchmark: Benchmark, kind: str, full: int) -> tuple[int, int]:
    """Bytes, and of how many."""
    number = scaled(benchmark, full, 2_000)
    found: list[int] = []
    benchmark.pedantic(lambda: found.append(in_child(kind, number)))
    return found[-1], number


@pytest.mark.parametrize("kind", ["ready", "delayed"])
def test_job(benchmark: Benchmark, kind: str) -> None:
    size, number = probed(benchmark, kind, 2_000_000)
    note(benchmark, "memory, per job", size / number, "B")


def test_heap_entry(benchmark: Benchmark) -> None:
    """Tuple, number, date and slot of the list."""
    size, number = probed(benchmark, "heap", 2_000_000)
    note(benchmark, "memory, per job", size / number, "B")


@pytest.mark.parametrize("kind", ["topics", "weights"])
def test_topics(benchmark: Benchmark, kind: str) -> None:
    size, _ = probed(benchmark, kind, 100_000)
    note(benchmark, "memory, 100,000 topics", size / MB, "MB")


def test_lives(benchmark: Benchmark) -> None:
    size, _ = probed(benchmark, "lives", 5_000_000)
    note(benchmark, "memory, growth from 10 % to 100 % of 5,000,000 lives", size / MB, "MB")
