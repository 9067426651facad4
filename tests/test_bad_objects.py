"""Bad input, dates and payloads that are wrong, wrong calls, and calls to a closed service.

As in test_bad_input.py: the exact class, the parameter's name, nothing changed. What an object of the caller
raises passes through as it is.
"""

import array
import ctypes
import mmap
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from itertools import chain, repeat
from typing import Any

import pytest

import jobq
from jobq import JobOptions, JobService, Limits, Memory, Retention, Status
from jobq.testing import ManualClock
from refusals import Case, Spot, Wrong, cases, check, refused, refused_or_readable
from surface import METHODS, REFUSED_WHEN_CLOSED, SECRET, World, make_world, public_methods


@pytest.fixture
def world() -> Iterator[World]:
    made = make_world()
    yield made
    made.svc.close()


class Own(Exception):
    """Raised by a caller's object; it must arrive unchanged."""


# -- dates ---------------------------------------------------------------------------------------------------


class Zone(tzinfo):
    """A time zone that answers as told."""

    def __init__(self, answer: timedelta | Own | None) -> None:
        self._answer = answer

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        if isinstance(self._answer, Own):
            raise self._answer
        return self._answer


DATES = [
    Spot("enqueue", "at", lambda w, v: w.svc.enqueue("mail", SECRET, at=v)),
    Spot("enqueue_many", "at", lambda w, v: w.svc.enqueue_many("mail", [SECRET], at=v)),
    Spot("Topic.enqueue", "at", lambda w, v: w.topic.enqueue(SECRET, at=v)),
    Spot("Topic.enqueue_many", "at", lambda w, v: w.topic.enqueue_many([SECRET], at=v)),
    Spot("ManualClock", "start", lambda _, v: serve_from(v)),
]
LATEST = datetime.max.replace(tzinfo=UTC)


def serve_from(start: datetime) -> None:
    """A clock that takes a date must be able to run a service from there."""
    clock = ManualClock(start)
    assert clock.now() - start < timedelta(milliseconds=1)
    with JobService(clock=clock) as svc:
        svc.enqueue("mail", SECRET)
        svc.reserve("mail", 1, timeout=0)[0].done()
        assert [info.created_at for info in svc.find()] == [clock.now()]


def wrong_dates(_: Spot) -> Wrong:
    return {
        "str": ("2030-01-01T00:00:00+00:00", TypeError),
        "int": (1_900_000_000, TypeError),
        "float": (1.9e9, TypeError),
        "date": (date(2030, 1, 1), TypeError),
        "timedelta": (timedelta(days=1), TypeError),
        "list": ([2030, 1, 1], TypeError),
        "naive": (datetime(2030, 1, 1), ValueError),  # noqa: DTZ001 - what is wrong with it
        "naive-year-1": (datetime.min, ValueError),  # noqa: DTZ901
        "naive-year-9999": (datetime.max, ValueError),  # noqa: DTZ901
        "zone-without-offset": (datetime(2030, 1, 1, tzinfo=Zone(None)), ValueError),
    }


@cases(DATES, wrong_dates)
def test_a_bad_date_is_refused(world: World, case: Case) -> None:
    check(world, case)


@pytest.mark.parametrize("spot", DATES, ids=str)
def test_what_a_time_zone_raises_passes_through(world: World, spot: Spot) -> None:
    own = Own()
    with refused(world, Own):
        spot.call(world, datetime(2030, 1, 1, tzinfo=Zone(own)))


