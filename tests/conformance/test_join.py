"""Waiting for the end of the work (api: join; contract W1 to W4 for its waits)."""

import time
from collections.abc import Callable

import pytest

from jobq import JobOptions, JobService, Retention
from jobq.testing import ManualClock

from .factory import Factory
from .observe import AT_ONCE, hold
from .threads import Background, until


@pytest.mark.parametrize("timeout", [None, 0, 5])
def test_W2_join_of_nothing_is_true_at_once(svc: JobService, timeout: float | None) -> None:
    """A topic that is not in use has no work left; asking makes none."""
    assert svc.join("t", timeout=timeout)
    assert svc.join(timeout=timeout)
    assert svc.topics() == []


@pytest.mark.parametrize("state", ["ready", "delayed", "reserved"])
def test_W2_join_waits_for_every_live_job(svc: JobService, state: str) -> None:
    """Work put off and work under way is work."""
    svc.enqueue("t", b"", delay=10 if state == "delayed" else 0)
    job = hold(svc) if state == "reserved" else None
    start = time.monotonic()
    assert not svc.join("t", timeout=0)
    assert not svc.join("t", timeout=0.02)
    assert not svc.join(timeout=0.02)
    assert time.monotonic() - start >= 0.04
    assert svc.join("other", timeout=0)
    assert (job is None) == (state != "reserved")


def end_by_expiry(svc: JobService, clock: ManualClock) -> None:
    job = hold(svc)
    clock.advance(5)
    assert not job.settled


ENDS: dict[str, Callable[[JobService, ManualClock], object]] = {
    "done": lambda svc, clock: hold(svc).done(),
    "done_many": lambda svc, clock: svc.done_many([hold(svc)]),
    "rejected": lambda svc, clock: hold(svc).cancel(),
    "canceled": lambda svc, clock: svc.cancel(1),
    "deleted": lambda svc, clock: svc.delete(1),
    "exhausted": lambda svc, clock: hold(svc).retry(),
    "exhausted by expiry": end_by_expiry,
    "dropped": lambda svc, clock: svc.reserve("t", 1, timeout=0).clear(),
}


@pytest.mark.parametrize("keep", [Retention.forever(), Retention.none()], ids=["kept", "purged"])
@pytest.mark.parametrize("end", ENDS)
def test_W1_whatever_ends_the_last_job_ends_join(
    factory: Factory, clock: ManualClock, end: str, keep: Retention
) -> None:
    """Done or dead, kept or purged, the work is over, and every joiner hears of it."""
    svc = factory.open(
        clock, defaults=JobOptions(lease=5, max_retries=0), retention=keep, dead_retention=keep
    )
    svc.enqueue("t", b"")
    joiners = [Background(svc.join, "t", timeout=1000), Background(svc.join), Background(svc.topic("t").join)]
    assert not svc.join("t", timeout=0.01)
    assert not any(joiner.over for joiner in joiners)
    ENDS[end](svc, clock)
    assert [joiner.result() for joiner in joiners] == [True] * 3


def test_W1_join_waits_for_the_last_of_many(svc: JobService) -> None:
    """The last one, not the first."""
    svc.enqueue_many("t", [b""] * 3)
    svc.enqueue("other", b"")
    joiner, everywhere = Background(svc.join, "t"), Background(svc.join)
    for _ in range(3):
        assert not joiner.over
        hold(svc).done()
    assert joiner.result()
    assert not everywhere.over
    hold(svc, "other").done()
    assert everywhere.result()


def test_W1_a_job_that_comes_back_is_waited_for_again(svc: JobService) -> None:
    """Retried, released or reset, it is live."""
    svc.enqueue("t", b"", options=AT_ONCE)
    hold(svc).retry()
    hold(svc).release()
    assert not svc.join("t", timeout=0)
    hold(svc).done()
    assert svc.join("t", timeout=0)
    svc.reset(1)
    assert not svc.join("t", timeout=0)


def test_W5_a_paused_topic_is_waited_for(svc: JobService) -> None:
    """Its jobs are not gone, only held up."""
    svc.enqueue("t", b"")
    svc.pause("t")
    assert not svc.join("t", timeout=0)


def test_W3_join_is_no_waiter_for_jobs(svc: JobService) -> None:
    """It takes none and is not counted among those who wait for one."""
    svc.enqueue("t", b"")
    joiner = Background(svc.join, "t")
    assert svc.topic_stats("t").waiting == 0
    other = svc.enqueue("t", b"")
    assert svc.topic_stats("t").ready == 2
    hold(svc).done()
    hold(svc).done()
    assert joiner.result()
    assert other == 2


def test_W1_join_returns_to_a_true_world(factory: Factory) -> None:
    """With one producer that stops, what join saw is what is: nothing live, all counted."""
    svc = factory.open()
    total = 300

    def work() -> None:
        for job in svc.consume("t", batch=3):
            job.done()

    workers = [Background(work) for _ in range(3)]
    for i in range(total):
        svc.enqueue("t", b"", i % 3)
    assert Background(svc.join, "t").result()
    stats = svc.topic_stats("t")
    assert (stats.live, stats.done) == (0, total)
    svc.stop()
    for worker in workers:
        worker.result()
    until(lambda: svc.topic_stats("t").waiting == 0, "the workers' end")
