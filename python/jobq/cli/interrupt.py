"""Ctrl-C as a request: nothing is torn out of the middle of a call, so the counts stay exact."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

import jobq


@contextmanager
def at_once() -> Generator[None, None, None]:
    """Let Ctrl-C end the process where it stands: for work in one long call that may break off anywhere."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Abandoned(BaseException):
    """Raised by work that gives up half-way. Not an Exception, so `with job` releases the job uncharged."""


class Interrupt:
    """Counts Ctrl-C while it is entered.

    The first stops the service: what runs is finished, nothing more is reserved. The second abandons what
    runs. The third is Python's own KeyboardInterrupt. Outside the main thread it only holds its two flags.

    The flags are plain: a threading.Event takes a lock to be set, and a second signal inside the first would
    wait for itself.
    """

    def __init__(self, svc: jobq.JobService) -> None:
        self.halted = False
        self.abandoned = False
        self._svc = svc
        self._main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None:
        if self._main:
            self._restore()

    def halt(self) -> None:
        """Stop as the first Ctrl-C does."""
        self.halted = True
        self._svc.stop()

    def _handle(self, _signum: int, _frame: FrameType | None) -> None:
        if self.halted:
            self.abandoned = True
            self._restore()
        self.halt()

    def _restore(self) -> None:
        # None stands for a handler that was not set from Python; it cannot be set again from here.
        signal.signal(signal.SIGINT, signal.SIG_DFL if self._before is None else self._before)
