"""Nothing is left behind: references, memory, threads and file descriptors stay level over many lives.

A queue lives as long as its process. One reference kept per job, or one thread per service, is an outage in a
month.
"""

import gc
import json
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import jobq
from child import Child
from jobq import JobOptions, JobService, Retention
from jobq.testing import ManualClock

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of this process that are in RAM now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def fresh(text: str) -> str:
    """A string of its own, which nobody else refers to."""
    return text.encode().decode()


def references(objects: dict[str, object]) -> dict[str, int]:
    return {name: sys.getrefcount(value) for name, value in objects.items()}


def lives(svc: JobService, given: dict[str, Any], times: int) -> None:
    """Every way of a job through the service, with the same objects each time."""
    for _ in range(times):
        svc.enqueue(given["topic"], given["payload"], options=given["options"])
        svc.enqueue(given["topic"], given["view"], given["weight"], delay=given["zero"])
        svc.enqueue_many(given["topic"], [given["payload"], (given["payload"], given["weight"])])
        first, second, third, fourth = svc.reserve(given["topic"], 4, timeout=given["zero"])
        first.retry(given["zero"], error=given["error"])
        second.log("%s", given["message"])
        second.cancel(error=given["message"])
        with third as job:
            svc.info(job.id)
        fourth.release()
        svc.done_many(svc.reserve(given["topic"], 4, timeout=0))
        with pytest.raises(TypeError):
            svc.enqueue(given["topic"], given["message"])
        with pytest.raises(ValueError, match="weight"):
            svc.enqueue(given["topic"], given["payload"], given["big"])
        handle = svc.topic(given["topic"], options=given["options"])
        handle.enqueue(given["payload"])
        for job in handle.consume(idle=given["zero"]):
            job.done()
        list(svc.find(topic=given["topic"]))


def test_no_reference_is_kept_to_what_is_given() -> None:
    payload = bytes(bytearray(b"a payload of its own"))
    given: dict[str, Any] = {
        "topic": fresh("a topic"),
        "payload": payload,
        "view": memoryview(bytearray(b"view")),
        "options": JobOptions(name=fresh("a label")),
        "error": ValueError(fresh("an error")),
        "message": fresh("a message"),
        "weight": int("12345"),
        "big": int("123456789"),
        "zero": timedelta(0),
    }
    svc = JobService(retention=Retention.none(), dead_retention=Retention.none())
    lives(svc, given, 20)  # what is cached once, such as the topic's name, is cached now
    gc.collect()
    before = references(given)
    lives(svc, given, 200)
    gc.collect()
    assert references(given) == before
    svc.close()


def test_the_objects_of_python_stay_level() -> None:
    given: dict[str, Any] = {
        "topic": "t",
        "payload": b"p" * 100,
        "view": memoryview(b"view"),
        "options": JobOptions(),
        "error": ValueError("error"),
        "message": "message",
        "weight": 5,
        "big": 123_456,
        "zero": 0,
    }
    svc = JobService(clock=ManualClock(), retention=Retention.none(), dead_retention=Retention.none())
    lives(svc, given, 50)
    tracemalloc.start()
    lives(svc, given, 50)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    lives(svc, given, 500)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    svc.close()
    assert grown < 16_384, f"{grown} bytes over 500 rounds"


def measure(one: Callable[[], object], warm: int, times: int) -> None:
    """Print how many bytes of RAM `times` calls of one() add once `warm` of them are past; run in a child."""
    for _ in range(warm):
        one()
    gc.collect()
    before = resident()
    for _ in range(times):
        one()
    gc.collect()
    print(json.dumps(resident() - before))


def grown(code: str) -> int:
    with Child(code) as child:
        return int(json.loads(child.finish(100).succeeded().out))


def live_and_die(kept: int) -> None:
    """50,000 lives, then 200,000 more; `kept` finished jobs stay."""
    svc = JobService(retention=Retention(count=kept))
    topic, payload = svc.topic("t"), b"p" * 200

    def live() -> None:
        topic.enqueue_many([payload] * 9)
        topic.enqueue(payload)
        for job in topic.reserve(10):
            job.done()

    measure(live, warm=5_000, times=20_000)


@pytest.mark.parametrize("kept", [0, 1_000])
def test_memory_is_flat_over_200_000_lives(kept: int) -> None:
    # Each life has 200 bytes of payload: one of ten leaked would be 4 MB by itself.
    assert grown(f"from test_leaks import live_and_die; live_and_die({kept})") < 3_000_000


def open_and_close() -> None:
    """Services that come and go, each with jobs in every status and handles that outlive it."""

    def one() -> None:
        svc = JobService(clock=ManualClock())
        svc.enqueue_many("t", [b"p" * 1_000] * 50)
        held = svc.reserve("t", 10)
        svc.done_many(held[:5])
        svc.enqueue("t", b"", delay=9)
        svc.close()
        held.clear()

    measure(one, warm=500, times=2_000)


def test_memory_is_flat_over_services_that_come_and_go() -> None:
    assert grown("from test_leaks import open_and_close; open_and_close()") < 2_000_000


def forget_a_cycle() -> None:
    """Services that are in a cycle with what they hold, and are not closed."""

    def one() -> None:
        svc = JobService()
        svc.enqueue_many("t", [b"p" * 1_000] * 50)
        cycle: list[Any] = [svc, svc.topic("t"), svc.reserve("t", 5), svc.consume("t")]
        next(cycle[3]).done()
        cycle.append(cycle)

    def some() -> None:
        for _ in range(10):
            one()
        gc.collect()

    measure(some, warm=20, times=200)


def test_memory_is_flat_over_services_that_are_forgotten_in_a_cycle() -> None:
    assert grown("from test_leaks import forget_a_cycle; forget_a_cycle()") < 8_000_000


def test_no_thread_and_no_file_is_left_by_a_service() -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - one file more or less would be its own

    def native_threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    with jobq.open():
        pass
    before = (open_files(), native_threads(), threading.active_count())  # threads of tests before may yet end
    for _ in range(20):
        svc = jobq.open()
        svc.enqueue("t", b"", delay=60)
        assert svc.reserve("t", 1, timeout=0.001) == []
        svc.close()
    after = (open_files(), native_threads(), threading.active_count())
    assert all(now <= was for now, was in zip(after, before, strict=True)), (before, after)
