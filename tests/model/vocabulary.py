"""What the machine and the driver may say: the steps of a walk, and for each argument the short list it is
drawn from.

A list may hold a value twice, to have it drawn twice as often. All durations are milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from .state import Bounds, Caps, Options

DAY = 86_400_000

TOPICS = ("a", "a", "a", "ab", "ab", "delayed", "a\x1fb", "日本")
"""Prefixes of one another, a separator, a name the core might use, more bytes than letters (I13)."""

WEIGHTS = (0, 0, 0, 1, 1, -1, 7, -32_768, 32_767)
SIZES = (4, 4, 8, 1, 0, 9)
"""Payload bytes; 9 is one too many where the limit is small."""

SOURCES = ("*", "*", "*", "*", *TOPICS)
"""Where to reserve from; "*" is a topic that can grant something, if there is one."""
PICKS = (0, 1, 2, 3, 5, 8, 13)
"""Which of the things at hand, counted from the newest and round again."""

Pick = tuple[str, int]
HANDLES: tuple[Pick, ...] = (
    ("held", 0),
    ("held", 0),
    ("held", 1),
    ("held", 3),
    ("stale", 0),
    ("stale", 0),
    ("stale", 1),
    ("stale", 2),
    ("lost", 0),
    ("any", 0),
    ("any", 5),
)
"""Which handle: one that holds its job, one whose job is in other hands now, one that lost it, or any."""
HANDFULS: tuple[tuple[Pick, ...], ...] = (
    (("held", 0), ("held", 1)),
    (("held", 2), ("held", 1), ("held", 0)),
    (("held", 0), ("lost", 0), ("any", 0)),
    (("stale", 0), ("held", 0), ("lost", 0)),
    (("any", 0), ("any", 1), ("any", 2), ("any", 3)),
    (),
)
JOBS: tuple[Pick, ...] = (("here", 0), ("here", 1), ("here", 2), ("here", 5), ("any", 0), ("any", 8))
"""Which id: one whose job is there, or any."""
GROUPS: tuple[tuple[Pick, ...], ...] = (
    (("here", 0), ("here", 1)),
    (("here", 2), ("here", 0), ("here", 1)),
    (("here", 1), ("any", 4)),
    (),
)

WHEN: tuple[tuple[str, int], ...] = (
    ("now", 0),
    ("now", 0),
    ("now", 0),
    ("delay", 0),
    ("delay", 1),
    ("delay", 1_000),
    ("delay", 1_000),
    ("delay", 100 * DAY),
    ("microseconds", 1_500),
    ("at", -5_000),
    ("at", 1_000),
    ("at", 65_537),
)

DELAYS = (None, None, 0, 0, 1, 700, 40 * DAY)
RELEASES = (0, 0, 0, 700)
EXTENDS = (None, 0, 1_000, 1_500, 60_000)

QUICK = Options(lease=1_000, max_retries=3, min_backoff=0, max_backoff=0, jitter=0.0)
OPTIONS = (
    None,
    None,
    QUICK,
    Options(lease=1_000, max_retries=0, min_backoff=500, max_backoff=800, jitter=0.0),
    Options(name="mail", max_retries=2, min_backoff=1_000, max_backoff=64_000, jitter=0.5),
    Options(log_status_change=True, lease=1_500, min_backoff=1, max_backoff=3_000, jitter=0.0),
    Options(name="日", lease=20 * DAY, max_retries=4_294_967_295, min_backoff=0, max_backoff=0, jitter=1.0),
)
HANDLE_OPTIONS = Options(name="handle", lease=1_200, max_retries=2)
"""The defaults of the topic handles that a walk enqueues through."""

BEGINNINGS = ("empty", "handles", "stale", "stale")
DEFAULTS = (
    QUICK,
    QUICK,
    Options(),
    Options(lease=2_000, max_retries=1, min_backoff=500, max_backoff=1_500, jitter=0.0),
    Options(
        name="default", lease=1_000, min_backoff=300, max_backoff=2_000, jitter=0.25, log_status_change=True
    ),
)
RETENTIONS = (
    Bounds(age=DAY, count=100_000, size=67_108_864),
    Bounds(),
    Bounds(count=0),
    Bounds(count=2),
    Bounds(size=10),
    Bounds(age=2_500),
    Bounds(age=4_000, count=3, size=20),
)
CAPS = (
    Caps(),
    Caps(),
    Caps(topic_idle=2_000),
    Caps(max_payload=8, max_jobs=6, max_topics=3, max_log=3, topic_idle=1_000),
    Caps(max_log=0, topic_idle=None),
)

STRIDES = (1, 1, 499, 500, 500, 1_000, 1_000, 2_000, 5_000, 65_536, 41 * DAY)
EDGES = (-1, 0, 0, 1)
"""Milliseconds beside the next due date or end of a lease."""
JUMPS = (1, 1_000, 3_600_000, -1, -1_000, -3_600_000, -40 * DAY, 100 * DAY)

ERRORS = (None, "broken", "é" * 1_003, "exception", "silent exception")
MESSAGES = ("half done", "100%", "m" * 1_003, "")
STATUSES = (None, "ready", "delayed", "reserved", "done", "canceled")
REASONS = (None, None, "requested", "rejected", "exhausted", "poison")
BAD_IDS = (None, None, None, "unknown", "gone")


@dataclass(frozen=True)
class Step:
    """One kind of step: the method of `Walk` it calls, and what each argument is drawn from."""

    name: str
    share: int
    """How often it is taken, against the others."""
    draws: dict[str, tuple[object, ...]]
    needs: str | None = None
    """What there must be at least one of: `held` handles, `known` ids, open `streams`."""


STEPS = (
    Step(
        "enqueue",
        10,
        {
            "topic": TOPICS,
            "weight": WEIGHTS,
            "size": SIZES,
            "when": WHEN,
            "options": OPTIONS,
            "via": ("name", "handle"),
        },
    ),
    Step(
        "enqueue_many",
        4,
        {
            "topic": TOPICS,
            "count": (2, 3, 5, 0),
            "weight": WEIGHTS,
            "size": SIZES,
            "when": WHEN,
            "options": OPTIONS,
        },
    ),
    Step(
        "reserve",
        8,
        {"topic": SOURCES, "limit": (1, 2, 2, 64), "timeout": (0, 0, 0, 1), "via": ("name", "handle")},
    ),
    Step("reserve_one", 6, {"topic": SOURCES, "via": ("name", "handle")}),
    Step("open_stream", 3, {"topic": SOURCES, "batch": (1, 3, 3)}),
    Step("next_of_stream", 5, {"pick": PICKS}, "streams"),
    Step("drop_stream", 3, {"pick": PICKS}, "streams"),
    Step("done", 8, {"pick": HANDLES}, "held"),
    Step("retry", 5, {"pick": HANDLES, "delay": DELAYS, "error": ERRORS}, "held"),
    Step("release", 5, {"pick": HANDLES, "delay": RELEASES}, "held"),
    Step("reject", 2, {"pick": HANDLES, "error": ERRORS}, "held"),
    Step("extend", 3, {"pick": HANDLES, "ms": EXTENDS}, "held"),
    Step("log", 2, {"pick": HANDLES, "message": MESSAGES}, "held"),
    Step("with_block", 3, {"pick": HANDLES, "way": ("end", "exception", "base", "settled inside")}, "held"),
    Step(
        "settle_many",
        4,
        {
            "picks": HANDFULS,
            "verb": ("done", "retry", "release"),
            "delay": DELAYS,
            "twice": (False, False, True),
        },
        "held",
    ),
    Step("drop_handle", 4, {"pick": HANDLES, "way": ("del", "del", "collector")}, "held"),
    Step(
        "operate", 7, {"verb": ("cancel", "reset", "delete"), "pick": JOBS, "force": (False, True)}, "known"
    ),
    Step(
        "operate_many",
        3,
        {
            "verb": ("cancel", "reset", "delete"),
            "picks": GROUPS,
            "force": (False, True),
            "bad": BAD_IDS,
        },
        "known",
    ),
    Step("pause", 2, {"topic": TOPICS}),
    Step("resume", 3, {"topic": TOPICS}),
    Step("look", 1, {"pick": JOBS, "bad": BAD_IDS}, "known"),
    Step(
        "find",
        1,
        {
            "status": STATUSES,
            "topic": (None, *TOPICS),
            "reason": REASONS,
            "after": (0, 0, 1, 5),
            "limit": (None, 0, 1, 3),
        },
    ),
    Step("join", 1, {"topic": (None, *TOPICS)}),
    Step("advance", 4, {"ms": STRIDES}),
    Step("advance_to_edge", 6, {"nth": (0, 0, 1, 3), "beside": EDGES}),
    Step("jump", 2, {"ms": JUMPS}),
    Step("jump_to_edge", 2, {"nth": (0, 0, 1), "beside": EDGES}),
    Step(
        "blocked_worker", 2, {"topic": TOPICS, "wake": ("resume", "resume", "enqueue", "advance", "release")}
    ),
    Step("reopen", 1, {"stop": (False, True)}),
    Step("crash", 1, {}),
)
