"""What is said to a service: its words (Status, Reason) and its settings (JobOptions, Retention, Limits).

All of them are immutable, compared by value, hashable and picklable. Settings are checked here, when they are
made: the engine gets only good ones, durations as whole milliseconds. Nothing here knows a service.
"""

import operator
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Self, SupportsIndex, TypeAlias, final

from jobq._jobq import _milliseconds

JobId: TypeAlias = int
"""1 to 2**63 - 1; increasing, never reused (over restarts too, where the job repository is durable)."""

_Seconds: TypeAlias = float | timedelta

_MOST = 2**63 - 1
_MOST_RETRIES = 2**32 - 1
_MOST_NAME_BYTES = 255


class Status(StrEnum):
    """Where a job stands."""

    READY = "ready"
    DELAYED = "delayed"
    RESERVED = "reserved"
    DONE = "done"
    CANCELED = "canceled"


class Reason(StrEnum):
    """Why a job is CANCELED. All but REQUESTED are dead letters.

    REQUESTED: by `JobService.cancel()`. REJECTED: its holder gave it up, with `Job.cancel()`. EXHAUSTED: more
    retries than `max_retries`. POISON: it was reserved at more crashes than `max_crashes`. DAMAGED: its
    record or payload cannot be read.
    """

    REQUESTED = "requested"
    REJECTED = "rejected"
    EXHAUSTED = "exhausted"
    POISON = "poison"
    DAMAGED = "damaged"


class _Value:
    """What JobOptions, Retention and Limits share: set once, compared by value, final.

    A value is its private slots. `_fields` names the properties over them, in the order of the constructor.
    """

    __slots__: tuple[str, ...] = ()
    _fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        if cls.__bases__ != (_Value,):
            raise TypeError(f"{cls.__bases__[0].__name__} is final: it cannot be subclassed")

    def _set(self, **slots: object) -> None:
        # For the making of a value alone: past this class's own __setattr__.
        for slot, value in slots.items():
            object.__setattr__(self, slot, value)

    if not TYPE_CHECKING:  # a checker that sees __setattr__ lets any name be set, and a misspelt one pass

        def __setattr__(self, name, value):
            raise AttributeError(f"{type(self).__name__} is immutable: {name} is given when it is made")

        def __delattr__(self, name):
            raise AttributeError(f"{type(self).__name__} is immutable: {name} is given when it is made")

    def _key(self) -> tuple[object, ...]:
        return tuple(getattr(self, slot) for slot in self.__slots__)

    def __eq__(self, other: object, /) -> bool:
        if not isinstance(other, _Value) or type(other) is not type(self):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def __repr__(self) -> str:
        # A None that is the default says nothing; any other value is shown, default or not.
        defaults = type(self).__init__.__kwdefaults__ or {}
        values = ((name, getattr(self, name)) for name in self._fields)
        given = (f"{name}={v!r}" for name, v in values if v is not None or defaults[name] is not None)
        return f"{type(self).__name__}({', '.join(given)})"

    def __reduce__(self) -> tuple[Any, ...]:
        # First the call without arguments: what a pickle of an older version lacks, keeps its default.
        return type(self), (), dict(zip(self.__slots__, self._key(), strict=True))

    def __setstate__(self, slots: dict[str, Any]) -> None:
        self._set(**slots)


