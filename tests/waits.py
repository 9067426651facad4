"""Waiting under a deadline: for a condition, and for threads whose errors must reach the test."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

DEADLINE = 30.0
"""Seconds after which a wait is a failure; far above what any of them takes on a loaded machine."""


def until(true: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Return when the condition holds; it has no event of its own, so it is looked at once a millisecond."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.001)


class Crew:
    """Threads of one test. Leaving the block waits for all and raises the first error any met."""

    def __init__(self, seconds: float = DEADLINE) -> None:
        self._seconds = seconds
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def start(self, work: Callable[..., object], *args: Any) -> threading.Thread:
        """Run work(*args) in a daemon thread, so that a hang fails the test without hanging the run."""
        thread = threading.Thread(
            target=self._run, args=(work, args), daemon=True, name=f"crew-{len(self._threads)}"
        )
        self._threads.append(thread)
        thread.start()
        return thread

    def _run(self, work: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            work(*args)
        except BaseException as error:
            self._errors.append(error)

    def join(self) -> None:
        """Wait for all; the deadline is one for all of them together."""
        end = time.monotonic() + self._seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if self._errors:
            raise self._errors[0]
        stuck = [thread.name for thread in self._threads if thread.is_alive()]
        assert not stuck, f"still running after {self._seconds} s: {stuck}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.join()
