"""Contract V4: looking for jobs, while they change."""

import itertools
from collections.abc import Iterator

import pytest

from jobq import JobId, JobInfo, JobOptions, JobService, Reason, Retention, Status
from jobq.testing import ManualClock

from .factory import Factory
from .observe import hold


def ids(found: Iterator[JobInfo]) -> list[JobId]:
    return [info.id for info in found]


@pytest.fixture
def mixed(svc: JobService) -> dict[str, list[JobId]]:
    """Jobs of every status in two topics, their ids interleaved."""
    made: dict[str, list[JobId]] = {}

    def note(what: str, id: JobId) -> None:
        made.setdefault(what, []).append(id)

    for topic in ("a", "b") * 3:
        note("done", svc.enqueue(topic, b""))
        hold(svc, topic).done()
        note("requested", svc.enqueue(topic, b""))
        svc.cancel(made["requested"][-1])
        note("rejected", svc.enqueue(topic, b""))
        hold(svc, topic).cancel()
        note("exhausted", svc.enqueue(topic, b"", options=JobOptions(max_retries=0)))
        hold(svc, topic).retry()
        note("delayed", svc.enqueue(topic, b"", delay=1000))
        gone = svc.enqueue(topic, b"")
        svc.delete(gone)
    for topic in ("a", "b") * 3:
        note("ready", svc.enqueue(topic, b""))
    return made


def test_V4_everything_by_ascending_id(svc: JobService, mixed: dict[str, list[JobId]]) -> None:
    """An order that does not depend on what happens to the jobs; the deleted are not there."""
    everything = sorted(itertools.chain(*mixed.values()))
    found = list(svc.find())
    assert [info.id for info in found] == everything
    assert found == [svc.info(id) for id in everything]


def test_V4_by_status(svc: JobService, mixed: dict[str, list[JobId]]) -> None:
    """Each status is its own list."""
    assert ids(svc.find(Status.DONE)) == mixed["done"]
    assert ids(svc.find(Status.READY)) == mixed["ready"]
    assert ids(svc.find(Status.DELAYED)) == mixed["delayed"]
    assert ids(svc.find(Status.RESERVED)) == []
    assert ids(svc.find(Status.CANCELED)) == sorted(
        mixed["requested"] + mixed["rejected"] + mixed["exhausted"]
    )


def test_V4_by_reason_and_topic(svc: JobService, mixed: dict[str, list[JobId]]) -> None:
    """All that is given must match."""
    for reason in (Reason.REQUESTED, Reason.REJECTED, Reason.EXHAUSTED):
        assert ids(svc.find(reason=reason)) == mixed[reason]
        assert ids(svc.find(Status.CANCELED, reason=reason, topic="b")) == mixed[reason][1::2]
        assert ids(svc.find(Status.DONE, reason=reason)) == []
    assert ids(svc.find(reason=Reason.POISON)) == []
    assert ids(svc.find(Status.READY, topic="a")) == mixed["ready"][0::2]
    assert ids(svc.find(topic="c")) == []


def test_V4_the_status_may_be_a_plain_word(svc: JobService, mixed: dict[str, list[JobId]]) -> None:
    """Status is a StrEnum; what equals it finds the same, what does not is refused."""
    assert ids(svc.find(Status("done"))) == mixed["done"]
    with pytest.raises((ValueError, TypeError), match="status"):
        svc.find("nonsense")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_V4_pages_make_up_the_whole(svc: JobService, mixed: dict[str, list[JobId]], size: int) -> None:
    """after and limit walk the list without gap or repetition, whatever the page."""
    for status in (None, Status.CANCELED):
        whole = ids(svc.find(status))
        pages: list[JobId] = []
        while page := ids(svc.find(status, after=pages[-1] if pages else 0, limit=size)):
            assert len(page) <= size
            pages += page
        assert pages == whole


def test_V4_after_is_excluded(svc: JobService) -> None:
    """The last id seen is what to ask with next, whether it still exists or not."""
    made = list(svc.enqueue_many("t", [b""] * 5))
    assert ids(svc.find(after=made[1])) == made[2:]
    svc.delete(made[1])
    assert ids(svc.find(after=made[1])) == made[2:]
    assert ids(svc.find(after=made[4])) == []
    assert ids(svc.find(after=2**63 - 1)) == []
    assert ids(svc.find(after=0)) == [made[0], *made[2:]]


