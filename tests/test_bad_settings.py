"""Bad input: options, stores, paths, flags, errors, messages, handles and iterables that are wrong.

As in test_bad_input.py: the exact class, the parameter's name, nothing changed. What an object of the caller
raises passes through as it is.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

import jobq
from jobq import (
    InvalidTransition,
    JobNotFound,
    JobOptions,
    JobService,
    Memory,
    Reason,
    Status,
)
from jobq.testing import ManualClock
from refusals import Case, Spot, all_but, cases, check, refused, refused_or_readable
from surface import SECRET, World, make_world


@pytest.fixture
def world() -> Iterator[World]:
    made = make_world()
    yield made
    made.svc.close()


class Own(Exception):
    """Raised by a caller's object; it must arrive unchanged."""


# -- options and settings ------------------------------------------------------------------------------------

SETTINGS = [
    Spot("enqueue", "options", lambda w, v: w.svc.enqueue("mail", SECRET, options=v), optional=True),
    Spot(
        "enqueue_many", "options", lambda w, v: w.svc.enqueue_many("mail", [SECRET], options=v), optional=True
    ),
    Spot("Topic.enqueue", "options", lambda w, v: w.topic.enqueue(SECRET, options=v), optional=True),
    Spot(
        "Topic.enqueue_many", "options", lambda w, v: w.topic.enqueue_many([SECRET], options=v), optional=True
    ),
    Spot("topic", "options", lambda w, v: w.svc.topic("mail", options=v), optional=True),
    *(
        Spot(
            verb,
            parameter,
            lambda _, v, make=make, parameter=parameter: make(**{parameter: v}).close(),
            optional=True,
        )
        for verb, make in {"JobService": JobService, "open": jobq.open}.items()
        for parameter in ("defaults", "retention", "dead_retention", "limits", "clock")
    ),
]
STORES = [
    Spot("JobService", "jobs", lambda _, v: JobService(v).close(), optional=True),
    Spot("JobService", "topics", lambda _, v: JobService(Memory(), v).close(), optional=True),
]


@cases(
    SETTINGS,
    lambda spot: {
        "str": ("x", TypeError),
        "int": (1, TypeError),
        "false": (False, TypeError),
        "dict": ({}, TypeError),
        "object": (object(), TypeError),
        "class": ({"clock": ManualClock}.get(spot.parameter, JobOptions), TypeError),
        "another-value": (Memory(), TypeError),
    },
)
def test_a_bad_setting_is_refused(world: World, case: Case) -> None:
    check(world, case)


@cases(
    STORES,
    lambda _: {
        "path": ("data", TypeError),
        "int": (1, TypeError),
        "false": (False, TypeError),
        "object": (object(), TypeError),
        "class": (Memory, TypeError),
        "options": (JobOptions(), TypeError),
    },
)
def test_a_bad_store_is_refused(world: World, case: Case) -> None:
    check(world, case)


@pytest.mark.parametrize("role", ["jobs", "topics"])
def test_a_store_serves_one_service_at_a_time(role: str) -> None:
    store = Memory()
    first = make_world(**{role: store})
    with refused(first, ValueError, role):
        JobService(**{role: store})
    first.svc.close()
    JobService(**{role: store}).close()


FLAGS = [
    Spot("reset", "force", lambda w, v: w.svc.reset(w.done, force=v), optional=True),
    Spot("JobOptions", "log_status_change", lambda _, v: JobOptions(log_status_change=v), optional=True),
]


@cases(
    FLAGS,
    lambda spot: all_but(
        {"none"} if spot.optional else set(),
        {
            "none": (None, TypeError),
            "int": (1, TypeError),
            "str": ("yes", TypeError),
            "list": ([], TypeError),
        },
    ),
)
def test_a_bad_flag_is_refused(world: World, case: Case) -> None:
    check(world, case)


JITTER = Spot("JobOptions", "jitter", lambda _, v: JobOptions(jitter=v), optional=True)


@cases(
    [JITTER],
    lambda _: {
        "str": ("0.1", TypeError),
        "true": (True, TypeError),
        "list": ([0.1], TypeError),
        "object": (object(), TypeError),
        "-0.1": (-0.1, ValueError),
        "1.0001": (1.0001, ValueError),
        "2": (2, ValueError),
        "nan": (float("nan"), ValueError),
        "infinity": (float("inf"), ValueError),
        "10**400": (10**400, ValueError),
        "10**5000": (10**5000, ValueError),
    },
)
def test_a_bad_jitter_is_refused(world: World, case: Case) -> None:
    check(world, case)


def test_a_lease_of_0_and_a_backoff_above_its_bound_are_refused() -> None:
    with pytest.raises(ValueError, match="lease"):
        JobOptions(lease=0)
    with pytest.raises(ValueError, match=r"min_backoff.*max_backoff"):
        JobOptions(min_backoff=2, max_backoff=1)
    assert JobOptions(min_backoff=1, max_backoff=1, jitter=0) == JobOptions(
        min_backoff=1.0, max_backoff=1.0, jitter=0.0
    )


