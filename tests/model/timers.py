"""What time does to the model: a tick ends leases, promotes, purges and forgets idle topics, in that order.

It also holds the retry arithmetic, written from the contract and from nothing else.
"""

from __future__ import annotations

from .state import CANCELED, DELAYED, EXHAUSTED, RESERVED, Job, Line, State, Terms


def backoff(terms: Terms, n: int) -> tuple[int, int]:
    """The least and the greatest wait before the n-th retry, in milliseconds."""
    longest = terms.min_backoff
    for _ in range(n - 1):
        longest *= 2
        if longest >= terms.max_backoff:
            break
    longest = min(longest, terms.max_backoff)
    return int((1.0 - terms.jitter) * longest), longest


def tick(state: State) -> None:
    """Everything that is due now."""
    ended = [job for job in state.jobs.values() if job.status == RESERVED and job.deadline <= state.mono]
    for job in sorted(ended, key=lambda job: (job.deadline, job.lease_order)):
        expire(state, job, ended=job.deadline, word="expired")
    due = [job for job in state.jobs.values() if job.status == DELAYED and job.due is not None]
    for job in sorted(due, key=lambda job: (job.due, job.delayed_order)):
        if job.due is not None and job.due <= state.wall:
            promote(state, job)
    purge(state)
    forget_topics(state)


def charge(state: State, job: Job, delay: int | None, *, since: int, at: int | None) -> None:
    """Add a retry, and cancel the job when it was one too many; else queue it `delay` after the instant
    `since`.

    Without a delay the backoff counts; where jitter leaves it open, the service's choice is read and bounded.
    """
    job.retries += 1
    job.crashes = 0
    if job.retries > job.terms.max_retries:
        state.finish(job, CANCELED, EXHAUSTED, at=at)
        return
    least, most = (delay, delay) if delay is not None else backoff(job.terms, job.retries)
    if least == most or since + most <= state.wall:
        state.to_ready_or_delayed(job, since + most, at=at)
        return
    due = state.oracle.due(job.id)
    if due is None:
        assert since + least <= state.wall, f"job {job.id} is ready before its backoff of at least {least} ms"
        state.to_ready(job, at=at)
    else:
        assert since + least <= due <= since + most, (
            f"job {job.id} is due {due - since} ms after it was charged, not within [{least}, {most}]"
        )
        state.to_delayed(job, due, at=at)


def expire(state: State, job: Job, *, ended: int, word: str) -> None:
    """End a lease at the monotonic instant `ended`, charged; the backoff counts from there (T5)."""
    job.log.append(Line("ended", word, None))
    job.ended += 1
    state.count(job.topic, "expiries")
    state.touch(job.topic)
    charge(state, job, None, since=state.wall - (state.mono - ended), at=None)


def promote(state: State, job: Job) -> None:
    """Delayed to Ready by time."""
    due = job.due
    state.to_ready(job)
    job.kept_due = due
    state.count(job.topic, "promotions")
    state.touch(job.topic)


def purge(state: State) -> None:
    """Drop what is kept too long, the oldest first (S3: the head of the list bars the way)."""
    for finished, bounds in ((state.kept, state.settings.kept), (state.dead, state.settings.dead)):
        while finished and bounds.age is not None and state.wall - (finished[0].finished or 0) >= bounds.age:
            state.forget(finished.pop(0), "purged")


def forget_topics(state: State) -> None:
    """Drop the topics without jobs and pause that nobody called for topic_idle (V1, S4)."""
    idle = state.settings.caps.topic_idle
    if idle is None:
        return
    for name, topic in list(state.topics.items()):
        if topic.paused or any(job.topic == name for job in state.jobs.values()):
            continue
        surely = state.mono - topic.touched >= idle
        perhaps = state.mono - topic.named >= idle
        if surely or (perhaps and not state.oracle.knows(name)):
            state.forgotten.append(state.topics.pop(name).counts)