@final
class JobOptions(_Value):
    """How a job is leased and retried.

    None is filled in at enqueue, field by field: from the topic handle, then from the service's defaults,
    then as stated here. A queued job keeps what it got.
    """

    __slots__ = (
        "_jitter",
        "_lease_ms",
        "_log_status_change",
        "_max_backoff_ms",
        "_max_retries",
        "_min_backoff_ms",
        "_name",
    )
    _fields = ("name", "lease", "max_retries", "min_backoff", "max_backoff", "jitter", "log_status_change")

    _name: str | None
    _lease_ms: int | None
    _max_retries: int | None
    _min_backoff_ms: int | None
    _max_backoff_ms: int | None
    _jitter: float | None
    _log_status_change: bool | None

    def __init__(
        self,
        *,
        name: str | None = None,
        lease: _Seconds | None = None,
        max_retries: int | None = None,
        min_backoff: _Seconds | None = None,
        max_backoff: _Seconds | None = None,
        jitter: float | None = None,
        log_status_change: bool | None = None,
    ) -> None:
        """Each argument is described at the property of its name; seconds are rounded up to milliseconds.

        ValueError when lease is 0, jitter is outside 0 to 1, or min_backoff exceeds max_backoff (the two that
        hold together are compared again at enqueue). ValueError or TypeError for whatever else is out of
        range.
        """
        self._set(
            _name=None if name is None else _checked_name(name),
            _lease_ms=None if lease is None else _checked_lease(lease),
            _max_retries=_whole_or_none("max_retries", max_retries, _MOST_RETRIES),
            _min_backoff_ms=_duration("min_backoff", min_backoff),
            _max_backoff_ms=_duration("max_backoff", max_backoff),
            _jitter=None if jitter is None else _checked_jitter(jitter),
            _log_status_change=_checked_flag("log_status_change", log_status_change),
        )
        low, high = self._min_backoff_ms, self._max_backoff_ms
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"min_backoff must not exceed max_backoff: {low / 1000} s is more than {high / 1000} s"
            )

    @property
    def name(self) -> str | None:
        """A label for people and for dispatch (default: ""); at most 255 bytes of UTF-8, no NUL."""
        return self._name

    @property
    def lease(self) -> float | None:
        """Seconds a reservation holds (default: 7200), more than 0.

        No job is stopped when it runs out: the job is given to another.
        """
        return _in_seconds(self._lease_ms)

    @property
    def max_retries(self) -> int | None:
        """Retries and expiries before the job is dead (default: 50); 0 to 2**32 - 1."""
        return self._max_retries

    @property
    def min_backoff(self) -> float | None:
        """Seconds before the first retry (default: 30); each further one waits twice as long. 0: at once."""
        return _in_seconds(self._min_backoff_ms)

    @property
    def max_backoff(self) -> float | None:
        """Seconds that no retry delay exceeds (default: 3600)."""
        return _in_seconds(self._max_backoff_ms)

    @property
    def jitter(self) -> float | None:
        """A retry delay d is drawn from [(1 - jitter) * d, d] (default: 0.1); 0 to 1."""
        return self._jitter

    @property
    def log_status_change(self) -> bool | None:
        """Write each change of status into the job's log (default: False)."""
        return self._log_status_change


@final
class Retention(_Value):
    """How long finished jobs stay: while all three bounds hold, the oldest dropped first.

    None sets no bound, 0 keeps nothing.
    """

    __slots__ = ("_age_ms", "_count", "_size")
    _fields = ("age", "count", "size")

    _age_ms: int | None
    _count: int | None
    _size: int | None

    def __init__(
        self, *, age: _Seconds | None = 86_400.0, count: int | None = 100_000, size: int | None = 67_108_864
    ) -> None:
        """Each argument is described at the property of its name."""
        self._set(
            _age_ms=_duration("age", age),
            _count=_whole_or_none("count", count),
            _size=_whole_or_none("size", size),
        )

    @classmethod
    def none(cls) -> Self:
        """Drop a job as soon as it is finished."""
        return cls(age=None, count=0, size=None)

    @classmethod
    def forever(cls) -> Self:
        """Keep a job until it is deleted."""
        return cls(age=None, count=None, size=None)

    @property
    def age(self) -> float | None:
        """Seconds since the job finished, on the wall clock."""
        return _in_seconds(self._age_ms)

    @property
    def count(self) -> int | None:
        """Jobs, over all topics."""
        return self._count

    @property
    def size(self) -> int | None:
        """Bytes of their payloads, over all topics."""
        return self._size


