"""Power cuts by record and replay: works on a store, cuts it in many places, and judges what each cut left.

A chain is one store over several lives: each begins on an image that a cut of the life before has left, works,
and is cut in many places itself, its recovery included. Everything follows from the seed.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .cut_looker import Found, Looker
from .cut_victim import INTERVAL, Task
from .recording import PYTHONPATH, Recording, record_python
from .replay import Disk
from .stream import Event, Kind

LEVELS = ("always", "interval", "never")
SLACK = 0.5
"""Seconds that `interval` may lose beyond its interval on a machine whose cores are busy."""

LONGEST = 100
"""No chain has more lives; a life's seed is its chain's times this, plus its place."""

Edit = Callable[[list[Event]], list[Event]]
"""Makes of a stream that of a broken store."""


@dataclass(frozen=True)
class Note:
    """What had been promised at one moment."""

    at: int
    """The number of events before it."""
    seconds: float
    call: str
    state: int
    between: tuple[int, ...]
    id: int
    token: int


@dataclass(kw_only=True)
class Tally:
    """What came of a number of images."""

    images: int = 0
    lost_calls: int = 0
    """The most acknowledged calls that any image was without."""
    lost_seconds: float = 0.0
    """The longest time before the cut whose calls an image was without."""
    slowest_open: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count those too."""
        self.images += other.images
        self.lost_calls = max(self.lost_calls, other.lost_calls)
        self.lost_seconds = max(self.lost_seconds, other.lost_seconds)
        self.slowest_open = max(self.slowest_open, other.slowest_open)
        self.failures += other.failures


def notes_of(events: list[Event]) -> list[Note]:
    """The promises of one life, in order."""
    found: list[Note] = []
    for at, event in enumerate(events):
        if event.kind is Kind.NOTE:
            for line in event.data.splitlines():
                raw = json.loads(line)
                raw["between"] = tuple(raw["between"])
                found.append(Note(at=at + 1, seconds=event.seconds, **raw))
    return found


@dataclass(kw_only=True)
class Life:
    """One recorded life of a store, ready to be cut."""

    task: Task
    recording: Recording
    first_id: int
    """Above every id of the lives before; and so the token."""
    first_token: int

    def __post_init__(self) -> None:
        self.notes = notes_of(self.recording.events)
        assert self.notes, "the victim has noted nothing"

    def judge(self, found: Found, cut: int, tally: Tally) -> str | None:
        """What is wrong with what a cut after so many events has left; None when nothing is."""
        if found.error is not None:
            return found.error
        if found.faults:
            return f"verify: {found.faults}"
        told = [note for note in self.notes if note.at <= cut]
        highest_id = max([self.first_id, *(note.id for note in told)])
        highest_token = max([self.first_token, *(note.token for note in told)])
        if found.id <= highest_id:
            return f"id {found.id} was given out again: {highest_id} had been"
        if found.token <= highest_token:
            return f"token {found.token} was given out again: {highest_token} had been"
        return self._place(found.state, cut, told, tally)

    def _place(self, state: int, cut: int, told: list[Note], tally: Tally) -> str | None:
        """Find the moment whose state it is: at or before the call under way, and not before what must be kept."""
        under_way = self.notes[len(told) : len(told) + 1]
        if any(state in (note.state, *note.between) for note in under_way):
            return None
        for lost, note in enumerate(reversed(told)):
            if state in (note.state, *(note.between if lost else ())):
                seconds = self._moment(cut) - told[len(told) - lost].seconds if lost else 0.0
                return self._may_lose(lost, seconds, tally)
        return f"the state is none that ever was, after {len(told)} calls: a hole, or a mixture"

    def _moment(self, cut: int) -> float:
        return self.recording.events[cut - 1].seconds if cut else 0.0

    def _may_lose(self, lost: int, seconds: float, tally: Tally) -> str | None:
        tally.lost_calls = max(tally.lost_calls, lost)
        tally.lost_seconds = max(tally.lost_seconds, seconds)
        allowed = {"always": 0.0, "interval": INTERVAL + SLACK, "never": float("inf")}[self.task.level]
        if lost and (self.task.level == "always" or seconds > allowed):
            return f"{lost} acknowledged calls of the last {seconds:.3f} s are lost"
        return None

    def cuts(self, count: int, chance: random.Random) -> list[int]:
        """That many places to cut: a third anywhere, the others where stores are known to break."""
        events = self.recording.events
        edges = [at for at, event in enumerate(events, 1) if event.kind in _EDGES]
        opened = self.notes[0].at
        marks = [note.at for note in self.notes if note.call in {"compact", "closed"}]
        places = list(range(len(events) + 1))
        spans = [range(opened + 1)] + [range(self._before(at), at + 1) for at in marks]
        chosen = []
        for _ in range(count):
            kind = chance.randrange(3)
            span = places if kind == 0 else edges if kind == 1 and edges else chance.choice(spans)
            chosen.append(chance.choice(span))
        return sorted(chosen)

    def _before(self, at: int) -> int:
        return max(note.at for note in self.notes if note.at < at)


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
        found = looker.look(image / _inner(life.task.subject), life.task.level)
        tally.images += 1
        tally.slowest_open = max(tally.slowest_open, found.seconds)
        wrong = life.judge(found, cut, tally)
        if wrong is not None:
            tally.failures.append(
                f"{life.task.to_json()}, image {seed}-{number}, cut after event {cut} of {len(events)}: {wrong}"
            )
        shutil.rmtree(image)
    return tally


