"""The values that users hold: JobOptions, Retention, Limits, and the views of a job and of the counts.

They are passed between threads and processes, kept in sets, printed in logs and compared by tests. So they
must behave as plain values do, and a bad one is refused where it is made, not where it is used.
"""

import copy
import dataclasses
import enum
import pickle
import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import jobq
from jobq import (
    JobInfo,
    JobOptions,
    JobService,
    Limits,
    LogEntry,
    Memory,
    Reason,
    Recovery,
    Retention,
    Stats,
    Status,
)

MOST = 2**63 - 1
AT = datetime(2026, 11, 24, 9, 14, 2, tzinfo=UTC)

# Every setting with a good value other than its default, and what reading it gives.
SETTINGS: dict[type, dict[str, tuple[Any, Any]]] = {
    JobOptions: {
        "name": ("send", "send"),
        "lease": (60, 60.0),
        "max_retries": (3, 3),
        "min_backoff": (timedelta(seconds=1), 1.0),
        "max_backoff": (90.5, 90.5),
        "jitter": (1, 1.0),
        "log_status_change": (True, True),
    },
    Retention: {"age": (timedelta(days=30), 2_592_000.0), "count": (7, 7), "size": (8, 8)},
    Limits: {
        "max_payload": (1, 1),
        "max_topic_name": (64, 64),
        "max_jobs": (5, 5),
        "max_topics": (6, 6),
        "max_log": (0, 0),
        "topic_idle": (60, 60.0),
    },
}
DEFAULTS: dict[type, dict[str, Any]] = {
    JobOptions: dict.fromkeys(SETTINGS[JobOptions]),
    Retention: {"age": 86_400.0, "count": 100_000, "size": 67_108_864},
    Limits: {
        "max_payload": 16_777_216,
        "max_topic_name": 255,
        "max_jobs": None,
        "max_topics": None,
        "max_log": 100,
        "topic_idle": 86_400.0,
    },
}
EACH = [(cls, name) for cls, settings in SETTINGS.items() for name in settings]
EACH_ID = [f"{cls.__name__}.{name}" for cls, name in EACH]

STATS: dict[str, Any] = {
    field.name: None if "_at" in field.name or "_age" in field.name else number
    for number, field in enumerate(dataclasses.fields(Stats))
}
LINE = LogEntry(at=AT, message="hello")
INFO = JobInfo(
    id=1,
    topic="mail",
    name="send",
    weight=-5,
    status=Status.CANCELED,
    reason=Reason.EXHAUSTED,
    error="ValueError: no",
    attempts=4,
    retries=3,
    max_retries=2,
    resets=0,
    crashes=0,
    lease=60.0,
    payload_size=15,
    created_at=AT,
    due_at=None,
    ready_at=None,
    reserved_at=None,
    deadline=None,
    finished_at=AT,
    log=(LINE,),
)
RECOVERY = Recovery(
    clean=True,
    ready=1,
    delayed=2,
    done=3,
    canceled=4,
    recovered=5,
    poisoned=(6,),
    quarantined=(7,),
    seconds=0.5,
)
VIEWS = [
    LINE,
    INFO,
    Stats(**STATS),
    jobq.TopicStats(**STATS, topic="mail", paused=False),
    jobq.ServiceStats(**STATS, topics=3, next_due_at=AT),
    RECOVERY,
]
ALL_SET = [cls(**{name: good for name, (good, _) in settings.items()}) for cls, settings in SETTINGS.items()]
SET = [*ALL_SET, *(cls() for cls in SETTINGS), Retention.none(), Retention.forever()]
VALUES = [*VIEWS, *SET]


def kind(value: object) -> str:
    """A test's id for a value, where there is one of its class."""
    return type(value).__name__


def kinds(values: list[Any]) -> list[str]:
    """The ids of several."""
    return [f"{kind(value)}-{number}" for number, value in enumerate(values)]


