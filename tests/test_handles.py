"""Handles dropped anywhere, and the caller's code that runs inside a call.

Python runs foreign code in odd places: a `__del__` when the last reference goes, a `__str__` while an error
is noted, the collector at any allocation. Each may call the queue; one that holds a lock there waits for
itself.
"""

import gc
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest

import jobq
from child import Child, run
from jobq import JobOptions, JobService, Reason, Retention, Status
from jobq.testing import ManualClock
from surface import books_balance
from waits import Crew, until

STEADY = JobOptions(min_backoff=10, jitter=0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def svc(clock: ManualClock) -> Iterator[JobService]:
    with JobService(clock=clock, defaults=STEADY) as service:
        yield service


# -- handles dropped unsettled (L4) --------------------------------------------------------------------------


def by_del(svc: JobService) -> None:
    job = svc.reserve_one("t")
    del job


def by_end_of_scope(svc: JobService) -> None:
    job = svc.reserve_one("t")
    assert job.attempt == 1


def unnamed(svc: JobService) -> None:
    svc.reserve_one("t")


def by_exception(svc: JobService) -> None:
    def fails() -> None:
        job = svc.reserve_one("t")
        raise LookupError(f"while {job.id} was held")

    with pytest.raises(LookupError) as caught:
        fails()
    del caught  # with the traceback goes the frame, and with that the handle


def by_collector(svc: JobService) -> None:
    cycle: list[Any] = [svc.reserve_one("t")]
    cycle.append(cycle)
    del cycle
    gc.collect()


def in_another_thread(svc: JobService) -> None:
    held = svc.reserve("t", 1, timeout=0)
    with Crew() as crew:
        crew.start(held.clear)


def at_the_end_of_a_thread(svc: JobService) -> None:
    local = threading.local()

    def hold() -> None:
        local.job = svc.reserve_one("t")

    with Crew() as crew:
        crew.start(hold)


def with_their_list(svc: JobService) -> None:
    jobs = svc.reserve("t", 5, timeout=0)
    assert len(jobs) == 1
    jobs = []


def by_a_generator(svc: JobService) -> None:
    jobs = svc.consume("t")
    assert next(jobs).attempt == 1


DROPS = [
    by_del,
    by_end_of_scope,
    unnamed,
    by_exception,
    by_collector,
    in_another_thread,
    at_the_end_of_a_thread,
    with_their_list,
    by_a_generator,
]


@pytest.mark.parametrize("drop", DROPS, ids=lambda drop: drop.__name__)
def test_L4_a_dropped_handle_ends_its_lease_at_once(
    svc: JobService, clock: ManualClock, drop: Callable[[JobService], None]
) -> None:
    """Nobody can settle it any more, so waiting for two hours of lease would only delay the next try."""
    id = svc.enqueue("t", b"")
    clock.advance(3)
    drop(svc)
    info = svc.info(id)
    assert (info.status, info.retries, info.attempts) == (Status.DELAYED, 1, 1)
    assert info.due_at == clock.now() + timedelta(seconds=10)
    assert any("dropped" in entry.message for entry in info.log), info.log
    stats = svc.stats()
    books_balance(stats)
    assert (stats.expiries, stats.retries, stats.releases, stats.reservations) == (1, 0, 0, 1)
    clock.advance(10)
    assert [job.attempt for job in svc.reserve("t", 1, timeout=0)] == [2]


def test_L4_a_drop_beyond_max_retries_is_the_end(svc: JobService) -> None:
    id = svc.enqueue("t", b"", options=JobOptions(max_retries=0))
    by_del(svc)
    info = svc.info(id)
    assert (info.status, info.reason, info.retries) == (Status.CANCELED, Reason.EXHAUSTED, 1)


def test_L4_a_dropped_job_goes_to_a_waiter_without_any_other_call() -> None:
    """Real clock, no backoff: the drop itself must serve the thread that waits."""
    with jobq.open(defaults=JobOptions(min_backoff=0)) as svc, Crew() as crew:
        id = svc.enqueue("t", b"")
        held, taken = svc.reserve("t", 1), list[int]()

        def take() -> None:
            with svc.reserve_one("t") as job:
                taken.append(job.id)

        crew.start(take)
        until(lambda: svc.stats().waiting == 1, "the thread waits")
        held.clear()
        crew.join()
        assert taken == [id]


@pytest.mark.parametrize("verb", ["done", "retry", "release", "cancel"])
def test_a_settled_handle_may_be_dropped(svc: JobService, verb: str) -> None:
    id = svc.enqueue("t", b"")
    job = svc.reserve_one("t")
    getattr(job, verb)()
    before = svc.info(id)
    del job
    assert svc.info(id) == before
    assert svc.stats().expiries == 0


def test_a_handle_whose_lease_another_has_may_be_dropped(svc: JobService, clock: ManualClock) -> None:
    """Dropping token 1 must not end the lease of token 2."""
    id = svc.enqueue("t", b"", options=JobOptions(lease=5, min_backoff=0))
    old = svc.reserve_one("t")
    clock.advance(5)
    new = svc.reserve_one("t", timeout=0)
    assert new is not None
    assert new.token > old.token
    before = svc.info(id)
    del old
    assert svc.info(id) == before
    new.done()
    assert svc.stats().expiries == 1


def test_a_handle_of_a_job_that_is_gone_may_be_dropped(svc: JobService) -> None:
    id = svc.enqueue("t", b"")
    job = svc.reserve_one("t")
    svc.cancel(id)
    svc.delete(id)
    del job
    assert svc.stats().expiries == 0
    books_balance(svc.stats())


def test_handles_dropped_after_close_do_nothing() -> None:
    svc = jobq.open()
    svc.enqueue_many("t", [b""] * 3)
    jobs, iterator = svc.reserve("t", 2), svc.consume("t")
    next(iterator).done()
    svc.close()
    del jobs, iterator
    gc.collect()


def test_consume_dropped_gives_back_what_it_has_not_yielded(svc: JobService) -> None:
    ids = list(svc.enqueue_many("t", [b""] * 4))
    jobs = svc.consume("t", batch=3)
    next(jobs).done()
    del jobs
    assert [(svc.info(id).status, svc.info(id).attempts) for id in ids[1:]] == [(Status.READY, 0)] * 3
    assert [job.id for job in svc.reserve("t", 9, timeout=0)] == ids[1:]


def test_many_handles_dropped_by_many_threads_leave_the_books_right() -> None:
    with jobq.open(defaults=JobOptions(min_backoff=0, max_retries=1_000_000)) as svc:
        svc.enqueue_many("t", [b""] * 2_000)

        def drop() -> None:
            for _ in range(50):
                svc.reserve("t", 100, timeout=0)

        with Crew() as crew:
            for _ in range(8):
                crew.start(drop)
        stats = svc.stats()
        books_balance(stats)
        assert (stats.ready, stats.reserved) == (2_000, 0)
        assert stats.expiries == stats.reservations
        assert svc.verify() == []


def test_handles_are_dropped_at_interpreter_exit_in_silence() -> None:
    outcome = run(
        """
        import jobq, threading
        svc = jobq.open()
        svc.enqueue_many("t", [b""] * 9)
        held = svc.reserve("t", 2)
        cycle = [svc.reserve_one("t")]; cycle.append(cycle)
        jobs = svc.consume("t", batch=2); next(jobs)
        class Holder:
            job = svc.reserve_one("t")
            def __del__(self): self.job.topic
        holder = Holder(); holder.self = holder
        local = threading.local(); local.job = svc.reserve_one("t")
        """
    )
    assert outcome.succeeded().out == ""


# -- callers' code inside a call -----------------------------------------------------------------------------


class Trigger:
    """Calls the queue when it goes."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def __del__(self) -> None:
        self._act()


class Loud(bytes):
    """A payload that calls the queue when it goes."""

    act: Callable[[], object]

    def __del__(self) -> None:
        self.act()


def test_a_payload_of_a_subclass_is_copied_so_that_its_end_is_the_callers(svc: JobService) -> None:
    payload = Loud(b"content")
    payload.act = lambda: svc.enqueue("late", b"from __del__")
    id = svc.enqueue("t", payload)
    del payload
    assert svc.topic_stats("late").ready == 1
    assert (type(svc.payload(id)), svc.payload(id)) == (bytes, b"content")
    with svc.reserve_one("t") as job:
        assert type(job.payload) is bytes
    svc.delete(id)
    assert svc.topic_stats("late").enqueued == 1


class Told(Exception):
    """An error whose text calls the queue."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._act = act

    def __str__(self) -> str:
        self._act()
        return "told"


def test_the_text_of_an_error_may_call_the_queue(svc: JobService) -> None:
    id = svc.enqueue("t", b"")
    svc.reserve_one("t").retry(0, error=Told(lambda: svc.enqueue("late", b"")))
    assert svc.info(id).error == "Told: told"
    with pytest.raises(Told), svc.reserve_one("t"):
        raise Told(lambda: svc.enqueue("late", b""))
    assert svc.info(id).error == "Told: told"
    svc.reset(id)
    svc.reserve_one("t").cancel(error=Told(svc.stats))
    assert svc.info(id).status is Status.CANCELED
    assert svc.topic_stats("late").ready >= 2


def test_the_text_of_an_error_may_settle_the_very_job(svc: JobService) -> None:
    id = svc.enqueue("t", b"")
    job = svc.reserve_one("t")
    with pytest.raises(jobq.LeaseLost):
        job.retry(error=Told(job.done))
    assert svc.status(id) is Status.DONE


def test_the_text_of_an_error_may_close_the_service(svc: JobService) -> None:
    svc.enqueue("t", b"")
    with pytest.raises(jobq.ServiceClosed):
        svc.reserve_one("t").retry(error=Told(svc.close))


def test_an_error_without_a_text_does_not_hide_the_error(svc: JobService) -> None:
    def fail() -> None:
        raise RecursionError("no text")

    svc.enqueue("t", b"")
    error = Told(fail)
    with pytest.raises(Told) as caught, svc.reserve_one("t") as job:
        raise error
    assert caught.value is error
    assert job.settled or error.__notes__


def test_arguments_of_a_log_line_may_call_the_queue(svc: JobService) -> None:
    svc.enqueue("t", b"")
    job = svc.reserve_one("t")
    job.log("%s and %s", Told(lambda: svc.enqueue("late", b"")), Told(lambda: job.log("first")))
    assert [entry.message for entry in job.info().log] == ["first", "told and told"]
    job.done()


class Zone(tzinfo):
    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def utcoffset(self, moment: datetime | None) -> timedelta:
        self._act()
        return timedelta(0)


def test_a_time_zone_may_call_the_queue(svc: JobService) -> None:
    at = datetime(2030, 1, 1, tzinfo=Zone(lambda: svc.enqueue("late", b"")))
    id = svc.enqueue("t", b"", at=at)
    assert svc.status(id) is Status.DELAYED
    assert svc.topic_stats("late").ready >= 1


class Feed:
    """An iterable that calls the queue before each item, and once more when it goes."""

    def __init__(self, items: list[Any], act: Callable[[], object]) -> None:
        self._items, self._act = iter(items), act

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item = next(self._items)
        self._act()
        return item

    def __del__(self) -> None:
        self._act()


def test_an_iterable_may_call_the_queue_it_feeds(svc: JobService) -> None:
    """It is read to its end first: what it enqueues itself comes before, and the batch stays in one piece."""
    feed = Feed([b"a", b"b", b"c"], lambda: svc.enqueue("t", b"own"))
    ids = svc.enqueue_many("t", feed)
    del feed
    assert list(ids) == [4, 5, 6]
    assert [svc.payload(id) for id in ids] == [b"a", b"b", b"c"]
    assert svc.topic_stats("t").enqueued == 7

    jobs = svc.reserve("t", 3, timeout=0)
    svc.done_many(Feed(jobs, lambda: jobs[1].settled or jobs[1].retry(0)))
    assert [svc.status(job.id) for job in jobs] == [Status.DONE, Status.READY, Status.DONE]

    with pytest.raises(jobq.JobNotFound):
        svc.delete(Feed([4, 5, 6], lambda: svc.stats().deleted or svc.delete(6)))
    assert svc.status(4) is Status.READY


def test_an_iterable_may_close_the_service_it_feeds(svc: JobService) -> None:
    with pytest.raises(jobq.ServiceClosed):
        svc.enqueue_many("t", Feed([b"a"], svc.close))


# -- the collector -------------------------------------------------------------------------------------------


def every_way(svc: JobService, turn: int) -> None:
    """Calls that allocate: lists, handles, views, dates, exceptions."""
    garbage: list[Any] = [Trigger(lambda: svc.enqueue("from-del", b""))]
    garbage.append(garbage)
    ids = svc.enqueue_many("t", [b"x", (b"y", turn % 5)] * 10, delay=None if turn % 2 else 0)
    svc.info(ids[0])
    svc.enqueue("t", bytearray(b"z"), options=JobOptions(name="n"))
    jobs = svc.reserve("t", 20, timeout=0)
    svc.retry_many(jobs[:3], 0, error=ValueError("again"))
    jobs[3].log("a %s", "line")
    svc.done_many(jobs[3:9])
    with jobs[9] as job:
        job.extend(60)
    jobs.clear()
    list(svc.find(limit=5))
    svc.topic_stats("t")
    for job in svc.consume("t", batch=4, idle=0):
        job.done()


def collect_all_the_time() -> None:
    """The collector runs at each allocation and calls the queue from there; in a child, for a hang's sake."""
    keep = Retention.none()
    with JobService(clock=ManualClock(), defaults=JobOptions(min_backoff=0), retention=keep) as svc:

        def call(phase: str, info: dict[str, int]) -> None:
            svc.enqueue("from-collector", b"")
            svc.done_many(svc.reserve("from-collector", 5, timeout=0))
            svc.stats()

        gc.freeze()  # what is here already need not be looked through each time
        gc.callbacks.append(call)
        gc.set_threshold(1, 1, 1)
        try:
            for turn in range(100):
                every_way(svc, turn)
        finally:
            gc.callbacks.remove(call)
            gc.set_threshold(700, 10, 10)
        gc.collect()
        books_balance(svc.stats())
        assert svc.topic_stats("from-del").enqueued == 100
        assert svc.verify() == []


def test_the_collector_may_run_and_call_the_queue_in_any_call() -> None:
    with Child("from test_handles import collect_all_the_time; collect_all_the_time()") as child:
        child.finish().succeeded()