EDGES = {
    "year-1": datetime(1, 1, 1, tzinfo=UTC),
    "before-year-1": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
    "last-microsecond": LATEST,  # rounded up to a millisecond, it is in the year 10000
    "after-year-9999": LATEST.replace(tzinfo=timezone(timedelta(hours=-14))),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("spot", DATES, ids=str)
def test_a_date_at_the_edge_is_refused_or_leaves_everything_readable(
    world: World, spot: Spot, edge: str
) -> None:
    refused_or_readable(world, spot, EDGES[edge])


def test_at_in_the_past_is_ready_at_once_and_year_9999_is_kept(world: World) -> None:
    past = world.svc.enqueue("mail", SECRET, at=datetime(1, 1, 2, tzinfo=UTC))
    assert world.svc.status(past) is Status.READY
    late = datetime(9999, 12, 31, tzinfo=UTC)
    assert world.svc.info(world.svc.enqueue("mail", SECRET, at=late)).due_at == late


def test_at_is_an_instant_rounded_up_to_the_millisecond(world: World) -> None:
    at = datetime(2030, 6, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    due = world.svc.info(world.svc.enqueue("mail", SECRET, at=at)).due_at
    assert due == at + timedelta(microseconds=999)
    assert due is not None
    assert due.tzinfo is UTC


TIMED: dict[str, Callable[..., object]] = {
    "enqueue": lambda w, **times: w.svc.enqueue("mail", SECRET, **times),
    "enqueue_many": lambda w, **times: w.svc.enqueue_many("mail", [SECRET], **times),
    "Topic.enqueue": lambda w, **times: w.topic.enqueue(SECRET, **times),
    "Topic.enqueue_many": lambda w, **times: w.topic.enqueue_many([SECRET], **times),
}


@pytest.mark.parametrize("delay", [0, 1.5, timedelta(days=1)], ids=str)
@pytest.mark.parametrize("verb", TIMED)
def test_delay_and_at_together_are_refused(world: World, verb: str, delay: Any) -> None:
    with refused(world, ValueError, "delay", "at"):
        TIMED[verb](world, delay=delay, at=datetime(2030, 1, 1, tzinfo=UTC))


# -- payloads ------------------------------------------------------------------------------------------------

PAYLOADS = [
    Spot("enqueue", "payload", lambda w, v: w.svc.enqueue("mail", v)),
    Spot("Topic.enqueue", "payload", lambda w, v: w.topic.enqueue(v)),
    Spot(
        "enqueue_many", "17", lambda w, v: w.svc.enqueue_many("mail", chain(repeat(SECRET, 17), [v, SECRET]))
    ),
    Spot("Topic.enqueue_many", "17", lambda w, v: w.topic.enqueue_many([*repeat(SECRET, 17), v])),
    Spot(
        "enqueue_many-pair", "17", lambda w, v: w.svc.enqueue_many("mail", [*repeat((SECRET, 1), 17), (v, 1)])
    ),
]
ITEMS = [spot for spot in PAYLOADS if spot.parameter == "17" and not spot.verb.endswith("pair")]


@cases(
    PAYLOADS,
    lambda _: {
        "none": (None, TypeError),
        "int": (5, TypeError),  # bytes(5) would be five zeros
        "float": (1.0, TypeError),
        "true": (True, TypeError),
        "list-of-int": ([1, 2, 3], TypeError),  # bytes([1, 2, 3]) would be taken
        "dict": ({1: 2}, TypeError),
        "object": (object(), TypeError),
        "str": ("text", TypeError),
    },
)
def test_a_bad_payload_is_refused(world: World, case: Case) -> None:
    check(world, case)


@cases(
    ITEMS,
    lambda _: {
        "tuple-of-1": ((SECRET,), TypeError),
        "tuple-of-3": ((SECRET, 1, 2), TypeError),
        "empty-tuple": ((), TypeError),
        "list-pair": ([SECRET, 1], TypeError),
    },
)
def test_a_bad_item_is_refused(world: World, case: Case) -> None:
    check(world, case)


@pytest.mark.parametrize("spot", ITEMS, ids=str)
def test_an_item_the_wrong_way_round_names_its_index(world: World, spot: Spot) -> None:
    with refused(world, TypeError, "17"):
        spot.call(world, (1, SECRET))


@pytest.mark.parametrize("weight", [2**15, -(2**15) - 1, 10**30], ids=str)
@pytest.mark.parametrize("spot", ITEMS, ids=str)
def test_a_bad_weight_in_an_item_names_its_index(world: World, spot: Spot, weight: int) -> None:
    with refused(world, ValueError, "weight", "17"):
        spot.call(world, (SECRET, weight))


@pytest.mark.parametrize("spot", PAYLOADS[:2], ids=str)
def test_a_str_payload_is_told_how_to_be_bytes(world: World, spot: Spot) -> None:
    with pytest.raises(TypeError) as caught:
        spot.call(world, SECRET.decode())
    assert str(caught.value) == "payload must be bytes-like, not str: encode it, as in payload.encode()"


class Bytes(bytes):
    __slots__ = ()


def mapped(content: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, len(content))
    memory[:] = content
    return memory


BUFFERS: dict[str, Callable[[], Any]] = {
    "empty": lambda: b"",
    "bytes": lambda: SECRET,
    "bytes-subclass": lambda: Bytes(SECRET),
    "bytearray": lambda: bytearray(SECRET),
    "memoryview": lambda: memoryview(SECRET),
    "memoryview-slice": lambda: memoryview(bytearray(SECRET))[3:9],
    "memoryview-2d": lambda: memoryview(bytes(range(24))).cast("B", (4, 6)),
    "array-of-double": lambda: array.array("d", [1.5, -2.0]),
    "mmap": lambda: mapped(SECRET),
    "ctypes": lambda: (ctypes.c_uint32 * 3)(1, 2, 3),
}


@pytest.mark.parametrize("name", BUFFERS)
@pytest.mark.parametrize("spot", PAYLOADS, ids=str)
def test_any_contiguous_buffer_is_taken_by_its_content(world: World, spot: Spot, name: str) -> None:
    buffer = BUFFERS[name]()
    spot.call(world, buffer)
    last = max(info.id for info in world.svc.find() if info.payload_size == memoryview(buffer).nbytes)
    stored = world.svc.payload(last)
    assert type(stored) is bytes
    assert stored == bytes(memoryview(buffer)) or name == "empty"


@pytest.mark.parametrize("spot", PAYLOADS, ids=str)
def test_a_payload_is_copied_and_let_go(world: World, spot: Spot) -> None:
    buffer = bytearray(b"before")
    spot.call(world, buffer)
    last = max(info.id for info in world.svc.find() if info.payload_size == len(buffer))
    buffer[:] = b"after!"
    assert world.svc.payload(last) == b"before"
    buffer.extend(b"a bytearray whose buffer is still held cannot grow")


@pytest.mark.parametrize("spot", PAYLOADS[:2], ids=str)
def test_a_view_with_gaps_is_taken_by_its_content_or_refused_clearly(world: World, spot: Spot) -> None:
    view, taken = memoryview(b"a-b-c-d-")[::2], None
    with suppress(TypeError, ValueError):
        taken = spot.call(world, view)
    if taken is None:
        with refused(world, ValueError, "payload", "contiguous"):
            spot.call(world, view)
    else:
        assert isinstance(taken, int)
        assert world.svc.payload(taken) == b"abcd"


@pytest.mark.parametrize("spot", PAYLOADS, ids=str)
def test_a_released_view_is_refused(world: World, spot: Spot) -> None:
    before, view = world.snapshot(), memoryview(SECRET)
    view.release()
    with pytest.raises((TypeError, ValueError)):
        spot.call(world, view)
    assert world.snapshot() == before


@pytest.mark.parametrize("spot", PAYLOADS, ids=str)
def test_a_payload_beyond_the_limit_is_refused(spot: Spot) -> None:
    small = make_world(limits=Limits(max_payload=20))
    spot.call(small, b"x" * 20)
    with refused(small, ValueError, "payload", "20", "21", spot.parameter):
        spot.call(small, b"x" * 21)
    small.svc.close()


@pytest.mark.parametrize("spot", PAYLOADS[:2], ids=str)
def test_a_huge_payload_is_refused_before_it_is_copied(world: World, spot: Spot) -> None:
    size = 1 << 30
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as huge:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with refused(world, ValueError, "payload", str(size), str(16_777_216)):
            spot.call(world, huge)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000  # KiB


@pytest.mark.parametrize("verb", ["enqueue", "reserve", "topic", "pause"])
def test_a_name_beyond_the_limit_is_refused(verb: str) -> None:
    small = make_world(limits=Limits(max_topic_name=8))
    call: Callable[[str], object] = {
        "enqueue": lambda name: small.svc.enqueue(name, SECRET),
        "reserve": lambda name: small.svc.reserve(name, 1, timeout=0),
        "topic": small.svc.topic,
        "pause": small.svc.pause,
    }[verb]
    call("\u00e9" * 4)
    with refused(small, ValueError, "8", "9"):
        call("\u00e9" * 4 + "m")
    small.svc.close()


# -- whole calls ---------------------------------------------------------------------------------------------


def test_the_table_of_methods_is_whole() -> None:
    assert set(METHODS) == public_methods()


@pytest.mark.parametrize("name", METHODS)
def test_an_unknown_keyword_is_refused(world: World, name: str) -> None:
    method, args, options = METHODS[name](world)
    with refused(world, TypeError, "keyword"):
        method(*args, **options, nonsense=1)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"Job.log"}))
