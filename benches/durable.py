"""The figures of a durable service beside their goals, with the file system and its fsync measured beside them.

`python -m benches.durable [SECTION ...] [--quick] [--dir FOLDER] [--json FILE]`. Every contender has a process and
a folder of its own; contenders of one section take turns, and a ratio is that of their medians. "bare" is what no
durable queue can beat by much: one `os.write` of 200 bytes and one `os.fdatasync` per operation.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jobq
from benches.common import machine
from benches.interleave import Goal, Row, Settings, Spread, spread
from benches.ratios import show

ROOT = Path(__file__).parent.parent
PAYLOAD = b"x" * 200
ROUNDS = 5
MB = 1_000_000


# -- what runs in a process of its own: each prints one JSON object ---------------------------------------------------


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


def _lives(folder: Path, seconds: float, sync: str, retention: jobq.Retention | None, batch: int) -> dict[str, float]:
    """Whole lives: enqueue, reserve, done, in batches."""
    with jobq.open(folder / "store", sync=sync, retention=retention) as svc:  # type: ignore[arg-type]
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


def _one_at_a_time(folder: Path, seconds: float, sync: str) -> dict[str, float]:
    with jobq.open(folder / "store", sync=sync) as svc:  # type: ignore[arg-type]
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


def localqueue(folder: Path, seconds: float) -> dict[str, float]:
    """localqueue 1.4: put, get, ack; RELAXED (SQLite synchronous=NORMAL), its default."""
    import localqueue as peer

    queue: Any = peer.SimpleQueue(str(folder / "queue.db"))
    text = PAYLOAD.decode()

    def cycle() -> None:
        queue.put(text)
        queue.ack(queue.get(timeout=0))

    return _repeat(cycle, seconds)


def persist_queue(folder: Path, seconds: float) -> dict[str, float]:
    """persist-queue 1.1: SQLiteAckQueue, put, get, ack; SQLite's own default of synchronous."""
    import persistqueue

    queue: Any = persistqueue.SQLiteAckQueue(str(folder), auto_commit=True)

    def cycle() -> None:
        queue.put(PAYLOAD)
        queue.ack(queue.get(block=False))

    return _repeat(cycle, seconds)


def litequeue(folder: Path, seconds: float) -> dict[str, float]:
    """litequeue 0.9: put, get, done; synchronous=NORMAL, fixed."""
    import litequeue as peer

    queue: Any = peer.LiteQueue(str(folder / "queue.db"))
    text = PAYLOAD.decode()

    def cycle() -> None:
        queue.put(text)
        queue.done(queue.pop().message_id)

    return _repeat(cycle, seconds)


def huey_sqlite(folder: Path, seconds: float) -> dict[str, float]:
    """huey 3.5: SqliteStorage enqueue and dequeue (no acknowledgement: a killed worker's task is gone)."""
    from huey.storage import SqliteStorage

    queue: Any = SqliteStorage(filename=str(folder / "huey.db"))

    def cycle() -> None:
        queue.enqueue(PAYLOAD)
        queue.dequeue()

    return _repeat(cycle, seconds)


