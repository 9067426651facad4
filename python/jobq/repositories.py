"""Where jobs and topics are remembered: the Repository protocol for stores of your own, and Memory.

A repository is an atomic, ordered store of bytes. It knows no state machine and no clock: what its bytes mean
is the engine's business alone. The objects here are opened and closed by the service that they are given to.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, final


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
