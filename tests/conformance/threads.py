"""Calls in other threads, with a deadline on every wait, and signals to the main one."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, ParamSpec, TypeVar

from jobq import JobService

_P = ParamSpec("_P")
_T = TypeVar("_T")

DEADLINE = 20.0
"""Seconds after which a wait in a test is a failure; far more than any passing test needs."""


class Background(Generic[_T]):
    """A call in a thread of its own. What it returns, or raises, comes out of `result`."""

    def __init__(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> None:
        self._value: _T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(lambda: call(*args, **kwargs),), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], _T]) -> None:
        try:
            self._value = call()
        except BaseException as error:
            self._error = error

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> _T:
        self._thread.join(DEADLINE)
        assert self.over, "the call did not return"
        if self._error is not None:
            raise self._error
        return self._value

    def error(self) -> BaseException | None:
        """What the call raised, if anything."""
        self._thread.join(DEADLINE)
        assert self.over, "the call did not return"
        return self._error


def until(condition: Callable[[], bool], what: str) -> None:
    """Look until the condition holds: for what gives no event to wait for."""
    end = time.monotonic() + DEADLINE
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        pause.wait(0.0005)


def until_waiting(svc: JobService, topic: str, count: int) -> None:
    """Return once that many threads are blocked in the topic."""
    until(lambda: svc.topic_stats(topic).waiting == count, f"{count} waiting in {topic!r}")


def until_past(seconds: float) -> None:
    """Return once the wall clock is past these seconds since the epoch; ticks no service."""
    until(lambda: time.time() > seconds, "the clock to pass")


@contextmanager
def signal_when(ready: Callable[[], bool], number: int) -> Iterator[None]:
    """Signal the main thread, from another, as soon as `ready` holds; the block runs meanwhile.

    Again every two seconds until the block has ended: that none is lost just before a sleep has its own test.
    """
    main = threading.main_thread().ident
    assert main is not None
    assert threading.get_ident() == main
    over = threading.Event()

    def send() -> None:
        until(lambda: over.is_set() or ready(), "the moment to signal")
        while not over.is_set():
            signal.pthread_kill(main, number)
            over.wait(2)

    sender = Background(send)
    try:
        yield
    finally:
        over.set()
        sender.result()


@contextmanager
def handler(number: int, call: Callable[[], object]) -> Iterator[None]:
    """Have the signal make a call in the main thread while the block runs."""
    before = signal.signal(number, lambda *_: call())
    try:
        yield
    finally:
        signal.signal(number, before)
