"""Signals while the main thread waits: Ctrl-C answers at once, handlers run, and no job is lost to either.

Each test runs in a child, because a signal is for a whole process, and because what fails here hangs.
"""

import signal
from collections.abc import Callable

import pytest

from child import Child, Outcome, run

PRELUDE = """
import os, signal, sys, threading, time
import jobq
svc = jobq.open(defaults=jobq.JobOptions(min_backoff=0))
topic = svc.topic("t")

def until(true):
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)

def untouched(ids):
    "The jobs are in their places, as if nobody had ever taken them."
    ids = list(ids)
    assert [info.id for info in svc.find(jobq.Status.READY, topic="t")] == ids, list(svc.find())
    assert {(i.attempts, i.retries, i.log) for i in svc.find(topic="t")} == {(0, 0, ())}, list(svc.find())
    stats = svc.topic_stats("t")
    assert (stats.reservations, stats.releases, stats.retries, stats.expiries) == (0, 0, 0, 0), stats
    assert (stats.reserved, stats.delays, stats.waiting) == (0, 0, 0), stats
    assert [job.id for job in svc.reserve("t", 99, timeout=0)] == ids
"""


def succeed(outcome: Outcome) -> None:
    assert outcome.succeeded().out.splitlines()[-1:] == ["ok"]


WAITS = {
    "reserve": 'svc.reserve("t", 10, timeout=60)',
    "reserve-without-timeout": 'svc.reserve("t", 10)',
    "reserve_one": 'svc.reserve_one("t")',
    "Topic.reserve": "topic.reserve(10, timeout=60)",
    "Topic.reserve_one": "topic.reserve_one()",
    "consume": 'list(svc.consume("t"))',
    "consume-idle": 'list(svc.consume("t", batch=10, idle=60))',
    "Topic.consume": "list(topic.consume())",
    "join": 'svc.join("busy", timeout=60)',
    "join-all": "svc.join()",
    "Topic.join": 'svc.topic("busy").join()',
}


@pytest.mark.parametrize("name", WAITS)
def test_ctrl_c_ends_a_wait_at_once(name: str, record_property: Callable[[str, object], None]) -> None:
    code = f"""
busy = svc.enqueue("busy", b"", delay=3600)
try:
    print("waits", flush=True)
    {WAITS[name]}
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
else:
    raise SystemExit("the wait ended by itself")
assert svc.stats().waiting == 0
assert svc.status(busy) is jobq.Status.DELAYED
untouched([svc.enqueue("t", b"")])
print("ok")
"""
    with Child(PRELUDE + code) as child:
        assert child.line() == "waits"
        child.until_asleep()
        sent = child.send(signal.SIGINT)
        latency = float(child.line()) - sent
        succeed(child.finish())
    record_property("ctrl_c_ms", round(latency * 1000, 2))
    assert latency < 1.0


def test_ctrl_c_is_answered_while_other_threads_wait_too() -> None:
    """The main thread waits first and keeps time for all; when it leaves, another must take over (W3)."""
    code = """
taken = []
def take():
    taken.append(svc.reserve_one("late", timeout=20))
    taken[0].done()

def interrupt():
    until(lambda: svc.stats().waiting == 1)
    thread.start()
    until(lambda: svc.stats().waiting == 2)
    late.append(svc.enqueue("late", b"", delay=0.3))
    os.kill(os.getpid(), signal.SIGINT)

late = []
thread = threading.Thread(target=take)
helper = threading.Thread(target=interrupt)
helper.start()
try:
    svc.reserve("t", 1, timeout=60)
except KeyboardInterrupt:
    pass
helper.join(20)
thread.join(20)
assert [job and job.id for job in taken] == late
print("ok")
"""
    succeed(run(PRELUDE + code))


def test_a_handler_that_returns_lets_the_wait_go_on_to_its_job() -> None:
    code = """
alarms = []
signal.signal(signal.SIGALRM, lambda *_: alarms.append(time.monotonic()))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
def feed():
    until(lambda: len(alarms) >= 20)
    svc.enqueue("t", b"fed")
thread = threading.Thread(target=feed)
thread.start()
job = svc.reserve_one("t")
signal.setitimer(signal.ITIMER_REAL, 0)
thread.join(20)
assert (job.payload, job.attempt) == (b"fed", 1)
assert len(alarms) >= 20
print("ok")
"""
    succeed(run(PRELUDE + code))


@pytest.mark.parametrize(
    "call", ['svc.reserve("t", 1, timeout=0.5) == []', 'svc.join("busy", timeout=0.5) is False']
)
def test_a_handler_that_returns_does_not_move_the_end_of_the_wait(call: str) -> None:
    code = f"""
svc.enqueue("busy", b"", delay=3600)
alarms = []
signal.signal(signal.SIGALRM, lambda *_: alarms.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
began = time.monotonic()
assert {call}
took = time.monotonic() - began
signal.setitimer(signal.ITIMER_REAL, 0)
assert 0.5 <= took < 5, took
assert alarms
print("ok")
"""
    succeed(run(PRELUDE + code))


