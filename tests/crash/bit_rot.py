"""Bit rot: a store whose files were changed behind its back, one bit or one length at a time.

A damaged store either opens complete, because nothing of it lay where the damage is, or is refused as
RepositoryCorrupt. What it may never do is serve less, or something else, or raise anything else.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .cut_looker import Found, Looker
from .cut_victim import Task
from .power_cut import inner, memory
from .promises import Note
from .recording import PYTHONPATH, tree

DEADLINE = 120.0
PATHS = {"PYTHONPATH": PYTHONPATH}


@dataclass(frozen=True)
class Store:
    """A sound store, and what it holds."""

    task: Task
    folder: Path
    state: int


@dataclass(kw_only=True)
class Verdicts:
    """What came of a number of damages."""

    complete: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Salvages:
    """What came of a number of salvages."""

    stores: int = 0
    jobs: int = 0
    """Found in the new stores as they were, of so many in the old ones before the damage."""
    of: int = 0
    other: int = 0
    """Found in another state than their last."""
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Damage:
    """One bit that was turned over, or (bit None) a length at which a file was cut off."""

    file: str
    byte: int
    bit: int | None

    def inflict(self, store: Path) -> None:
        """Do it to the store in this folder."""
        path = store / self.file
        if self.bit is None:
            os.truncate(path, self.byte)
            return
        with path.open("r+b") as file:
            file.seek(self.byte)
            (old,) = file.read(1)
            file.seek(self.byte)
            file.write(bytes([old ^ 1 << self.bit]))


def make(seed: int, folder: Path, *, close: bool) -> Store:
    """A store after a few hundred steps, closed or killed."""
    root, notes = folder / "root", folder / "notes"
    root.mkdir()
    task = Task(
        subject="sled",
        store=str(root / inner("sled")),
        level="always",
        work="compaction",
        seed=seed,
        steps=200,
        close=close,
    )
    subprocess.run(
        [sys.executable, "-m", "crash.cut_victim", task.to_json()],
        env=os.environ | PATHS | {"JOBQ_RECORD_NOTES": str(notes)},
        check=True,
        timeout=DEADLINE,
    )
    return Store(task, Path(task.store), Note.from_line(notes.read_bytes().splitlines()[-1]).state)


def damages(store: Path, count: int, chance: random.Random, *, flips: bool) -> list[Damage]:
    """So many damages: to each file that has contents in turn, and at a place of it that is no hole's."""
    sizes = {str(path.relative_to(store)): path.stat().st_size for path in store.rglob("*") if path.is_file()}
    files = sorted(name for name, size in sizes.items() if size)
    # Half of them go where the records are.
    largest = max((name for name in files if name != "ballast"), key=lambda name: sizes[name])
    found = []
    for turn in range(count):
        file = largest if turn % 2 else files[turn // 2 % len(files)]
        byte = chance.randrange(sizes[file])
        found.append(Damage(file, byte, chance.randrange(8) if flips else None))
    return found


def judge(found: Found, state: int) -> str | None:
    """What is wrong with what a damaged store has answered; None when nothing is."""
    if found.error is None:
        if found.faults:
            return f"it opened, and then found {found.faults}"
        return None if found.state == state else "it serves another state"
    if not found.error.startswith("RepositoryCorrupt: "):
        return found.error
    return "a panic's text" if "panicked" in found.error else None


def rot(store: Store, damage: Damage, looker: Looker, copy: Path, verdicts: Verdicts) -> bool:
    """Damage a copy and look at it; True when it was refused. It is left as the look has left it."""
    shutil.copytree(store.folder, copy)
    damage.inflict(copy)
    found = looker.look(copy, store.task.level)
    wrong = judge(found, store.state)
    if wrong is not None:
        verdicts.failures.append(f"{store.task.to_json()}, {damage}: {wrong}")
    verdicts.complete += found.error is None
    verdicts.refused += found.error is not None
    return found.error is not None


def campaign(seed: int, flips: int, cuts: int, verdicts: Verdicts, *, close: bool) -> None:
    """So many flips and truncations of one store that was killed, or closed."""
    chance = random.Random(f"rot-{seed}-{close}")
    with made(seed, close=close) as (store, looker, folder):
        todo = damages(store.folder, flips, chance, flips=True)
        todo += damages(store.folder, cuts, chance, flips=False)
        for damage in todo:
            rot(store, damage, looker, folder / "copy", verdicts)
            shutil.rmtree(folder / "copy")


@contextmanager
def made(seed: int, *, close: bool) -> Iterator[tuple[Store, Looker, Path]]:
    """A store that is sound, who looks at copies of it, and a folder for those."""
    with tempfile.TemporaryDirectory(dir=memory()) as name, Looker("sled", PATHS) as looker:
        folder = Path(name)
        store = make(seed, folder, close=close)
        shutil.copytree(store.folder, folder / "copy")
        found = looker.look(folder / "copy", store.task.level)
        assert judge(found, store.state) is None, f"without any damage: {found}"
        shutil.rmtree(folder / "copy")
        yield store, looker, folder


def salvage_campaign(seed: int, count: int) -> Salvages:
    """Salvage from so many damaged stores that open refuses, each with one flip or truncation."""
    salvages = Salvages()
    chance = random.Random(f"salvage-{seed}")
    with made(seed, close=seed % 2 == 0) as (store, looker, folder):
        copy = folder / "copy"
        shutil.copytree(store.folder, copy)
        whole = looker.look(copy, store.task.level, jobs=True).jobs
        shutil.rmtree(copy)
        todo = damages(store.folder, count * 20, chance, flips=True)
        todo += damages(store.folder, count * 20, chance, flips=False)
        chance.shuffle(todo)
        for damage in todo:
            if rot(store, damage, looker, copy, Verdicts()):
                wrong = _salvage(copy, folder / "new", looker, whole, salvages)
                if wrong is not None:
                    salvages.failures.append(f"{store.task.to_json()}, {damage}: {wrong}")
            shutil.rmtree(copy)
            if salvages.stores == count:
                return salvages
    raise AssertionError(f"only {salvages.stores} of {len(todo)} damaged stores were refused")


def _salvage(old: Path, new: Path, looker: Looker, whole: dict[int, int], salvages: Salvages) -> str | None:
    """What is wrong with the salvage of a store whose jobs were `whole`; None when nothing is."""
    before = tree(old)
    done = subprocess.run(
        [sys.executable, "-m", "jobq", "salvage", str(old), str(new)],
        env=os.environ | PATHS,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    said = f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    salvages.stores += 1
    try:
        if tree(old) != before:
            return f"the old store was changed; {said}"
        if done.returncode not in {0, 1} or "panicked" in done.stderr or "Traceback" in done.stderr:
            return said
        if not new.exists():
            return f"nothing was made; {said}"
        found = looker.look(new, "always", jobs=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    if found.error or found.faults:
        return f"the new store: {found.error or found.faults}; {said}"
    kept = sum(found.jobs.get(id) == number for id, number in whole.items())
    salvages.jobs += kept
    salvages.of += len(whole)
    salvages.other += sum(id in whole and whole[id] != number for id, number in found.jobs.items())
    unnamed = [id for id in found.damaged if f"fault: the payload of job {id} (" not in done.stderr]
    if unnamed:
        return f"jobs {unnamed} have lost their payload, and it does not say so; {said}"
    if kept < len(whole) and done.returncode == 0:
        return f"{len(whole) - kept} of {len(whole)} jobs are missing or older, and it names nothing; {said}"
    return None
