"""Where jobs and topics are remembered: Sled on disk, Memory, and Repository for stores of your own.

A repository is an atomic, ordered store of bytes. It knows no state machine and no clock: what its bytes mean
is the engine's business alone. The objects here are opened and closed by the service that they are given to.
"""

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol, TypeAlias, final

from jobq._jobq import _milliseconds

_Seconds: TypeAlias = float | timedelta

_SYNC = ("always", "interval", "never")


class Repository(Protocol):
    """What a repository of your own must do: an atomic, ordered store of bytes.

    Hand one object to JobService for one role or for both; it need not inherit from this class. Keys of the
    two roles never collide. It is open when handed over, and serves one service at a time; the service closes
    it.

    One call at a time comes in, from any thread, with no lock of jobq's held. Calling the service from inside
    is a RuntimeError: it would wait for itself. Whatever a method raises reaches the caller as it is; from
    then on the service refuses work with RepositoryFailed, because its memory is ahead of the store. So raise
    only when the store cannot go on.
    """

    @property
    def durable(self) -> bool:
        """True when what was committed is there at the next open.

        Where it is False, the service promises nothing that outlives the process, and ids start at 1 again.
        """
        ...

    def load(self, prefix: bytes, /) -> Iterable[tuple[bytes, bytes]]:
        """Return every (key, value) whose key begins with `prefix`, in ascending order of the key's bytes.

        An iterator will do. It is read once, at open, to its end; nothing is committed meanwhile.
        """
        ...

    def commit(self, puts: Sequence[tuple[bytes, bytes]], deletes: Sequence[bytes], /) -> None:
        """Apply all of it or nothing; durable when it returns, if this repository is.

        A put replaces the value of its key; deleting a key that is not there is no error.
        """
        ...

    def get(self, key: bytes, /) -> bytes | None:
        """Return the value last committed under `key`, or None where there is none."""
        ...

    def compact(self) -> None:
        """Give disk space back, if there is a way; else do nothing. No content may change."""
        ...

    def close(self) -> None:
        """Let go of files and connections. Called once, last."""
        ...


@final
class Memory:
    """A repository that remembers nothing, and costs nothing.

    One object serves one service at a time, in one role or in both; after close() it may serve another, which
    finds it empty. Jobs kept here get ids and tokens from 1 in each process: they are no fence for what
    outlives it.
    """

    __slots__ = ("__weakref__",)

    def __init__(self) -> None:
        """Take nothing, and hold nothing: the engine knows which service it serves."""

    def __init_subclass__(cls) -> None:
        raise TypeError("Memory is final: it cannot be subclassed. Write a Repository instead")

    def __reduce__(self) -> tuple[type["Memory"], tuple[()]]:
        # A copy serves nobody yet.
        return Memory, ()

    def __repr__(self) -> str:
        return "Memory()"

    @property
    def durable(self) -> bool:
        """False: what is kept here ends with the service."""
        return False


@final
class Sled:
    """A durable repository in a directory of its own, for one service of one process at a time.

    A description until a service opens it, in one role or in both; usable again after close(). One object for
    both roles is one store, and one commit; two objects are two stores, which need two paths.

    sync says what an acknowledged call has survived: "always" a power cut, since it returns after fdatasync;
    "interval" the death of the process, and a power cut may take the last `interval` seconds; "never" nothing
    yet, it is written within 0.1 s and a kill may take that.
    """

    __slots__ = ("__weakref__", "_create", "_interval_ms", "_path", "_sync")

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: Literal["always", "interval", "never"] = "always",
        interval: _Seconds = 0.1,
        create: bool = True,
    ) -> None:
        """Check and keep the arguments; nothing is opened, made or looked at here.

        path: a directory, made by the first service that opens it; its parent must exist. A relative one is
        taken from the working directory of now. interval: seconds, for sync="interval" alone. create=False: a
        missing store is a RepositoryError, not a new one.

        TypeError or ValueError for an argument that is wrong; ValueError for the paths "", ":memory:" and any
        "scheme://" (kept for later engines).
        """
        check_level(sync, interval)
        self._path = os.path.abspath(checked_path(path))  # noqa: PTH100 - pathlib is not imported for this
        self._sync: Literal["always", "interval", "never"] = sync
        self._interval_ms = _milliseconds(interval, "interval")
        self._create = _flag(create, "create")

    def __init_subclass__(cls) -> None:
        raise TypeError("Sled is final: it cannot be subclassed. Write a Repository instead")

    def __reduce__(self) -> tuple[Any, ...]:
        return _described, (self._path, self._sync, self.interval, self._create)

    def __repr__(self) -> str:
        interval = f", interval={self.interval}" if self._sync == "interval" else ""
        create = "" if self._create else ", create=False"
        return f"Sled({self._path!r}, sync={self._sync!r}{interval}{create})"

    @property
    def durable(self) -> bool:
        """True: what was committed is there at the next open."""
        return True

    @property
    def path(self) -> str:
        """The store's directory, absolute."""
        return self._path

    @property
    def sync(self) -> Literal["always", "interval", "never"]:
        """What an acknowledged call has survived."""
        return self._sync

    @property
    def interval(self) -> float:
        """Seconds that sync="interval" may leave between two fdatasyncs."""
        return self._interval_ms / 1000


def _described(
    path: str, sync: Literal["always", "interval", "never"], interval: float, create: bool
) -> Sled:
    return Sled(path, sync=sync, interval=interval, create=create)


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return value


def check_level(sync: object, interval: _Seconds) -> None:
    """Refuse a level of durability that is none."""
    if not isinstance(sync, str):
        raise TypeError(f"sync must be a str, not {type(sync).__name__}")
    if sync not in _SYNC:
        raise ValueError(f"sync must be 'always', 'interval' or 'never', not {sync!r}")
    _milliseconds(interval, "interval")


def checked_path(path: str | os.PathLike[Any]) -> str:
    """The path as a str, if it can name a directory."""
    if not isinstance(path, str) and not hasattr(type(path), "__fspath__"):
        raise TypeError(f"path must be a str or an os.PathLike, not {type(path).__name__}")
    name: Any = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path must be a str or an os.PathLike of str, not of {type(name).__name__}")
    if name in ("", ":memory:"):
        raise ValueError(f"path must name a directory, not be {name!r}: without it jobq.open() is in memory")
    if "\0" in name:
        raise ValueError(f"path must not hold a NUL, as {name!r} does")
    scheme, slashes, _ = name.partition("://")
    if slashes and scheme and all(c.isalnum() or c in "+-." for c in scheme):
        raise ValueError(f"path must name a directory, not a URL like {name!r}: no engine serves {scheme}://")
    return name
