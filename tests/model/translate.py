"""Between the model's plain values and jobq's: durations, dates, options, and the outcome of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from jobq import JobOptions, Limits, Retention

from .state import Bounds, Caps, Options

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FACTS = ("id", "status", "verb", "token", "ids")
"""The attributes an exception of jobq may carry."""


def seconds(ms: int) -> float | timedelta:
    """A duration as the API takes it: a float where that is exact to the millisecond, else a timedelta."""
    return ms / 1_000 if ms / 1_000 * 1_000 == ms else timedelta(milliseconds=ms)


def seconds_or_none(ms: int | None) -> float | timedelta | None:
    return None if ms is None else seconds(ms)


def date(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def date_or_none(ms: int | None) -> datetime | None:
    return None if ms is None else date(ms)


def milliseconds(moment: datetime) -> int:
    """A date's whole milliseconds; the service never gives out a finer one."""
    ms, rest = divmod(moment - EPOCH, timedelta(milliseconds=1))
    assert not rest, f"{moment} is finer than a millisecond"
    return ms


def job_options(options: Options | None) -> JobOptions | None:
    if options is None:
        return None
    return JobOptions(
        name=options.name,
        lease=seconds_or_none(options.lease),
        max_retries=options.max_retries,
        min_backoff=seconds_or_none(options.min_backoff),
        max_backoff=seconds_or_none(options.max_backoff),
        jitter=options.jitter,
        log_status_change=options.log_status_change,
    )


def retention(bounds: Bounds) -> Retention:
    return Retention(age=seconds_or_none(bounds.age), count=bounds.count, size=bounds.size)


def limits(caps: Caps) -> Limits:
    return Limits(
        max_payload=caps.max_payload,
        max_jobs=caps.max_jobs,
        max_topics=caps.max_topics,
        max_log=caps.max_log,
        topic_idle=seconds_or_none(caps.topic_idle),
    )


@dataclass
class Outcome:
    """What a call did: the value it returned, or the class and the attributes of what it raised."""

    value: object = None
    kind: str | None = None
    facts: dict[str, object] = field(default_factory=dict)
    text: str = ""


def outcome(call: Callable[[], object]) -> Outcome:
    """Make the call. The exception itself is let go: its frames would keep dropped handles alive."""
    try:
        return Outcome(call())
    except Exception as error:
        facts = {name: getattr(error, name) for name in FACTS if hasattr(error, name)}
        return Outcome(None, type(error).__name__, facts, str(error))
