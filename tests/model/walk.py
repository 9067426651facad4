"""A walk: each step is made on the service and on the model, and what both say must be the same.

`steps` has those of producers and workers; here are those of an operator, of time, of waiting, of a restart.
"""

from __future__ import annotations

from jobq import Reason, Status

from . import compare
from .state import RESERVED
from .steps import WorkerSteps
from .translate import outcome, seconds
from .vocabulary import QUICK, Pick, Step
from .worker import BlockedWorker

UNKNOWN_ID = 2**63 - 1
SOON = 5
"""Milliseconds until the job is due that shall wake a blocked worker."""


class Walk(WorkerSteps):
    """All steps, by the names that `vocabulary.STEPS` has for them."""

    def can(self, step: Step) -> bool:
        """Whether there is anything to make the step with."""
        return step.needs is None or bool(getattr(self, step.needs))

    def begin(self, how: str) -> None:
        """Begin empty, with jobs and handles, or with handles whose jobs are in other hands by now."""
        if how == "empty":
            return
        self.enqueue_many("a", 4, 0, 4, ("now", 0), QUICK)
        self.reserve("a", 2, 0, "name")
        if how == "stale":
            self.advance(1_000)
            self.reserve("a", 4, 0, "name")

    def check(self) -> None:
        """Look at everything that can be seen."""
        compare.everything(self)

    def end(self) -> None:
        """Close for good, and hold that a closed service says so (I20)."""
        self._close()
        faults = self.factory.end()
        assert not faults, faults

    def abandon(self) -> None:
        """Close without looking: the walk has failed, and that failure is the one to report."""
        self.factory.end()

    # -- operating -------------------------------------------------------------------------------------------

    def operate(self, verb: str, pick: Pick, force: bool) -> None:
        id = self._id(pick)
        arguments = {"force": force} if verb == "reset" else {}
        real = outcome(lambda: getattr(self.svc, verb)(id, **arguments))
        self._agree(real, lambda: self.model.operate(verb, [id], force=force))

    def operate_many(self, verb: str, picks: tuple[Pick, ...], force: bool, bad: str | None) -> None:
        # An id named twice is left open by the contract: the second time it may be another status.
        ids = list(dict.fromkeys(map(self._id, picks)))
        ids[1:1] = self._bad_ids(bad)
        arguments = {"force": force} if verb == "reset" else {}
        real = outcome(lambda: getattr(self.svc, verb)(iter(ids), **arguments))
        self._agree(real, lambda: self.model.operate(verb, ids, force=force))

    def _bad_ids(self, bad: str | None) -> list[int]:
        gone = [id for id in self.known if id not in self.model.jobs]
        if bad == "unknown":
            return [UNKNOWN_ID]
        return gone[:1] if bad == "gone" else []

    def pause(self, topic: str) -> None:
        self._agree(outcome(lambda: self.svc.pause(topic)), lambda: self.model.pause(topic))

    def resume(self, topic: str) -> None:
        self._agree(outcome(lambda: self._topic(topic).resume()), lambda: self.model.resume(topic))

    # -- looking ---------------------------------------------------------------------------------------------

    def look(self, pick: Pick, bad: str | None) -> None:
        id = [*self._bad_ids(bad), self._id(pick)][0]
        self._agree(outcome(lambda: self.svc.status(id)), lambda: self.model.look(id).status)
        self._agree(outcome(lambda: self.svc.payload(id)), lambda: self.model.look(id).payload)
        self._agree(outcome(lambda: self.svc.info(id).id), lambda: self.model.look(id).id)

    def find(
        self, status: str | None, topic: str | None, reason: str | None, after: int, limit: int | None
    ) -> None:
        found = self.svc.find(
            None if status is None else Status(status),
            topic=topic,
            reason=None if reason is None else Reason(reason),
            after=after,
            limit=limit,
        )
        got = [info.id for info in found]
        wanted = self.model.find(status, topic, reason, after, limit)
        assert got == wanted, f"found {got}, not {wanted}"

    def join(self, topic: str | None) -> None:
        idle = self.model.idle(topic)
        assert self.svc.join(topic, timeout=0) is idle, f"join({topic!r}, timeout=0) is not {idle}"

    # -- time ------------------------------------------------------------------------------------------------

    def advance(self, ms: int) -> None:
        self.clock.advance(seconds(ms))
        self.model.advance(ms)

    def jump(self, ms: int) -> None:
        self.clock.jump(seconds(ms))
        self.model.jump(ms)

    def advance_to_edge(self, nth: int, beside: int) -> None:
        """Move to an instant at which something is due, or to a millisecond beside it (I7, I11)."""
        ahead = self.model.instants()
        if ahead:
            self.advance(max(0, ahead[min(nth, len(ahead) - 1)] + beside))

    def jump_to_edge(self, nth: int, beside: int) -> None:
        """The same with the wall clock alone: due dates only."""
        ahead = sorted(job.due - self.model.wall for job in self.model.jobs.values() if job.due is not None)
        if ahead:
            self.jump(ahead[min(nth, len(ahead) - 1)] + beside)

    # -- waiting ---------------------------------------------------------------------------------------------

    def blocked_worker(self, topic: str, wake: str) -> None:
        """A thread blocks on a topic that can grant nothing; what changes that must serve it at once."""
        if self.model.refusal_of_enqueue(topic, [(b"work", 0), (b"work", 0)]) is not None:
            return
        if wake == "resume":
            self.pause(topic)
            if not self.model.ready(topic):
                self._enqueue_work(topic, ("now", 0))
        else:
            self.resume(topic)
            self.reserve(topic, 1_000, 0, "name")
            while self.model.ready(topic):  # what was recovered is granted alone
                self.reserve(topic, 1_000, 0, "name")
        mine = [held for held in self.held if held.lease.topic == topic and self.model.holds(held.lease)]
        if (wake == "release" and not mine) or (wake == "advance" and self._due_soon(topic)):
            return
        if wake == "advance":
            self._enqueue_work(topic, ("delay", SOON))
        worker = BlockedWorker(self.svc, topic)
        worker.start()
        assert self.model.reserve(topic, 1, waits=True) == []
        if wake == "resume":
            self.resume(topic)
        elif wake == "enqueue":
            self._enqueue_work(topic, ("now", 0))
        elif wake == "advance":
            self.advance(SOON)
        else:
            held = mine[-1]
            self._settle(held, "release", held.job.release, 0)
        self._granted([worker.job()], self.model.serve(topic, 1))

    def _enqueue_work(self, topic: str, when: tuple[str, int]) -> None:
        self.enqueue(topic, 0, 4, when, None, "name")

    def _due_soon(self, topic: str) -> bool:
        """Whether anything else of the topic might become ready in the tick that shall wake the worker."""
        return any(
            (job.due is not None and job.due <= self.model.wall + SOON)
            or (job.status == RESERVED and job.deadline <= self.model.mono + SOON)
            for job in self.model.jobs.values()
            if job.topic == topic
        )

    # -- a restart -------------------------------------------------------------------------------------------

    def reopen(self, stop: bool) -> None:
        """Close, with handles and streams in use, and open what the repositories kept."""
        if stop:
            self._stop()
        self._close()
        self.svc = self.factory.reopen(self.clock, **self._service_options())
        self.model.reopen(jobs=self.factory.jobs, topics=self.factory.topics)
        self._adopt()

    def crash(self) -> None:
        """Open what a kill leaves once all is written, with jobs held and granted to streams.

        What was awaited by nobody (R6) a kill may undo; so it is written first, and time does its work.
        """
        self.svc.stats()
        self.model.tick()
        self.svc.flush()
        killed = self.svc
        self.svc = self.factory.crash(self.clock, **self._service_options())
        self.model.crash(jobs=self.factory.jobs, topics=self.factory.topics)
        killed.close()
        self.held, self.streams, self._topics = [], [], {}
        self._adopt()

    def _adopt(self) -> None:
        if not self.factory.jobs:
            self.known, self.tokens = [], []
        for job in self.model.jobs.values():
            compare.adopt_log(job, self.svc.info(job.id).log)

    def _stop(self) -> None:
        """W4: no more grants, and everything else goes on."""
        self.svc.stop()
        topic = "a"
        assert outcome(lambda: self.svc.reserve(topic, 1, timeout=0)).kind == "ServiceClosed"
        assert outcome(lambda: self.svc.reserve_one(topic, timeout=0)).kind == "ServiceClosed"
        assert outcome(lambda: self.svc.join(topic, timeout=0)).kind == "ServiceClosed"
        assert list(self.svc.consume(topic, idle=0)) == []
        self._enqueue_work(topic, ("now", 0))
        if self.held:
            self.done(("held", 0))

    def _close(self) -> None:
        """C4: what is held goes back uncharged, and its holders are told that the service is closed."""
        self.svc.close()
        compare.closed(self.svc)
        for held in self.held[-3:]:
            if not held.lease.settled:
                assert outcome(held.job.done).kind == "ServiceClosed", f"job {held.job.id} after close"
        for stream in self.streams:
            assert next(stream.jobs, None) is None, "a stream went on after close"
            self.model.give_back(stream.ahead, at_close=True)
        self.held, self.streams = [], []
        self._topics = {}
