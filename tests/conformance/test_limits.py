"""Contract V3: what a service refuses, at the limit, below it and above it."""

import pytest

from jobq import JobOptions, JobService, Limits, QueueFull, Status
from jobq.testing import ManualClock

from .factory import Factory
from .observe import AT_ONCE, hold, unchanged


@pytest.mark.parametrize("limit", [0, 1, 100])
def test_V3_max_payload(factory: Factory, clock: ManualClock, limit: int) -> None:
    """Bytes of one payload, the limit included; the error says which parameter and how much is allowed."""
    svc = factory.open(clock, limits=Limits(max_payload=limit))
    for size in {max(0, limit - 1), limit}:
        assert svc.payload(svc.enqueue("t", b"x" * size)) == b"x" * size
    with unchanged(svc), pytest.raises(ValueError, match=rf"payload.*\b{limit}\b"):
        svc.enqueue("t", b"x" * (limit + 1))
    with unchanged(svc), pytest.raises(ValueError, match="payload"):
        svc.topic("t").enqueue(b"x" * (limit + 1))


def test_V3_max_payload_counts_bytes_and_not_items(factory: Factory, clock: ManualClock) -> None:
    """A memoryview of wider items is as long as its bytes."""
    svc = factory.open(clock, limits=Limits(max_payload=16))
    wide = memoryview(bytearray(32)).cast("Q")
    assert len(wide) == 4
    with unchanged(svc), pytest.raises(ValueError, match="payload"):
        svc.enqueue("t", wide)
    assert svc.info(svc.enqueue("t", wide[:2])).payload_size == 16


def test_V3_the_default_of_max_payload(svc: JobService) -> None:
    """16 MiB."""
    most = 16 * 1024 * 1024
    id = svc.enqueue("t", bytes(most))
    assert svc.info(id).payload_size == most
    svc.delete(id)
    with pytest.raises(ValueError, match="payload"):
        svc.enqueue("t", bytes(most + 1))


@pytest.mark.parametrize("name", ["abcd", "éé", "éab", "\U0001f600"])
def test_V3_max_topic_name_counts_bytes(factory: Factory, clock: ManualClock, name: str) -> None:
    """Of UTF-8, not characters."""
    svc = factory.open(clock, limits=Limits(max_topic_name=4))
    svc.enqueue(name, b"")
    svc.enqueue(name[:-1] or "x", b"")
    with unchanged(svc), pytest.raises(ValueError, match="topic"):
        svc.enqueue(name + "x", b"")
    with unchanged(svc), pytest.raises(ValueError, match="topic"):
        svc.enqueue_many(name + "x", [b""])


@pytest.mark.parametrize("name", ["", "a\0", "\0", "a\ud800", "\udfff", "x" * 256, "é" * 128])
def test_V3_a_name_that_cannot_be_is_refused(svc: JobService, name: str) -> None:
    """Empty, with NUL, no UTF-8, or longer than 255 bytes: by every call that takes one."""
    with unchanged(svc):
        for call in (
            lambda: svc.enqueue(name, b""),
            lambda: svc.enqueue_many(name, [b""]),
            lambda: svc.reserve(name, 1, timeout=0),
            lambda: svc.reserve_one(name, timeout=0),
            lambda: svc.consume(name, idle=0),
            lambda: svc.find(topic=name),
            lambda: svc.topic_stats(name),
            lambda: svc.topic(name),
            lambda: svc.pause(name),
            lambda: svc.resume(name),
            lambda: svc.join(name, timeout=0),
        ):
            with pytest.raises(ValueError, match=r"topic|name"):
                call()


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_V3_max_jobs_counts_live_jobs(factory: Factory, clock: ManualClock, limit: int) -> None:
    """Ready, delayed and reserved together, over all topics; what is finished makes room."""
    svc = factory.open(clock, limits=Limits(max_jobs=limit))
    for i in range(limit):
        svc.enqueue(f"t{i % 2}", b"", delay=1e6 if i % 3 == 1 else None)
    job = hold(svc, "t0")
    with unchanged(svc), pytest.raises(QueueFull):
        svc.enqueue("t0", b"")
    with unchanged(svc), pytest.raises(QueueFull):
        svc.enqueue("t9", b"", delay=5)
    job.done()
    svc.enqueue("t0", b"")
    with unchanged(svc), pytest.raises(QueueFull):
        svc.enqueue("t0", b"")


def test_V3_what_is_in_is_never_refused(factory: Factory, clock: ManualClock) -> None:
    """A full queue must be able to work, and an operator to bring jobs back into it."""
    svc = factory.open(clock, limits=Limits(max_jobs=1), defaults=AT_ONCE)
    done = svc.enqueue("t", b"")
    hold(svc).done()
    id = svc.enqueue("t", b"")
    hold(svc).retry()
    hold(svc).release()
    hold(svc).release(5)
    clock.advance(5)
    job = hold(svc)
    clock.advance(5)
    svc.reset(done)
    svc.reset(id)
    assert job.id == id
    assert [svc.status(id) for id in (done, id)] == [Status.READY, Status.READY]
    with unchanged(svc), pytest.raises(QueueFull):
        svc.enqueue("t", b"")


