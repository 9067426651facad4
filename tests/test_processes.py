"""Interpreter exit, fork, multiprocessing, subinterpreters: a service ends with its process, and stays in it.

An exit that hangs is a deploy that hangs; a child that uses its parent's queue works on a copy that nobody
sees.
"""

import pytest

from child import Outcome, run

PRELUDE = """
import gc, os, sys, threading, time
import jobq
from surface import make_world, not_refused

def until(true):
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)

def status_of(pid):
    "The exit status of a child, which gets ten seconds."
    end = time.monotonic() + 10
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, 9)
        time.sleep(0.001)

def in_child(work):
    "Run work() in a forked child; its exit status, after it let everything go."
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            gc.collect()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    return status_of(pid)
"""


def ends(outcome: Outcome, *, code: int = 0, out: str = "", seconds: float = 5) -> None:
    """The interpreter ended with this status, in time, and said nothing but what was asked."""
    assert (outcome.code, outcome.err, outcome.out) == (code, "", out), outcome.err
    assert outcome.seconds < seconds


# -- interpreter exit ----------------------------------------------------------------------------------------

EXITS = {
    "in-a-global": "svc = jobq.open(); svc.enqueue('t', b''); jobs = svc.reserve('t', 1)",
    "in-a-cycle": "svc = jobq.open(); cycle = [svc, svc.topic('t')]; cycle.append(cycle); del svc",
    "in-a-module": "sys.modules['keeper'] = type(sys)('keeper'); sys.modules['keeper'].svc = jobq.open()",
    "in-an-attribute-of-itself": "os.svc = jobq.open(); os.topic = os.svc.topic('t')",
    "in-an-iterator": "svc = jobq.open(); svc.enqueue('t', b''); jobs = svc.consume('t'); next(jobs)",
    "in-a-finalizer": """
class Late:
    def __init__(self): self.svc = jobq.open()
    def __del__(self, closed=jobq.ServiceClosed):
        try: self.svc.enqueue('t', b'')
        except closed: pass
late = Late(); late.self = late
""",
    "in-an-exit-handler": """
import atexit
svc = jobq.open()
atexit.register(lambda: svc.enqueue('t', b''))  # registered later than jobq's own: it runs before
""",
    "closed-in-an-exit-handler": "import atexit; svc = jobq.open(); atexit.register(svc.close)",
    "twenty-of-them": "all = [jobq.open() for _ in range(20)]",
}


@pytest.mark.parametrize("where", EXITS)
def test_the_interpreter_ends_with_an_open_service(where: str) -> None:
    ends(run(PRELUDE + EXITS[where], seconds=20))


WAITS = {
    "reserve": "svc.reserve('t', 5)",
    "reserve_one": "svc.reserve_one('t', timeout=600)",
    "consume": "list(svc.consume('t'))",
    "join": "svc.join('busy')",
}


WAITING = """
svc = jobq.open()
svc.enqueue("busy", b"", delay=3600)
def work():
    try:
        {wait}
    except jobq.ServiceClosed:
        pass

threads = [threading.Thread(target=work, daemon={daemon}) for _ in range(5)]
for thread in threads:
    thread.start()
until(lambda: {uncounted} or svc.stats().waiting == 5)
time.sleep({pause})  # join is not counted among the waiting
"""


def waiting(wait: str, *, daemon: bool) -> str:
    uncounted = wait == "join"
    pause = 0.2 if uncounted else 0
    return WAITING.format(wait=WAITS[wait], daemon=daemon, uncounted=uncounted, pause=pause)


@pytest.mark.parametrize("wait", WAITS)
def test_the_interpreter_ends_while_daemon_threads_wait(wait: str) -> None:
    """A daemon asleep in reserve() must not keep a process from ending, as one in Queue.get() does not."""
    ends(run(PRELUDE + waiting(wait, daemon=True), seconds=20))


@pytest.mark.parametrize("wait", WAITS)
def test_stop_lets_the_interpreter_end_while_other_threads_wait(wait: str) -> None:
    """A thread that is no daemon keeps the process alive, as Python means it; stop() sends it home."""
    ends(run(PRELUDE + waiting(wait, daemon=False) + "svc.stop()\n", seconds=20))


def test_the_interpreter_ends_under_threads_that_work() -> None:
    code = """
svc = jobq.open(retention=jobq.Retention.none())
def work():
    try:
        while True:
            svc.enqueue_many("t", [b"x"] * 10)
            svc.done_many(svc.reserve("t", 10))
    except jobq.ServiceClosed:
        pass

for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
until(lambda: svc.stats().completions > 1000)
"""
    for _ in range(5):
        ends(run(PRELUDE + code))


def test_an_exit_in_a_worker_ends_that_thread_alone() -> None:
    code = """
svc = jobq.open()
svc.enqueue("t", b"")
def work():
    with svc.reserve_one("t"):
        sys.exit(3)

thread = threading.Thread(target=work)
thread.start()
thread.join(20)
assert svc.stats().ready == 1  # SystemExit releases
"""
    ends(run(PRELUDE + code))


