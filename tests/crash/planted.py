"""Repositories that cheat, each in one way, around one that does not: what the harness must catch.

They know the record format no further than they must: `j` is a job's body, `p` a piece of its payload, `s`
where it stands, `m` the service's numbers; values end in the crc32 of key and value.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import jobq

_Puts = Sequence[tuple[bytes, bytes]]
EVERY = 5
"""Each which record is cheated with."""


class Cheat:
    """The `jobq.Repository` protocol, broken as `how` says."""

    durable = True

    def __init__(self, inner: jobq.Repository, how: str) -> None:
        self._inner = inner
        self._cheat = getattr(self, f"_{how}")
        self._seen = 0
        self._held: list[tuple[_Puts, Sequence[bytes]]] = []

    def commit(self, puts: _Puts, deletes: Sequence[bytes], /) -> None:
        self._cheat(list(puts), deletes)

    def _dropped(self, puts: _Puts, deletes: Sequence[bytes]) -> None:
        """Some enqueues are acknowledged and forgotten."""
        gone = {key[1:9] for key, _ in puts if key[:1] == b"j" and self._turn()}
        self._inner.commit([put for put in puts if put[0][1:9] not in gone], deletes)

    def _undone(self, puts: _Puts, deletes: Sequence[bytes]) -> None:
        """Some changes of where a job stands are acknowledged and forgotten, and so are some endings."""
        self._inner.commit([put for put in puts if put[0][:1] != b"s" or not self._turn()], deletes)

    def _reused(self, puts: _Puts, deletes: Sequence[bytes]) -> None:
        """How far tokens were given out is never written."""
        self._inner.commit([put for put in puts if put[0] != b"mtokens"], deletes)

    def _swapped(self, puts: _Puts, deletes: Sequence[bytes]) -> None:
        """The records of two jobs enqueued together change places."""
        bodies = [put for put in puts if put[0][:1] == b"j"]
        pieces = [put for put in puts if put[0][:1] == b"p"]
        if len(bodies) > 1 and not pieces:
            (first, one), (second, other), *more = bodies
            rest = [put for put in puts if put[0][:1] != b"j"]
            puts = [*rest, *more, (first, _sealed(first, other)), (second, _sealed(second, one))]
        self._inner.commit(puts, deletes)

    def _late(self, puts: _Puts, deletes: Sequence[bytes]) -> None:
        """A commit is acknowledged first, and made with the next."""
        for held in self._held:
            self._inner.commit(*held)
        self._held = [(puts, deletes)]

    def _turn(self) -> bool:
        self._seen += 1
        return self._seen % EVERY == 0

    def load(self, prefix: bytes, /) -> Iterable[tuple[bytes, bytes]]:
        return self._inner.load(prefix)

    def get(self, key: bytes, /) -> bytes | None:
        return self._inner.get(key)

    def compact(self) -> None:
        self._inner.compact()

    def close(self) -> None:
        self._inner.close()


def _sealed(key: bytes, value: bytes) -> bytes:
    """A record as it would be under another key."""
    inside = value[:-4]
    return inside + zlib.crc32(key + inside).to_bytes(4, "little")
