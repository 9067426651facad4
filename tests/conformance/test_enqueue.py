"""Contract L9 and what every enqueue promises: many at once, all or none; payloads are the queue's own."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import pytest

from jobq import JobId, JobService, Limits, QueueFull, Status
from jobq.testing import ManualClock

from .factory import DictHome, Factory
from .observe import hold, order, some, unchanged


def test_L9_ids_are_consecutive_and_in_the_order_given(svc: JobService) -> None:
    """A range says it in two numbers, and the caller can match its items by position."""
    before = svc.enqueue("t", b"")
    ids = svc.enqueue_many("t", [f"{i}".encode() for i in range(100)])
    assert isinstance(ids, Sequence)
    assert list(ids) == list(range(before + 1, before + 101))
    assert (len(ids), ids[0], ids[-1]) == (100, before + 1, before + 100)
    assert [svc.payload(id) for id in ids] == [f"{i}".encode() for i in range(100)]


def test_L9_an_item_is_a_payload_or_a_pair(svc: JobService) -> None:
    """A weight of its own where one is given, else the call's."""
    ids = svc.enqueue_many("t", [b"a", (b"b", -3), (b"c", 3), b"d"], 1)
    assert [svc.info(id).weight for id in ids] == [1, -3, 3, 1]
    assert order(svc) == [ids[1], ids[0], ids[3], ids[2]]


@pytest.mark.parametrize("form", ["delay", "at"])
def test_L9_delay_and_at_hold_for_all(svc: JobService, clock: ManualClock, form: str) -> None:
    """One due for the batch, and its order kept."""
    at = clock.now() + timedelta(seconds=10)
    ids = (
        svc.enqueue_many("t", [b""] * 3, at=at)
        if form == "at"
        else svc.enqueue_many("t", [b""] * 3, delay=10)
    )
    assert {svc.info(id).due_at for id in ids} == {at}
    clock.advance(10)
    assert order(svc) == list(ids)


def test_L9_nothing_is_nothing(svc: JobService) -> None:
    """An empty batch is no error and no job."""
    assert len(svc.enqueue_many("t", [])) == 0
    assert svc.stats().enqueued == 0


BAD_ITEMS: list[tuple[object, type[Exception]]] = [
    ("text", TypeError),
    (None, TypeError),
    (5, TypeError),
    ((b"", "1"), TypeError),
    ((b"", 1.0), TypeError),
    ((b"", True), TypeError),
    ((b"",), (TypeError, ValueError)),  # type: ignore[list-item]
    ((b"", 1, 2), (TypeError, ValueError)),  # type: ignore[list-item]
    ((b"", 32768), ValueError),
    ((b"", -32769), ValueError),
    ((b"", 10**30), ValueError),
    (b"12345", ValueError),
]


@pytest.mark.parametrize(("bad", "error"), BAD_ITEMS, ids=lambda value: repr(value)[:20])
def test_L9_a_bad_item_stops_all_and_its_index_is_named(
    factory: Factory, clock: ManualClock, bad: object, error: type[Exception]
) -> None:
    """All or nothing, and the caller can find the item among ten thousand."""
    svc = factory.open(clock, limits=Limits(max_payload=4))
    svc.enqueue("t", b"")
    items: list[object] = [b"", b"", (b"", 1), bad, b""]
    with unchanged(svc), pytest.raises(error, match=r"\b3\b"):
        svc.enqueue_many("t", items)  # type: ignore[arg-type]
    assert svc.enqueue("t", b"") > 1


def test_L9_a_limit_stops_all(factory: Factory, clock: ManualClock) -> None:
    """What fits fits as a whole, or not at all."""
    svc = factory.open(clock, limits=Limits(max_jobs=5, max_topics=1))
    svc.enqueue_many("t", [b""] * 3)
    with unchanged(svc), pytest.raises(QueueFull):
        svc.enqueue_many("t", [b""] * 3)
    with unchanged(svc), pytest.raises(QueueFull):
        svc.enqueue_many("other", [b""])
    assert len(svc.enqueue_many("t", [b""] * 2)) == 2


def test_L9_the_iterable_is_read_to_its_end_first(svc: JobService) -> None:
    """Its own code may use the queue, and its own error leaves nothing behind."""

    def items(last: object) -> Iterator[bytes]:
        yield b"1"
        svc.enqueue("other", b"")
        assert svc.topic_stats("t").enqueued == 0
        yield b"2"
        if last is not None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        svc.enqueue_many("t", items("raise"))
    assert svc.topic_stats("t").enqueued == 0
    ids = svc.enqueue_many("t", items(None))
    assert [svc.payload(id) for id in ids] == [b"1", b"2"]
    assert svc.topic_stats("other").enqueued == 2


