"""Bad input, plain values: each wrong one raises the exact class, names the parameter, changes nothing.

A queue that half-takes a bad call loses jobs later and elsewhere, where nobody can see why. So every case
compares all that can be seen of the service before and after. What is odd but right (an enum as a weight) is
here too: it must be taken, and the same everywhere. Dates, payloads and whole calls are in
test_bad_objects.py; options, stores, paths, handles and iterables in test_bad_settings.py.
"""

import enum
import fractions
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import jobq
from jobq import JobOptions, JobService, Limits, Retention
from refusals import Case, Spot, Wrong, all_but, cases, check, outcome, refused, refused_or_readable
from surface import SECRET, World, make_world


@pytest.fixture
def world() -> Iterator[World]:
    made = make_world()
    yield made
    made.svc.close()


def kind(value: object) -> str:
    """A test's id for an object that has no short repr."""
    return type(value).__name__


class Subclass(str):
    """A str that is not exactly one, as a member of a StrEnum is."""

    __slots__ = ()


class Level(enum.IntEnum):
    ONE = 1


class Indexed:
    """What numpy's integers are: no int, but an index."""

    def __index__(self) -> int:
        return 1


class RaisingIndex:
    def __index__(self) -> int:
        raise RuntimeError("from __index__")


class Floating:
    def __float__(self) -> float:
        return 1.0


# -- topic names ---------------------------------------------------------------------------------------------

NAMES = [
    Spot("enqueue", "topic", lambda w, v: w.svc.enqueue(v, SECRET)),
    Spot("enqueue_many", "topic", lambda w, v: w.svc.enqueue_many(v, [SECRET])),
    Spot("reserve", "topic", lambda w, v: w.svc.reserve(v, 1, timeout=0)),
    Spot("reserve_one", "topic", lambda w, v: w.svc.reserve_one(v, timeout=0)),
    Spot("consume", "topic", lambda w, v: w.svc.consume(v, idle=0)),
    Spot("find", "topic", lambda w, v: w.svc.find(topic=v), optional=True),
    Spot("topic_stats", "topic", lambda w, v: w.svc.topic_stats(v)),
    Spot("topic", "name", lambda w, v: w.svc.topic(v)),
    Spot("pause", "topic", lambda w, v: w.svc.pause(v)),
    Spot("resume", "topic", lambda w, v: w.svc.resume(v)),
    Spot("join", "topic", lambda w, v: w.svc.join(v, timeout=0), optional=True),
    Spot("JobOptions", "name", lambda _, v: JobOptions(name=v), optional=True),
]


def wrong_names(spot: Spot) -> Wrong:
    table: Wrong = {
        "none": (None, TypeError),
        "bytes": (b"mail", TypeError),
        "int": (1, TypeError),
        "bool": (True, TypeError),
        "list": (["mail"], TypeError),
        "object": (object(), TypeError),
        "empty": ("", ValueError),
        "nul": ("ma\0il", ValueError),
        "surrogate": ("ma\ud800il", ValueError),
        "256-bytes": ("m" * 256, ValueError),
        "256-bytes-multi": ("\u00e9" * 128, ValueError),
        "a-million": ("m" * 1_000_000, ValueError),
    }
    allowed = ({"none"} if spot.optional else set()) | ({"empty"} if spot.verb == "JobOptions" else set())
    return all_but(allowed, table)


@cases(NAMES, wrong_names)
def test_a_bad_name_is_refused(world: World, case: Case) -> None:
    check(world, case)


@pytest.mark.parametrize(
    "name", ["m" * 255, "\u00e9" * 127 + "m", "\U0001f4ee" * 63, " ", "\n", "a/b", "\u202e", "delayed"]
)
@pytest.mark.parametrize("spot", NAMES, ids=str)
def test_a_name_up_to_255_bytes_is_taken_as_it_is(world: World, spot: Spot, name: str) -> None:
    spot.call(world, name)
    assert world.svc.topic(name).name == name