@final
class Limits(_Value):
    """What the service refuses: in one call with ValueError, in all with QueueFull. None sets no bound.

    Limits bind enqueue alone: what is in is never refused.
    """

    __slots__ = ("_max_jobs", "_max_log", "_max_payload", "_max_topic_name", "_max_topics", "_topic_idle_ms")
    _fields = ("max_payload", "max_topic_name", "max_jobs", "max_topics", "max_log", "topic_idle")

    _max_payload: int
    _max_topic_name: int
    _max_jobs: int | None
    _max_topics: int | None
    _max_log: int
    _topic_idle_ms: int | None

    def __init__(
        self,
        *,
        max_payload: int = 16_777_216,
        max_topic_name: int = 255,
        max_jobs: int | None = None,
        max_topics: int | None = None,
        max_log: int = 100,
        topic_idle: _Seconds | None = 86_400.0,
    ) -> None:
        """Each argument is described at the property of its name."""
        self._set(
            _max_payload=_whole("max_payload", max_payload),
            _max_topic_name=_whole("max_topic_name", max_topic_name, least=1, most=_MOST_NAME_BYTES),
            _max_jobs=_whole_or_none("max_jobs", max_jobs),
            _max_topics=_whole_or_none("max_topics", max_topics),
            _max_log=_whole("max_log", max_log),
            _topic_idle_ms=_duration("topic_idle", topic_idle),
        )

    @property
    def max_payload(self) -> int:
        """Bytes of one payload (ValueError); 0 or more."""
        return self._max_payload

    @property
    def max_topic_name(self) -> int:
        """Bytes of UTF-8 in a topic's name (ValueError); 1 to 255."""
        return self._max_topic_name

    @property
    def max_jobs(self) -> int | None:
        """Ready, delayed and reserved jobs together (QueueFull)."""
        return self._max_jobs

    @property
    def max_topics(self) -> int | None:
        """Topics known at once (QueueFull)."""
        return self._max_topics

    @property
    def max_log(self) -> int:
        """Log entries kept per job, of at most 1,000 characters each; the oldest go first."""
        return self._max_log

    @property
    def topic_idle(self) -> float | None:
        """Seconds without a call after which a topic is forgotten.

        Only one that has no job at all (kept ones included), no pause and no waiter.
        """
        return _in_seconds(self._topic_idle_ms)


# -- checks: each names the parameter, what was wanted and what came -----------------------------------------


def _whole(name: str, value: object, *, least: int = 0, most: int = _MOST) -> int:
    # bool is an int to Python, but a slip of the pen here.
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    number = int(operator.index(value))
    if not least <= number <= most:
        raise ValueError(f"{name} must be {least} to {most}, not {_shown(number)}")
    return number


def _whole_or_none(name: str, value: object, most: int = _MOST) -> int | None:
    return None if value is None else _whole(name, value, most=most)


def _shown(number: float) -> str:
    # Python refuses to print an int of more than 4,300 digits, with a ValueError that names no parameter.
    if isinstance(number, int) and number.bit_length() > 64:
        return f"an int of {number.bit_length()} bits"
    return str(number)


def _duration(name: str, value: _Seconds | None) -> int | None:
    return None if value is None else _milliseconds(value, name)


def _in_seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _checked_lease(value: _Seconds) -> int:
    milliseconds = _milliseconds(value, "lease")
    if milliseconds == 0:
        raise ValueError(f"lease must be more than 0 seconds, not {value}")
    return milliseconds


def _checked_jitter(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"jitter must be a number from 0 to 1, not {type(value).__name__}")
    if not 0 <= value <= 1:
        raise ValueError(f"jitter must be 0 to 1, not {_shown(value)}")
    return float(value)


def _checked_flag(name: str, value: object) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise TypeError(f"{name} must be True or False, not {type(value).__name__}")


def _checked_name(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"name must be a str, not {type(value).__name__}")
    try:
        encoded = str.encode(value)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"name must be text that UTF-8 can encode, not one with a lone surrogate at index {error.start}"
        ) from None
    if len(encoded) > _MOST_NAME_BYTES:
        raise ValueError(f"name must be at most {_MOST_NAME_BYTES} bytes of UTF-8, not {len(encoded)}")
    if 0 in encoded:
        raise ValueError(f"name must not hold a NUL, as it does at byte {encoded.index(0)}")
    return encoded.decode()  # a plain str, whatever subclass came