each_setting = pytest.mark.parametrize(("cls", "name"), EACH, ids=EACH_ID)
each_class = pytest.mark.parametrize("cls", SETTINGS, ids=lambda cls: cls.__name__)
each_value = pytest.mark.parametrize("value", VALUES, ids=kinds(VALUES))
each_view = pytest.mark.parametrize("value", VIEWS, ids=kind)


# -- reading -------------------------------------------------------------------------------------------------


@each_setting
def test_a_setting_reads_as_it_was_given_and_the_others_keep_their_defaults(cls: type, name: str) -> None:
    given, read = SETTINGS[cls][name]
    value = cls(**{name: given})
    assert getattr(value, name) == read
    assert type(getattr(value, name)) is type(read)
    assert {other: getattr(value, other) for other in DEFAULTS[cls]} == DEFAULTS[cls] | {name: read}


@each_setting
def test_none_stays_none_wherever_it_may_be_given(cls: type, name: str) -> None:
    # None is no 0: for JobOptions "the default", for the others "no bound".
    if cls is Limits and name in {"max_payload", "max_topic_name", "max_log"}:
        with pytest.raises(TypeError, match=f"{name} must be an int, not NoneType"):
            cls(**{name: None})
    else:
        assert getattr(cls(**{name: None}), name) is None


@each_class
def test_settings_are_given_by_name_alone(cls: type) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        cls(1)


def test_none_keeps_nothing_and_forever_everything() -> None:
    assert Retention.none() == Retention(age=None, count=0, size=None)
    assert Retention.forever() == Retention(age=None, count=None, size=None)


SECONDS = [
    (cls, name) for cls, name in EACH if name in {"lease", "min_backoff", "max_backoff", "age", "topic_idle"}
]
each_duration = pytest.mark.parametrize(
    ("cls", "name"), SECONDS, ids=[f"{c.__name__}.{n}" for c, n in SECONDS]
)


@each_duration
@pytest.mark.parametrize(
    ("given", "read"),
    [
        (0.0001, 0.001),
        (5e-324, 0.001),
        (1.0000001, 1.001),
        (timedelta(microseconds=1), 0.001),
        (timedelta(seconds=1, microseconds=1001), 1.002),
        (7, 7.0),
        (timedelta(days=365), 31_536_000.0),
    ],
)
def test_seconds_are_rounded_up_to_a_millisecond(cls: type, name: str, given: Any, read: float) -> None:
    # Up, so that nothing is ever early.
    assert getattr(cls(**{name: given}), name) == read


@each_duration
def test_seconds_that_were_read_can_be_given_again_unchanged(cls: type, name: str) -> None:
    # 0.003 is a little more than 3 ms in binary: rounded up to 4, each copy would be longer than the last.
    for milliseconds in [*range(1, 5000), *(3**n for n in range(1, 30)), 2**45 + 1]:
        read = getattr(cls(**{name: milliseconds / 1000}), name)
        assert read == milliseconds / 1000


# -- as plain values do --------------------------------------------------------------------------------------


@each_setting
def test_each_setting_takes_part_in_equality_and_hash(cls: type, name: str) -> None:
    given = SETTINGS[cls][name][0]
    value, twin, other = cls(**{name: given}), cls(**{name: given}), cls()
    assert value == twin
    assert hash(value) == hash(twin)
    assert value != other
    assert len({value, twin, other}) == 2


def test_seconds_are_equal_whatever_they_were_given_as() -> None:
    assert JobOptions(lease=1) == JobOptions(lease=1.0) == JobOptions(lease=timedelta(seconds=1))
    assert JobOptions(jitter=0) == JobOptions(jitter=0.0)


def test_values_of_different_classes_are_not_equal() -> None:
    for value in VALUES:
        for other in VALUES:
            assert (value == other) is (value is other), (value, other)
        assert value != "a str"
        assert (value == None) is False  # noqa: E711
        assert value.__eq__(object()) is NotImplemented


@each_view
def test_each_field_of_a_view_takes_part_in_equality(value: Any) -> None:
    for field in dataclasses.fields(value):
        assert dataclasses.replace(value, **{field.name: "another"}) != value, field.name
    assert dataclasses.replace(value) == value


