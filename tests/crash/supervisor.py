"""Starts victims, kills them, has verifiers look, and judges. It is never killed itself."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import jobq

from .history import History
from .journal import read
from .plan import Plan
from .verdicts import Death, Promise, Verdict, judge
from .verifier import Observation

TESTS = Path(__file__).resolve().parents[1]
PATHS = [str(Path(jobq.__file__).resolve().parents[1]), str(TESTS), str(TESTS.parent / "examples")]
DEADLINE = 60.0
"""Seconds after which a process of a test hangs."""
HUNG = 124


def _environment(extra: Mapping[str, str] | None, paths: list[str] | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths or PATHS), "PYTHONUNBUFFERED": "1", **(extra or {})}


class Victim:
    """A running victim. Leaving the block kills it."""

    def __init__(
        self, plan: Plan, extra: Mapping[str, str] | None = None, paths: list[str] | None = None
    ) -> None:
        # -S: no site-packages, whose reading would take longer than many a victim lives.
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-m", "crash.victim", plan.to_json()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(extra, paths),
        )
        assert self.process.stdout is not None
        self._marks = self.process.stdout.fileno()

    def reaches(self, mark: bytes, seconds: float = DEADLINE) -> bool:
        """Wait until it writes this mark; False if it ended before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self._marks], [], [], end - time.monotonic())[0]:
                got = os.read(self._marks, 1)
                if got in {mark, b""}:
                    return got == mark
        raise AssertionError(f"the victim wrote no {mark!r} within {seconds} s")

    def kill(self) -> float:
        """SIGKILL; return the instant before."""
        at = time.monotonic()
        self.process.kill()
        self.process.wait(DEADLINE)
        return at

    def finish(self, seconds: float = DEADLINE) -> tuple[int, str]:
        """Wait for its end; its status (negative: a signal; HUNG: it had to be killed) and stderr."""
        try:
            _, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, err = self.process.communicate()
            return HUNG, err.decode(errors="replace")
        return self.process.returncode, err.decode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def look(plan: Plan, extra: Mapping[str, str] | None = None, paths: list[str] | None = None) -> Observation:
    """Have a fresh process open the store, and report. Its death and its hanging are verdicts too."""
    command = [sys.executable, "-S", "-m", "crash.verifier", plan.to_json()]
    try:
        done = subprocess.run(
            command, env=_environment(extra, paths), capture_output=True, timeout=DEADLINE, check=False
        )
    except subprocess.TimeoutExpired:
        return Observation(run=plan.run, error=f"the verifier hung for {DEADLINE} s")
    if done.returncode != 0:
        return Observation(run=plan.run, error=f"the verifier ended with {done.returncode}: {done.stderr!r}")
    return Observation.from_json(done.stdout.decode())


@dataclass
class Case:
    """One store with its journal, through any number of crashes."""

    folder: Path
    subject: str
    level: str
    seed: str
    promise: Promise = field(default_factory=Promise)
    paths: list[str] | None = None
    """PYTHONPATH of its processes; None: this build of jobq."""
    runs: int = 0
    deaths: list[Death] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = self.folder / "store"
        self.journal = self.folder / "journal"
        self.journal.mkdir(parents=True, exist_ok=True)

    def plan(self, **more: object) -> Plan:
        """The plan of the next process on this store."""
        self.runs += 1
        plan = Plan(
            subject=self.subject,
            level=self.level,
            store=str(self.store),
            journal=str(self.journal),
            run=self.runs,
            seed=f"{self.seed}-{self.runs}",
        )
        return replace(plan, **more)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def victim(self, extra: Mapping[str, str] | None = None, **more: object) -> Iterator[Victim]:
        """A running victim. Killed, it crashed when the block was left; `died` says it better."""
        plan = self.plan(**more)
        with Victim(plan, extra, self.paths) as victim:
            yield victim
        if victim.process.returncode == -signal.SIGKILL:
            self.deaths.append(Death(plan.run, time.monotonic()))

    def died(self, at: float) -> None:
        """The last run's crash was at this instant."""
        self.deaths[-1] = Death(self.deaths[-1].run, at)

    def verify(self, *, drain: bool = True) -> list[Verdict]:
        """Look, and judge."""
        seen = look(self.plan(drain=drain), paths=self.paths)
        return judge(History(read(self.journal)), self.deaths, seen, self.promise)

    def explain(self, verdicts: list[Verdict]) -> str:
        """What a failing test says: where the evidence is kept, and how to see it again."""
        lines = "\n".join(str(verdict) for verdict in verdicts[:20])
        return f"{len(verdicts)} verdicts on {self.folder} (seed {self.seed!r}, {self.runs} runs):\n{lines}"

    def write_deaths(self) -> None:
        """Beside the journal, for whoever looks at a kept case."""
        deaths = [[death.run, death.at] for death in self.deaths]
        (self.folder / "deaths.json").write_text(json.dumps(deaths))
