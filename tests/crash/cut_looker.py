"""The process that opens what a cut has left: one image per line of stdin, one line of stdout says what it
found.

It lives as long as nothing fails in it, for a new process per image would cost more than the image. Its
client ends it after the first error: what a failed store leaves behind in a process is not to be judged here.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import jobq

from .cut_victim import open_service
from .picture import of_job, of_service

DEADLINE = 60.0
"""Seconds for one image: several hundred times what one takes."""


@dataclass(kw_only=True)
class Found:
    """What one image held. `error` is the class and text of what opening or looking raised."""

    state: int = 0
    faults: list[str] = field(default_factory=list)
    id: int = 0
    """Of a job that was added after the look; and the token it was granted under."""
    token: int = 0
    seconds: float = 0.0
    jobs: dict[int, int] = field(default_factory=dict)
    """Each job's own number, where it was asked for; then there is no state of all."""
    damaged: list[int] = field(default_factory=list)
    """Those of them whose payload cannot be read."""
    error: str | None = None


def look(subject: str, store: Path, level: str, *, jobs: bool = False) -> Found:
    """Open a store, take its picture, and take the next id and token."""
    found = Found()
    began = time.monotonic()
    try:
        with open_service(subject, store, level) as service:
            found.seconds = time.monotonic() - began
            found.faults = service.verify()
            if jobs:
                _look_at_each(service, found)
            else:
                found.state = of_service(service)
            for topic in service.topics():
                stats = service.topic_stats(topic)
                here = stats.ready + stats.delayed + stats.reserved + stats.done + stats.canceled
                # Of two stores the counts may differ by what came last; what was salvaged may lack jobs.
                lost = stats.lost and subject != "two sleds" and not jobs
                if lost or stats.enqueued != here + stats.deleted + stats.purged + stats.lost:
                    found.faults.append(f"the counters of {topic!r} do not add up: {stats}")
            found.id = service.enqueue("probe", b"")
            job = service.reserve_one("probe", timeout=0)
            assert job is not None and job.id == found.id
            found.token = job.token
            job.done()
    except Exception as error:
        found.error = f"{type(error).__name__}: {error}"
    except BaseException as error:  # a panic that reached Python
        found.error = f"NOT AN EXCEPTION {type(error).__name__}: {error}"
    return found


def _look_at_each(service: jobq.JobService, found: Found) -> None:
    for info in service.find():
        try:
            found.jobs[info.id] = of_job(info, service.payload(info.id))
        except jobq.RepositoryCorrupt:
            found.damaged.append(info.id)


class Looker:
    """Such a process, begun anew after each failure. Leaving the block ends it."""

    def __init__(self, subject: str, environment: dict[str, str]) -> None:
        self._subject = subject
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def look(self, store: Path, level: str, *, jobs: bool = False) -> Found:
        """Have one image looked at. A process that dies, or does not answer in time, is an error found."""
        process = self._process or self._start()
        assert process.stdin is not None
        began = time.monotonic()
        try:
            process.stdin.write(json.dumps([str(store), level, jobs]) + "\n")
            process.stdin.flush()
            line = self._lines.get(timeout=DEADLINE)
        except queue.Empty:
            self.end()
            return Found(error=f"HANG: no answer within {DEADLINE} s")
        except BrokenPipeError:
            line = ""
        if not line:
            code = process.wait(10)
            self.end()
            return Found(error=f"DEATH: exit status {code} after {time.monotonic() - began:.1f} s")
        found = Found(**json.loads(line))
        found.jobs = {int(id): number for id, number in found.jobs.items()}
        if found.error is not None:
            self.end()
        return found

    def _start(self) -> subprocess.Popen[str]:
        self._lines = queue.SimpleQueue()
        command = [sys.executable, "-X", "faulthandler", "-m", "crash.cut_looker", self._subject]
        process = self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | self._environment,
        )
        out, lines = process.stdout, self._lines
        assert out is not None

        def read() -> None:
            with out:
                for line in out:
                    lines.put(line)
            lines.put("")

        threading.Thread(target=read, daemon=True).start()
        return process

    def end(self) -> None:
        """End the process; the next look begins another."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def main(subject: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing but answers goes to the client
    for line in sys.stdin:
        store, level, jobs = json.loads(line)
        answers.write(json.dumps(asdict(look(subject, Path(store), level, jobs=jobs))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