# -- open ----------------------------------------------------------------------------------------------------


class PathOf:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __fspath__(self) -> Any:
        if isinstance(self._answer, Own):
            raise self._answer
        return self._answer


OPEN = [
    Spot("open", "path", lambda _, v: jobq.open(v).close()),
    Spot("open", "sync", lambda _, v: jobq.open(sync=v).close()),
]


@cases(
    OPEN[:1],
    lambda _: {
        "int": (1, TypeError),
        "bytes": (b"data", TypeError),
        "false": (False, TypeError),
        "list": (["data"], TypeError),
        "options": (JobOptions(), TypeError),
        "empty": ("", ValueError),
        "memory": (":memory:", ValueError),
        "scheme": ("redis://localhost", ValueError),
        "file-scheme": ("file:///tmp/jobs", ValueError),
        "nul": ("da\0ta", ValueError),
        "path-empty": (PathOf(""), ValueError),
    },
)
def test_a_bad_path_is_refused(world: World, case: Case) -> None:
    check(world, case)


@cases(
    OPEN[1:],
    lambda _: {
        "none": (None, TypeError),
        "int": (1, TypeError),
        "bytes": (b"always", TypeError),
        "unknown": ("sometimes", ValueError),
        "upper": ("ALWAYS", ValueError),
        "empty": ("", ValueError),
    },
)
def test_a_bad_sync_is_refused(world: World, case: Case) -> None:
    check(world, case)


def test_a_path_of_bytes_is_refused_and_its_own_exception_passes() -> None:
    with pytest.raises(TypeError, match=r"path.*bytes"):
        jobq.open(PathOf(os.fsencode("data")))
    own = Own()
    with pytest.raises(Own) as caught:
        jobq.open(PathOf(own))
    assert caught.value is own


# -- looking -------------------------------------------------------------------------------------------------

FILTERS = [
    Spot("find", "status", lambda w, v: w.svc.find(v), optional=True),
    Spot("find", "reason", lambda w, v: w.svc.find(reason=v), optional=True),
]


@cases(
    FILTERS,
    lambda _: {
        "int": (1, TypeError),
        "bytes": (b"ready", TypeError),
        "list": ([Status.READY], TypeError),
        "class": (Status, TypeError),
        "object": (object(), TypeError),
    },
)
def test_a_bad_filter_is_refused(world: World, case: Case) -> None:
    check(world, case)


@pytest.mark.parametrize("spot", FILTERS, ids=str)
def test_a_filter_of_an_unknown_word_is_refused(world: World, spot: Spot) -> None:
    for word in ("nonsense", Reason.POISON if spot.parameter == "status" else Status.READY):
        with pytest.raises((TypeError, ValueError), match=spot.parameter):
            spot.call(world, word)


# -- errors and messages -------------------------------------------------------------------------------------

TEXTS = [
    Spot("Job.retry", "error", lambda w, v: w.job.retry(error=v), optional=True),
    Spot("Job.cancel", "error", lambda w, v: w.job.cancel(error=v), optional=True),
    Spot("retry_many", "error", lambda w, v: w.svc.retry_many([w.job], error=v), optional=True),
    Spot("Job.log", "message", lambda w, v: w.job.log(v)),
]


@cases(
    TEXTS,
    lambda spot: all_but(
        {"none"} if spot.optional else set(),
        {
            "none": (None, TypeError),
            "int": (1, TypeError),
            "bytes": (b"text", TypeError),
            "list": (["text"], TypeError),
            "class": (ValueError, TypeError),
            "object": (object(), TypeError),
        },
    ),
)
def test_a_bad_text_is_refused(world: World, case: Case) -> None:
    check(world, case)


@pytest.mark.parametrize("text", ["\ud800", "a\udcffb", "nul \0 here", "x" * 100_000, ""], ids=ascii)
@pytest.mark.parametrize("spot", TEXTS, ids=str)
def test_an_odd_text_is_refused_or_leaves_everything_readable(world: World, spot: Spot, text: str) -> None:
    refused_or_readable(world, spot, text)
    info = world.job.info()
    for kept in [info.error or "", *(entry.message for entry in info.log)]:
        assert len(kept) <= 1_000
        assert kept.encode().decode() == kept


def test_an_exception_whose_text_is_no_utf8_is_still_retried(world: World) -> None:
    # What os.listdir gives for a name in another encoding ends up in an OSError like this.
    with pytest.raises(OSError, match="bad name") as caught, world.job:
        raise OSError("bad name \udcff")
    assert caught.value.args == ("bad name \udcff",)
    assert world.job.settled
    assert world.svc.status(world.job.id) is Status.DELAYED


@pytest.mark.parametrize(
    ("message", "args"), [("%d", ("x",)), ("%s %s", (1,)), ("none", (1,)), ("%", (1,))], ids=repr
)
def test_a_message_that_does_not_fit_its_arguments_raises_as_python_does(
    world: World, message: str, args: tuple[object, ...]
) -> None:
    with pytest.raises((TypeError, ValueError)) as plain:
        message % args
    with refused(world, type(plain.value), str(plain.value)):
        world.job.log(message, *args)


