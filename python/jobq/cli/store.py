"""What the commands on a store share: its argument, a line for what is wrong with it, progress."""

import argparse
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TextIO

import jobq

FAULTY = 1
"""The exit status for a store with faults, or one that is damaged or of another format."""
UNUSABLE = 2
"""That for one that is not there, or that the system refuses."""
IN_USE = 3
"""That for one that a service has open."""

LOOKS = (
    "Changes no job: nothing is recovered, purged or cleaned up. The store must not be open elsewhere: "
    "sled has no read-only open, so its own files are written to a little even so."
)

STATUSES = "exit status: 0 sound and done, 1 damaged, 2 not there or no store, 3 open elsewhere"


def add_parser(
    add: Callable[..., argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
    description: str,
    metavar: str = "PATH",
) -> argparse.ArgumentParser:
    """Add a command whose first argument is a store."""
    parser = add(name, help=help, description=description, epilog=STATUSES)
    parser.add_argument("path", metavar=metavar, help="the store's directory, as given to jobq.open()")
    parser.set_defaults(run=run)
    return parser


def refusal(error: jobq.RepositoryError) -> tuple[int, str]:
    """The exit status and the line for a store that cannot be used."""
    line = " ".join(str(error).split())
    match error:
        case jobq.RepositoryLocked():
            return IN_USE, line
        case jobq.RepositoryCorrupt() | jobq.RepositoryFailed():
            return FAULTY, line
        case _:
            return UNUSABLE, line


class Reading:
    """Says on stderr how far a long reading has come: from the second second on, at most once a second."""

    def __init__(self, stream: TextIO | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._now = now
        self._next = now() + 1.0
        self._shown = False

    def __call__(self, records: int) -> None:
        """Take note of the number of records read so far."""
        now = self._now()
        if now < self._next:
            return
        self._next = now + 1.0
        text = f"{records:,} records read"
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K{text}")
            self._shown = True
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave a line of its own to what comes next."""
        if self._shown:
            self._stream.write("\n")
            self._stream.flush()


@contextmanager
def reading() -> Generator[Reading, None, None]:
    """A Reading that is ended whatever happens."""
    progress = Reading()
    try:
        yield progress
    finally:
        progress.end()


def say_faults(faults: list[str]) -> int:
    """Print each fault on a line of stderr; return the exit status."""
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    return FAULTY if faults else 0
