"""Python code in a process of its own, under a deadline: for what a test must not do to its own process."""

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

HERE = Path(__file__).resolve().parent
FLAGS = ("-W", "error", "-X", "faulthandler")
DEADLINE = 60.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a child ended: a negative code is the signal that ended it."""

    code: int
    out: str
    err: str
    seconds: float

    def succeeded(self) -> "Outcome":
        """Assert exit status 0 and nothing on stderr (no warning, no ignored exception, no panic)."""
        assert (self.code, self.err) == (0, ""), f"exit status {self.code}\n{self.out}\n{self.err}"
        return self


class Child:
    """A running child. Leaving the block kills it, with everything it has started."""

    def __init__(self, code: str) -> None:
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, *FLAGS, "-c", textwrap.dedent(code)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        )
        self._out: list[str] = []
        self._err: list[str] = []
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._readers = [
            self._read(self.process.stdout, self._out),
            self._read(self.process.stderr, self._err),
        ]

    def _read(self, stream: IO[str] | None, kept: list[str]) -> threading.Thread:
        assert stream is not None

        def read(stream: IO[str] = stream) -> None:
            with stream:
                for line in stream:
                    kept.append(line)
                    if kept is self._out:
                        self._lines.put(line.rstrip("\n"))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    def line(self, seconds: float = DEADLINE) -> str:
        """The next line of its stdout."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            self._give_up(seconds)
            raise AssertionError(f"no line within {seconds} s\n{self._text()}") from None

    def until_asleep(self, seconds: float = DEADLINE) -> None:
        """Return when its main thread slept in twenty looks 5 ms apart: it is in the call that blocks."""
        end, seen = time.monotonic() + seconds, 0
        while seen < 20:
            assert time.monotonic() < end, f"the child does not fall asleep\n{self._text()}"
            state = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            seen = seen + 1 if state == "S" else 0
            time.sleep(0.005)

    def send(self, number: signal.Signals) -> float:
        """Send it a signal; return the instant before, on the monotonic clock that all processes share."""
        now = time.monotonic()
        self.process.send_signal(number)
        return now

    def finish(self, seconds: float = DEADLINE) -> Outcome:
        """Wait for its end. One that passes the deadline dumps its threads' stacks, and the test fails."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._give_up(seconds)
            raise AssertionError(f"no end within {seconds} s\n{self._text()}") from None
        took = time.monotonic() - self._began
        for reader in self._readers:
            reader.join(seconds)
        return Outcome(code=code, out="".join(self._out), err="".join(self._err), seconds=took)

    def _give_up(self, seconds: float) -> None:
        self.process.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self._kill()
        for reader in self._readers:
            reader.join(5)

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _text(self) -> str:
        return "".join([*self._out, *self._err])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        self.process.wait(10)
        for reader in self._readers:
            reader.join(10)


def run(code: str, *, seconds: float = DEADLINE) -> Outcome:
    """Run code to its end."""
    with Child(code) as child:
        return child.finish(seconds)
