"""What the durable benches measure, each subject in a process and a folder of its own: it prints JSON.

`python -m benches.lives SUBJECT FOLDER AMOUNT`: of seconds, or of jobs where they wait. "bare" is what no
durable queue can beat by much: one `os.write` of 200 bytes and one `os.fdatasync` per operation. Reads /proc:
Linux alone.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

import jobq

PAYLOAD = b"x" * 200
# Jobs that wait before RAM is measured: what a store takes for itself is not counted.
FIRST = 100_000

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")
_Sync: TypeAlias = Literal["always", "interval", "never"]


def bare(folder: Path, seconds: float) -> dict[str, float]:
    """Append and fdatasync, one after another."""
    handle = os.open(folder / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        os.write(handle, PAYLOAD)
        os.fdatasync(handle)
        count += 1
    return {"per_s": count / (time.perf_counter() - start)}


def enqueue_one(folder: Path, seconds: float) -> dict[str, float]:
    """One thread, one enqueue at a time, sync="always"."""
    with jobq.open(folder / "store") as svc:
        topic = svc.topic("bench")
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            topic.enqueue(PAYLOAD)
            count += 1
        return {"per_s": count / (time.perf_counter() - start)}


def enqueue_32(folder: Path, seconds: float) -> dict[str, float]:
    """32 threads, each one enqueue at a time, sync="always"."""
    counts = [0] * 32
    with jobq.open(folder / "store") as svc:
        end = time.perf_counter() + seconds

        def produce(number: int) -> None:
            topic = svc.topic("bench")
            while time.perf_counter() < end:
                topic.enqueue(PAYLOAD)
                counts[number] += 1

        threads = [threading.Thread(target=produce, args=(number,)) for number in range(32)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"per_s": sum(counts) / (time.perf_counter() - start)}


def _lives(
    folder: Path, seconds: float, sync: _Sync, retention: jobq.Retention | None, batch: int
) -> dict[str, float]:
    """Whole lives: enqueue, reserve, done, in batches."""
    with jobq.open(folder / "store", sync=sync, retention=retention) as svc:
        topic = svc.topic("bench")
        payloads = [PAYLOAD] * batch
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            topic.enqueue_many(payloads)
            svc.done_many(topic.reserve(batch, timeout=0))
            count += batch
        svc.flush()
        rate = count / (time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"per_s": rate, "peak_rss": peak, "size": size_of(folder), "written": _written() / count}


def _written() -> int:
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def size_of(folder: Path) -> float:
    """Bytes of disk that a folder takes."""
    return float(sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()))


def lives_always(folder: Path, seconds: float) -> dict[str, float]:
    """Groups of 100, default retention."""
    return _lives(folder, seconds, "always", None, 100)


def lives_always_none(folder: Path, seconds: float) -> dict[str, float]:
    """Groups of 100, Retention.none()."""
    return _lives(folder, seconds, "always", jobq.Retention.none(), 100)


def lives_never(folder: Path, seconds: float) -> dict[str, float]:
    """sync="never", groups of 100, default retention."""
    return _lives(folder, seconds, "never", None, 100)


def lives_never_none(folder: Path, seconds: float) -> dict[str, float]:
    """sync="never", groups of 100, Retention.none()."""
    return _lives(folder, seconds, "never", jobq.Retention.none(), 100)


def _one_at_a_time(folder: Path, seconds: float, sync: _Sync) -> dict[str, float]:
    with jobq.open(folder / "store", sync=sync) as svc:
        topic = svc.topic("bench")
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            topic.enqueue(PAYLOAD)
            job = topic.reserve_one(timeout=0)
            assert job is not None
            job.done()
            count += 1
        return {"per_s": count / (time.perf_counter() - start)}


def one_never(folder: Path, seconds: float) -> dict[str, float]:
    """One life at a time, sync="never"."""
    return _one_at_a_time(folder, seconds, "never")


def one_interval(folder: Path, seconds: float) -> dict[str, float]:
    """One life at a time, sync="interval"."""
    return _one_at_a_time(folder, seconds, "interval")


def one_always(folder: Path, seconds: float) -> dict[str, float]:
    """One life at a time, sync="always"."""
    return _one_at_a_time(folder, seconds, "always")


def _repeat(cycle: Callable[[], object], seconds: float) -> dict[str, float]:
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        cycle()
        count += 1
    return {"per_s": count / (time.perf_counter() - start)}


def _peer(module: str) -> Any:
    """A peer, none of which is typed."""
    return importlib.import_module(module)


def localqueue(folder: Path, seconds: float) -> dict[str, float]:
    """localqueue 1.4: put, get, ack; RELAXED (SQLite synchronous=NORMAL), its default."""
    queue = _peer("localqueue").SimpleQueue(str(folder / "queue.db"))
    text = PAYLOAD.decode()

    def cycle() -> None:
        queue.put(text)
        queue.ack(queue.get(timeout=0))

    return _repeat(cycle, seconds)


def persist_queue(folder: Path, seconds: float) -> dict[str, float]:
    """persist-queue 1.1: SQLiteAckQueue, put, get, ack; SQLite's own default of synchronous."""
    queue = _peer("persistqueue").SQLiteAckQueue(str(folder), auto_commit=True)

    def cycle() -> None:
        queue.put(PAYLOAD)
        queue.ack(queue.get(block=False))

    return _repeat(cycle, seconds)


