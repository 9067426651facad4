"""Contract V2: how long finished jobs stay, the well and the dead apart."""

import pytest

from jobq import JobId, JobOptions, JobService, Retention
from jobq.testing import ManualClock

from .factory import Factory
from .observe import exists, hold, recount

DAY = 86_400.0


def finish(svc: JobService, payload: bytes = b"", topic: str = "t") -> JobId:
    id = svc.enqueue(topic, payload)
    hold(svc, topic).done()
    return id


def request(svc: JobService, payload: bytes = b"", topic: str = "t") -> JobId:
    id = svc.enqueue(topic, payload)
    svc.cancel(id)
    return id


def reject(svc: JobService, payload: bytes = b"", topic: str = "t") -> JobId:
    id = svc.enqueue(topic, payload)
    hold(svc, topic).cancel()
    return id


def exhaust(svc: JobService, payload: bytes = b"", topic: str = "t") -> JobId:
    id = svc.enqueue(topic, payload, options=JobOptions(max_retries=0))
    hold(svc, topic).retry()
    return id


WELL = [finish, request]
DEAD = [reject, exhaust]
NEVER = Retention.forever()


def opened(factory: Factory, clock: ManualClock, keep: Retention, dead: bool) -> JobService:
    """A service whose retention in question is the one of the dead letters, or the other."""
    return factory.open(clock, retention=NEVER if dead else keep, dead_retention=keep if dead else NEVER)


both_kinds = pytest.mark.parametrize("dead", [False, True], ids=["well", "dead"])


@both_kinds
def test_V2_age_counts_from_the_end(factory: Factory, clock: ManualClock, dead: bool) -> None:
    """To the millisecond, from when the job finished, each for itself."""
    svc = opened(factory, clock, Retention(age=10, count=None, size=None), dead)
    first_way, second_way = DEAD if dead else WELL
    first = first_way(svc)
    clock.advance(4)
    second = second_way(svc)
    clock.advance(5.999)
    assert exists(svc, first)
    clock.advance(0.001)
    assert (exists(svc, first), exists(svc, second)) == (False, True)
    clock.advance(4)
    assert not exists(svc, second)
    assert svc.topic_stats("t").purged == 2
    recount(svc)


def test_V2_age_is_wall_time(factory: Factory, clock: ManualClock) -> None:
    """A date on the record decides, not how long the process has run."""
    svc = factory.open(clock, retention=Retention(age=10))
    id = finish(svc)
    clock.jump(9.999)
    assert exists(svc, id)
    clock.jump(0.001)
    assert not exists(svc, id)


@both_kinds
@pytest.mark.parametrize("count", [1, 2, 5])
def test_V2_count_keeps_the_latest(factory: Factory, clock: ManualClock, dead: bool, count: int) -> None:
    """Over all topics, the oldest dropped in the very call that passes the bound."""
    svc = opened(factory, clock, Retention(age=None, count=count, size=None), dead)
    ways = DEAD if dead else WELL
    ids = []
    for i in range(8):
        ids.append(ways[i % 2](svc, topic=f"t{i % 3}"))
        assert [id for id in ids if exists(svc, id)] == ids[-count:]
    assert svc.stats().purged == 8 - count
    recount(svc)


@both_kinds
def test_V2_size_counts_bytes_of_payload(factory: Factory, clock: ManualClock, dead: bool) -> None:
    """At the bound all stay, one byte more and the oldest goes, or as many as it takes."""
    svc = opened(factory, clock, Retention(age=None, count=None, size=10), dead)
    ways = DEAD if dead else WELL
    first = ways[0](svc, b"123456")
    second = ways[1](svc, b"1234")
    assert exists(svc, first)
    empty = ways[0](svc)
    assert exists(svc, first)
    third = ways[1](svc, b"1")
    assert [exists(svc, id) for id in (first, second, empty, third)] == [False, True, True, True]
    whole = ways[0](svc, b"1234567890")
    assert [exists(svc, id) for id in (second, empty, third, whole)] == [False, False, False, True]
    recount(svc)


def test_V2_a_payload_larger_than_the_bound_is_not_kept(factory: Factory, clock: ManualClock) -> None:
    """No exception for the last one."""
    svc = factory.open(clock, retention=Retention(size=10))
    assert not exists(svc, finish(svc, b"12345678901"))


@both_kinds
def test_V2_none_drops_at_once(factory: Factory, clock: ManualClock, dead: bool) -> None:
    """In the same call: nobody ever sees the finished job, and it is counted."""
    svc = opened(factory, clock, Retention.none(), dead)
    ids = [way(svc, b"payload") for way in (DEAD if dead else WELL)]
    assert not any(exists(svc, id) for id in ids)
    stats = svc.topic_stats("t")
    assert (stats.enqueued, stats.purged, stats.done, stats.canceled, stats.dead) == (2, 2, 0, 0, 0)
    recount(svc)


@both_kinds
def test_V2_forever_is_until_deleted(factory: Factory, clock: ManualClock, dead: bool) -> None:
    """An archive, if one is wanted."""
    svc = opened(factory, clock, NEVER, dead)
    ids = [way(svc, b"payload") for way in (DEAD if dead else WELL) for _ in range(50)]
    clock.advance(100 * 365 * DAY)
    assert all(exists(svc, id) for id in ids)
    svc.delete(ids)
    assert not any(exists(svc, id) for id in ids)