@pytest.mark.parametrize("spot", NAMES, ids=str)
def test_a_subclass_of_str_is_a_name(world: World, spot: Spot) -> None:
    # A StrEnum of topics is what a typed program passes.
    spot.call(world, Subclass("mail"))
    assert world.svc.topics() == ["mail"]
    assert type(world.svc.topic(Subclass("mail")).name) is str
    assert type(world.svc.topics()[0]) is str


# -- integers ------------------------------------------------------------------------------------------------

INTEGERS = [
    *(
        Spot(verb, "weight", call, least=-(2**15), most=2**15 - 1, optional=True)
        for verb, call in {
            "enqueue": lambda w, v: w.svc.enqueue("mail", SECRET, v),
            "enqueue-keyword": lambda w, v: w.svc.enqueue("mail", SECRET, weight=v),
            "enqueue_many": lambda w, v: w.svc.enqueue_many("mail", [SECRET], v),
            "enqueue_many-pair": lambda w, v: w.svc.enqueue_many("mail", [SECRET, (SECRET, v)]),
            "Topic.enqueue": lambda w, v: w.topic.enqueue(SECRET, v),
            "Topic.enqueue_many": lambda w, v: w.topic.enqueue_many([SECRET], v),
        }.items()
    ),
    Spot("reserve", "limit", lambda w, v: w.svc.reserve("mail", v, timeout=0), least=1),
    Spot("Topic.reserve", "limit", lambda w, v: w.topic.reserve(v, timeout=0), least=1),
    Spot("consume", "batch", lambda w, v: w.svc.consume("mail", batch=v, idle=0), least=1, optional=True),
    Spot("Topic.consume", "batch", lambda w, v: w.topic.consume(batch=v, idle=0), least=1, optional=True),
    Spot("status", "id", lambda w, v: w.svc.status(v), least=1),
    Spot("info", "id", lambda w, v: w.svc.info(v), least=1),
    Spot("payload", "id", lambda w, v: w.svc.payload(v), least=1),
    Spot("cancel", "id", lambda w, v: w.svc.cancel(v), least=1, many=True),
    Spot("reset", "id", lambda w, v: w.svc.reset(v), least=1, many=True),
    Spot("delete", "id", lambda w, v: w.svc.delete(v), least=1, many=True),
    Spot("cancel-several", "id", lambda w, v: w.svc.cancel([w.delayed, v]), least=1),
    Spot("reset-several", "id", lambda w, v: w.svc.reset([w.delayed, v]), least=1),
    Spot("delete-several", "id", lambda w, v: w.svc.delete([w.delayed, v]), least=1),
    Spot("find", "after", lambda w, v: w.svc.find(after=v), optional=True),
    Spot("find", "limit", lambda w, v: w.svc.find(limit=v), optional=True),
    Spot(
        "JobService", "max_crashes", lambda _, v: JobService(max_crashes=v).close(), most=255, optional=True
    ),
    Spot("open", "max_crashes", lambda _, v: jobq.open(max_crashes=v).close(), most=255, optional=True),
    Spot("JobOptions", "max_retries", lambda _, v: JobOptions(max_retries=v), most=2**32 - 1, optional=True),
    Spot("Retention", "count", lambda _, v: Retention(count=v), most=None, optional=True),
    Spot("Retention", "size", lambda _, v: Retention(size=v), most=None, optional=True),
    Spot("Limits", "max_payload", lambda _, v: Limits(max_payload=v), most=None),
    Spot("Limits", "max_topic_name", lambda _, v: Limits(max_topic_name=v), most=None),
    Spot("Limits", "max_jobs", lambda _, v: Limits(max_jobs=v), most=None, optional=True),
    Spot("Limits", "max_topics", lambda _, v: Limits(max_topics=v), most=None, optional=True),
    Spot("Limits", "max_log", lambda _, v: Limits(max_log=v), most=None),
]


