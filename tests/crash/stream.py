"""The stream that shim/record.c writes: what a process did to the files of one folder, event by event."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_HEAD = struct.Struct("<BBHHHIIQqq")
"""`struct head` of record.c."""


class Kind(Enum):
    """What happened."""

    OPENED = "O"
    CREATED = "C"
    MADE_FOLDER = "D"
    WROTE = "W"
    RESIZED = "T"
    RENAMED = "R"
    UNLINKED = "U"
    REMOVED_FOLDER = "X"
    SYNC_BEGAN = "B"
    SYNC_ENDED = "E"
    RANGE_SYNCED = "S"
    NOTE = "N"
    UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Event:
    """One call that took effect. `place` is a write's offset, or a file's new size."""

    kind: Kind
    path: str
    second: str
    data: bytes
    inode: int
    place: int
    serial: int
    failed: bool
    seconds: float
    """On the monotonic clock."""


def read(path: Path) -> list[Event]:
    """All of a stream. A torn last record, of a process killed while it wrote it, is left out."""
    return list(_events(path.read_bytes()))


def _events(stream: bytes) -> Iterator[Event]:
    at = 0
    while at + _HEAD.size <= len(stream):
        kind, failed, path, second, _, data, serial, inode, place, time = _HEAD.unpack_from(stream, at)
        at += _HEAD.size
        end = at + path + second + data
        if end > len(stream):
            return
        yield Event(
            kind=Kind(chr(kind)),
            path=stream[at : at + path].decode(),
            second=stream[at + path : at + path + second].decode(),
            data=stream[at + path + second : end],
            inode=inode,
            place=place,
            serial=serial,
            failed=bool(failed),
            seconds=time / 1e9,
        )
        at = end


def syncs(events: list[Event], file: str) -> list[tuple[int, float]]:
    """Each sync of its files of this name that succeeded: after how many events, and when it began."""
    began: dict[int, float] = {}
    ended: list[tuple[int, float]] = []
    for at, event in enumerate(events, 1):
        if event.kind is Kind.SYNC_BEGAN and Path(event.path).name == file:
            began[event.serial] = event.seconds
        if event.kind is Kind.SYNC_ENDED and event.serial in began and not event.failed:
            ended.append((at, began[event.serial]))
    return ended


def without_syncs(events: list[Event], file: str) -> list[Event]:
    """The stream of the same program, had it never synced its files of this name."""
    dropped = (Kind.SYNC_BEGAN, Kind.SYNC_ENDED)
    return [e for e in events if not (e.kind in dropped and Path(e.path).name == file)]


def with_rare_syncs(events: list[Event], file: str, every: int) -> list[Event]:
    """The stream of the same program, had it synced its files of this name once per `every` bytes."""
    kept: list[Event] = []
    written, serials = 0, set[int]()
    for event in events:
        ours = Path(event.path).name == file
        if ours and event.kind is Kind.WROTE:
            written += len(event.data)
        if ours and event.kind is Kind.SYNC_BEGAN:
            if written < every:
                continue
            written = 0
            serials.add(event.serial)
        if ours and event.kind is Kind.SYNC_ENDED and event.serial not in serials:
            continue
        kept.append(event)
    return kept


def with_writes_before_syncs(events: list[Event], file: str, synced: str) -> list[Event]:
    """The stream of the same program, had its writes to `file` come before the sync of `synced`."""
    kept: list[Event] = []
    began: int | None = None
    for event in events:
        name = Path(event.path).name
        if event.kind is Kind.SYNC_BEGAN and name == synced:
            began = len(kept)
        if event.kind in {Kind.CREATED, Kind.OPENED} and name == file:
            began = None  # it cannot be written before it is there
        if event.kind is Kind.WROTE and name == file and began is not None:
            kept.insert(began, event)
            began += 1
            continue
        kept.append(event)
    return kept