ORDERS = {
    "job-then-signal": "ids.extend(svc.enqueue_many('t', [b''] * 3)); os.kill(os.getpid(), signal.SIGALRM)",
    "signal-then-job": "os.kill(os.getpid(), signal.SIGALRM); ids.extend(svc.enqueue_many('t', [b''] * 3))",
}
TAKING = {
    "reserve": 'svc.reserve("t", 2)',
    "reserve_one": 'svc.reserve_one("t", timeout=30)',
    "consume": 'next(svc.consume("t", batch=2))',
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("verb", TAKING)
def test_a_handler_that_raises_after_a_grant_leaves_the_job_in_its_place(verb: str, order: str) -> None:
    """The job was handed over, but the call that waited for it ends in an exception: nobody has it (O3)."""
    code = f"""
class Alarm(Exception):
    pass

def handler(*_):
    raise Alarm

signal.signal(signal.SIGALRM, handler)
ids = []
def grant():
    until(lambda: svc.stats().waiting == 1)
    {ORDERS[order]}

# The thread keeps the GIL through both, so that the main thread meets them together.
sys.setswitchinterval(1000)
thread = threading.Thread(target=grant)
thread.start()
try:
    {TAKING[verb]}
except Alarm:
    pass
else:
    raise SystemExit("the exception of the handler was lost")
thread.join(20)
sys.setswitchinterval(0.005)
untouched(ids)
print("ok")
"""
    succeed(run(PRELUDE + code))


@pytest.mark.parametrize("order", ORDERS)
def test_a_handler_that_returns_after_a_grant_leaves_the_job_to_the_call(order: str) -> None:
    code = f"""
alarms, ids = [], []
signal.signal(signal.SIGALRM, lambda *_: alarms.append(svc.stats().reserved))
def grant():
    until(lambda: svc.stats().waiting == 1)
    {ORDERS[order]}

sys.setswitchinterval(1000)
thread = threading.Thread(target=grant)
thread.start()
jobs = svc.reserve("t", 2)
thread.join(20)
assert [job.id for job in jobs] == ids[:2]
svc.done_many(jobs)
until(lambda: alarms)
print("ok")
"""
    succeed(run(PRELUDE + code))


def test_a_handler_may_enqueue_what_the_interrupted_call_waits_for() -> None:
    code = """
signal.signal(signal.SIGALRM, lambda *_: svc.enqueue("t", b"from the handler"))
for wait in (
    lambda: svc.reserve("t", 5)[0],
    lambda: svc.reserve_one("t", timeout=20),
    lambda: next(svc.consume("t")),
):
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with wait() as job:
        assert (job.payload, job.attempt) == (b"from the handler", 1)
assert svc.stats().completions == 3
print("ok")
"""
    succeed(run(PRELUDE + code))


def test_a_handler_may_settle_what_the_interrupted_join_waits_for() -> None:
    code = """
svc.enqueue("t", b"")
signal.signal(signal.SIGALRM, lambda *_: [job.done() for job in svc.consume("t", idle=0)])
signal.setitimer(signal.ITIMER_REAL, 0.1)
assert svc.join("t", timeout=20) is True
print("ok")
"""
    succeed(run(PRELUDE + code))


def test_a_handler_may_wait_itself() -> None:
    """A wait inside a wait: the inner one takes the next job, the outer one the one after."""
    code = """
inner = []
def handler(*_):
    inner.extend(svc.reserve("other", 1, timeout=20))

signal.signal(signal.SIGALRM, handler)
def feed():
    until(lambda: svc.stats().waiting == 2)
    svc.enqueue("other", b"inner")
    until(lambda: inner)
    svc.enqueue("t", b"outer")

thread = threading.Thread(target=feed)
thread.start()
signal.setitimer(signal.ITIMER_REAL, 0.1)
outer = svc.reserve("t", 1, timeout=20)
thread.join(20)
assert [job.payload for job in inner + outer] == [b"inner", b"outer"]
print("ok")
"""
    succeed(run(PRELUDE + code))


def test_a_handler_that_raises_leaves_the_service_usable() -> None:
    code = """
class Alarm(Exception):
    pass

def handler(*_):
    raise Alarm

signal.signal(signal.SIGALRM, handler)
for turn in range(20):
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        svc.reserve("t", 1)
    except Alarm:
        assert svc.stats().waiting == 0
    else:
        raise SystemExit("the exception of the handler was lost")
untouched(svc.enqueue_many("t", [b""] * 3))
print("ok")
"""
    succeed(run(PRELUDE + code))
