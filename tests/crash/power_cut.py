"""Power cuts by record and replay: works on a store, cuts it in many places, and judges what each cut left.

A chain is one store over several lives: each begins on an image that a cut of the life before has left,
works, and is cut in many places itself, its recovery included. Everything follows from the seed.
"""

from __future__ import annotations

import bisect
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from . import stream
from .cut_looker import Looker
from .cut_victim import Task
from .promises import Note, Promises, Tally
from .recording import PYTHONPATH, Recording, record_python
from .replay import Disk
from .stream import Event, Kind

LEVELS = ("always", "interval", "never")
ENOUGH = 20
"""Failures after which a campaign ends."""
LONGEST = 100
"""No chain has more lives; a life's seed is its chain's times this, plus its place."""

STEPS = {"small": 120, "churn": 250, "large": 60, "compaction": 100}
"""The kinds of work, and the steps of one life: a second or less of recording."""

Edit = Callable[[list[Event]], list[Event]]
"""Makes of a stream that of a broken store."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """One store over several lives."""

    subject: str
    level: str
    work: str
    seed: int
    lives: int
    images: int
    """Of each life."""
    steps: int | None = None
    """Of each life; None: as STEPS says."""

    def task(self, number: int, root: Path) -> Task:
        """What the victim is to do in one of the lives, on the store in this folder."""
        return Task(
            subject=self.subject,
            store=str(root.resolve() / inner(self.subject)),
            level=self.level,
            work=self.work,
            seed=self.seed * LONGEST + number,
            steps=STEPS[self.work] if self.steps is None else self.steps,
            keep=self.seed % 2 == 0,
            close=(self.seed + number) % 3 != 0,
        )


@dataclass(kw_only=True)
class Life:
    """One recorded life of a store, ready to be cut."""

    task: Task
    recording: Recording
    promises: Promises
    noted: list[int]
    """The number of events before each note."""
    syncs: list[tuple[int, float]]
    """Those of the store's log: the number of events until its end, and when it began."""

    @classmethod
    def of(cls, task: Task, recording: Recording, id: int, token: int) -> Self:
        """The life that this recording tells; id and token are the highest of the lives before."""
        notes = [
            (at, Note.from_line(line))
            for at, event in enumerate(recording.events, 1)
            if event.kind is Kind.NOTE
            for line in event.data.splitlines()
        ]
        assert notes, "the victim has noted nothing"
        promises = Promises(level=task.level, notes=[note for _, note in notes], id=id, token=token)
        noted = [at for at, _ in notes]
        syncs = stream.syncs(recording.events, "db")
        return cls(task=task, recording=recording, promises=promises, noted=noted, syncs=syncs)

    def told(self, cut: int) -> int:
        """How many promises had been made before a cut after so many events."""
        return bisect.bisect_right(self.noted, cut)

    def moment(self, cut: int) -> float:
        """When such a cut was."""
        return self.recording.events[max(cut, 1) - 1].seconds

    def synced(self, cut: int) -> float | None:
        """When the last sync began that had ended before such a cut."""
        done = bisect.bisect_right(self.syncs, cut, key=lambda sync: sync[0])
        return self.syncs[done - 1][1] if done else None

    def cuts(self, count: int, chance: random.Random) -> list[int]:
        """That many places to cut: a third anywhere, the others where stores are known to break."""
        events = self.recording.events
        edges = [at for at, event in enumerate(events, 1) if event.kind in _EDGES]
        spans = [range(self.noted[0] + 1)]
        for before, at, note in zip(self.noted, self.noted[1:], self.promises.notes[1:], strict=False):
            if note.call in {"compact", "closed"}:
                spans.append(range(before, at + 1))
        chosen = []
        for _ in range(count):
            kind = chance.randrange(3)
            span = range(len(events) + 1) if kind == 0 else edges if kind == 1 else chance.choice(spans)
            chosen.append(chance.choice(span))
        return sorted(chosen)


_EDGES = {
    Kind.SYNC_BEGAN,
    Kind.SYNC_ENDED,
    Kind.RENAMED,
    Kind.CREATED,
    Kind.UNLINKED,
    Kind.MADE_FOLDER,
    Kind.RESIZED,
    Kind.NOTE,
}