def test_V3_a_reopen_refuses_nothing_that_is_in(jobs_factory: Factory, clock: ManualClock) -> None:
    """Smaller limits bind what comes, not what is there."""
    svc = jobs_factory.open(clock)
    for i in range(5):
        svc.enqueue(f"long name {i}", b"long payload")
    tight = Limits(max_jobs=1, max_topics=1, max_payload=1, max_topic_name=1)
    svc = jobs_factory.reopen(clock, limits=tight)
    assert svc.stats().ready == 5
    assert [info.payload_size for info in svc.find()] == [12] * 5
    assert hold(svc, "long name 3").payload == b"long payload"
    assert svc.topic_stats("long name 3").enqueued == 1
    with unchanged(svc), pytest.raises(QueueFull):
        svc.enqueue("t", b"")


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_V3_max_topics_counts_known_topics(factory: Factory, clock: ManualClock, limit: int) -> None:
    """Known ones go on, a new one is refused, a forgotten one makes room."""
    svc = factory.open(clock, limits=Limits(max_topics=limit, topic_idle=10))
    for i in range(limit):
        svc.enqueue(f"t{i}", b"", delay=1e6 if i else None)
    with unchanged(svc), pytest.raises(QueueFull):
        svc.enqueue("new", b"")
    with unchanged(svc), pytest.raises(QueueFull):
        svc.topic("new").enqueue(b"")
    id = svc.enqueue("t0", b"")
    svc.delete([1, id])
    clock.advance(10)
    svc.enqueue("new", b"")


def test_V3_max_topics_binds_enqueue_alone(factory: Factory, clock: ManualClock) -> None:
    """An operator's pause is not turned away because there are many names."""
    svc = factory.open(clock, limits=Limits(max_topics=1))
    svc.enqueue("t", b"")
    svc.pause("other")
    assert svc.topics() == ["other", "t"]
    svc.enqueue("other", b"")


def test_V3_without_limits_there_are_none(svc: JobService) -> None:
    """Jobs and topics are unbounded by default."""
    assert (Limits().max_jobs, Limits().max_topics) == (None, None)
    assert (Limits().max_payload, Limits().max_topic_name, Limits().max_log) == (16_777_216, 255, 100)
    assert Limits().topic_idle == 86_400.0
    for i in range(3000):
        svc.enqueue(f"topic {i}", b"")
    assert svc.stats().topics == 3000


@pytest.mark.parametrize("weight", [-32768, -32767, 0, 32766, 32767])
def test_V3_weights_are_sixteen_bits(svc: JobService, weight: int) -> None:
    """Every one of them, exactly."""
    id = svc.enqueue("t", b"", weight)
    assert (svc.info(id).weight, hold(svc).weight) == (weight, weight)


@pytest.mark.parametrize("weight", [-32769, 32768, 2**31, 2**64, -(10**30)])
def test_V3_other_weights_are_refused(svc: JobService, weight: int) -> None:
    """The Go library read 70000 as 4464."""
    with unchanged(svc), pytest.raises(ValueError, match="weight"):
        svc.enqueue("t", b"", weight)
    with unchanged(svc), pytest.raises(ValueError, match="weight"):
        svc.enqueue_many("t", [b""], weight)


@pytest.mark.parametrize("length", [254, 255])
def test_V3_a_name_of_a_job_has_255_bytes(svc: JobService, length: int) -> None:
    """At most, in UTF-8."""
    name = "x" * length
    assert svc.info(svc.enqueue("t", b"", options=JobOptions(name=name))).name == name
    assert svc.info(svc.enqueue("t", b"", options=JobOptions(name="é" * 127))).name == "é" * 127
    for long in ("x" * 256, "é" * 128):
        with pytest.raises(ValueError, match="name"):
            JobOptions(name=long)


@pytest.mark.parametrize(
    ("bounds", "name"),
    [
        ({"max_payload": -1}, "max_payload"),
        ({"max_topic_name": -1}, "max_topic_name"),
        ({"max_jobs": -1}, "max_jobs"),
        ({"max_topics": -1}, "max_topics"),
        ({"max_log": -1}, "max_log"),
        ({"topic_idle": -1}, "topic_idle"),
        ({"topic_idle": float("inf")}, "topic_idle"),
    ],
)
def test_V3_a_limit_that_makes_no_sense_is_refused(bounds: dict[str, float], name: str) -> None:
    """Where it is made."""
    with pytest.raises(ValueError, match=name):
        Limits(**bounds)  # type: ignore[arg-type]
