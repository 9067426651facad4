"""Progress on a terminal (one bar, redrawn in place) or elsewhere (plain lines, at most one a second).

It is told how much is finished and draws; it counts nothing itself and knows no queue.
"""

import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

# The rate shown is that of the last few seconds: long enough to be steady, short enough to follow a change.
RATE_WINDOW = 5.0


def amount(count: float) -> str:
    """Bytes for people, in powers of a thousand: 999 B, 1.0 kB, 12.3 MB."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1000:.1f} TB"


def clock(seconds: float) -> str:
    """A time to go, rounded up: 0:07, 12:34, 3:00:05."""
    whole = int(-(-seconds // 1))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Progress:
    """How far a number of jobs has come.

    `work` is what the bar and the time to go are measured in: jobs differ in size, so their number alone
    would promise too early an end.
    """

    def __init__(
        self, jobs: int, work: int, *, stream: TextIO, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._jobs = jobs
        self._work = work
        self._stream = stream
        self._now = now
        self._start = now()
        self._samples = deque([(self._start, 0, 0)])
        self._bar = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._interval = 0.1 if self._bar else 1.0
        self._next = self._start

    def show(self, finished: int, work: int, size: int) -> None:
        """Draw, unless the last drawing is too recent. size: bytes read so far, for the rate."""
        now = self._now()
        if now >= self._next:
            self._next = now + self._interval
            self._draw(now, finished, work, size)

    def note(self, text: str) -> None:
        """Print one line beside the progress."""
        self._stream.write(f"\r\x1b[K{text}\n" if self._bar else f"{text}\n")
        self._stream.flush()

    def close(self, finished: int, work: int, size: int) -> None:
        """Leave the last state of a bar on the screen; plain lines need no end."""
        if self._bar:
            self._draw(self._now(), finished, work, size)
            self._stream.write("\n")
            self._stream.flush()

    def _draw(self, now: float, finished: int, work: int, size: int) -> None:
        self._samples.append((now, finished, size))
        while len(self._samples) > 2 and self._samples[1][0] <= now - RATE_WINDOW:
            self._samples.popleft()
        text = self._text(now, finished, work, size)
        if self._bar:
            columns = max(20, shutil.get_terminal_size().columns)
            # Room beside two brackets, a space, and the last column, where some terminals wrap.
            room = columns - len(text) - 4
            bar = self._filled(min(room, 40), work, finished) if room >= 10 else ""
            self._stream.write(f"\r{(bar + text)[: columns - 1]}\x1b[K")
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def _filled(self, width: int, work: int, finished: int) -> str:
        full = int(width * self._share(work, finished))
        return f"[{'#' * full}{'.' * (width - full)}] "

    def _share(self, work: int, finished: int) -> float:
        """0 to 1, and 1 only at the end: a file that grew must not announce it early."""
        if finished >= self._jobs:
            return 1.0
        return min(work / self._work if self._work else 0.0, 0.999)

    def _text(self, now: float, finished: int, work: int, size: int) -> str:
        then, finished_then, size_then = self._samples[0]
        span = max(now - then, 0.1)
        share = self._share(work, finished)
        rate = f"{(finished - finished_then) / span:,.0f}/s  {amount((size - size_then) / span)}/s"
        left = "--:--" if share == 0 else clock((now - self._start) * (1 - share) / share)
        return f"{int(share * 100):3}%  {finished:,}/{self._jobs:,} files  {rate}  ETA {left}"