def waiting(folder: Path, seconds: float) -> dict[str, float]:
    """RAM per waiting job: RSS after `seconds` * 100,000 jobs less that after 100,000."""
    number = max(20_000, int(seconds * 100_000))
    with jobq.open(folder / "store", sync="never") as svc:
        topic = svc.topic("bench")
        payloads = [PAYLOAD] * 1_000
        for _ in range(100):
            topic.enqueue_many([bytes(PAYLOAD) for _ in range(1_000)] if seconds < 0 else payloads)
        svc.flush()
        before = _resident()
        for _ in range(number // 1_000):
            topic.enqueue_many([PAYLOAD + b"" for _ in range(1_000)])
        svc.flush()
        return {"bytes": (_resident() - before) / number, "rss": _resident()}


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def reopen(folder: Path, seconds: float) -> dict[str, float]:
    """Open after a kill, with `seconds` * 100,000 jobs waiting."""
    number = max(10_000, int(seconds * 100_000))
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
    assert found == number // 1_000 * 1_000, found
    return {"s": took, "jobs": found}


SUBJECTS: dict[str, Callable[[Path, float], dict[str, float]]] = {
    subject.__name__: subject
    for subject in (
        bare, enqueue_one, enqueue_32, lives_always, lives_always_none, lives_never, lives_never_none, one_never,
        one_interval, one_always, localqueue, persist_queue, litequeue, huey_sqlite, waiting, reopen,
    )
}  # fmt: skip


# -- the sections -----------------------------------------------------------------------------------------------------


class Bench:
    """Runs subjects, each in a fresh process and folder."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder

    def once(self, name: str, seconds: float) -> dict[str, float]:
        home = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            command = [sys.executable, "-m", "benches.durable", "--subject", name, str(home), str(seconds)]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            return dict(json.loads(done.stdout))
        finally:
            shutil.rmtree(home)

    def turns(self, names: list[str], seconds: float = 2.0) -> dict[str, list[dict[str, float]]]:
        seconds = 0.05 if self.settings.quick else seconds
        rounds = 1 if self.settings.quick else self.settings.rounds
        found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for round_ in range(rounds):
            for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
                found[name].append(self.once(name, seconds))
        return found


def rates(section: str, found: dict[str, list[dict[str, float]]], goals: dict[str, Goal]) -> list[Row]:
    """A row of operations a second for each subject."""
    return [
        Row(section, (SUBJECTS[name].__doc__ or name).partition("\n")[0], "/s", values(runs, "per_s"),
            goal=goals.get(name))
        for name, runs in found.items()
    ]  # fmt: skip


def values(runs: list[dict[str, float]], key: str) -> Spread:
    return spread([run[key] for run in runs])


def ratio(section: str, what: str, over: Spread, under: Spread, goal: Goal | None = None) -> Row:
    value = over[1] / under[1]
    return Row(section, what, "x", (value, value, value), goal=goal)


def always(bench: Bench) -> list[Row]:
    """sync="always", beside the bare loop"""
    found = bench.turns(["bare", "enqueue_one", "enqueue_32", "lives_always", "lives_always_none"])
    goals = {
        "enqueue_32": Goal(20_000, ">="),
        "lives_always": Goal(20_000, ">="),
        "lives_always_none": Goal(40_000, ">="),
    }
    rows = rates("always", found, goals)
    bare_rate, one = values(found["bare"], "per_s"), values(found["enqueue_one"], "per_s")
    rows.append(ratio("always", "one enqueue / one bare append+fdatasync", bare_rate, one, Goal(2, "<=")))
    sync = tuple(1e6 / rate for rate in reversed(bare_rate))
    rows.append(Row("always", "one bare append+fdatasync", "us", (sync[0], sync[1], sync[2])))
    for name in ("lives_always", "lives_always_none"):
        rows.append(Row("always", f"bytes written per life, {name}", "B", values(found[name], "written")))
        rows.append(Row("always", f"store afterwards, {name}", "B", values(found[name], "size")))
    return rows


def never(bench: Bench) -> list[Row]:
    """sync="never", sustained; peak RSS"""
    found = bench.turns(["lives_never", "lives_never_none"], 20.0)
    goals = {"lives_never": Goal(20_000, ">="), "lives_never_none": Goal(60_000, ">=")}
    rows = rates("never", found, goals)
    for name, runs in found.items():
        rows.append(Row("never", f"peak RSS, {name}", "B", values(runs, "peak_rss"), goal=Goal(250 * MB, "<=")))
        rows.append(Row("never", f"bytes written per life, {name}", "B", values(runs, "written")))
        rows.append(Row("never", f"store afterwards, {name}", "B", values(runs, "size")))
    return rows


def peers(bench: Bench) -> list[Row]:
    """one life at a time, beside the peers in their own modes"""
    names = ["one_never", "one_interval", "one_always", "localqueue", "persist_queue", "litequeue", "huey_sqlite"]
    found = bench.turns(names)
    rows = rates("peers", found, {})
    never_rate = values(found["one_never"], "per_s")
    goal = Goal(30, ">=")
    rows.append(ratio("peers", "never / SQLiteAckQueue", never_rate, values(found["persist_queue"], "per_s"), goal))
    return rows


def memory(bench: Bench) -> list[Row]:
    """RAM per waiting job of 200 bytes, and open after a kill"""
    size = 0.1 if bench.settings.quick else 10.0
    ram, opened = bench.once("waiting", size), bench.once("reopen", size)
    return [
        Row("memory", "RSS per waiting job, its payload of 200 B included", "B", spread([ram["bytes"]]),
            goal=Goal(200 + 200 + 33, "<=")),
        Row("memory", f"open after a kill, {opened['jobs']:,.0f} jobs", "s", spread([opened["s"]]), goal=Goal(5, "<=")),
    ]  # fmt: skip


SECTIONS: dict[str, Callable[[Bench], list[Row]]] = {
    "always": always,
    "never": never,
    "peers": peers,
    "memory": memory,
}


def file_system(folder: Path) -> str:
    """The file system that a folder is on."""
    best = ("", "?")
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, kind, *_ = line.split()
        if str(folder.resolve()).startswith(mount) and len(mount) >= len(best[0]):
            best = (mount, kind)
    return f"stores on {best[1]} ({best[0]})"


def lines(bench: Bench, sections: list[str]) -> Iterator[Row]:
    for name in sections:
        print(f"{name}: {(SECTIONS[name].__doc__ or '').partition(chr(10))[0]}", flush=True)
        for row in SECTIONS[name](bench):
            print(show(row), flush=True)
            yield row


def main() -> None:
    """Print section by section, as each is measured."""
    parser = argparse.ArgumentParser(prog="python -m benches.durable", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("section", nargs="*", help=f"of {', '.join(SECTIONS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="shows that it runs, says nothing on speed")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where the stores are made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--subject", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.subject:
        name, folder, seconds = given.subject
        print(json.dumps(SUBJECTS[name](Path(folder), float(seconds))))
        return
    unknown = [name for name in given.section if name not in SECTIONS]
    if unknown:
        parser.error(f"no such section: {', '.join(unknown)}")
    for line in machine():
        print(line)
    print(file_system(given.dir))
    bench = Bench(Settings(rounds=given.rounds, quick=given.quick), given.dir)
    rows = list(lines(bench, given.section or list(SECTIONS)))
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
