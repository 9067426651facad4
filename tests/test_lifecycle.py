"""The ends of a service: close and stop, twice, under waiters, in handlers; and what cannot be copied.

Interpreter exit, fork and other processes are in test_processes.py.
"""

import copy
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import jobq
from child import Outcome, run
from jobq import JobOptions, JobService, Limits, Retention, Status
from jobq.testing import ManualClock
from surface import SECRET, World, make_world
from waits import Crew, until


@pytest.fixture
def world() -> Iterator[World]:
    made = make_world()
    yield made
    made.svc.close()


# -- close ---------------------------------------------------------------------------------------------------


def test_close_is_idempotent() -> None:
    svc = jobq.open()
    assert svc.closed is False
    for _ in range(3):
        svc.close()
        assert svc.closed is True


def test_with_closes_at_the_end_and_swallows_nothing() -> None:
    with jobq.open() as svc:
        assert isinstance(svc, JobService)
        assert not svc.closed
    assert svc.closed
    error = LookupError("from the block")
    with pytest.raises(LookupError) as caught, jobq.open() as svc:
        raise error
    assert caught.value is error
    assert svc.closed


def test_a_service_may_be_closed_inside_its_block() -> None:
    with jobq.open() as svc:
        svc.close()
    assert svc.closed


def test_a_job_held_at_close_cannot_be_settled_any_more() -> None:
    svc = jobq.open()
    svc.enqueue("t", b"")
    job = svc.reserve_one("t")
    svc.close()
    with pytest.raises(jobq.ServiceClosed):
        job.done()
    assert not job.settled


def reserves(svc: JobService) -> object:
    return svc.reserve("t", 5)


def reserves_with_timeout(svc: JobService) -> object:
    return svc.reserve("t", 5, timeout=60)


def reserves_one(svc: JobService) -> object:
    return svc.topic("t").reserve_one()


def joins(svc: JobService) -> object:
    return svc.join("busy")


def consumes(svc: JobService) -> object:
    return list(svc.consume("t"))


RAISING = (reserves, reserves_with_timeout, reserves_one, joins)


def native_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.parametrize("verb", ["close", "stop"])
def test_fifty_waiting_threads_are_freed(verb: str) -> None:
    """Ten threads in each kind of wait; all of them are back within five seconds, and none is left over."""
    before = (threading.active_count(), native_threads())
    svc = jobq.open()
    svc.enqueue("busy", b"", delay=3600)
    ends: list[str] = []

    def wait(call: Callable[[JobService], object]) -> None:
        try:
            ends.append(f"returned {call(svc)}")
        except jobq.ServiceClosed:
            ends.append("ServiceClosed")

    with Crew(seconds=5) as crew:
        for call in (*RAISING, consumes):
            for _ in range(10):
                crew.start(wait, call)
        until(lambda: svc.stats().waiting == 40, "40 threads wait for jobs")
        getattr(svc, verb)()
        crew.join()
    assert sorted(ends) == ["ServiceClosed"] * 40 + ["returned []"] * 10
    assert svc.closed is (verb == "close")
    assert verb == "close" or svc.stats().waiting == 0
    svc.close()
    until(lambda: threading.active_count() <= before[0], "the threads are gone", 5)
    until(lambda: native_threads() <= before[1], "the native threads are gone", 5)


def test_after_stop_settling_and_enqueue_go_on() -> None:
    svc = jobq.open()
    svc.enqueue_many("t", [b""] * 3)
    first, second = svc.reserve("t", 2)
    jobs = svc.consume("t")
    svc.stop()
    svc.stop()
    first.done()
    assert second.retry(0) is Status.READY
    assert svc.status(svc.enqueue("t", b"")) is Status.READY
    assert list(jobs) == []
    assert list(svc.consume("t")) == []
    for call in (*RAISING, lambda svc: svc.reserve("t", 1, timeout=0), lambda svc: svc.join(timeout=0)):
        with pytest.raises(jobq.ServiceClosed):
            call(svc)
    assert not svc.closed
    assert svc.stats().ready == 3
    svc.close()