def cut_life(life: Life, cuts: Iterable[int], seed: str, scratch: Path, looker: Looker) -> Tally:
    """Cut a life at these places, which ascend, and judge every image. A bad one stays in `scratch`."""
    tally = Tally()
    disk = Disk(life.recording.base)
    events, done = life.recording.events, 0
    for number, cut in enumerate(cuts):
        while done < cut:
            disk.happen(events[done])
            done += 1
        image = scratch / f"image-{number}"
        disk.cut(image, random.Random(f"{seed}-{number}"))
        found = looker.look(image / inner(life.task.subject), life.task.level)
        wrong = life.promises.judge(found, life.told(cut), life.moment(cut), tally, life.synced(cut))
        if wrong is not None:
            where = f"image {seed}-{number}, cut after event {cut} of {len(events)}"
            tally.failures.append(f"{life.task.to_json()}, {where}: {wrong}")
        shutil.rmtree(image)
    return tally


def inner(subject: str) -> str:
    """Where in the recorded folder the store is: sled makes a folder of its own, and syncs its name."""
    return "store" if subject == "sled" else "."


def live(
    task: Task, root: Path, scratch: Path, given: tuple[int, int] = (0, 0), edit: Edit | None = None
) -> Life:
    """Record one life of the store in `root`, which is made if it is missing."""
    recording = record_python("cut_victim", task.to_json(), root=root, scratch=scratch)
    if edit is not None:
        recording = Recording(recording.base, edit(recording.events))
    return Life.of(task, recording, *given)


def chain(plan: Chain, scratch: Path, edit: Edit | None = None) -> Tally:
    """One store over several lives, each cut in many places, and begun on an image of the one before."""
    tally = Tally()
    chance = random.Random(str(plan))
    root, given = scratch / "root-0", (0, 0)
    begin: Callable[[int], str | None] = lambda _state: None  # noqa: E731
    with Looker(plan.subject, {"PYTHONPATH": PYTHONPATH}) as looker:
        for number in range(plan.lives):
            folder = scratch / f"life-{number}"
            task = plan.task(number, root)
            try:
                life = live(task, root, folder, given, edit)
            except AssertionError as error:
                tally.failures.append(f"{task.to_json()}, life {number} of {plan}: {error}")
                return tally
            wrong = begin(life.promises.notes[0].state)
            if wrong is not None:
                tally.failures.append(f"{life.task.to_json()}, begun on a cut: {wrong}")
            tally.add(
                cut_life(life, life.cuts(plan.images, chance), f"{plan.seed}-{number}", scratch, looker)
            )
            cut = chance.choice(life.cuts(9, chance))
            root = scratch / f"root-{number + 1}"
            _image(life, cut, root, chance)
            told = life.told(cut)
            given = life.promises.given(told)
            begin = partial(
                life.promises.place, told=told, moment=life.moment(cut), tally=tally, synced=life.synced(cut)
            )
    return tally


def _image(life: Life, cut: int, root: Path, chance: random.Random) -> None:
    disk = Disk(life.recording.base)
    for event in life.recording.events[:cut]:
        disk.happen(event)
    disk.cut(root, chance)


def campaign(
    seed: int, count: int, *, subject: str = "sled", levels: tuple[str, ...] = LEVELS, lives: int = 4
) -> Tally:
    """At least so many images, over all levels and kinds of work in turn, in chains of so many lives."""
    tally = Tally()
    turn = 0
    images = max(1, min(25, -(-count // (lives * len(levels) * len(STEPS)))))
    while tally.images < count and len(tally.failures) < ENOUGH:
        plan = Chain(
            subject=subject,
            level=levels[turn % len(levels)],
            work=list(STEPS)[turn % len(STEPS)],
            seed=seed + turn,
            lives=lives,
            images=images,
        )
        with tempfile.TemporaryDirectory(dir=memory()) as folder:
            tally.add(chain(plan, Path(folder)))
        turn += 1
    return tally


def memory() -> Path | None:
    """Images live in memory where there is such a place."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() else None