def wrong_integers(spot: Spot) -> Wrong:
    below = spot.least - 1
    table: Wrong = {
        "none": (None, TypeError),
        "str": ("1", TypeError),
        "bytes": (b"1", TypeError),
        "float": (1.0, TypeError),
        "nan": (float("nan"), TypeError),
        "true": (True, TypeError),
        "false": (False, TypeError),
        "list": ([1], TypeError),
        "object": (object(), TypeError),
        str(below): (below, ValueError),
        "-2**63-1": (-(2**63) - 1, ValueError),
        "-10**30": (-(10**30), ValueError),
    }
    if spot.most is not None:
        table[str(spot.most + 1)] = (spot.most + 1, ValueError)
        table["2**64"] = (2**64, ValueError)
        table["10**30"] = (10**30, ValueError)
        table["10**5000"] = (10**5000, ValueError)  # Python itself refuses to print it
    without = {"none"} if spot.optional else set()
    return all_but(without | ({"bytes", "list"} if spot.many else set()), table)


@cases(INTEGERS, wrong_integers)
def test_a_bad_integer_is_refused(world: World, case: Case) -> None:
    check(world, case)


@pytest.mark.parametrize("spot", INTEGERS, ids=str)
def test_a_subclass_of_int_is_an_integer(world: World, spot: Spot) -> None:
    spot.call(world, Level.ONE)


@pytest.mark.parametrize("value", [Indexed(), RaisingIndex()], ids=kind)
def test_an_object_with_index_meets_the_same_answer_everywhere(value: object) -> None:
    # Taken or refused; but a numpy integer must not be a weight here and a TypeError there.
    answers = {str(spot): outcome(spot, value) for spot in INTEGERS}
    assert len(set(answers.values())) == 1, answers
    assert isinstance(value, Indexed) or "taken" not in answers.values()


# -- seconds -------------------------------------------------------------------------------------------------

SECONDS = [
    Spot("enqueue", "delay", lambda w, v: w.svc.enqueue("mail", SECRET, delay=v), optional=True),
    Spot("enqueue_many", "delay", lambda w, v: w.svc.enqueue_many("mail", [SECRET], delay=v), optional=True),
    Spot("Topic.enqueue", "delay", lambda w, v: w.topic.enqueue(SECRET, delay=v), optional=True),
    Spot("Topic.enqueue_many", "delay", lambda w, v: w.topic.enqueue_many([SECRET], delay=v), optional=True),
    Spot("reserve", "timeout", lambda w, v: w.svc.reserve("mail", 1, timeout=v), optional=True),
    Spot("Topic.reserve", "timeout", lambda w, v: w.topic.reserve(1, timeout=v), optional=True),
    Spot("reserve_one", "timeout", lambda w, v: w.svc.reserve_one("mail", timeout=v), optional=True),
    Spot("Topic.reserve_one", "timeout", lambda w, v: w.topic.reserve_one(timeout=v), optional=True),
    Spot("consume", "idle", lambda w, v: w.svc.consume("mail", idle=v), optional=True),
    Spot("Topic.consume", "idle", lambda w, v: w.topic.consume(idle=v), optional=True),
    # Of a topic without jobs, so that a bad timeout that is taken fails the test instead of blocking it.
    Spot("join", "timeout", lambda w, v: w.svc.join("empty", timeout=v), optional=True),
    Spot("Topic.join", "timeout", lambda w, v: w.svc.topic("empty").join(timeout=v), optional=True),
    Spot("Job.retry", "delay", lambda w, v: w.job.retry(v), optional=True),
    Spot("Job.release", "delay", lambda w, v: w.job.release(v), optional=True),
    Spot("Job.extend", "seconds", lambda w, v: w.job.extend(v), optional=True),
    Spot("retry_many", "delay", lambda w, v: w.svc.retry_many([w.job], v), optional=True),
    Spot("release_many", "delay", lambda w, v: w.svc.release_many([w.job], v), optional=True),
    Spot("JobOptions", "lease", lambda w, v: lease_of(w, JobOptions(lease=v)), optional=True),
    Spot("JobOptions", "min_backoff", lambda _, v: JobOptions(min_backoff=v), optional=True),
    Spot("JobOptions", "max_backoff", lambda _, v: JobOptions(max_backoff=v), optional=True),
    Spot("Retention", "age", lambda _, v: Retention(age=v), optional=True),
    Spot("Limits", "topic_idle", lambda _, v: Limits(topic_idle=v), optional=True),
    Spot("open", "interval", lambda _, v: jobq.open(interval=v).close()),
    Spot("ManualClock.advance", "seconds", lambda w, v: w.clock.advance(v)),
]
JUMP = Spot("ManualClock.jump", "seconds", lambda w, v: w.clock.jump(v))