class SlowEnd:
    """A repository of Python whose close() takes as long as it is told to."""

    durable = False

    def __init__(self, closing: Callable[[], object]) -> None:
        self._closing = closing
        self.closed = 0

    def load(self, prefix: bytes, /) -> list[tuple[bytes, bytes]]:
        return []

    def commit(self, puts: Any, deletes: Any, /) -> None:
        pass

    def get(self, key: bytes, /) -> bytes | None:
        return None

    def compact(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1
        self._closing()


def test_C4_a_second_close_waits_for_the_first() -> None:
    """Who returns from close() may delete the store's folder: nothing may still be written then."""
    entered, leave, order = threading.Event(), threading.Event(), list[str]()

    def closing() -> None:
        entered.set()
        assert leave.wait(20)
        order.append("repository closed")

    store = SlowEnd(closing)
    svc = JobService(jobs=store)

    def second() -> None:
        svc.close()
        order.append("second close returned")

    with Crew() as crew:
        crew.start(svc.close)
        assert entered.wait(20)
        later = crew.start(second)
        with pytest.raises(jobq.ServiceClosed):
            svc.stats()
        later.join(0.2)
        assert later.is_alive()
        leave.set()
    assert order == ["repository closed", "second close returned"]
    assert store.closed == 1


# -- close and stop in signal handlers -----------------------------------------------------------------------

PRELUDE = """
import signal, threading, time
import jobq
from test_lifecycle import SlowEnd
svc = jobq.open()

def on_alarm(act):
    signal.signal(signal.SIGALRM, lambda *_: act())
    signal.setitimer(signal.ITIMER_REAL, 0.2)

def ends(wait):
    try:
        return wait()
    except jobq.ServiceClosed:
        return "ServiceClosed"
"""


def succeed(outcome: Outcome) -> None:
    assert outcome.succeeded().out.splitlines()[-1:] == ["ok"]
    assert outcome.seconds < 20


@pytest.mark.parametrize("verb", ["close", "stop"])
@pytest.mark.parametrize(
    "wait",
    ["svc.reserve('t', 5)", "svc.reserve_one('t', timeout=60)", "svc.join('busy')", "list(svc.consume('t'))"],
)
def test_a_handler_may_end_the_service_under_the_call_it_interrupts(verb: str, wait: str) -> None:
    wanted = "[]" if "consume" in wait else "'ServiceClosed'"
    code = f"""
svc.enqueue("busy", b"", delay=3600)
on_alarm(svc.{verb})
assert ends(lambda: {wait}) == {wanted}
assert svc.closed is {verb == "close"}
svc.close()
print("ok")
"""
    succeed(run(PRELUDE + code))


def test_stop_in_a_handler_ends_a_worker_after_its_job() -> None:
    """The common worker: SIGTERM lets it finish what it holds, and take nothing new."""
    code = """
svc.enqueue_many("t", [b""] * 3)
signal.signal(signal.SIGTERM, lambda *_: svc.stop())
worked = 0
for job in svc.consume("t", batch=2):
    with job:
        signal.raise_signal(signal.SIGTERM)
        worked += 1
assert worked == 1
stats = svc.stats()
assert (stats.completions, stats.ready, stats.reserved, stats.reservations) == (1, 2, 0, 1), stats
svc.close()
print("ok")
"""
    succeed(run(PRELUDE + code))


def test_C4_close_in_a_handler_does_not_wait_for_the_close_it_interrupts() -> None:
    code = """
store = SlowEnd(lambda: signal.raise_signal(signal.SIGALRM))
inner = jobq.JobService(jobs=store)
calls = []
def again():
    inner.close()
    calls.append("handler returned")

signal.signal(signal.SIGALRM, lambda *_: again())
inner.close()
assert (calls, store.closed, inner.closed) == (["handler returned"], 1, True)
print("ok")
"""
    succeed(run(PRELUDE + code))


def test_close_in_a_handler_while_another_thread_closes() -> None:
    code = """
entered, leave = threading.Event(), threading.Event()
def closing():
    entered.set()
    assert leave.wait(20)

inner = jobq.JobService(jobs=SlowEnd(closing))
def handler():
    leave.set()
    inner.close()

first = threading.Thread(target=inner.close)
first.start()
assert entered.wait(20)
on_alarm(handler)
inner.close()
first.join(20)
assert inner.closed and not first.is_alive()
print("ok")
"""
    succeed(run(PRELUDE + code))


# -- identity ------------------------------------------------------------------------------------------------

THINGS: dict[str, Callable[[World], Any]] = {
    "JobService": lambda w: w.svc,
    "Topic": lambda w: w.topic,
    "Job": lambda w: w.job,
}


@pytest.mark.parametrize("name", THINGS)
def test_what_stands_for_something_shared_cannot_be_copied(world: World, name: str) -> None:
    thing = THINGS[name](world)
    refused: dict[str, Callable[[], object]] = {
        "copy": lambda: copy.copy(thing),
        "deepcopy": lambda: copy.deepcopy(thing),
        "weakref": lambda: weakref.ref(thing),
        "subclass": lambda: type("Sub", (type(thing),), {}),
        "len": lambda: len(thing),
        **{f"pickle-{p}": lambda p=p: pickle.dumps(thing, p) for p in range(pickle.HIGHEST_PROTOCOL + 1)},
    }
    before, taken = world.snapshot(), []
    for label, attempt in refused.items():
        try:
            attempt()
        except TypeError as error:
            if SECRET.decode() in str(error):
                taken.append(f"{label} shows the payload")
        else:
            taken.append(label)
    assert taken == []
    assert world.snapshot() == before


@pytest.mark.parametrize("name", THINGS)
def test_equality_is_identity_and_truth_is_constant(world: World, name: str) -> None:
    thing, other = THINGS[name](world), make_world()
    assert thing == thing  # noqa: PLR0124 - what is tested
    assert thing != THINGS[name](other)
    assert bool(thing) is True
    assert {thing: 1}[thing] == 1
    assert (type(thing).__module__, type(thing).__name__) == ("jobq", name)
    other.svc.close()
    world.svc.close()
    assert bool(thing) is True
    assert hash(thing) == hash(thing)


@pytest.mark.parametrize("owner", [jobq.Topic, jobq.Job], ids=lambda owner: owner.__name__)
def test_a_handle_is_made_by_its_service_alone(owner: type) -> None:
    for args in ((), ("t",), (None, "t")):
        with pytest.raises(TypeError):
            owner(*args)


@pytest.mark.parametrize("name", THINGS)
def test_what_stands_for_something_shared_takes_no_attribute(world: World, name: str) -> None:
    thing = THINGS[name](world)
    for attribute in ("id", "name", "closed", "other"):
        with pytest.raises(AttributeError):
            setattr(thing, attribute, 1)


# -- no text shows a payload ---------------------------------------------------------------------------------


def errors(world: World) -> Iterator[BaseException]:
    """Each error that can be had from a world, from calls that have the payload at hand."""
    full = make_world(limits=Limits(max_jobs=3, max_payload=len(SECRET)))
    attempts: list[Callable[[], object]] = [
        lambda: world.svc.enqueue("mail", SECRET.decode()),  # type: ignore[arg-type]
        lambda: world.svc.enqueue(SECRET, "mail"),  # type: ignore[arg-type]
        lambda: world.svc.enqueue("mail", SECRET, SECRET),  # type: ignore[arg-type]
        lambda: world.svc.enqueue_many("mail", [(SECRET, SECRET)]),  # type: ignore[list-item]
        lambda: world.svc.enqueue_many("mail", SECRET),  # type: ignore[arg-type]
        lambda: world.svc.enqueue_many("mail", SECRET.decode()),  # type: ignore[arg-type]
        lambda: world.svc.done_many([SECRET]),  # type: ignore[list-item]
        lambda: full.svc.enqueue("mail", SECRET),
        lambda: full.svc.enqueue("mail", SECRET + SECRET),
        lambda: world.svc.cancel(world.done),
        lambda: world.svc.info(4242),
        lambda: (world.svc.cancel(world.job.id), world.job.done()),
        lambda: (world.svc.close(), world.svc.stats()),
    ]
    for attempt in attempts:
        with pytest.raises((jobq.JobqError, TypeError, ValueError)) as caught:
            attempt()
        yield caught.value
    full.svc.close()


def test_no_repr_and_no_error_shows_a_payload() -> None:
    world = make_world(defaults=JobOptions(log_status_change=True, lease=5))
    iterators = [world.svc.consume("mail", batch=2), world.svc.find()]
    next(iterators[1])
    world.clock.advance(10)
    objects: list[object] = [
        *(world.svc, world.topic, world.job, world.clock, *iterators),
        *(world.svc.stats(), world.svc.topic_stats("mail"), world.svc.recovery),
        *(JobOptions(), Retention(), Limits(), jobq.Memory(), ManualClock()),
        *world.svc.find(),
        *(line for info in world.svc.find() for line in info.log),
        *errors(world),
    ]
    secrets = (SECRET.decode(), SECRET.hex(), str(list(SECRET))[1:-1])
    shown = [
        thing for thing in objects for text in (repr(thing), str(thing)) if any(s in text for s in secrets)
    ]
    assert shown == []
    assert len({type(thing) for thing in objects}) >= 20


def test_a_repr_says_what_it_is_also_after_close(world: World) -> None:
    for _ in range(2):
        assert "JobService" in repr(world.svc)
        assert "mail" in repr(world.topic)
        assert str(world.job.id) in repr(world.job)
        world.svc.close()
