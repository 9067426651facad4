"""A worker thread that really blocks in reserve_one, and must be served at once when there is a job (W1)."""

from __future__ import annotations

import threading
import time

from jobq import Job, JobService

PATIENCE = 2.0
"""Seconds within which the worker must block, and be served; both take well under a millisecond."""


class BlockedWorker:
    """One thread in one reserve_one, whose timeout is longer than our patience: it hides no lost wake-up."""

    def __init__(self, svc: JobService, topic: str) -> None:
        self._svc = svc
        self._topic = topic
        self._got: list[Job | BaseException | None] = []
        self._thread = threading.Thread(target=self._work, name="blocked worker", daemon=True)

    def _work(self) -> None:
        try:
            self._got.append(self._svc.reserve_one(self._topic, timeout=PATIENCE + 3))
        except BaseException as error:
            self._got.append(error)

    def start(self) -> None:
        """Return when it blocks: the statistics say so."""
        self._thread.start()
        end = time.monotonic() + PATIENCE
        while self._svc.topic_stats(self._topic).waiting != 1:
            assert self._thread.is_alive(), (
                f"reserve_one returned {self._got} though nothing could be granted"
            )
            assert time.monotonic() < end, "topic_stats().waiting does not count the blocked worker"
            time.sleep(0.0002)
        assert self._svc.stats().waiting == 1, "stats().waiting does not count the blocked worker"

    def job(self) -> Job:
        """What it was served; it must have been served by now."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"a wake-up was lost: the worker still waits on {self._topic!r}"
        got = self._got.pop()
        assert isinstance(got, Job), f"the blocked worker got {got!r}, not a job"
        return got
