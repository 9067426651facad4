"""The steps of producers and workers: enqueue, reserve, consume, settle, and handles that are dropped.

Each makes one call on the service and the same on the model, and holds the one's outcome against the other's.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from jobq import Job

from . import compare
from .ground import Ground, Held, Stream
from .state import Lease, Options
from .translate import Outcome, date, job_options, outcome, seconds, seconds_or_none
from .vocabulary import HANDLE_OPTIONS, Pick


class Broken(Exception):
    """What a failing worker raises inside `with job`."""


class Stopped(BaseException):
    """What stops a worker inside `with job`, as KeyboardInterrupt does."""


class WorkerSteps(Ground):
    """The verbs of those who make jobs and those who do them."""

    # -- producing -------------------------------------------------------------------------------------------

    def _when(self, when: tuple[str, int]) -> tuple[int, dict[str, Any]]:
        """The due instant, and the arguments that say it."""
        kind, number = when
        now = self.model.wall
        if kind == "now":
            return now, {}
        if kind == "delay":
            return now + number, {"delay": seconds(number)}
        if kind == "microseconds":
            return now + -(-number // 1_000), {"delay": timedelta(microseconds=number)}
        return now + number, {"at": date(now + number)}

    def enqueue(
        self, topic: str, weight: int, size: int, when: tuple[str, int], options: Options | None, via: str
    ) -> None:
        payload = self._payload(size)
        due, said = self._when(when)
        buffer = bytearray(payload) if self.payloads % 3 == 0 else payload
        layers: tuple[Options | None, ...] = (options, HANDLE_OPTIONS, self.settings.defaults)
        if via == "handle":
            handle = self._topic(topic)
            real = outcome(lambda: [handle.enqueue(buffer, weight, options=job_options(options), **said)])
        else:
            layers = (options, None, self.settings.defaults)
            real = outcome(
                lambda: [self.svc.enqueue(topic, buffer, weight, options=job_options(options), **said)]
            )
        self._enqueued(real, topic, [(payload, weight)], due, layers)

    def enqueue_many(
        self, topic: str, count: int, weight: int, size: int, when: tuple[str, int], options: Options | None
    ) -> None:
        items = [(self._payload(size), weight if n % 2 else n) for n in range(count)]
        given = [item[0] if item[1] == weight else item for item in items]
        due, said = self._when(when)
        real = outcome(
            lambda: list(self.svc.enqueue_many(topic, given, weight, options=job_options(options), **said))
        )
        self._enqueued(real, topic, items, due, (options, None, self.settings.defaults))

    def _enqueued(
        self,
        real: Outcome,
        topic: str,
        items: list[tuple[bytes, int]],
        due: int,
        layers: Sequence[Options | None],
    ) -> None:
        ids = real.value if isinstance(real.value, list) else None

        def modelled() -> object:
            self.model.enqueue(topic, items, due=due, layers=layers, ids=ids)
            return ids

        self._agree(real, modelled)
        self.known += ids or []

    # -- consuming -------------------------------------------------------------------------------------------

    def reserve(self, topic: str, limit: int, timeout: int, via: str) -> None:
        topic = self._source(topic)
        source = (
            self._topic(topic).reserve
            if via == "handle"
            else lambda *a, **k: self.svc.reserve(topic, *a, **k)
        )
        jobs = source(limit, timeout=seconds(timeout))
        self._granted(jobs, self.model.reserve(topic, limit, waits=timeout > 0))

    def reserve_one(self, topic: str, via: str) -> None:
        topic = self._source(topic)
        handle = self._topic(topic)
        job = handle.reserve_one(timeout=0) if via == "handle" else self.svc.reserve_one(topic, timeout=0)
        self._granted([] if job is None else [job], self.model.reserve(topic, 1))

    def _granted(self, jobs: list[Job], leases: list[Lease]) -> None:
        got, wanted = [job.id for job in jobs], [lease.id for lease in leases]
        assert got == wanted, f"granted jobs {got}, not {wanted}"
        for job, lease in zip(jobs, leases, strict=True):
            compare.granted(self, job, lease)
            self.held.append(Held(job, lease))

    def open_stream(self, topic: str, batch: int) -> None:
        topic = self._source(topic)
        self.streams.append(Stream(self.svc.consume(topic, batch=batch, idle=0), topic, batch))

    def next_of_stream(self, pick: int) -> None:
        stream = self._nth(self.streams, pick)
        job = next(stream.jobs, None)
        self._granted([] if job is None else [job], self._next_lease(stream))

    def _next_lease(self, stream: Stream) -> list[Lease]:
        while not stream.over:
            while stream.ahead:
                lease = stream.ahead.pop(0)
                if self.model.holds(lease):
                    return [lease]
            stream.ahead = self.model.reserve(stream.topic, stream.batch)
            stream.over = not stream.ahead
        return []

    def drop_stream(self, pick: int) -> None:
        stream = self._nth(self.streams, pick)
        self.streams.remove(stream)
        ahead = stream.ahead
        del stream
        self.model.give_back(ahead)

    # -- settling --------------------------------------------------------------------------------------------

    def done(self, pick: Pick) -> None:
        held = self._handle(pick)
        self._settle(held, "done", held.job.done, None)

    def retry(self, pick: Pick, delay: int | None, error: str | None) -> None:
        held = self._handle(pick)
        given, kept = self._error(error)
        real = outcome(lambda: held.job.retry(seconds_or_none(delay), error=given))
        self._agree(real, lambda: self.model.settle(held.lease, "retry", delay, kept))

    def release(self, pick: Pick, delay: int) -> None:
        held = self._handle(pick)
        self._settle(held, "release", lambda: held.job.release(seconds(delay)), delay)

    def reject(self, pick: Pick, error: str | None) -> None:
        held = self._handle(pick)
        given, kept = self._error(error)
        self._settle(held, "cancel", lambda: held.job.cancel(error=given), None, kept)

    def _settle(
        self, held: Held, verb: str, call: Callable[[], object], delay: int | None, error: str | None = None
    ) -> None:
        def modelled() -> None:
            self.model.settle(held.lease, verb, delay, error)

        self._agree(outcome(call), modelled)

    @staticmethod
    def _error(error: str | None) -> tuple[str | BaseException | None, str | None]:
        """What is given as an error, and the text that is to be kept of it."""
        if error == "exception":
            return Broken("no route"), "Broken: no route"
        if error == "silent exception":
            return Broken(), "Broken"
        return error, error

    def extend(self, pick: Pick, ms: int | None) -> None:
        held = self._handle(pick)
        real = outcome(lambda: held.job.extend(seconds_or_none(ms)))
        self._agree(real, lambda: self.model.extend(held.lease, ms))

    def log(self, pick: Pick, message: str) -> None:
        held = self._handle(pick)
        args = (message,) if self.payloads % 2 else ()
        real = outcome(lambda: held.job.log("%s" if args else message, *args))
        self._agree(real, lambda: self.model.say(held.lease, message))

    def with_block(self, pick: Pick, way: str) -> None:
        held = self._handle(pick)
        stood = self.model.holds(held.lease)
        ran = []

        def block() -> None:
            try:
                with held.job as job:
                    ran.append(job is held.job)
                    if way == "settled inside":
                        job.release()
                    if way == "exception":
                        raise Broken("in the block")
                    if way == "base":
                        raise Stopped
            except (Broken, Stopped):
                pass

        verb, error = {
            "end": ("done", None),
            "exception": ("retry", "Broken: in the block"),
            "base": ("release", None),
            "settled inside": ("release", None),
        }[way]
        self._settle(held, verb, block, None, error)
        assert ran == [True] * stood, (
            f"the block ran {len(ran)} times, entered with a lease that stood: {stood}"
        )

    def settle_many(self, picks: tuple[Pick, ...], verb: str, delay: int | None, twice: bool) -> None:
        chosen = list({id(held): held for held in map(self._handle, picks)}.values())
        if twice:
            # The second time it is a handle already settled. A lost one would be lost twice: how `ids` names
            # that is left open.
            chosen += [held for held in chosen[:1] if held.lease.settled or self.model.holds(held.lease)]
        jobs = [held.job for held in chosen]
        calls: dict[str, Callable[[], None]] = {
            "done": lambda: self.svc.done_many(iter(jobs)),
            "retry": lambda: self.svc.retry_many(jobs, seconds_or_none(delay), error="many"),
            "release": lambda: self.svc.release_many(tuple(jobs), seconds(delay or 0)),
        }
        real = outcome(calls[verb])
        leases = [held.lease for held in chosen]
        error = "many" if verb == "retry" else None
        self._agree(real, lambda: self.model.settle_many(leases, verb, delay, error))

    def drop_handle(self, pick: Pick, way: str) -> None:
        held = self._handle(pick)
        self.held.remove(held)
        lease = held.lease
        if way == "collector":
            ring: list[object] = [held]
            ring.append(ring)
            del ring
        del held
        gc.collect(0)
        self.model.drop(lease)