def test_an_exit_in_the_main_thread_keeps_its_status() -> None:
    code = """
svc = jobq.open()
svc.enqueue("t", b"")
threading.Thread(target=lambda: list(svc.consume("other")), daemon=True).start()
with svc.reserve_one("t"):
    sys.exit(7)
"""
    ends(run(PRELUDE + code), code=7)


# -- fork ----------------------------------------------------------------------------------------------------


def test_a_forked_child_is_refused_by_every_method_but_close() -> None:
    code = """
world = make_world()
before = world.snapshot()
def use():
    wrong = not_refused(world)
    assert wrong == [], wrong
    world.svc.close()
    world.svc.close()
    wrong = not_refused(world)
    assert wrong == [], wrong
    assert world.topic.name == "mail"
    repr(world.svc), repr(world.topic), repr(world.job)

assert in_child(use) == 0
assert world.snapshot() == before
world.job.done()
assert world.svc.reserve_one("mail", timeout=0).id == world.ready
print("ok")
"""
    ends(run(PRELUDE + code), out="ok\n", seconds=30)


def test_what_a_forked_child_drops_is_not_dropped_in_the_parent() -> None:
    code = """
from jobq.testing import ManualClock
svc = jobq.open(clock=ManualClock())
svc.enqueue_many("t", [b""] * 5)
held = svc.reserve("t", 2)
jobs = svc.consume("t", batch=2)
next(jobs).done()
found = svc.find()
next(found)
def drop():
    global svc, jobs, found
    held.clear()
    del svc, jobs, found

before = svc.stats()
assert in_child(drop) == 0
assert svc.stats() == before
svc.done_many(held)
next(jobs).done()
assert svc.stats().completions == 4
print("ok")
"""
    ends(run(PRELUDE + code), out="ok\n", seconds=30)


def test_a_forked_child_may_open_its_own_service_and_end_by_itself() -> None:
    code = """
svc = jobq.open()
svc.enqueue("t", b"the parent's")
def use():
    with jobq.open() as own:
        own.enqueue("t", b"the child's")
        with own.reserve_one("t", timeout=5) as job:
            assert job.payload == b"the child's"

assert in_child(use) == 0
if os.fork() == 0:
    own = jobq.open()
    sys.exit(0)  # through the whole end of an interpreter, with both services open
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
assert svc.reserve_one("t", timeout=0).payload == b"the parent's"
print("ok")
"""
    ends(run(PRELUDE + code), out="ok\n", seconds=30)


def test_a_fork_while_threads_wait_leaves_the_child_free() -> None:
    """The child has none of the parent's threads, and no lock that one of them held."""
    code = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of what is tested here
svc = jobq.open()
def work():
    for job in svc.consume("t"):
        with job:
            svc.enqueue("t", b"")

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
svc.enqueue_many("t", [b""] * 20)
def use():
    try:
        svc.stats()
        raise AssertionError("not refused")
    except jobq.ServiceClosed:
        pass
    svc.close()
    with jobq.open() as own:
        own.enqueue("t", b"")
        own.reserve_one("t", timeout=5).done()

assert [in_child(use) for _ in range(20)] == [0] * 20
svc.stop()
for thread in threads:
    thread.join(20)
assert svc.stats().ready == 20
print("ok")
"""
    ends(run(PRELUDE + code), out="ok\n", seconds=30)


# -- multiprocessing and subinterpreters ---------------------------------------------------------------------


def work_in_another_process(number: int) -> None:
    """What a spawned or forked process of multiprocessing does: it has its own service."""
    import jobq

    with jobq.open() as svc:
        svc.enqueue("t", str(number).encode())
        with svc.reserve_one("t") as job:
            assert int(job.payload) == number


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_have_services_of_their_own(method: str) -> None:
    code = f"""
import multiprocessing
from test_processes import work_in_another_process
if __name__ == "__main__":
    svc = jobq.open()
    svc.enqueue("t", b"")
    context = multiprocessing.get_context("{method}")
    processes = [context.Process(target=work_in_another_process, args=(n,)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert svc.stats().ready == 1
    print("ok")
"""
    outcome = run(PRELUDE + code).succeeded()
    assert outcome.out == "ok\n"


def test_a_service_cannot_be_sent_to_another_process() -> None:
    code = """
import multiprocessing
from test_processes import work_in_another_process
svc = jobq.open()
try:
    multiprocessing.get_context("spawn").Process(target=work_in_another_process, args=(svc,)).start()
except TypeError as error:
    assert "JobService" in str(error)
    print("ok")
"""
    outcome = run(PRELUDE + code).succeeded()
    assert outcome.out == "ok\n"


def test_a_subinterpreter_is_refused_the_import() -> None:
    code = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
inner = '''
import sys
sys.path[:] = {path!r}
try:
    import jobq
except ImportError:
    print("ImportError", flush=True)
'''.format(path=sys.path)
id = interpreters.create()
interpreters.run_string(id, inner)
interpreters.destroy(id)
with jobq.open() as svc:
    svc.enqueue("t", b"")
print("ok")
"""
    ends(run(PRELUDE + code), out="ImportError\nok\n")
