"""Handing jobs from thread to thread: ping-pong, stream, Ctrl-C in a wait, idle waiters; SimpleQueue as the
peer."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import repeat
from queue import SimpleQueue

import jobq
from benches.common import PAYLOAD, Run

STOP = b""
PATIENCE = 60.0  # the timeout that is given, and never passes


@contextmanager
def partner(work: Callable[[], None], end: Callable[[], object]) -> Generator[None]:
    """Run `work` in a thread; `end` makes it return."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end()
        thread.join(PATIENCE)
        if thread.is_alive():
            raise SystemExit("the partner of a hand-off did not end")


@contextmanager
def ping_pong(svc: jobq.JobService, timeout: float | None = None) -> Generator[Run]:
    """Round trips over two topics: each side blocks until the other has enqueued; both settle with done()."""
    ping, pong = svc.topic("ping"), svc.topic("pong")

    def take(topic: jobq.Topic) -> bytes:
        if timeout is None:
            job = topic.reserve_one()
        else:
            came = topic.reserve_one(timeout=timeout)
            if came is None:
                raise TimeoutError
            job = came
        payload = job.payload
        job.done()
        return payload

    def echo() -> None:
        while take(ping):
            pong.enqueue(PAYLOAD)

    def run(n: int) -> None:
        for _ in repeat(None, n):
            ping.enqueue(PAYLOAD)
            take(pong)

    with partner(echo, lambda: ping.enqueue(STOP)):
        yield run


@contextmanager
def ping_pong_simple(timeout: float | None = None) -> Generator[Run]:
    """The same over two SimpleQueues."""
    ping: SimpleQueue[bytes] = SimpleQueue()
    pong: SimpleQueue[bytes] = SimpleQueue()

    def take(queue: SimpleQueue[bytes]) -> bytes:
        return queue.get() if timeout is None else queue.get(timeout=timeout)

    def echo() -> None:
        while take(ping):
            pong.put(PAYLOAD)

    def run(n: int) -> None:
        for _ in repeat(None, n):
            ping.put(PAYLOAD)
            take(pong)

    with partner(echo, lambda: ping.put(STOP)):
        yield run


def stream(n: int, svc: jobq.JobService, batch: int) -> None:
    """One thread enqueues n jobs one by one; another takes and settles them, up to batch at a time."""
    topic = svc.topic("stream")

    def consume() -> None:
        left = n
        while left:
            if batch == 1:
                topic.reserve_one().done()
                left -= 1
            else:
                jobs = topic.reserve(batch)
                svc.done_many(jobs)
                left -= len(jobs)

    with partner(consume, lambda: None):
        payload = PAYLOAD
        for _ in repeat(None, n):
            topic.enqueue(payload)


def stream_simple(n: int) -> None:
    """The same over a SimpleQueue, which hands out one at a time."""
    queue: SimpleQueue[bytes] = SimpleQueue()

    def consume() -> None:
        for _ in repeat(None, n):
            queue.get()

    with partner(consume, lambda: None):
        payload = PAYLOAD
        for _ in repeat(None, n):
            queue.put(payload)


def until_waiting(svc: jobq.JobService, waiters: int) -> None:
    """Return when so many threads are blocked in the service."""
    end = time.monotonic() + PATIENCE
    while svc.stats().waiting != waiters:
        if time.monotonic() > end:
            raise TimeoutError(f"{waiters} waiters did not come to wait")
        time.sleep(0.001)


def interrupt_seconds(rounds: int) -> list[float]:
    """From sending SIGINT to the main thread's KeyboardInterrupt out of a reserve without timeout."""
    seconds: list[float] = []
    with jobq.JobService() as svc:
        for _ in range(rounds):
            sent: list[float] = []

            def interrupt(sent: list[float] = sent) -> None:
                until_waiting(svc, 1)
                time.sleep(0.005)  # deep in its sleep, not on the way to it
                sent.append(time.perf_counter())
                os.kill(os.getpid(), signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            try:
                svc.reserve_one("nothing")
            except KeyboardInterrupt:
                seconds.append(time.perf_counter() - sent[0])
            thread.join()
    return seconds


def idle_cost(waiters: int, seconds: float) -> tuple[float, int]:
    """CPU seconds and context switches (voluntary) while threads wait for a job that never comes."""
    with jobq.JobService() as svc:
        topic = svc.topic("idle")

        def wait() -> None:
            for job in topic.consume():
                job.done()

        threads = [threading.Thread(target=wait) for _ in range(waiters)]
        for thread in threads:
            thread.start()
        until_waiting(svc, waiters)
        cpu, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        time.sleep(seconds)
        cost = time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
        svc.stop()
        for thread in threads:
            thread.join()
    return cost