def litequeue(folder: Path, seconds: float) -> dict[str, float]:
    """litequeue 0.9: put, get, done; synchronous=NORMAL, fixed."""
    queue = _peer("litequeue").LiteQueue(str(folder / "queue.db"))
    text = PAYLOAD.decode()

    def cycle() -> None:
        queue.put(text)
        queue.done(queue.pop().message_id)

    return _repeat(cycle, seconds)


def huey_sqlite(folder: Path, seconds: float) -> dict[str, float]:
    """huey 3.5: SqliteStorage enqueue and dequeue (no acknowledgement: a killed worker's task is gone)."""
    queue = _peer("huey.storage").SqliteStorage(filename=str(folder / "huey.db"))

    def cycle() -> None:
        queue.enqueue(PAYLOAD)
        queue.dequeue()

    return _repeat(cycle, seconds)


def waiting(folder: Path, jobs: float) -> dict[str, float]:
    """RAM per waiting job: RSS after this many jobs more than 100,000, less that after 100,000."""
    more = int(jobs) // 1_000 * 1_000
    with jobq.open(folder / "store", sync="never") as svc:
        _add(svc, FIRST)
        before = _resident()
        _add(svc, more)
        return {"bytes": (_resident() - before) / more, "rss": _resident()}


def reopened(folder: Path, jobs: float) -> dict[str, float]:
    """The same after a reopen: RSS of a process that opened so many, less that of one with 100,000."""
    more = int(jobs) // 1_000 * 1_000
    few, many = folder / "few", folder / "many"
    _in_another_process(_fill, few, FIRST)
    _in_another_process(_fill, many, FIRST + more)
    before, after = _in_another_process(_resident_with, few), _in_another_process(_resident_with, many)
    return {"bytes": (after - before) / more, "rss": after}


def _add(svc: jobq.JobService, jobs: int) -> None:
    topic = svc.topic("bench")
    for _ in range(jobs // 1_000):
        topic.enqueue_many([b"%0200d" % number for number in range(1_000)])
    svc.flush()


def _fill(path: Path, jobs: int) -> None:
    with jobq.open(path, sync="never") as svc:
        _add(svc, jobs)


def _resident_with(path: Path) -> int:
    with jobq.open(path, sync="never"):
        return _resident()


def _in_another_process(
    call: Callable[_Given, _Found], *args: _Given.args, **kwargs: _Given.kwargs
) -> _Found:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, *args, **kwargs).result()


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def reopen(folder: Path, jobs: float) -> dict[str, float]:
    """Open after a kill, with this many jobs waiting."""
    number = int(jobs) // 1_000 * 1_000
    child = os.fork()
    if child == 0:
        svc = jobq.open(folder / "store", sync="never")
        for _ in range(number // 1_000):
            svc.enqueue_many("bench", [PAYLOAD] * 1_000)
        svc.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    start = time.perf_counter()
    with jobq.open(folder / "store") as svc:
        took = time.perf_counter() - start
        found = svc.recovery.ready
    assert found == number, found
    return {"s": took, "jobs": found}


SUBJECTS: dict[str, Callable[[Path, float], dict[str, float]]] = {
    subject.__name__: subject
    for subject in (
        bare,
        enqueue_one,
        enqueue_32,
        lives_always,
        lives_always_none,
        lives_never,
        lives_never_none,
        one_never,
        one_interval,
        one_always,
        localqueue,
        persist_queue,
        litequeue,
        huey_sqlite,
        waiting,
        reopened,
        reopen,
    )
}


if __name__ == "__main__":
    print(json.dumps(SUBJECTS[sys.argv[1]](Path(sys.argv[2]), float(sys.argv[3]))))