def test_V2_the_kinds_do_not_displace_each_other(factory: Factory, clock: ManualClock) -> None:
    """A flood of successes must not wash away the failures that somebody has to look at."""
    one = Retention(age=None, count=1, size=None)
    svc = factory.open(clock, retention=one, dead_retention=one)
    dead = reject(svc)
    for way in (finish, request, finish):
        last = way(svc)
    assert exists(svc, dead) and exists(svc, last)
    worse = exhaust(svc)
    assert (exists(svc, dead), exists(svc, worse), exists(svc, last)) == (False, True, True)
    stats = svc.topic_stats("t")
    assert (stats.done, stats.canceled, stats.dead, stats.purged) == (1, 1, 1, 3)


def test_V2_the_order_is_that_of_finishing(factory: Factory, clock: ManualClock) -> None:
    """Not of ids, and a job that finished twice counts from the second time."""
    svc = factory.open(clock, retention=Retention(age=None, count=2, size=None))
    svc.enqueue_many("t", [b""] * 3)
    jobs = svc.reserve("t", 3, timeout=0)
    for job in reversed(jobs):
        job.done()
    assert [exists(svc, job.id) for job in jobs] == [True, True, False]
    svc.reset(2)
    hold(svc).done()
    finish(svc)
    assert [exists(svc, id) for id in (1, 2)] == [False, True]


def test_V2_what_left_the_list_does_not_count(factory: Factory, clock: ManualClock) -> None:
    """Reset or deleted, it makes room."""
    svc = factory.open(clock, retention=Retention(age=None, count=2, size=10))
    first, second = finish(svc, b"12345"), finish(svc, b"12345")
    svc.reset(second)
    third = finish(svc, b"12345", topic="other")
    assert exists(svc, first)
    svc.delete(third)
    fourth = finish(svc, b"12345", topic="other")
    assert exists(svc, first) and exists(svc, fourth)
    assert hold(svc).id == second
    recount(svc)


def test_V2_the_defaults(factory: Factory, clock: ManualClock) -> None:
    """A day, a hundred thousand, 64 MiB for the well; 30 days, any number, for the dead."""
    assert Retention() == Retention(age=DAY, count=100_000, size=64 * 1024 * 1024)
    assert (Retention().age, Retention().count, Retention().size) == (86_400.0, 100_000, 67_108_864)
    assert Retention.forever() == Retention(age=None, count=None, size=None)
    svc = factory.open(clock)
    well, dead = finish(svc), reject(svc)
    clock.advance(DAY - 0.001)
    assert exists(svc, well)
    clock.advance(0.001)
    assert (exists(svc, well), exists(svc, dead)) == (False, True)
    clock.advance(29 * DAY - 0.001)
    assert exists(svc, dead)
    clock.advance(0.001)
    assert not exists(svc, dead)


def test_V2_many_are_purged_at_once(factory: Factory, clock: ManualClock) -> None:
    """More than a slice of a tick."""
    svc = factory.open(clock, retention=Retention(age=10))
    svc.enqueue_many("t", [b"x"] * 2500)
    svc.done_many(svc.reserve("t", 2500, timeout=0))
    clock.advance(10)
    assert (svc.topic_stats("t").purged, list(svc.find())) == (2500, [])


def test_V2_retention_goes_on_over_a_reopen(jobs_factory: Factory, clock: ManualClock) -> None:
    """End date and order are on the record; the bounds are those of the service that is open now."""
    keep = Retention(age=10, count=None, size=None)
    svc = jobs_factory.open(clock, retention=keep)
    first = finish(svc)
    clock.advance(4)
    second, third, dead = request(svc), finish(svc), reject(svc)
    svc.close()
    clock.advance(6)
    svc = jobs_factory.open(clock, retention=keep)
    assert [exists(svc, id) for id in (first, second, third, dead)] == [False, True, True, True]
    recount(svc)
    svc = jobs_factory.reopen(clock, retention=Retention(age=None, count=1, size=None))
    fourth = finish(svc)
    assert [exists(svc, id) for id in (second, third, fourth, dead)] == [False, False, True, True]
    recount(svc)


def test_V2_what_is_purged_stays_purged(jobs_factory: Factory, clock: ManualClock) -> None:
    """Payload, record and log are gone from what is kept, too: no ghost after a restart."""
    svc = jobs_factory.open(clock, retention=Retention.none())
    ids = [finish(svc, b"payload"), request(svc, b"x" * 5000)]
    last = svc.enqueue("t", b"")
    for again in (jobs_factory.crash, jobs_factory.reopen):
        svc = again(clock)
        assert not any(exists(svc, id) for id in ids)
        assert [info.id for info in svc.find()] == [last]
        recount(svc)


@pytest.mark.parametrize(
    ("bounds", "name"),
    [({"age": -1}, "age"), ({"age": float("nan")}, "age"), ({"count": -1}, "count"), ({"size": -1}, "size")],
)
def test_V2_a_bound_that_makes_no_sense_is_refused(bounds: dict[str, float], name: str) -> None:
    """Where it is made."""
    with pytest.raises(ValueError, match=name):
        Retention(**bounds)  # type: ignore[arg-type]
