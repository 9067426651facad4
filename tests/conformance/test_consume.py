"""Contract L8: jobs one after another, and what becomes of those that were fetched ahead."""

import itertools
import signal
import time
from collections.abc import Iterator

import pytest

from jobq import Job, JobService, ServiceClosed, Status
from jobq.testing import ManualClock

from .factory import Factory
from .observe import AT_ONCE, EXACT, events, order
from .threads import Background, signal_when, until_waiting


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_L8_yields_every_ready_job_in_order(svc: JobService, batch: int) -> None:
    """The loop of a worker, whatever it fetches at a time."""
    svc.enqueue_many("t", [(b"", weight) for weight in (2, 0, 1, 0, 2, 1, 0)])
    expected = order(svc)
    seen = []
    for job in svc.consume("t", batch=batch, idle=0):
        seen.append(job.id)
        job.done()
    assert seen == expected
    assert svc.topic_stats("t").done == 7


def test_L8_fetches_up_to_batch_and_no_more(svc: JobService) -> None:
    """What a consumer holds is out of reach for others: never more than it asked for."""
    svc.enqueue_many("t", [b""] * 5)
    jobs = svc.consume("t", batch=3)
    held = [next(jobs)]
    assert svc.topic_stats("t").reserved == 3
    held += itertools.islice(jobs, 2)
    assert svc.topic_stats("t").reserved == 3
    held.append(next(jobs))
    assert svc.topic_stats("t").reserved == 5
    assert [job.attempt for job in held] == [1] * 4


def test_L8_a_batch_is_not_waited_full(svc: JobService) -> None:
    """One ready job is a batch."""
    ids = [svc.enqueue("t", b"")]
    jobs = svc.consume("t", batch=10)
    first = next(jobs)
    waiter = Background(lambda: next(jobs))
    until_waiting(svc, "t", 1)
    ids.append(svc.enqueue("t", b""))
    assert [first.id, waiter.result().id] == ids


def test_L8_idle_zero_ends_when_none_is_ready(svc: JobService) -> None:
    """Work off what is there: delayed and reserved jobs are not waited for."""
    svc.enqueue("t", b"", delay=10)
    assert list(svc.consume("t", idle=0)) == []
    svc.enqueue("t", b"")
    assert len(list(svc.consume("t", idle=0))) == 1


def test_L8_ends_when_none_came_for_idle(svc: JobService) -> None:
    """The time is counted from the last job, in real time; a job in between starts it anew."""
    svc.enqueue("t", b"")
    start = time.monotonic()
    for job in svc.consume("t", idle=0.05):
        job.done()
    assert 0.05 <= time.monotonic() - start < 10
    consumer = Background(lambda: [job.id for job in svc.consume("t", idle=15)])
    until_waiting(svc, "t", 1)
    svc.enqueue("t", b"")
    until_waiting(svc, "t", 1)
    svc.stop()
    assert consumer.result() == [2]


def test_L8_without_idle_it_waits_for_ever(svc: JobService) -> None:
    """The default is a worker that stays."""
    consumer = Background(lambda: next(svc.consume("t")))
    until_waiting(svc, "t", 1)
    assert not consumer.over
    id = svc.enqueue("t", b"")
    assert consumer.result().id == id


def fetched(svc: JobService) -> tuple[Job, Iterator[Job]]:
    """A consumer that has fetched three and yielded one."""
    svc.enqueue_many("t", [b""] * 4, options=EXACT)
    jobs = svc.consume("t", batch=3)
    return next(jobs), jobs


def leave_by_break(svc: JobService) -> Job:
    svc.enqueue_many("t", [b""] * 4, options=EXACT)
    for job in svc.consume("t", batch=3):
        kept = job
        break
    return kept


def leave_by_exception(svc: JobService) -> Job:
    svc.enqueue_many("t", [b""] * 4, options=EXACT)
    kept: list[Job] = []

    def work() -> None:
        for job in svc.consume("t", batch=3):
            kept.append(job)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    return kept[0]


def leave_by_del(svc: JobService) -> Job:
    job, jobs = fetched(svc)
    del jobs
    return job


def leave_by_stop(svc: JobService) -> Job:
    job, jobs = fetched(svc)
    svc.stop()
    assert list(jobs) == []
    return job


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_exception, leave_by_del, leave_by_stop])
def test_L8_left_in_any_way_it_gives_back_what_it_had_not_yielded(svc: JobService, leave: object) -> None:
    """In place, uncharged, as if never taken: only the yielded job has been somebody's."""
    assert callable(leave)
    job = leave(svc)
    infos = list(svc.find(topic="t"))
    assert [info.status for info in infos] == [Status.RESERVED, Status.READY, Status.READY, Status.READY]
    assert [(info.attempts, info.retries) for info in infos] == [(1, 0), (0, 0), (0, 0), (0, 0)]
    assert events(svc) == {"enqueued": 4, "reservations": 1}
    job.release()


