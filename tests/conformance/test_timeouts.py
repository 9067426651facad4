"""Contract W2: how long a call waits, and how much it asks for."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from jobq import JobService

from .observe import some
from .threads import Background, until, until_waiting


@pytest.mark.parametrize("seconds", [0.001, 0.05, timedelta(milliseconds=50)])
def test_W2_a_number_waits_at_most_that_long(svc: JobService, seconds: float | timedelta) -> None:
    """Not less, or a loop around it would spin; not much more, or it would be no timeout."""
    least = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    for call in (lambda: svc.reserve("t", 1, timeout=seconds), lambda: svc.reserve_one("t", timeout=seconds)):
        start = time.monotonic()
        assert not call()
        assert least <= time.monotonic() - start < least + 10
    assert svc.topic_stats("t").waiting == 0


def test_W2_zero_asks_once(svc: JobService) -> None:
    """A poll is a legal question, with an empty answer that says so."""
    assert svc.reserve("t", 5, timeout=0) == []
    assert svc.reserve_one("t", timeout=0) is None
    assert svc.reserve_one("t", timeout=timedelta(0)) is None
    svc.enqueue_many("t", [b"", b""])
    assert len(svc.reserve("t", 5, timeout=0)) == 2


@pytest.mark.parametrize(
    "timeout", [-1, -0.001, float("nan"), float("inf"), float("-inf"), timedelta(seconds=-1)]
)
def test_W2_a_timeout_is_finite_and_not_negative(svc: JobService, timeout: float | timedelta) -> None:
    """For ever is spelled None; anything else that is no length of time is a mistake."""
    svc.enqueue("t", b"")
    calls: list[Callable[[], object]] = [
        lambda: svc.reserve("t", 1, timeout=timeout),
        lambda: svc.reserve_one("t", timeout=timeout),
        lambda: svc.join("t", timeout=timeout),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="timeout"):
            call()
    assert svc.topic_stats("t").reservations == 0


@pytest.mark.parametrize("limit", [0, -1, 2**63])
def test_W2_a_limit_is_one_or_more(svc: JobService, limit: int) -> None:
    """A batch of none would never return."""
    with pytest.raises(ValueError, match="limit"):
        svc.reserve("t", limit, timeout=0)


@pytest.mark.parametrize("limit", [1.0, "1", None, True])
def test_W2_a_limit_is_an_int(svc: JobService, limit: object) -> None:
    """True would be 1 by accident."""
    with pytest.raises(TypeError, match="limit"):
        svc.reserve("t", limit, timeout=0)  # type: ignore[arg-type]


def test_W2_a_limit_is_a_bound_and_no_allocation(svc: JobService) -> None:
    """As many as there are must be easy to say."""
    svc.enqueue_many("t", [b""] * 3)
    assert len(svc.reserve("t", 2**63 - 1, timeout=0)) == 3


def test_W2_a_wait_returns_as_soon_as_one_job_is_there(svc: JobService) -> None:
    """A batch is never waited full: the Go library held one ready job back for the whole timeout."""
    waiter = Background(svc.reserve, "t", 10, timeout=1000)
    until_waiting(svc, "t", 1)
    id = svc.enqueue("t", b"")
    assert [job.id for job in waiter.result()] == [id]
    later = svc.enqueue("t", b"")
    assert [job.id for job in svc.reserve("t", 10, timeout=1000)] == [later]


def test_W2_waiting_makes_the_topic(svc: JobService) -> None:
    """A worker that waits for the first job is there to be seen; one that only asked leaves no trace."""
    assert svc.reserve("asked", 1, timeout=0) == []
    assert svc.topics() == []
    waiter = Background(svc.reserve_one, "waited")
    until(lambda: svc.topics() == ["waited"], "the topic")
    until_waiting(svc, "waited", 1)
    svc.enqueue("waited", b"")
    assert some(waiter.result()).topic == "waited"


def test_W2_none_waits_as_long_as_it_takes(svc: JobService) -> None:
    """The default is queue's: block."""
    waiter = Background(svc.reserve_one, "t", timeout=None)
    until_waiting(svc, "t", 1)
    assert not waiter.over
    id = svc.enqueue("t", b"")
    assert waiter.result().id == id
