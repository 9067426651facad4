"""A thread's view of a service, every call of which is journaled: the intent before, the result after."""

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jobq

from . import payloads
from .journal import Journal
from .payloads import Label

_Got = TypeVar("_Got")


class Actor:
    """Calls a service as one thread does. An error is journaled by its class and raised."""

    def __init__(self, service: jobq.JobService, journal: Journal, seed: str) -> None:
        self.service = service
        self.chance = random.Random(seed)
        self.enqueued: list[int] = []
        self._journal = journal

    def _call(
        self, op: str, make: Callable[[], _Got], reply: Callable[[_Got], Any] | None = None, **args: Any
    ) -> _Got:
        seq = self._journal.intent(op, **args)
        try:
            got = make()
        except BaseException as error:
            self._journal.result(seq, type(error).__name__, str(error)[:200])
            raise
        self._journal.result(seq, "ok", None if reply is None else reply(got))
        return got

    def _label(self, topic: str, weight: int, *, delayed: bool) -> Label:
        self._journal.keys += 1
        key = f"{self._journal.name}-{self._journal.keys}"
        return Label(key, topic, weight, delayed, payloads.size(self.chance))

    def enqueue(self, topic: str, weight: int = 0, delay: float | None = None) -> int:
        label = self._label(topic, weight, delayed=delay is not None)
        payload = payloads.make(label)
        make = lambda: self.service.enqueue(topic, payload, weight, delay=delay)  # noqa: E731
        args = {"keys": [label.key], "topic": topic, "weight": weight, "delay": delay}
        id = self._call("enqueue", make, lambda id: [id], **args)
        self.enqueued.append(id)
        return id

    def enqueue_many(self, topic: str, count: int) -> Sequence[int]:
        labels = [self._label(topic, 0, delayed=False) for _ in range(count)]
        items = [payloads.make(label) for label in labels]
        keys = [label.key for label in labels]
        make = lambda: self.service.enqueue_many(topic, items)  # noqa: E731
        ids = self._call("enqueue", make, list, keys=keys, topic=topic, weight=0, delay=None, many=True)
        self.enqueued.extend(ids)
        return ids

    def reserve(self, topic: str, limit: int, timeout: float = 0.0) -> list[jobq.Job]:
        make = lambda: self.service.reserve(topic, limit, timeout=timeout)  # noqa: E731
        return self._call(
            "reserve", make, lambda jobs: [_seen(job) for job in jobs], topic=topic, limit=limit
        )

    def done(self, job: jobq.Job) -> None:
        self._call("done", job.done, id=job.id, token=job.token)

    def retry(self, job: jobq.Job, delay: float | None = None) -> jobq.Status:
        make = lambda: job.retry(delay)  # noqa: E731
        return self._call("retry", make, str, id=job.id, token=job.token, delay=delay)

    def release(self, job: jobq.Job, delay: float = 0.0) -> None:
        self._call("release", lambda: job.release(delay), id=job.id, token=job.token, delay=delay)

    def reject(self, job: jobq.Job) -> None:
        self._call("reject", job.cancel, id=job.id, token=job.token)

    def done_many(self, jobs: Sequence[jobq.Job]) -> None:
        ids, tokens = [job.id for job in jobs], [job.token for job in jobs]
        self._call("done_many", lambda: self.service.done_many(jobs), ids=ids, tokens=tokens)

    def cancel(self, id: int) -> None:
        self._call("cancel", lambda: self.service.cancel(id), id=id)

    def reset(self, id: int) -> None:
        self._call("reset", lambda: self.service.reset(id), id=id)

    def delete(self, id: int) -> None:
        self._call("delete", lambda: self.service.delete(id), id=id)

    def pause(self, topic: str) -> None:
        self._call("pause", lambda: self.service.pause(topic), topic=topic)

    def resume(self, topic: str) -> None:
        self._call("resume", lambda: self.service.resume(topic), topic=topic)

    def flush(self) -> None:
        self._call("flush", self.service.flush)

    def compact(self) -> None:
        self._call("compact", self.service.compact)

    def close(self) -> None:
        self._call("close", self.service.close)


def _seen(job: jobq.Job) -> list[Any]:
    """What is journaled of a granted job: [id, token, attempt, key]; "!" for a damaged payload."""
    try:
        key = payloads.read(job.payload).key
    except payloads.Damaged:
        key = "!"
    return [job.id, job.token, job.attempt, key]
