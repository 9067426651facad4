"""A repository made in Python whose bytes outlive it, with places to look, to wait and to fail."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


class Disk:
    """Bytes that outlive the repositories opened on them. `copy` is what a kill now would leave."""

    def __init__(self, data: dict[bytes, bytes] | None = None) -> None:
        self.data = dict(data or {})
        self._lock = threading.Lock()

    def copy(self) -> "Disk":
        with self._lock:
            return Disk(self.data)

    def apply(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes]) -> None:
        """All of it, or none: everything is looked at before the first key is touched."""
        added = {bytes(key): bytes(value) for key, value in puts}
        removed = [bytes(key) for key in deletes]
        with self._lock:
            for key in removed:
                self.data.pop(key, None)
            self.data.update(added)


GATE = 10.0
"""Seconds that a gate waits; then what stood before it fails."""


def nothing() -> None:
    """The hook that does nothing."""


class DictRepository:
    """The `Repository` protocol on a `Disk`, with places where a test may look, wait or fail.

    It holds the service to its side of the bargain too: one call at a time, none after close. A breach is
    raised, and written down in `faults`, which the fixture reads when the test is over.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.before_commit: Callable[[], object] = nothing
        """Called inside commit before anything is applied; what it raises is what commit raises."""
        self.after_commit: Callable[[], object] = nothing
        """Called inside commit when all is applied."""
        self.before_load: Callable[[], object] = nothing
        self.before_close: Callable[[], object] = nothing
        self.committers: list[int] = []
        """The thread of each commit."""
        self.loads: list[tuple[bytes, int]] = []
        """Each prefix that was loaded, and how many bytes of values it gave."""
        self.closes = 0
        self.faults: list[str] = []
        self._busy = threading.Lock()

    @property
    def durable(self) -> bool:
        return True

    def load(self, prefix: bytes, /) -> list[tuple[bytes, bytes]]:
        with self._call("load"):
            self.before_load()
            found = sorted(item for item in self.disk.copy().data.items() if item[0].startswith(prefix))
            self.loads.append((bytes(prefix), sum(len(value) for _, value in found)))
            return found

    def commit(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], /) -> None:
        with self._call("commit"):
            self.committers.append(threading.get_ident())
            self.before_commit()
            self.disk.apply(puts, deletes)
            self.after_commit()

    def get(self, key: bytes, /) -> bytes | None:
        with self._call("get"):
            return self.disk.data.get(bytes(key))

    def compact(self) -> None:
        with self._call("compact"):
            pass

    def close(self) -> None:
        with self._call("close"):
            self.before_close()
            self.closes += 1

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        if self.closes:
            self._fault(f"{name} after close")
        if not self._busy.acquire(blocking=False):
            self._fault(f"{name} while another call is under way")
        try:
            yield
        finally:
            self._busy.release()

    def _fault(self, text: str) -> None:
        self.faults.append(text)
        raise AssertionError(text)


class Broken(Exception):
    """Raised by a repository of a test."""


def raiser(error: BaseException) -> Callable[[], None]:
    """A hook that raises."""

    def fail() -> None:
        raise error

    return fail


class Gate:
    """Holds the next commits of a repository up until it is opened."""

    def __init__(self, repository: DictRepository) -> None:
        self._reached, self._open = threading.Event(), threading.Event()
        repository.before_commit = self.enter

    def enter(self) -> None:
        self._reached.set()
        assert self._open.wait(GATE), "nobody opened the gate"

    def wait_until_reached(self) -> None:
        assert self._reached.wait(GATE), "nobody came to the gate"

    def open(self) -> None:
        self._open.set()
