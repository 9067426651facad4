"""The whole state of a service as one number, so that two states can be compared by what they hold.

The sum of a hash per job and per paused topic: it can follow a change without a look at everything, and it is
the same in whatever order the jobs are met. Left out is what a crash may change: attempts, crashes, and
whether a job is reserved, for then it is ready again.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from datetime import datetime

import jobq

_WRAP = 2**64


def _number(fact: object) -> int:
    return int.from_bytes(hashlib.blake2b(repr(fact).encode(), digest_size=8).digest(), "little")


def _milliseconds(date: datetime | None) -> int | None:
    return None if date is None else round(date.timestamp() * 1000)


def of_job(info: jobq.JobInfo, payload: bytes) -> int:
    """The number of one job."""
    status = "ready" if info.status is jobq.Status.RESERVED else str(info.status)
    return _number(
        (
            info.id,
            info.topic,
            info.name,
            info.weight,
            status,
            str(info.reason),
            info.error,
            info.retries,
            info.max_retries,
            info.resets,
            _milliseconds(info.created_at),
            _milliseconds(info.due_at),
            _milliseconds(info.finished_at),
            zlib.crc32(payload),
            len(payload),
        )
    )


def of_pause(topic: str) -> int:
    """The number of a pause."""
    return _number(("paused", topic))


def of_service(service: jobq.JobService) -> int:
    """The number of all that is there."""
    total = sum(of_job(info, service.payload(info.id)) for info in service.find())
    return (total + sum(of_pause(topic) for topic in _paused(service))) % _WRAP


def _paused(service: jobq.JobService) -> Iterable[str]:
    return (topic for topic in service.topics() if service.topic_stats(topic).paused)


class Picture:
    """The number of a service's state, kept up to date by being told what has changed."""

    def __init__(self, service: jobq.JobService) -> None:
        self._service = service
        self._jobs = {info.id: of_job(info, service.payload(info.id)) for info in service.find()}
        self._paused = set(_paused(service))
        total = sum(self._jobs.values()) + sum(of_pause(topic) for topic in self._paused)
        self.number = total % _WRAP

    def job(self, id: int) -> int:
        """Look at this job again, or find it gone; return the number of the whole."""
        old = self._jobs.pop(id, 0)
        try:
            new = self._jobs[id] = of_job(self._service.info(id), self._service.payload(id))
        except jobq.JobNotFound:
            new = 0
        self.number = (self.number - old + new) % _WRAP
        return self.number

    def topic(self, topic: str) -> int:
        """Look at this topic's pause again; return the number of the whole."""
        was, paused = topic in self._paused, self._service.topic_stats(topic).paused
        self._paused ^= {topic} if was != paused else set()
        self.number = (self.number + of_pause(topic) * (paused - was)) % _WRAP
        return self.number