def lease_of(world: World, options: JobOptions) -> None:
    """Hold a job under these options, so that a lease too long for its deadline shows."""
    world.svc.enqueue("lease", SECRET, options=options)
    held = world.svc.reserve("lease", 1, timeout=0)[0]
    assert held.remaining() > 0
    assert held.deadline >= world.clock.now()
    held.done()


WRONG_SECONDS: Wrong = {
    "none": (None, TypeError),
    "str": ("1", TypeError),
    "bytes": (b"1", TypeError),
    "true": (True, TypeError),
    "list": ([1], TypeError),
    "complex": (1j, TypeError),
    "datetime": (datetime(2030, 1, 1, tzinfo=UTC), TypeError),
    "object": (object(), TypeError),
    "nan": (float("nan"), ValueError),
    "infinity": (float("inf"), ValueError),
    "1e400": (1e400, ValueError),
    "minus-infinity": (float("-inf"), ValueError),
    "10**400": (10**400, ValueError),
    "minus-10**400": (-(10**400), ValueError),
    "-1": (-1, ValueError),
    "-1e-9": (-1e-9, ValueError),
    "timedelta-minus-1-us": (timedelta(microseconds=-1), ValueError),
    "timedelta-min": (timedelta.min, ValueError),
}
NEGATIVE = {"-1", "-1e-9", "timedelta-minus-1-us", "timedelta-min"}


def wrong_seconds(spot: Spot) -> Wrong:
    return all_but(
        ({"none"} if spot.optional else set()) | (NEGATIVE if spot is JUMP else set()), WRONG_SECONDS
    )


@cases([*SECONDS, JUMP], wrong_seconds)
def test_a_bad_duration_is_refused(world: World, case: Case) -> None:
    check(world, case)


@pytest.mark.parametrize(
    "value", [0, 0.0, -0.0, 1, 1.5, Level.ONE, timedelta(0), timedelta(seconds=1), 5e-324], ids=repr
)
@pytest.mark.parametrize("spot", [s for s in SECONDS if s.parameter not in {"lease", "interval"}], ids=str)
def test_a_duration_may_be_int_float_or_timedelta(world: World, spot: Spot, value: Any) -> None:
    spot.call(world, value)


@pytest.mark.parametrize(
    "value", [timedelta.max, 1e300, 10**15, 1e11], ids=["timedelta-max", "1e300", "10**15", "1e11"]
)
@pytest.mark.parametrize("spot", [*SECONDS, JUMP], ids=str)
def test_a_huge_duration_is_refused_or_leaves_everything_readable(
    world: World, spot: Spot, value: Any
) -> None:
    # Its end lies beyond the year 9999, which no datetime can show: a job that cannot be listed is a trap.
    refused_or_readable(world, spot, value)
    world.clock.advance(1)
    world.snapshot()


def test_the_clock_stops_short_of_what_a_date_can_show(world: World) -> None:
    for move in (world.clock.advance, world.clock.jump):
        with refused(world, ValueError, "seconds"):
            move(timedelta(days=366 * 8000))
    world.clock.advance(timedelta(days=365 * 7999))
    assert world.clock.now().year == 9993


@pytest.mark.parametrize("value", [Indexed(), Floating(), Decimal(1), fractions.Fraction(1)], ids=kind)
def test_a_number_of_another_kind_meets_the_same_answer_everywhere(value: object) -> None:
    answers = {str(spot): outcome(spot, value) for spot in SECONDS}
    assert len(set(answers.values())) == 1, answers