@each_value
def test_a_copy_is_equal_has_the_same_hash_and_reads_the_same(value: Any) -> None:
    copies = [copy.copy(value), copy.deepcopy(value)]
    copies += [pickle.loads(pickle.dumps(value, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in copies:
        assert type(twin) is type(value)
        assert twin == value
        assert hash(twin) == hash(value)
        assert repr(twin) == repr(value)


def test_a_pickle_without_a_later_setting_gets_its_default() -> None:
    # Pickles outlive versions; what an older one did not know must not be missing.
    make, args, slots = Retention(age=1, count=2, size=3).__reduce__()
    del slots["_size"]
    old = make(*args)
    old.__setstate__(slots)
    assert old == Retention(age=1, count=2)


def test_a_pickle_names_no_file_of_the_package() -> None:
    # The files that the classes live in may change; the names in the package may not.
    for value in [*VALUES, Memory()]:
        assert b"jobq." not in pickle.dumps(value), value


@each_setting
def test_nothing_can_be_changed(cls: type, name: str) -> None:
    value = cls()
    before = repr(value)
    for attribute in (name, "another", f"_{name}"):
        with pytest.raises(AttributeError, match=rf"{cls.__name__} is immutable: {attribute} "):
            setattr(value, attribute, 1)
        with pytest.raises(AttributeError, match=rf"{cls.__name__} is immutable: {attribute} "):
            delattr(value, attribute)
    assert repr(value) == before
    assert not hasattr(value, "__dict__")


@each_view
def test_no_view_can_be_changed(value: Any) -> None:
    for name in [field.name for field in dataclasses.fields(value)] + ["another"]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, 1)


@pytest.mark.parametrize("cls", [*SETTINGS, Memory, Status, Reason], ids=lambda cls: cls.__name__)
def test_no_subclass_can_be_made(cls: type) -> None:
    # A subclass could carry what the engine does not see: it reads the private slots.
    with pytest.raises(TypeError, match=cls.__name__):
        types.new_class("Mine", (cls,))


@each_class
def test_it_is_final_for_people_too(cls: Any) -> None:
    assert cls.__final__ is True


# -- repr ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", SET, ids=kinds(SET))
def test_a_repr_is_the_call_that_makes_it(value: Any) -> None:
    assert eval(repr(value), vars(jobq)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (JobOptions(), "JobOptions()"),
        (JobOptions(lease=60, name="send"), "JobOptions(name='send', lease=60.0)"),
        (
            JobOptions(max_retries=0, log_status_change=False),
            "JobOptions(max_retries=0, log_status_change=False)",
        ),
        (Retention(), "Retention(age=86400.0, count=100000, size=67108864)"),
        (Retention.forever(), "Retention(age=None, count=None, size=None)"),
        (
            Limits(max_jobs=5),
            "Limits(max_payload=16777216, max_topic_name=255, max_jobs=5, max_log=100, topic_idle=86400.0)",
        ),
        (
            Limits(topic_idle=None),
            "Limits(max_payload=16777216, max_topic_name=255, max_log=100, topic_idle=None)",
        ),
        (Memory(), "Memory()"),
    ],
    ids=["nothing", "in-order", "zero-and-false", "defaults", "none", "one-limit", "no-bound", "memory"],
)
def test_a_repr_leaves_out_only_a_none_that_is_the_default(value: object, text: str) -> None:
    assert repr(value) == text


# -- bad ones ------------------------------------------------------------------------------------------------


class Level(enum.IntEnum):
    ONE = 1


class Topics(enum.StrEnum):
    MAIL = "mail"


INTEGERS = {
    (JobOptions, "max_retries"): (0, 2**32 - 1),
    (Retention, "count"): (0, MOST),
    (Retention, "size"): (0, MOST),
    (Limits, "max_payload"): (0, MOST),
    (Limits, "max_topic_name"): (1, 255),
    (Limits, "max_jobs"): (0, MOST),
    (Limits, "max_topics"): (0, MOST),
    (Limits, "max_log"): (0, MOST),
}
each_integer = pytest.mark.parametrize(
    ("cls", "name"), INTEGERS, ids=[f"{cls.__name__}.{name}" for cls, name in INTEGERS]
)


def refused(error: type[Exception], text: str, make: Callable[[], object]) -> None:
    """The call raises exactly this class with exactly this text."""
    with pytest.raises(error) as caught:
        make()
    assert type(caught.value) is error
    assert str(caught.value) == text


@each_integer
@pytest.mark.parametrize("bad", [True, False, 1.0, float("nan"), "1", b"1", [1], object], ids=repr)
def test_what_is_no_int_is_refused(cls: type, name: str, bad: object) -> None:
    refused(TypeError, f"{name} must be an int, not {type(bad).__name__}", lambda: cls(**{name: bad}))


@each_integer
def test_an_int_is_taken_at_its_bounds_and_refused_beyond(cls: type, name: str) -> None:
    least, most = INTEGERS[cls, name]
    for good in (least, most, Level.ONE):
        assert getattr(cls(**{name: good}), name) == good
        assert type(getattr(cls(**{name: good}), name)) is int
    for bad in (least - 1, most + 1):
        refused(
            ValueError, f"{name} must be {least} to {most}, not {bad}", lambda bad=bad: cls(**{name: bad})
        )
    huge = f"{name} must be {least} to {most}, not an int of 16610 bits"
    for sign in (-1, 1):
        refused(ValueError, huge, lambda sign=sign: cls(**{name: sign * 10**5000}))


@each_duration
@pytest.mark.parametrize("bad", [True, "1", b"1", [1], 1j, AT, object()], ids=kind)
def test_what_is_no_duration_is_refused(cls: type, name: str, bad: object) -> None:
    with pytest.raises(TypeError, match=rf"^{name} .*\b{type(bad).__name__}\b"):
        cls(**{name: bad})


@each_duration
@pytest.mark.parametrize(
    "bad",
    [-1, -1e-9, float("nan"), float("inf"), float("-inf"), 10**400, 1e300, timedelta(microseconds=-1)],
    ids=["-1", "-1e-9", "nan", "inf", "-inf", "10**400", "1e300", "timedelta"],
)
def test_a_duration_that_is_negative_or_not_finite_or_too_long_is_refused(
    cls: type, name: str, bad: Any
) -> None:
    with pytest.raises(ValueError, match=rf"^{name} ") as caught:
        cls(**{name: bad})
    assert type(caught.value) is ValueError


@pytest.mark.parametrize("zero", [0, 0.0, timedelta(0)], ids=repr)
def test_no_lease_is_no_lease(zero: Any) -> None:
    # It would be over before its holder has it. Every other duration may be 0.
    refused(ValueError, f"lease must be more than 0 seconds, not {zero}", lambda: JobOptions(lease=zero))
    assert JobOptions(min_backoff=zero, max_backoff=zero).min_backoff == 0
    assert Retention(age=zero).age == 0
    assert Limits(topic_idle=zero).topic_idle == 0


def test_min_backoff_may_be_max_backoff_but_not_more() -> None:
    assert JobOptions(min_backoff=5, max_backoff=5).max_backoff == 5
    refused(
        ValueError,
        "min_backoff must not exceed max_backoff: 5.001 s is more than 5.0 s",
        lambda: JobOptions(min_backoff=5.001, max_backoff=5),
    )
    # One alone may yet fit what it is combined with at enqueue.
    assert JobOptions(min_backoff=10**6).max_backoff is None
    assert JobOptions(max_backoff=0).min_backoff is None


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan"), float("inf"), 2, -1], ids=repr)
def test_a_jitter_outside_0_to_1_is_refused(bad: float) -> None:
    refused(ValueError, f"jitter must be 0 to 1, not {bad}", lambda: JobOptions(jitter=bad))


def test_a_jitter_too_long_to_print_is_refused() -> None:
    text = "jitter must be 0 to 1, not an int of 16610 bits"
    refused(ValueError, text, lambda: JobOptions(jitter=10**5000))


@pytest.mark.parametrize("bad", [True, False, "0.1", None, [0.1], object], ids=repr)
def test_what_is_no_number_is_no_jitter(bad: Any) -> None:
    if bad is None:
        assert JobOptions(jitter=bad).jitter is None
    else:
        text = f"jitter must be a number from 0 to 1, not {type(bad).__name__}"
        refused(TypeError, text, lambda: JobOptions(jitter=bad))


@pytest.mark.parametrize("good", [0, 1, 0.5, -0.0, 5e-324, Level.ONE], ids=repr)
def test_a_jitter_from_0_to_1_is_a_float(good: float) -> None:
    jitter = JobOptions(jitter=good).jitter
    assert jitter == good
    assert type(jitter) is float


@pytest.mark.parametrize("bad", [0, 1, "yes", "", 1.0, [], object], ids=repr)
def test_log_status_change_is_true_or_false(bad: Any) -> None:
    text = f"log_status_change must be True or False, not {type(bad).__name__}"
    refused(TypeError, text, lambda: JobOptions(log_status_change=bad))
    assert JobOptions(log_status_change=False).log_status_change is False


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("m" * 256, "name must be at most 255 bytes of UTF-8, not 256"),
        ("\u00e9" * 128, "name must be at most 255 bytes of UTF-8, not 256"),
        ("ma\0il", "name must not hold a NUL, as it does at byte 2"),
        ("\0", "name must not hold a NUL, as it does at byte 0"),
        (
            "mail\ud800",
            "name must be text that UTF-8 can encode, not one with a lone surrogate at index 4",
        ),
    ],
    ids=["256", "256-multi", "nul", "only-nul", "surrogate"],
)
def test_a_name_that_cannot_be_kept_is_refused(bad: str, text: str) -> None:
    refused(ValueError, text, lambda: JobOptions(name=bad))