def test_a_message_alone_is_not_a_format(world: World) -> None:
    world.job.log("100% %d")
    world.job.log("%s of %d", "one", 2)
    assert [entry.message for entry in world.job.info().log] == ["100% %d", "one of 2"]


# -- handles and iterables -----------------------------------------------------------------------------------

MANY = [
    Spot("enqueue_many", "payloads", lambda w, v: w.svc.enqueue_many("mail", v)),
    Spot("Topic.enqueue_many", "payloads", lambda w, v: w.topic.enqueue_many(v)),
    Spot("done_many", "jobs", lambda w, v: w.svc.done_many(v)),
    Spot("retry_many", "jobs", lambda w, v: w.svc.retry_many(v)),
    Spot("release_many", "jobs", lambda w, v: w.svc.release_many(v)),
    Spot("cancel", "id", lambda w, v: w.svc.cancel(v)),
    Spot("reset", "id", lambda w, v: w.svc.reset(v)),
    Spot("delete", "id", lambda w, v: w.svc.delete(v)),
]
SETTLING = [spot for spot in MANY if spot.parameter == "jobs"]
BY_ID = [spot for spot in MANY if spot.parameter == "id"]


@cases(
    [spot for spot in MANY if spot.parameter != "id"],
    lambda _: {"none": (None, TypeError), "int": (1, TypeError), "object": (object(), TypeError)},
)
def test_what_is_no_iterable_is_refused(world: World, case: Case) -> None:
    check(world, case)


@pytest.mark.parametrize("spot", SETTLING, ids=str)
def test_one_handle_is_no_iterable_of_handles(world: World, spot: Spot) -> None:
    with refused(world, TypeError, "jobs", "Job"):
        spot.call(world, world.job)


@pytest.mark.parametrize("item", [None, 1, "x", b"x", [], object()], ids=lambda item: type(item).__name__)
@pytest.mark.parametrize("spot", SETTLING, ids=str)
def test_an_item_that_is_no_handle_names_its_index(world: World, spot: Spot, item: object) -> None:
    with refused(world, TypeError, "17", "None" if item is None else type(item).__name__):
        spot.call(world, [*[world.job] * 17, item])


@pytest.mark.parametrize("spot", SETTLING, ids=str)
def test_a_handle_of_another_service_is_refused(world: World, spot: Spot) -> None:
    other = make_world()
    untouched = other.snapshot()
    with refused(world, ValueError, "jobs[1]", "service"):
        spot.call(world, [world.job, other.job])
    assert other.snapshot() == untouched
    other.svc.close()


class RaisingIter:
    def __init__(self, own: Own) -> None:
        self._own = own

    def __iter__(self) -> Iterator[Any]:
        raise self._own


@pytest.mark.parametrize("late", [True, False], ids=["midway", "at-once"])
@pytest.mark.parametrize("spot", MANY, ids=str)
def test_what_an_iterable_raises_passes_through_and_nothing_is_done(
    world: World, spot: Spot, late: bool
) -> None:
    own = Own()
    good: dict[str, Any] = {"payloads": SECRET, "jobs": world.job, "id": world.delayed}

    def midway() -> Iterator[Any]:
        yield good[spot.parameter]
        raise own

    source: Iterable[Any] = midway() if late else RaisingIter(own)
    before = world.snapshot()
    with pytest.raises(Own) as caught:
        spot.call(world, source)
    assert caught.value is own
    assert world.snapshot() == before


@pytest.mark.parametrize("spot", BY_ID, ids=str)
def test_of_several_ids_the_first_that_no_job_has_is_named(world: World, spot: Spot) -> None:
    with refused(world, JobNotFound, "4242") as caught:
        spot.call(world, [world.delayed, 4242, 4243])
    assert caught.value.id == 4242


WRONG_STEPS: dict[str, Callable[[World], tuple[Callable[[Iterable[int]], None], list[int], int]]] = {
    "cancel-done": lambda w: (w.svc.cancel, [w.ready, w.done, w.canceled], w.done),
    "cancel-canceled": lambda w: (w.svc.cancel, [w.delayed, w.canceled], w.canceled),
    "reset-reserved": lambda w: (w.svc.reset, [w.done, w.job.id], w.job.id),
    "delete-reserved": lambda w: (w.svc.delete, [w.done, w.job.id], w.job.id),
}


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_of_several_ids_the_first_that_cannot_take_the_step_is_named(world: World, name: str) -> None:
    call, ids, bad = WRONG_STEPS[name](world)
    before = world.snapshot()
    with pytest.raises(InvalidTransition) as caught:
        call(ids)
    assert type(caught.value) is InvalidTransition
    verb, _, status = name.partition("-")
    assert (caught.value.id, caught.value.verb, caught.value.status) == (bad, verb, status)
    assert world.snapshot() == before