def _inner(subject: str) -> str:
    """Where in the recorded folder the store is: sled makes a folder of its own, and syncs its name."""
    return "store" if subject == "sled" else "."


def live(subject: str, level: str, work: str, seed: int, steps: int, root: Path, scratch: Path) -> Life:
    """Record one life of the store in `root`, which is made if it is missing."""
    store = root.resolve() / _inner(subject)
    task = Task(
        subject=subject,
        store=str(store),
        level=level,
        work=work,
        seed=seed,
        steps=steps,
        keep=seed // LONGEST % 2 == 0,
        close=seed % 3 != 0,
    )
    recording = record_python("cut_victim", task.to_json(), root=root, scratch=scratch)
    return Life(task=task, recording=recording, first_id=0, first_token=0)


def chain(
    subject: str,
    level: str,
    work: str,
    seed: int,
    *,
    lives: int,
    images: int,
    steps: int,
    scratch: Path,
    edit: Edit | None = None,
) -> Tally:
    """One store over that many lives, cut in so many places in each."""
    tally = Tally()
    chance = random.Random(f"{subject}-{level}-{work}-{seed}")
    highest_id, highest_token = 0, 0
    root = scratch / "root-0"
    with Looker(subject, {"PYTHONPATH": PYTHONPATH}) as looker:
        last: tuple[Life, int] | None = None
        for number in range(lives):
            life = live(subject, level, work, seed * LONGEST + number, steps, root, scratch / f"life-{number}")
            life.first_id, life.first_token = highest_id, highest_token
            if last is not None:
                tally.failures += _inherited(*last, life, tally)
            if edit is not None:
                life.recording = Recording(life.recording.base, edit(life.recording.events))
                life.notes = notes_of(life.recording.events)
            tally.add(cut_life(life, life.cuts(images, chance), f"{seed}-{number}", scratch, looker))
            shutil.rmtree(root)
            cut = chance.choice(life.cuts(9, chance))
            root = scratch / f"root-{number + 1}"
            _image(life, cut, root, chance)
            told = [note for note in life.notes if note.at <= cut]
            highest_id = max([highest_id, *(note.id for note in told)])
            highest_token = max([highest_token, *(note.token for note in told)])
            last = life, cut
            shutil.rmtree(scratch / f"life-{number}", ignore_errors=True)
    shutil.rmtree(root)
    return tally


def _image(life: Life, cut: int, root: Path, chance: random.Random) -> None:
    disk = Disk(life.recording.base)
    for event in life.recording.events[:cut]:
        disk.happen(event)
    disk.cut(root, chance)


def _inherited(before: Life, cut: int, life: Life, tally: Tally) -> list[str]:
    """What is wrong with the state that a life has begun with."""
    told = [note for note in before.notes if note.at <= cut]
    wrong = before._place(life.notes[0].state, cut, told, tally)  # noqa: SLF001
    return [] if wrong is None else [f"{life.task.to_json()}, begun on a cut after event {cut}: {wrong}"]


def campaign(
    seed: int, count: int, *, subject: str = "sled", levels: tuple[str, ...] = LEVELS, scratch: Path | None = None
) -> Tally:
    """At least so many images, over all levels and kinds of work in turn, in chains of four lives."""
    tally = Tally()
    works = ("small", "churn", "large", "compaction")
    turn = 0
    while tally.images < count:
        level, work = levels[turn % len(levels)], works[turn % len(works)]
        with tempfile.TemporaryDirectory(dir=scratch or _memory()) as folder:
            share = max(1, min(25, -(-count // (4 * 12))))
            one = chain(
                subject, level, work, seed + turn, lives=4, images=share, steps=STEPS[work], scratch=Path(folder)
            )
        tally.add(one)
        turn += 1
    return tally


STEPS = {"small": 120, "churn": 250, "large": 60, "compaction": 100}
"""Steps of one life, for each kind of work: a second or less of recording."""


def _memory() -> Path | None:
    """Images live in memory where there is such a place."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() else None


def report(tally: Tally) -> dict[str, object]:
    """The tally as a record of a soak run."""
    return asdict(tally)
