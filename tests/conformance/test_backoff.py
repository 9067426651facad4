"""Contract L5: how long a failed job waits, and where its options come from."""

from datetime import timedelta

import pytest

from jobq import JobInfo, JobOptions, JobService, Status
from jobq.testing import ManualClock

from .factory import Factory
from .observe import EXACT, hold, some

FOREVER = 2**32 - 1


def wait_after_retry(svc: JobService, clock: ManualClock, topic: str = "t") -> float:
    """Reserve the job, retry it, and return how long it has to wait, in seconds."""
    job = hold(svc, topic)
    status = job.retry()
    if status is Status.READY:
        return 0.0
    return (some(svc.info(job.id).due_at) - clock.now()).total_seconds()


@pytest.mark.parametrize(
    ("least", "most"),
    [(30, 3600), (1, 1), (0.001, 0.003), (1, 1e9), (3, 100), (0.25, 2**40), (5, 9.5), (86_400, 86_400 * 365)],
)
def test_L5_the_nth_retry_waits_twice_as_long_up_to_the_bound(
    svc: JobService, clock: ManualClock, least: float, most: float
) -> None:
    """min(max, min * 2^(n-1)) for every n: no sawtooth, no wrap, no wait shorter than the last (I10)."""
    options = JobOptions(max_retries=FOREVER, min_backoff=least, max_backoff=most, jitter=0.0)
    svc.enqueue("t", b"", options=options)
    waits = []
    for n in range(1, 81):
        waits.append(wait_after_retry(svc, clock))
        assert waits[-1] == pytest.approx(min(most, least * 2 ** (n - 1)), abs=0.0005)
        if waits[-1] > 1e7:
            break
        clock.advance(waits[-1])
    assert waits == sorted(waits)
    assert waits[0] == least


def test_L5_the_wait_saturates_for_any_count(svc: JobService, clock: ManualClock) -> None:
    """The Go library fell back to its shortest wait on overflow; here all doublings end at the bound."""
    options = JobOptions(max_retries=FOREVER, min_backoff=1, max_backoff=3600, jitter=0.0)
    svc.enqueue("t", b"", options=options)
    for _ in range(400):
        last = wait_after_retry(svc, clock)
        clock.advance(last)
    assert last == 3600


def test_L5_no_least_backoff_means_at_once_for_ever(svc: JobService, clock: ManualClock) -> None:
    """Nought doubled is nought, and 0 means 0."""
    svc.enqueue("t", b"", options=JobOptions(min_backoff=0, max_retries=200))
    assert {wait_after_retry(svc, clock) for _ in range(200)} == {0.0}


@pytest.mark.parametrize("most", [0, 0.5])
def test_L5_a_bound_below_every_wait_is_the_wait(svc: JobService, clock: ManualClock, most: float) -> None:
    """max_backoff caps from the first retry on."""
    svc.enqueue("t", b"", options=JobOptions(min_backoff=most, max_backoff=most, jitter=0.0))
    assert [wait_after_retry(svc, clock) for _ in range(1)] == [most]


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_L5_max_retries_is_how_many_are_accepted(svc: JobService, clock: ManualClock, allowed: int) -> None:
    """So many failures are forgiven; the next is the last. 0 forgives none (I9)."""
    svc.enqueue("t", b"", options=JobOptions(max_retries=allowed))
    for _ in range(allowed):
        assert hold(svc).retry(0) is Status.READY
    assert hold(svc).retry(0) is Status.CANCELED
    info = svc.info(1)
    assert (info.reason, info.retries, info.attempts) == ("exhausted", allowed + 1, allowed + 1)


def test_L5_retries_and_expiries_share_one_bound(svc: JobService, clock: ManualClock) -> None:
    """A job that now fails and now hangs is no better than one that always fails."""
    svc.enqueue("t", b"", options=JobOptions(max_retries=2, lease=5, min_backoff=8, jitter=0.0))
    hold(svc).retry()
    clock.advance(8)
    job = hold(svc)
    clock.advance(5)
    assert svc.info(job.id).due_at == clock.now() + timedelta(seconds=16)
    clock.advance(16)
    hold(svc).release()
    assert hold(svc).retry() is Status.CANCELED


def test_L5_reset_starts_the_count_anew(svc: JobService, clock: ManualClock) -> None:
    """The operator's second chance is a whole one: as many retries, and the shortest wait first."""
    svc.enqueue("t", b"", options=JobOptions(max_retries=1, min_backoff=4, jitter=0.0))
    for _ in range(2):
        assert wait_after_retry(svc, clock) == 4
        clock.advance(4)
        assert hold(svc).retry() is Status.CANCELED
        svc.reset(1)
        assert svc.info(1).retries == 0


@pytest.mark.parametrize("jitter", [0.1, 0.5, 1.0])
def test_L5_jitter_only_shortens_and_within_its_share(
    svc: JobService, clock: ManualClock, jitter: float
) -> None:
    """Drawn from [(1-j)*d, d]: the bounds are hard, and the draws are spread, or a herd would stay one."""
    options = JobOptions(min_backoff=1000, max_backoff=1000, jitter=jitter)
    svc.enqueue_many("t", [b""] * 300, options=options)
    svc.retry_many(svc.reserve("t", 300, timeout=0))
    start = clock.now()
    waits = [(some(info.due_at) - start).total_seconds() for info in svc.find(Status.DELAYED)]
    low, high = 1000 * (1 - jitter), 1000
    assert min(waits, default=low) >= low - 0.0005
    assert max(waits) <= high
    drawn = waits + [0.0] * (300 - len(waits))
    assert min(drawn) < low + 0.25 * (high - low)
    assert max(drawn) > low + 0.75 * (high - low)
    assert len(set(waits)) > 250