def test_V4_limit_counts_what_matches(svc: JobService) -> None:
    """Not what was looked at."""
    for i in range(40):
        svc.enqueue("a" if i % 10 == 9 else "b", b"")
    assert ids(svc.find(topic="a", limit=3)) == [10, 20, 30]
    assert ids(svc.find(limit=None))[-1] == 40


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"after": -1}, "after"),
        ({"after": 2**63}, "after"),
        ({"limit": -1}, "limit"),
        ({"topic": ""}, "topic"),
    ],
)
def test_V4_arguments_are_checked_by_the_call(
    svc: JobService, arguments: dict[str, object], name: str
) -> None:
    """Not at the first step of the iterator."""
    with pytest.raises(ValueError, match=name):
        svc.find(**arguments)  # type: ignore[arg-type]
    for parameter in ("after", "limit"):
        for bad in ("1", 1.0, True):
            with pytest.raises(TypeError, match=parameter):
                svc.find(**{parameter: bad})  # type: ignore[arg-type]


def test_V4_what_matches_throughout_is_found_exactly_once(svc: JobService) -> None:
    """Jobs move, come and go under the reader, by its own hand too; those that stay are each seen once."""
    made = list(svc.enqueue_many("t", [(b"", i % 7) for i in range(1500)]))
    goes, moves = set(made[5::10]), set(made[7::10])
    stay = [id for id in made if id not in goes | moves]
    seen: list[JobId] = []
    for step, info in enumerate(svc.find(Status.READY, topic="t")):
        seen.append(info.id)
        if step % 3 == 0 and goes:
            svc.delete(goes.pop())
        if step % 3 == 1 and moves:
            svc.cancel(moves.pop())
        if step % 100 == 0:
            svc.enqueue("t", b"")
            svc.enqueue("other", b"")
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)
    assert [id for id in seen if id in set(stay)] == stay


def test_V4_the_reader_may_settle_what_it_finds(svc: JobService) -> None:
    """The operator's loop: find, and do something about it."""
    svc.enqueue_many("t", [b""] * 2100)
    for info in svc.find(Status.READY):
        svc.cancel(info.id)
    assert svc.topic_stats("t").canceled == 2100
    for info in svc.find(Status.CANCELED):
        svc.delete(info.id)
    assert ids(svc.find()) == []


def test_V4_a_reader_holds_nobody_up(svc: JobService, clock: ManualClock) -> None:
    """An iterator left standing is no lock, and one that is dropped is no harm."""
    svc.enqueue_many("t", [b""] * 3)
    found = svc.find()
    assert next(found).id == 1
    hold(svc).done()
    svc.delete([2, 3])
    new = svc.enqueue("t", b"")
    assert {info.id for info in found} <= {2, 3, new}


def test_V4_what_is_found_after_a_reopen_is_what_was_there(jobs_factory: Factory, clock: ManualClock) -> None:
    """Statuses, dates and reasons are kept as they were, field by field."""
    svc = jobs_factory.open(clock, retention=Retention.forever())
    for i in range(4):
        svc.enqueue("t", b"12", i)
    hold(svc).done()
    hold(svc).cancel(error="no")
    svc.enqueue("other", b"123", delay=50)
    svc.cancel(3)
    clock.advance(7)
    before = list(svc.find())
    assert [info.status.value for info in before] == ["done", "canceled", "canceled", "ready", "delayed"]
    for again in (jobs_factory.reopen, jobs_factory.crash):
        svc = again(clock, retention=Retention.forever())
        assert list(svc.find()) == before


def test_V4_topics_are_ordered_by_name(svc: JobService) -> None:
    """By code point: an order that no locale changes."""
    names = ["b", "a", "Z", "aa", "é", "z", "\U0001f600", "\uffff", "delayed", "a\x1f", "a b"]
    for name in names:
        svc.enqueue(name, b"")
    assert svc.topics() == sorted(names)