@pytest.mark.parametrize("payloads", [None, 5, "text", b"bytes"])
def test_L9_payloads_must_be_an_iterable_of_payloads(svc: JobService, payloads: object) -> None:
    """A payload where a list of them is wanted would be taken apart byte by byte."""
    with unchanged(svc), pytest.raises(TypeError, match="payload"):
        svc.enqueue_many("t", payloads)  # type: ignore[arg-type]


def test_L9_a_crash_before_the_acknowledgement_keeps_a_prefix(
    python_factory: Factory, clock: ManualClock
) -> None:
    """A batch may be written in parts; what is there is its beginning, so one can see how far it got."""
    svc = python_factory.open(clock)
    home = python_factory.home
    assert isinstance(home, DictHome)
    assert home.jobs is not None
    copies: list[DictHome] = [home.copy()]
    home.jobs.after_commit = lambda: copies.append(home.copy())
    total = 3000
    ids = svc.enqueue_many("t", [str(i).encode() for i in range(total)])
    home.jobs.after_commit = lambda: None
    copies.append(home.copy())
    counts = []
    for copy in copies:
        found = copy.open(clock)
        kept = order(found)
        assert kept == list(ids[: len(kept)])
        assert [found.payload(id) for id in kept[-2:]] == [str(id - ids[0]).encode() for id in kept[-2:]]
        counts.append(len(kept))
        found.close()
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, total)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_L9_a_payload_is_any_buffer_and_copied(svc: JobService, kind: type) -> None:
    """What the caller does to its buffer afterwards is no business of the job's."""
    source = bytearray(b"payload")
    buffer = source if kind is bytearray else kind(source)
    ids = [svc.enqueue("t", buffer), *svc.enqueue_many("t", [buffer, (buffer, 1)])]
    source[:] = b"changed"
    assert [svc.payload(id) for id in ids] == [b"payload"] * 3
    job = hold(svc)
    assert job.payload == b"payload"
    assert type(job.payload) is bytes


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1023, 1024, 1025, 70_000])
def test_L9_a_payload_comes_back_byte_for_byte(whole_factory: Factory, clock: ManualClock, size: int) -> None:
    """Of any size and any content, through memory and back from what was kept."""
    svc = whole_factory.open(clock)
    payload = bytes(i * 7 % 256 for i in range(size))
    id = svc.enqueue("t", payload)
    for again in (None, whole_factory.reopen, whole_factory.crash):
        svc = svc if again is None else again(clock)
        assert svc.payload(id) == payload
        assert svc.info(id).payload_size == size
        job = hold(svc)
        assert job.payload == payload
        job.release()


def test_L9_delay_and_at_exclude_each_other(svc: JobService, clock: ManualClock) -> None:
    """Two answers to one question."""
    at = clock.now() + timedelta(seconds=1)
    with unchanged(svc):
        with pytest.raises(ValueError, match="delay"):
            svc.enqueue("t", b"", delay=1, at=at)
        with pytest.raises(ValueError, match="delay"):
            svc.enqueue_many("t", [b""], delay=1, at=at)
        with pytest.raises(ValueError, match=r"\bat\b"):
            svc.enqueue("t", b"", at=datetime(2100, 1, 1))  # noqa: DTZ001


def test_L9_a_handle_is_the_name(svc: JobService) -> None:
    """The same queue, whichever way it is called."""
    topic = svc.topic("t")
    assert topic.name == "t"
    assert svc.topics() == []
    ids: list[JobId] = [topic.enqueue(b"1"), svc.enqueue("t", b"2"), *topic.enqueue_many([b"3"])]
    assert order(svc) == ids
    assert topic.stats() == svc.topic_stats("t")
    assert [job.topic for job in topic.reserve(1, timeout=0)] == ["t"]
    assert some(topic.reserve_one(timeout=0)).topic == "t"
    topic.pause()
    assert svc.topic_stats("t").paused
    topic.resume()
    assert topic.join(timeout=0) is False


def test_L9_a_new_job_is_what_was_asked_for(svc: JobService, clock: ManualClock) -> None:
    """Everything that can be read of it, at birth."""
    info = svc.info(svc.enqueue("t", b"12345", 7))
    assert (info.topic, info.weight, info.status, info.reason, info.error) == (
        "t",
        7,
        Status.READY,
        None,
        None,
    )
    assert (info.attempts, info.retries, info.resets, info.crashes) == (0, 0, 0, 0)
    assert (info.payload_size, info.created_at, info.ready_at) == (5, clock.now(), clock.now())
    assert (info.due_at, info.reserved_at, info.deadline, info.finished_at) == (None, None, None, None)
