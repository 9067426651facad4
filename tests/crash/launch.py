"""How processes of a test are started: by exec, or forked from a zygote; and how one waits for their end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import jobq

from .build import shim
from .plan import Plan

TESTS = Path(__file__).resolve().parents[1]
PATHS = [str(Path(jobq.__file__).resolve().parents[1]), str(TESTS), str(TESTS.parent / "examples")]
DEADLINE = 60.0
"""Seconds after which a process of a test hangs."""


class Running(Protocol):
    """A process that was started."""

    marks: int
    """Where its stdout is read."""
    err: Path
    """Its stderr."""

    def kill(self) -> None: ...
    def wait(self, seconds: float) -> int:
        """Its status, negative for a signal; TimeoutError when it does not end."""
        ...

    def close(self) -> None:
        """Let go of `marks`."""
        ...


class Launch(Protocol):
    """A way to start one."""

    def start(self, role: str, plan: Plan, settings: Mapping[str, str]) -> Running: ...


def environment(settings: Mapping[str, str], paths: list[str]) -> dict[str, str]:
    """Ours, without what our own process was preloaded with."""
    kept = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", **settings}


def command(module: str, *arguments: str) -> list[str]:
    """-S: no site-packages, whose reading would take longer than many a victim lives."""
    return [sys.executable, "-S", "-m", f"crash.{module}", *arguments]


class Exec:
    """Starts a new interpreter: for shims that must be there from the first instruction, and other builds."""

    def __init__(self, paths: list[str] | None = None) -> None:
        self._paths = paths or PATHS

    def start(self, role: str, plan: Plan, settings: Mapping[str, str]) -> Running:
        env = environment(settings, self._paths)
        marks, stdout = os.pipe()
        with plan.stderr.open("wb") as err:
            process = subprocess.Popen(
                command(role, plan.to_json()), stdin=subprocess.DEVNULL, stdout=stdout, stderr=err, env=env
            )
        os.close(stdout)
        return _Exec(process, marks, plan.stderr)


class _Exec:
    def __init__(self, process: subprocess.Popen[bytes], marks: int, err: Path) -> None:
        self._process, self.marks, self.err = process, marks, err

    def kill(self) -> None:
        self._process.kill()

    def wait(self, seconds: float) -> int:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None

    def close(self) -> None:
        os.close(self.marks)


class Zygote:
    """Forks from one process that is ready. Leaving the block ends it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                command("zygote", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                env=environment({"LD_PRELOAD": str(shim("faults"))}, PATHS),
                pass_fds=[theirs.fileno()],
            )
        self._channel = ours

    def start(self, role: str, plan: Plan, settings: Mapping[str, str]) -> Running:
        asked = json.dumps([role, plan.to_json(), dict(settings)]).encode()
        marks, stdout = os.pipe()
        with plan.stderr.open("wb") as err:
            socket.send_fds(self._channel, [asked], [stdout, err.fileno()])
        os.close(stdout)
        self._channel.settimeout(DEADLINE)
        return _Forked(self._channel, int(self._channel.recv(64)), marks, plan.stderr)

    def close(self) -> None:
        self._channel.close()
        self._process.wait(DEADLINE)


class _Forked:
    def __init__(self, channel: socket.socket, pid: int, marks: int, err: Path) -> None:
        self._channel, self._pid, self.marks, self.err = channel, pid, marks, err

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def wait(self, seconds: float) -> int:
        self._channel.settimeout(seconds)
        return int(self._channel.recv(64))

    def close(self) -> None:
        os.close(self.marks)
