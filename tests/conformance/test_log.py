"""The job's log (contract L1, L4, V3; api: Job.log): what is written, by whom, and how much of it is kept."""

import itertools

import pytest

from jobq import JobId, JobOptions, JobService, LeaseLost, Limits, LogEntry
from jobq.testing import ManualClock

from .factory import Factory
from .observe import hold, unchanged

TOLD = JobOptions(log_status_change=True, lease=5, min_backoff=1, jitter=0.0)


def lines(svc: JobService, id: JobId = 1) -> list[str]:
    return [entry.message for entry in svc.info(id).log]


@pytest.mark.parametrize(
    ("message", "args", "written"),
    [
        ("plain", (), "plain"),
        ("", (), ""),
        ("100 % sure, %s", (), "100 % sure, %s"),
        ("%d of %s", (3, "four"), "3 of four"),
        ("%r", (b"x",), "b'x'"),
        ("%s", (("a", "pair"),), "('a', 'pair')"),
        ("ünïcode \N{SNOWMAN} %s", ("é",), "ünïcode \N{SNOWMAN} é"),
        ("two\nlines", (), "two\nlines"),
    ],
)
def test_L1_log_is_message_percent_args(
    svc: JobService, clock: ManualClock, message: str, args: tuple[object, ...], written: str
) -> None:
    """As logging does it: without args the message is taken as it is."""
    svc.enqueue("t", b"")
    clock.advance(1)
    job = hold(svc)
    job.log(message, *args)
    assert svc.info(1).log == (LogEntry(at=clock.now(), message=written),)


def test_L1_a_log_line_that_cannot_be_made_is_an_error(svc: JobService) -> None:
    """And none is written."""
    svc.enqueue("t", b"")
    job = hold(svc)
    with unchanged(svc):
        for message, args in (
            ("%d", ("x",)),
            ("%s %s", (1,)),
            ("no place", (1,)),
            (5, ()),
            (b"x", ()),
            (None, ()),
        ):
            with pytest.raises(TypeError):
                job.log(message, *args)  # type: ignore[arg-type]


def test_L1_a_stale_handle_writes_no_log(svc: JobService) -> None:
    """The log is the holder's, and tells one story."""
    svc.enqueue("t", b"")
    old = hold(svc)
    old.log("mine")
    svc.reset(1, force=True)
    new = hold(svc)
    with pytest.raises(LeaseLost):
        old.log("too late")
    new.log("now mine")
    assert lines(svc) == ["mine", "now mine"]


def test_L1_the_log_lives_as_long_as_the_job(svc: JobService) -> None:
    """Over leases, retries, reset and the end."""
    svc.enqueue("t", b"")
    for attempt in range(1, 4):
        job = hold(svc)
        job.log("attempt %d", attempt)
        job.retry(0)
    svc.reset(1)
    hold(svc).done()
    assert lines(svc) == ["attempt 1", "attempt 2", "attempt 3"]


@pytest.mark.parametrize("kept", [1, 3, 100])
@pytest.mark.parametrize("over", [-1, 0, 1, 7])
def test_V3_a_log_keeps_its_last_lines(factory: Factory, clock: ManualClock, kept: int, over: int) -> None:
    """A job that retries for weeks must not grow without end."""
    svc = factory.open(clock, limits=Limits(max_log=kept))
    svc.enqueue("t", b"")
    job = hold(svc)
    for i in range(kept + over):
        job.log("line %d", i)
    assert lines(svc) == [f"line {i}" for i in range(max(0, over), kept + over)]


@pytest.mark.parametrize("length", [999, 1000, 1001, 5000])
def test_V3_a_log_line_has_a_thousand_characters(svc: JobService, length: int) -> None:
    """Characters, not bytes; what is longer is cut."""
    svc.enqueue("t", b"")
    hold_me = hold(svc)
    hold_me.log("é" * length)
    hold_me.log("%s", "x" * length)
    assert lines(svc) == ["é" * min(length, 1000), "x" * min(length, 1000)]


def contains_in_order(found: list[str], wanted: list[str]) -> bool:
    rest = iter(found)
    return all(any(text in line for line in rest) for text in wanted)


def test_V3_changes_of_status_are_told_when_asked_for(svc: JobService, clock: ManualClock) -> None:
    """The life of a job, to read afterwards: the Go library logged the creation alone."""
    svc.enqueue("t", b"", delay=1, options=TOLD)
    clock.advance(1)
    hold(svc).retry()
    clock.advance(1)
    hold(svc).retry(0)
    hold(svc).release(3)
    clock.advance(3)
    hold(svc).done()
    svc.reset(1)
    svc.cancel(1)
    words = [
        "delayed",
        "ready",
        "reserved",
        "delayed",
        "ready",
        "reserved",
        "ready",
        "reserved",
        "delayed",
        "ready",
    ]
    words += ["reserved", "done", "ready", "canceled"]
    steps = [f"{before} -> {after}" for before, after in itertools.pairwise(words)]
    found = lines(svc)
    assert contains_in_order(found, steps), found
    assert len([line for line in found if "->" in line]) in {len(steps), len(steps) + 1}


def test_V3_changes_of_status_are_not_told_unasked(svc: JobService) -> None:
    """The log is the worker's by default."""
    svc.enqueue("t", b"")
    hold(svc).retry(0)
    hold(svc).done()
    assert lines(svc) == []


def test_L4_an_expiry_is_always_logged(svc: JobService, clock: ManualClock) -> None:
    """A worker that vanished cannot say so itself."""
    svc.enqueue("t", b"", options=JobOptions(lease=5))
    job = hold(svc)
    clock.advance(5)
    assert any("lease" in line and "expired" in line for line in lines(svc, job.id))


def test_L4_a_dropped_handle_is_always_logged(svc: JobService) -> None:
    """It is a defect of the program, and this is where it is found."""
    svc.enqueue("t", b"")
    svc.reserve("t", 1, timeout=0).clear()
    assert any("dropped" in line for line in lines(svc))


def test_L1_the_log_outlives_a_reopen(jobs_factory: Factory, clock: ManualClock) -> None:
    """It is written with the job's next change, so what a settled lease wrote is there."""
    svc = jobs_factory.open(clock)
    svc.enqueue("t", b"")
    job = hold(svc)
    job.log("one")
    job.log("two %s", "é")
    job.retry(0)
    before = svc.info(1).log
    for again in (jobs_factory.crash, jobs_factory.reopen):
        svc = again(clock)
        assert svc.info(1).log == before
    assert [entry.message for entry in before] == ["one", "two é"]


def test_V3_no_text_shows_a_payload(svc: JobService, clock: ManualClock) -> None:
    """Payloads may be secrets: not in a repr, not in the log, not in an error."""
    secret = b"correct horse battery staple"
    svc.enqueue("t", secret, options=TOLD)
    job = hold(svc)
    texts = [
        repr(job),
        str(job),
        repr(svc.info(1)),
        repr(svc),
        repr(svc.topic("t")),
        repr(svc.topic_stats("t")),
    ]
    clock.advance(5)
    with pytest.raises(LeaseLost) as lost:
        job.done()
    texts += [str(lost.value), repr(lost.value), *lines(svc)]
    assert not any("battery" in text for text in texts)