@pytest.mark.parametrize("bad", [b"send", 1, True, ["send"], object], ids=repr)
def test_what_is_no_str_is_no_name(bad: Any) -> None:
    refused(TypeError, f"name must be a str, not {type(bad).__name__}", lambda: JobOptions(name=bad))


@pytest.mark.parametrize("good", ["", " ", "m" * 255, "\u00e9" * 127 + "m", "\U0001f4ee" * 63, Topics.MAIL])
def test_a_name_is_kept_as_a_plain_str(good: str) -> None:
    name = JobOptions(name=good).name
    assert name == good
    assert type(name) is str


# -- the rest ------------------------------------------------------------------------------------------------


def test_live_counts_the_jobs_that_are_not_finished() -> None:
    stats = Stats(**STATS | {"ready": 1, "delayed": 20, "reserved": 300, "done": 4000, "canceled": 50_000})
    assert stats.live == 321


def test_status_and_reason_are_the_words_they_print() -> None:
    # They end up in URLs, logs and JSON of programs that use jobq.
    assert [str(status) for status in Status] == ["ready", "delayed", "reserved", "done", "canceled"]
    assert [str(reason) for reason in Reason] == ["requested", "rejected", "exhausted", "poison", "damaged"]
    assert [word.name.lower() for word in (*Status, *Reason)] == [*Status, *Reason]
    assert Status("done") is Status.DONE
    assert pickle.loads(pickle.dumps(Status.DONE)) is Status.DONE


def test_a_memory_is_an_object_not_a_value() -> None:
    # Two services may not share one, so two of them are two.
    one, other = Memory(), Memory()
    assert one != other
    assert one.durable is False
    with pytest.raises(AttributeError):
        one.durable = True


def test_a_copy_of_a_memory_is_another_one_and_free() -> None:
    one = Memory()
    with JobService(one):
        for twin in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
            assert type(twin) is Memory
            JobService(twin).close()