def test_L5_without_jitter_the_wait_is_exact(svc: JobService, clock: ManualClock) -> None:
    """0 means 0."""
    svc.enqueue_many("t", [b""] * 50, options=EXACT)
    svc.retry_many(svc.reserve("t", 50, timeout=0))
    assert {info.due_at for info in svc.find(Status.DELAYED)} == {clock.now() + timedelta(seconds=30)}


@pytest.mark.parametrize("verb", ["retry", "release", "enqueue"])
def test_L5_jitter_does_not_touch_an_explicit_delay(svc: JobService, clock: ManualClock, verb: str) -> None:
    """Who names a time means it."""
    options = JobOptions(jitter=1.0)
    for _ in range(20):
        if verb == "enqueue":
            id = svc.enqueue("t", b"", delay=1000, options=options)
        else:
            svc.enqueue("t", b"", options=options)
            job = hold(svc)
            getattr(job, verb)(1000)
            id = job.id
        assert svc.info(id).due_at == clock.now() + timedelta(seconds=1000)


def test_L5_an_explicit_delay_is_charged_but_not_bounded(svc: JobService, clock: ManualClock) -> None:
    """retry(delay) is a retry: it counts for the next backoff; max_backoff is for waits that are computed."""
    options = JobOptions(min_backoff=1, max_backoff=10, jitter=0.0)
    svc.enqueue("t", b"", options=options)
    job = hold(svc)
    job.retry(500)
    assert svc.info(job.id).due_at == clock.now() + timedelta(seconds=500)
    clock.advance(500)
    assert wait_after_retry(svc, clock) == 2


def of(info: JobInfo) -> tuple[str, float, int]:
    return info.name, info.lease, info.max_retries


def test_L5_without_options_the_defaults_hold(svc: JobService, clock: ManualClock) -> None:
    """As documented: lease 2 h, 50 retries, 30 s doubling up to an hour, a tenth of jitter."""
    id = svc.enqueue("t", b"")
    assert of(svc.info(id)) == ("", 7200, 50)
    expected = 30.0
    for _ in range(10):
        wait = wait_after_retry(svc, clock)
        assert 0.9 * expected - 0.001 <= wait <= expected
        clock.advance(wait)
        expected = min(3600, 2 * expected)


def test_L5_none_is_filled_in_field_by_field(factory: Factory, clock: ManualClock) -> None:
    """From the topic handle, then from the service, then as documented; 0 and "" are values, not gaps."""
    svc = factory.open(clock, defaults=JobOptions(name="svc", lease=10, max_retries=1))
    topic = svc.topic("t", options=JobOptions(lease=20, max_retries=2))
    call = JobOptions(name="", max_retries=0)
    assert of(svc.info(svc.enqueue("t", b""))) == ("svc", 10, 1)
    assert of(svc.info(topic.enqueue(b""))) == ("svc", 20, 2)
    assert of(svc.info(topic.enqueue(b"", options=call))) == ("", 20, 0)
    assert of(svc.info(svc.enqueue("t", b"", options=call))) == ("", 10, 0)
    assert {of(svc.info(id)) for id in topic.enqueue_many([b"", b""], options=call)} == {("", 20, 0)}
    assert of(svc.info(svc.enqueue_many("t", [b""])[0])) == ("svc", 10, 1)


def test_L5_a_queued_job_keeps_what_it_got(jobs_factory: Factory, clock: ManualClock) -> None:
    """Options are resolved at enqueue and stored: other defaults at the next start change no job."""
    svc = jobs_factory.open(clock, defaults=JobOptions(name="old", lease=11, min_backoff=7, jitter=0.0))
    svc.enqueue("t", b"")
    svc = jobs_factory.reopen(clock, defaults=JobOptions(name="new", lease=99, min_backoff=1, max_retries=0))
    info = svc.info(1)
    assert of(info) == ("old", 11, 50)
    job = hold(svc)
    assert (job.name, job.remaining()) == ("old", 11)
    job.release()
    assert wait_after_retry(svc, clock) == 7
    assert of(svc.info(svc.enqueue("t", b""))) == ("new", 99, 0)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"lease": 0}, "lease"),
        ({"lease": -1}, "lease"),
        ({"lease": float("nan")}, "lease"),
        ({"jitter": 1.1}, "jitter"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter": float("nan")}, "jitter"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 2**32}, "max_retries"),
        ({"min_backoff": -1}, "min_backoff"),
        ({"max_backoff": float("inf")}, "max_backoff"),
        ({"min_backoff": 2, "max_backoff": 1}, "min_backoff"),
        ({"name": "a\0b"}, "name"),
        ({"name": "x" * 256}, "name"),
    ],
)
def test_L5_options_that_make_no_sense_are_refused(options: dict[str, object], name: str) -> None:
    """Where they are made, not where they first hurt."""
    with pytest.raises(ValueError, match=name):
        JobOptions(**options)  # type: ignore[arg-type]
