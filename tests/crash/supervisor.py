"""Starts victims, kills them, has verifiers look, and judges. It is never killed itself."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from .history import History
from .journal import read
from .launch import DEADLINE, Exec, Launch
from .plan import Plan
from .verdicts import Death, Promise, Verdict, judge, oldest_loss
from .verifier import Observation


class Victim:
    """A running victim. Leaving the block kills it."""

    def __init__(self, launch: Launch, plan: Plan, settings: Mapping[str, str]) -> None:
        self._running = launch.start("victim", plan, settings)
        self.code: int | None = None
        """Its status, once it has ended; negative: a signal."""
        self.at: float | None = None
        """The instant before it was killed from outside."""

    def reaches(self, mark: bytes, seconds: float = DEADLINE) -> bool:
        """Wait until it writes this mark; False if it ended before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self._running.marks], [], [], end - time.monotonic())[0]:
                got = os.read(self._running.marks, 1)
                if got in {mark, b""}:
                    return got == mark
        raise AssertionError(f"the victim wrote no {mark!r} within {seconds} s")

    def kill(self) -> None:
        """SIGKILL."""
        self.at = time.monotonic()
        self._running.kill()
        self.code = self._running.wait(DEADLINE)

    def finish(self, seconds: float = DEADLINE) -> tuple[int, str]:
        """Wait for its end; its status and stderr. One that hangs is an error."""
        try:
            self.code = self._running.wait(seconds)
        except TimeoutError:
            raise AssertionError(f"the victim hangs: no end within {seconds} s") from None
        return self.code, self._running.err.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.code is None:
            self.kill()
        self._running.close()


def look(launch: Launch, plan: Plan, settings: Mapping[str, str] | None = None) -> Observation:
    """Have a fresh process open the store, and report. Its death and its hanging are verdicts too."""
    running = launch.start("verifier", plan, settings or {})
    try:
        code = running.wait(DEADLINE)
    except TimeoutError:
        running.kill()
        running.wait(DEADLINE)
        return Observation(run=plan.run, error=f"the verifier hung for {DEADLINE} s")
    finally:
        running.close()
    if code != 0:
        return Observation(
            run=plan.run, error=f"the verifier ended with {code}: {running.err.read_text(errors='replace')}"
        )
    return Observation.from_json(plan.report.read_text())


@dataclass
class Case:
    """One store with its journal, through any number of crashes."""

    folder: Path
    subject: str
    level: str
    seed: str
    promise: Promise = field(default_factory=Promise)
    launch: Launch = field(default_factory=Exec)
    runs: int = 0
    deaths: list[Death] = field(default_factory=list)
    oldest_loss: float = 0.0
    """Of the last crash at a level that promises less than all, see `oldest_loss`."""

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
    def victim(self, settings: Mapping[str, str] | None = None, **more: object) -> Iterator[Victim]:
        """A running victim; killed when the block is left."""
        plan = self.plan(**more)
        with Victim(self.launch, plan, settings or {}) as victim:
            yield victim
        if victim.code == -signal.SIGKILL:
            self.deaths.append(Death(plan.run, victim.at or time.monotonic()))

    def copy(self, folder: Path) -> Case:
        """This store and journal as they are now, to go another way from here."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder, deaths=list(self.deaths))

    def recover(self, settings: Mapping[str, str]) -> int:
        """Only open, and close; a kill in between counts as a crash. Its status."""
        plan = self.plan(drain=False)
        running = self.launch.start("verifier", plan, settings)
        with contextlib.closing(running):
            code = running.wait(DEADLINE)
        if code == -signal.SIGKILL:
            self.deaths.append(Death(plan.run, time.monotonic()))
        return code

    def verify(self, settings: Mapping[str, str] | None = None, **more: object) -> list[Verdict]:
        """Look, and judge."""
        seen = look(self.launch, self.plan(**more), settings)
        history = History(read(self.journal))
        if self.promise.window:
            strictly = judge(history, self.deaths, seen, replace(self.promise, window=0.0))
            self.oldest_loss = oldest_loss(strictly, self.deaths[-1:])
        return judge(history, self.deaths, seen, self.promise)

    def calls(self) -> int:
        """How many calls its journal holds."""
        return len(read(self.journal))

    def explain(self, verdicts: list[Verdict]) -> str:
        """What a failing test says: where the evidence is kept, and how to see it again."""
        lines = "\n".join(str(verdict) for verdict in verdicts[:20])
        return f"{len(verdicts)} verdicts on {self.folder} (seed {self.seed!r}, {self.runs} runs):\n{lines}"
