"""The journal: what a process was about to ask of a store, and what it was told, in files that outlive it.

Each thread appends to a file of its own, outside the store's file system: an INTENT before each call, a
RESULT after it returned, each by one write of less than 512 bytes. What was written survives SIGKILL in the
page cache. Only the last record of a file may be torn; any other damage is an error of the harness.
"""

import json
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST = 511
REFUSED = frozenset(
    ["InvalidTransition", "JobNotFound", "LeaseLost", "QueueFull", "ServiceClosed", "TypeError", "ValueError"]
)
"""Errors that promise that nothing was changed. After any other the outcome is unknown."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call, put together from its records. `ended` and `outcome` are None where no RESULT was written."""

    run: int
    thread: str
    seq: int
    op: str
    args: dict[str, Any]
    began: float
    ended: float | None = None
    outcome: str | None = None
    """"ok", or the class name of the error."""
    reply: Any = None

    @property
    def ok(self) -> bool:
        """It was acknowledged."""
        return self.outcome == "ok"

    @property
    def refused(self) -> bool:
        """It promised to have changed nothing."""
        return self.outcome in REFUSED

    @property
    def doubtful(self) -> bool:
        """It may have taken effect or not."""
        return not self.ok and not self.refused


class Journal:
    """One thread's file."""

    def __init__(self, folder: Path, run: int, thread: str) -> None:
        self.name = f"{run}-{thread}"
        self.keys = 0
        """Payloads named after it so far."""
        self._run, self._thread, self._seq = run, thread, 0
        path = folder / f"{run:06d}-{thread}.journal"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def intent(self, op: str, **args: Any) -> int:
        """Write what is about to be asked; return the number to answer it by."""
        self._seq += 1
        self._write(["I", self._seq, time.monotonic(), op, args])
        return self._seq

    def result(self, seq: int, outcome: str = "ok", reply: Any = None) -> None:
        """Write what came back."""
        self._write(["R", seq, time.monotonic(), outcome, reply])

    def close(self) -> None:
        os.close(self._file)

    def _write(self, record: list[Any]) -> None:
        body = json.dumps([self._run, self._thread, *record], separators=(",", ":")).encode()
        line = b"%08x %b\n" % (zlib.crc32(body), body)
        assert len(line) <= LONGEST, f"a journal record of {len(line)} bytes: {line!r}"
        assert os.write(self._file, line) == len(line), "the journal's disk is full"


def read(folder: Path) -> list[Call]:
    """Every call of every run and thread, in the order in which they began."""
    calls: list[Call] = []
    for path in sorted(folder.glob("*.journal")):
        calls.extend(_read_file(path))
    return sorted(calls, key=lambda call: call.began)


def _read_file(path: Path) -> list[Call]:
    calls: dict[int, Call] = {}
    lines = path.read_bytes().split(b"\n")
    torn = lines.pop()
    for number, line in enumerate(lines):
        record = _parse(line)
        if record is None:
            assert number == len(lines) - 1 and not torn, f"{path}: record {number} is damaged"
            break
        run, thread, phase, seq, when, what, more = record
        if phase == "I":
            calls[seq] = Call(run=run, thread=thread, seq=seq, op=what, args=more, began=when)
        else:
            asked = calls[seq]
            calls[seq] = Call(**{**asked.__dict__, "ended": when, "outcome": what, "reply": more})
    return list(calls.values())


def _parse(line: bytes) -> list[Any] | None:
    sum_, _, body = line.partition(b" ")
    try:
        good = int(sum_, 16) == zlib.crc32(body)
    except ValueError:
        return None
    return json.loads(body) if good else None
