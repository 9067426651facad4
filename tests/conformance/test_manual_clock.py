"""Contract T7: the clock of a test."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from jobq import JobOptions, JobService
from jobq.testing import ManualClock

from .factory import Factory
from .observe import EXACT, hold
from .threads import Background, until_waiting

MS = timedelta(milliseconds=1)


def test_T7_advance_moves_both_clocks_and_jump_the_wall_alone(svc: JobService, clock: ManualClock) -> None:
    """A test must be able to tell a long night from a set clock."""
    svc.enqueue("t", b"", options=JobOptions(lease=100))
    job = hold(svc)
    start = clock.now()
    clock.advance(10)
    assert (clock.now() - start, job.remaining()) == (timedelta(seconds=10), 90)
    clock.jump(5)
    assert (clock.now() - start, job.remaining()) == (timedelta(seconds=15), 90)
    clock.jump(-20)
    assert (clock.now() - start, job.remaining()) == (timedelta(seconds=-5), 90)
    clock.advance(timedelta(milliseconds=1))
    assert clock.now() - start == timedelta(seconds=-5) + MS
    assert job.remaining() == pytest.approx(89.999)


def test_T7_the_clock_starts_where_it_is_told() -> None:
    """2000-01-01 unless another start is given; a naive one has no meaning."""
    assert ManualClock().now() == datetime(2000, 1, 1, tzinfo=UTC)
    start = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=-5)))
    assert ManualClock(start).now() == start
    assert ManualClock(start).now().tzinfo is UTC
    with pytest.raises(ValueError, match="start"):
        ManualClock(datetime(2026, 3, 1))  # noqa: DTZ001


def test_T7_the_clock_only_steps_back_by_jump(clock: ManualClock) -> None:
    """The monotonic clock has its name for a reason."""
    start = clock.now()
    for bad in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds"):
            clock.advance(bad)
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds"):
            clock.jump(bad)
    assert clock.now() == start


@pytest.mark.parametrize("move", ["advance", "jump"])
def test_T7_moving_the_clock_ticks_every_service_on_it(
    factory: Factory, clock: ManualClock, move: str
) -> None:
    """Those who wait in any of the services are served by the step itself."""
    services = [factory.fresh().open(clock), factory.open(clock)]
    ids = [svc.enqueue("t", b"", delay=10) for svc in services]
    waiters = [Background(svc.reserve, "t", 5) for svc in services]
    for svc in services:
        until_waiting(svc, "t", 1)
    getattr(clock, move)(10)
    assert [[job.id for job in waiter.result()] for waiter in waiters] == [[id] for id in ids]
    services[0].close()


def test_T7_the_timeout_of_a_wait_is_real_time(svc: JobService, clock: ManualClock) -> None:
    """A test's clock must not make a caller wait for ever, nor end a wait that was promised."""
    start = time.monotonic()
    assert svc.reserve("t", 1, timeout=0.05) == []
    assert time.monotonic() - start >= 0.05
    waiter = Background(svc.reserve, "t", 1, timeout=1000)
    until_waiting(svc, "t", 1)
    clock.advance(5000)
    assert svc.topic_stats("t").waiting == 1
    id = svc.enqueue("t", b"")
    assert [job.id for job in waiter.result()] == [id]


def test_T7_retries_follow_the_clock_too(svc: JobService, clock: ManualClock) -> None:
    """One clock for all dates: what a retry puts off is due by it."""
    svc.enqueue("t", b"", options=EXACT)
    job = hold(svc)
    job.retry()
    assert svc.info(job.id).due_at == clock.now() + timedelta(seconds=30)