def test_L8_what_was_given_back_keeps_its_place(svc: JobService) -> None:
    """Before what came later, between what it was between."""
    job, jobs = fetched(svc)
    last = svc.enqueue("t", b"")
    job.release()
    del jobs
    assert order(svc) == [1, 2, 3, 4, last]


def test_L8_only_leases_that_stand_are_yielded(svc: JobService, clock: ManualClock) -> None:
    """A job whose lease ended while it lay fetched belongs to somebody else by now."""
    svc.enqueue_many("t", [b""] * 3, options=AT_ONCE)
    jobs = svc.consume("t", batch=3, idle=0)
    first = next(jobs)
    svc.cancel(2)
    second = next(jobs)
    assert (first.id, second.id) == (1, 3)
    svc.enqueue_many("t", [b""] * 2, options=AT_ONCE)
    third = next(jobs)
    assert (third.id, third.attempt) == (4, 1)
    clock.advance(5)
    rest = []
    for job in jobs:
        rest.append(job.id)
        job.done()
    assert sorted(rest) == [1, 3, 4, 5]


def test_L8_a_consumer_left_alone_loses_its_leases_like_anyone(svc: JobService, clock: ManualClock) -> None:
    """What it holds unyielded is leased from the moment it was fetched, and charged when that runs out."""
    job, jobs = fetched(svc)
    clock.advance(7200)
    assert events(svc)["expiries"] == 3
    assert next(jobs).id == 4
    assert job.id == 1


def test_L8_close_ends_it_quietly(svc: JobService) -> None:
    """The loop of a worker must not blow up when the program ends."""
    _, jobs = fetched(svc)
    waiter = Background(lambda: list(svc.consume("other")))
    until_waiting(svc, "other", 1)
    svc.close()
    assert waiter.result() == []
    assert list(jobs) == []
    with pytest.raises(ServiceClosed):
        svc.consume("t")


def test_L8_an_ended_consumer_stays_ended(svc: JobService) -> None:
    """As iterators do."""
    jobs = svc.consume("t", idle=0)
    assert next(jobs, None) is None
    svc.enqueue("t", b"")
    assert next(jobs, None) is None
    assert iter(jobs) is jobs


@pytest.mark.parametrize("batch", [0, -1, 2**63])
def test_L8_arguments_are_checked_by_the_call(svc: JobService, batch: int) -> None:
    """Not at the first step, which may be far from the mistake."""
    with pytest.raises(ValueError, match="batch"):
        svc.consume("t", batch=batch)
    with pytest.raises(ValueError, match="idle"):
        svc.consume("t", idle=-1)
    with pytest.raises(ValueError, match="topic"):
        svc.consume("")
    with pytest.raises(TypeError, match="topic"):
        svc.consume(1)  # type: ignore[arg-type]


def test_L8_nothing_is_reserved_before_the_first_step(svc: JobService) -> None:
    """An iterator that is made and not used holds nothing."""
    svc.enqueue("t", b"")
    jobs = svc.consume("t")
    assert svc.topic_stats("t").reserved == 0
    assert next(jobs).id == 1


def test_L8_ctrl_c_is_raised_from_the_wait(factory: Factory) -> None:
    """Only a stop ends it quietly; Ctrl-C is the program's to answer, and nothing is left behind."""
    svc = factory.open()
    svc.enqueue_many("t", [b""] * 2)
    seen = []
    start = time.monotonic()
    with (
        pytest.raises(KeyboardInterrupt),
        signal_when(lambda: svc.topic_stats("t").waiting == 1, signal.SIGINT),
    ):
        for job in svc.consume("t", batch=5, idle=15):
            with job:
                seen.append(job.id)
    assert time.monotonic() - start < 10
    assert seen == [1, 2]
    stats = svc.topic_stats("t")
    assert (stats.done, stats.reserved, stats.waiting) == (2, 0, 0)


def test_L8_several_consumers_share_a_topic(factory: Factory) -> None:
    """Each job goes to one of them."""
    svc = factory.open()
    total = 400

    def work() -> list[int]:
        seen = []
        for job in svc.consume("t", batch=7):
            with job:
                seen.append(job.id)
        return seen

    consumers = [Background(work) for _ in range(4)]
    ids: list[int] = []
    for i in range(total // 10):
        ids += svc.enqueue_many("t", [(b"", i % 3)] * 10)
    assert Background(svc.join, "t").result()
    svc.stop()
    seen = [id for consumer in consumers for id in consumer.result()]
    assert sorted(seen) == ids


def test_L8_a_handle_consumes_too(svc: JobService) -> None:
    """As JobService.consume, without the name."""
    topic = svc.topic("t")
    topic.enqueue_many([b""] * 3)
    assert [job.attempt for job in topic.consume(batch=2, idle=0)] == [1, 1, 1]
