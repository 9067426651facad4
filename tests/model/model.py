"""The model of a service: jobq's verbs, as contract.md has them, on the plain records of `state`.

A verb returns what the service must return, or raises `Refused`. Ids and tokens are learned from the service,
since the contract says only that they increase; so is what `Oracle` names, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from .state import (
    CANCELED,
    DELAYED,
    DONE,
    FINISHED,
    KEPT_TEXT,
    LIVE,
    MAX_CRASHES,
    POISON,
    READY,
    REJECTED,
    REQUESTED,
    RESERVED,
    Counts,
    Job,
    Lease,
    Line,
    Options,
    Refused,
    State,
    resolve,
)
from .timers import charge, expire, tick

DATES = {"first_enqueued": min, "last_enqueued": max, "first_reserved": min, "last_reserved": max}


class Model(State):
    """Holder's verbs take a `Lease`, are judged first and tick after; all others tick first (T3)."""

    # -- time ------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Run what is due."""
        tick(self)

    def advance(self, ms: int) -> None:
        """Move both clocks, and tick (T7)."""
        self.wall += ms
        self.mono += ms
        self.tick()

    def jump(self, ms: int) -> None:
        """Step the wall clock alone, and tick (T7)."""
        self.wall += ms
        self.tick()

    def instants(self) -> list[int]:
        """How far off each due date and each lease's end is, in milliseconds, ascending."""
        dues = [job.due - self.wall for job in self.jobs.values() if job.due is not None]
        ends = [job.deadline - self.mono for job in self.jobs.values() if job.status == RESERVED]
        return sorted(dues + ends)

    # -- producing -------------------------------------------------------------------------------------------

    def refusal_of_enqueue(self, topic: str, items: Sequence[tuple[bytes, int]]) -> Refused | None:
        """Why the limits refuse this, if they do (V3). Nothing has changed then."""
        caps = self.settings.caps
        if any(len(payload) > caps.max_payload for payload, _ in items):
            return Refused("ValueError")
        live = sum(job.status in LIVE for job in self.jobs.values())
        if caps.max_jobs is not None and live + len(items) > caps.max_jobs:
            return Refused("QueueFull")
        if caps.max_topics is not None and topic not in self.topics and len(self.topics) >= caps.max_topics:
            return Refused("QueueFull")
        return None

    def enqueue(
        self,
        topic: str,
        items: Sequence[tuple[bytes, int]],
        *,
        due: int,
        layers: Sequence[Options | None],
        ids: Sequence[int] | None,
    ) -> None:
        """Queue all items or none (no items make no topic); `ids` are those the service gave, if it did."""
        self.tick()
        if not items:
            self.touch(topic)
            return
        refusal = self.refusal_of_enqueue(topic, items)
        if refusal is not None:
            self.touch(topic)
            raise refusal
        assert ids is not None, f"enqueue on {topic!r} was refused, and nothing forbids it"
        assert len(ids) == len(items), f"{len(ids)} ids for {len(items)} jobs"
        assert ids[0] > self.last_id, f"id {ids[0]} is not above {self.last_id}"
        assert list(ids) == list(range(ids[0], ids[0] + len(ids))), f"ids are not consecutive: {list(ids)}"
        self.name(topic, create=True)
        for id, (payload, weight) in zip(ids, items, strict=True):
            self._add(Job(id, topic, weight, payload, resolve(*layers), self.wall), due)
        self.last_id = ids[-1]
        self.count(topic, "enqueued", len(items))
        self.date(topic, "enqueued")

    def _add(self, job: Job, due: int) -> None:
        self.jobs[job.id] = job
        if due > self.wall:
            job.status = DELAYED
            self.to_delayed(job, due)
        else:
            self.to_ready(job)
        if job.terms.log_status_change:
            job.log.append(Line("born", job.status, self.wall))

    # -- consuming -------------------------------------------------------------------------------------------

    def reserve(self, topic: str, limit: int, *, waits: bool = False) -> list[Lease]:
        """Grant the first `limit` ready jobs; [] when there is none or the topic is paused (W5)."""
        self.tick()
        self.name(topic, create=waits)
        return self.serve(topic, limit)

    def serve(self, topic: str, limit: int) -> list[Lease]:
        """Grant to a call that may have been waiting for long."""
        self.touch(topic)
        if topic in self.topics and self.topics[topic].paused:
            return []
        granted = self.ready(topic)[:limit]
        # What was recovered is granted alone until it is settled (C1).
        alone = next((place for place, job in enumerate(granted) if job.crashes), len(granted))
        return [self.to_reserved(job) for job in granted[: max(alone, 1)]]

    def holds(self, lease: Lease) -> bool:
        """Whether a lease still stands (L1)."""
        return lease.id in self.jobs and self.jobs[lease.id].lease is lease

    def status(self, id: int) -> str | None:
        """Where a job stands; None when it is gone."""
        return self.jobs[id].status if id in self.jobs else None

    def give_back(self, leases: Sequence[Lease], *, at_close: bool = False) -> None:
        """Grants that never reached their caller go back unchanged and uncharged, in place (O3).

        With a table nothing else is written of that, but at close.
        """
        for lease in leases:
            if self.holds(lease):
                job = self.jobs[lease.id]
                job.attempts -= 1
                job.log_open = job.log_open or job.terms.log_status_change
                kept = job.kept_stamp, job.kept_due
                self.to_place(job)
                if self.has_table and not at_close:
                    job.kept_stamp, job.kept_due = kept
                self.count(job.topic, "reservations", -1)
                self.touch(job.topic)

    def drop(self, lease: Lease) -> None:
        """The handle of a lease went away: if it still stands, the job expires now (L4)."""
        if self.holds(lease):
            expire(self, self.jobs[lease.id], ended=self.mono, word="dropped")
            self.tick()

    # -- settling --------------------------------------------------------------------------------------------

    def held(self, lease: Lease) -> Job:
        """The job of a lease that stands; LeaseLost otherwise."""
        self.touch(lease.topic)
        if not self.holds(lease):
            raise Refused(
                "LeaseLost",
                id=lease.id,
                token=lease.token,
                ids=(lease.id,),
                status=self.status(lease.id),
            )
        return self.jobs[lease.id]

    def settle(self, lease: Lease, verb: str, delay: int | None = None, error: str | None = None) -> str:
        """done, retry, release or cancel by the holder; return the status that follows."""
        status = self._settle(lease, verb, delay, error)
        self.tick()
        return status

    def settle_many(
        self, leases: Sequence[Lease], verb: str, delay: int | None = None, error: str | None = None
    ) -> None:
        """The same for all that stand; the settled are skipped, the lost are named after (L2)."""
        lost = []
        for lease in leases:
            if lease.settled:
                continue
            try:
                self._settle(lease, verb, delay, error)
            except Refused:
                lost.append(lease.id)
        self.tick()
        if lost:
            raise Refused("LeaseLost", ids=tuple(lost))

    def _settle(self, lease: Lease, verb: str, delay: int | None, error: str | None) -> str:
        job = self.held(lease)
        lease.settled = True
        job.ended += 1
        if error is not None:
            job.error = error[:KEPT_TEXT]
        if verb == "done":
            self.finish(job, DONE, None, at=self.wall)
        elif verb == "cancel":
            self.finish(job, CANCELED, REJECTED, at=self.wall)
        elif verb == "retry":
            self.count(job.topic, "retries")
            charge(self, job, delay, since=self.wall, at=self.wall)
        else:
            job.crashes = 0
            self.count(job.topic, "releases")
            if delay:
                self.to_delayed(job, self.wall + delay, at=self.wall)
            else:
                self.to_place(job, at=self.wall)
        return job.status

    def extend(self, lease: Lease, ms: int | None) -> None:
        """Hold longer, never shorter (L6). What changes nothing leaves the order of deadlines alone."""
        job = self.held(lease)
        deadline = self.mono + (job.terms.lease if ms is None else ms)
        if deadline > job.deadline:
            job.deadline = deadline
            job.lease_order = self.order()
        self.tick()

    def say(self, lease: Lease, message: str) -> None:
        """Add a line to the log."""
        job = self.held(lease)
        job.log.append(Line("said", message[:KEPT_TEXT], self.wall))
        self.tick()

    # -- operating -------------------------------------------------------------------------------------------

    def operate(self, verb: str, ids: Sequence[int], *, force: bool = False) -> None:
        """cancel, reset or delete: all or nothing, the first bad id named (L7)."""
        self.tick()
        for id in ids:
            if id not in self.jobs:
                raise Refused("JobNotFound", id=id)
            status = self.jobs[id].status
            self.touch(self.jobs[id].topic)
            allowed = {
                "cancel": status in LIVE,
                "reset": status != RESERVED or force,
                "delete": status != RESERVED,
            }
            if not allowed[verb]:
                raise Refused("InvalidTransition", id=id, status=status, verb=verb)
        for id in ids:
            job = self.jobs[id]
            if job.status == RESERVED:
                job.ended += 1
            if verb == "cancel":
                self.finish(job, CANCELED, REQUESTED, at=self.wall)
            elif verb == "reset":
                self._reset(job)
            else:
                if job.status in FINISHED:
                    self.unfinish(job)
                self.forget(job, "deleted")

    def _reset(self, job: Job) -> None:
        if job.status in FINISHED:
            self.unfinish(job)
        job.retries = job.crashes = 0
        job.resets += 1
        self.count(job.topic, "resets")
        if job.status == READY:
            self.to_place(job)
        else:
            self.to_ready(job, at=self.wall)

    def pause(self, topic: str) -> None:
        """Grant nothing more; makes the topic (S12)."""
        self.tick()
        self.name(topic, create=True)
        self.topics[topic].paused = True

    def resume(self, topic: str) -> None:
        """Undo pause; makes nothing (S12)."""
        self.tick()
        self.name(topic, create=False)
        if topic in self.topics:
            self.topics[topic].paused = False

    # -- looking ---------------------------------------------------------------------------------------------

    def look(self, id: int) -> Job:
        """A job by its id; JobNotFound."""
        self.tick()
        if id not in self.jobs:
            raise Refused("JobNotFound", id=id)
        return self.jobs[id]

    def find(
        self, status: str | None, topic: str | None, reason: str | None, after: int, limit: int | None
    ) -> list[int]:
        """Ids of what matches, ascending (V4)."""
        self.tick()
        if topic is not None:
            self.touch(topic)
        ids = sorted(
            job.id
            for job in self.jobs.values()
            if job.id > after
            and status in (None, job.status)
            and topic in (None, job.topic)
            and reason in (None, job.reason)
        )
        return ids[:limit]

    def idle(self, topic: str | None) -> bool:
        """What join(timeout=0) says: nothing ready, delayed or reserved."""
        self.tick()
        if topic is not None:
            self.touch(topic)
        return not any(job.status in LIVE and topic in (None, job.topic) for job in self.jobs.values())

    def depths(self, topic: str | None) -> dict[str, int]:
        """How many jobs there are now, by status, and the dead letters among the canceled."""
        jobs = [job for job in self.jobs.values() if topic in (None, job.topic)]
        depths = {status: sum(job.status == status for job in jobs) for status in (*LIVE, *FINISHED)}
        depths["dead"] = sum(job.status == CANCELED and job.reason != REQUESTED for job in jobs)
        return depths

    def counts(self, topic: str | None) -> Counts:
        """Events of a topic (none for one not in use), or of all together, forgotten ones included."""
        if topic is None:
            return self.total
        return self.topics[topic].counts if topic in self.topics else Counts()

    # -- closing and opening ---------------------------------------------------------------------------------

    def reopen(self, *, jobs: bool, topics: bool) -> None:
        """A clean close and an open at the same instant; the roles given are durable (C4, R2)."""
        for job in list(self.jobs.values()):
            if job.status == RESERVED:
                job.ended += 1
                job.log_open = job.log_open or job.terms.log_status_change
                self.to_place(job)
        before = {name: self.depths(name) for name in self.topics}
        if not jobs:
            self._lose_jobs()
        if topics:
            for name, topic in self.topics.items():
                here = self.depths(name)
                topic.counts.lost += sum(before[name][s] - here[s] for s in (*LIVE, *FINISHED))
        else:
            used = sorted({job.topic for job in self.jobs.values()})
            self.topics, self.forgotten = {}, []
            for name in used:
                self.name(name, create=True)
                self.topics[name].counts.enqueued = len(self.of(name, *LIVE, *FINISHED))
        for name, topic in list(self.topics.items()):
            topic.touched = self.mono
            # A topic that only ever waited has nothing to be remembered by.
            if topic.counts == Counts() and not topic.paused and not self.oracle.knows(name):
                del self.topics[name]
        self._add_up()
        self._order_at_open()
        self.purge_surplus()
        self.tick()

    def crash(self, *, jobs: bool, topics: bool) -> None:
        """A kill once all was written, and an open at the same instant (C1).

        A held job goes back to the stamp on disk; where only its due is there, the table has its stamp (O3).
        """
        events: list[tuple[str, str]] = []
        for job in list(self.jobs.values()) if jobs else []:
            if job.status != RESERVED:
                continue
            job.ended += 1
            job.crashes += 1
            events.append((job.topic, "recoveries"))
            if job.kept_due is None:
                job.stamp = job.kept_stamp
            self.to_place(job)
            if job.crashes > MAX_CRASHES:
                self._move(job, CANCELED, at=None)
                job.reason, job.finished = POISON, self.wall
                events.append((job.topic, "cancellations"))
                self.dead.append(job)
        self.reopen(jobs=jobs, topics=topics)
        for topic, event in events:
            self.count(topic, event)

    def _lose_jobs(self) -> None:
        self.jobs, self.kept, self.dead = {}, [], []
        self.last_id = self.last_stamp = 0

    def _add_up(self) -> None:
        """The service's counts begin again as the sum over its topics, forgotten ones included."""
        total = Counts()
        for counts in [*self.forgotten, *(topic.counts for topic in self.topics.values())]:
            for item in fields(Counts):
                one, so_far = getattr(counts, item.name), getattr(total, item.name)
                if item.name not in DATES:
                    setattr(total, item.name, so_far + one)
                elif one is not None:
                    setattr(total, item.name, one if so_far is None else DATES[item.name](one, so_far))
        self.total = total

    def _order_at_open(self) -> None:
        """O4: a job has its stamp, or its due if it was delayed; equal ones by id, parted there."""
        for job in self.jobs.values():
            if job.status == READY:
                self._place_at_open(job)
        last: dict[tuple[str, int], int] = {}
        ready = [job for job in self.jobs.values() if job.status == READY]
        for job in sorted(ready, key=lambda job: (job.stamp, job.id)):
            before = last.get((job.topic, job.weight), 0)
            job.stamp = last[job.topic, job.weight] = max(job.stamp, before + 1)
            if job.crashes:
                self.keep_stamp(job)  # open writes those it has to grant alone
        for job in sorted(self.jobs.values(), key=lambda job: job.id):
            job.delayed_order = self.order()
        for finished in (self.kept, self.dead):
            finished.sort(key=lambda job: (job.finished, job.id))
        self.last_stamp = max([job.stamp for job in ready], default=0)

    def _place_at_open(self, job: Job) -> None:
        """Where the disk says. If the clock is behind its due again, it is delayed again (T1): no event."""
        if job.kept_due is None:
            job.stamp = job.kept_stamp
        elif job.kept_due > self.wall:
            job.status, job.due, job.kept_due = DELAYED, job.kept_due, None
        else:
            job.stamp = job.kept_due << 20