def test_too_many_arguments_are_refused(world: World, name: str) -> None:
    method, args, options = METHODS[name](world)
    with refused(world, TypeError, "argument"):
        method(*args, *repeat(None, 9), **options)


NEEDS_NOTHING = {"find", "topics", "stats", "join", "flush", "compact", "verify", "stop", "close"}
NEEDY = [
    *(name for name in METHODS if name.startswith("JobService.") and name.split(".")[1] not in NEEDS_NOTHING),
    *("Topic.enqueue", "Topic.enqueue_many", "Topic.reserve", "Job.log"),
]


@pytest.mark.parametrize("name", NEEDY)
def test_a_missing_argument_is_refused(world: World, name: str) -> None:
    method, _, options = METHODS[name](world)
    with refused(world, TypeError, "argument"):
        method(**options)


MAKERS: dict[str, Callable[..., object]] = {
    "open": jobq.open,
    "JobService": JobService,
    "JobOptions": JobOptions,
    "Retention": Retention,
    "Limits": Limits,
    "Memory": Memory,
    "ManualClock": ManualClock,
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_wrong_call_that_makes_something_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="keyword"):
        MAKERS[name](nonsense=1)
    with pytest.raises(TypeError, match="argument"):
        MAKERS[name](None, None, None)


# -- closed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED_WHEN_CLOSED)
def test_after_close_every_method_but_close_is_refused(world: World, name: str) -> None:
    world.svc.close()
    method, args, options = REFUSED_WHEN_CLOSED[name](world)
    with pytest.raises(jobq.ServiceClosed):
        method(*args, **options)
    world.svc.close()
    assert world.svc.closed


def test_after_close_what_a_handle_holds_can_still_be_read(world: World) -> None:
    world.svc.close()
    assert (world.topic.name, world.job.topic, world.job.payload) == ("mail", "mail", SECRET)
    assert (world.job.attempt, world.job.settled) == (1, False)


def test_after_close_consume_has_ended_and_a_listing_does_not_look_whole(world: World) -> None:
    world.svc.enqueue_many("mail", [b""] * 20_000)
    jobs, listing = world.svc.consume("mail"), world.svc.find()
    next(listing)
    world.svc.close()
    assert list(jobs) == []
    with pytest.raises(jobq.ServiceClosed):
        list(listing)
