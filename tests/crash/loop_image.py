"""Power cuts of a real file system: ext4 in a file of its own, copied while the victim is stopped at work.

What the kernel had not yet sent to the device is not in the copy, as it would not be on a disk that lost
power. Nothing is frozen or synced first: fsfreeze would write everything out and make the test blind. The
image's own file lies in memory, where a copy sees every byte that the device was given.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from . import build
from .cut_looker import Looker
from .cut_victim import Task
from .power_cut import LEVELS, inner, memory
from .promises import Note, Promises, Tally
from .recording import PYTHONPATH

SIZE = 96 << 20
DEADLINE = 60.0
WORKS = ("churn", "small", "large")


def need_loop_devices() -> None:
    """Skip, or in CI fail, where no image can be mounted."""
    if os.geteuid() != 0:
        build.missing("root, to mount an ext4 image")
    for program in ("mkfs.ext4", "mount", "umount"):
        if shutil.which(program) is None:
            build.missing(program)
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        image = _make(Path(folder))
        try:
            with mounted(image, Path(folder, "try")):
                pass
        except subprocess.CalledProcessError as error:
            build.missing(f"a loop device that can be mounted ({error.stderr})")


def _make(folder: Path) -> Path:
    image = folder / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE)
    _run("mkfs.ext4", "-q", "-F", str(image))
    return image


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE)


@contextmanager
def mounted(image: Path, where: Path) -> Iterator[Path]:
    """The file system of an image, mounted until the end of the block."""
    where.mkdir(exist_ok=True)
    _run("mount", "-o", "loop", str(image), str(where))
    try:
        yield where
    finally:
        _unmount(where)


def _unmount(where: Path) -> None:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return _run("umount", str(where))
        except subprocess.CalledProcessError:  # a process that was killed may still hold a file for a moment
            assert time.monotonic() < end, f"{where} stays busy"
            time.sleep(0.01)


def cut(task: Task, looker: Looker, tally: Tally, shim: Path | None = None) -> None:
    """One cut: let a victim work for a while, stop it, copy its disk, and look at the copy."""
    chance = random.Random(f"loop-{task.to_json()}")
    with tempfile.TemporaryDirectory(dir=memory()) as name:
        folder = Path(name)
        image, notes = _make(folder), folder / "notes"
        with mounted(image, folder / "disk-of-the-victim") as disk:
            task = replace(task, store=str(disk / inner(task.subject)))
            told, moment = _stop_and_copy(task, notes, chance.randint(0, 400), image, folder / "copy", shim)
        made = [
            Note.from_line(line)
            for line in notes.read_bytes().splitlines(keepends=True)
            if line[-1:] == b"\n"
        ]
        promises = Promises(level=task.level, notes=made)
        with mounted(folder / "copy", folder / "disk-of-the-looker") as disk:
            found = looker.look(disk / inner(task.subject), task.level)
            looker.end()
        wrong = promises.judge(found, told, moment, tally)
        if wrong is not None:
            tally.failures.append(f"{task.to_json()}, loop image cut after {told} calls: {wrong}")


def _stop_and_copy(
    task: Task, notes: Path, calls: int, image: Path, copy: Path, shim: Path | None
) -> tuple[int, float]:
    """Stop the victim after so many calls, at whatever it is at; return the calls it had noted, and when."""
    environment = {"PYTHONPATH": PYTHONPATH, "JOBQ_RECORD_NOTES": str(notes)}
    if shim is not None:
        environment["LD_PRELOAD"] = str(shim)
    victim = subprocess.Popen(
        [sys.executable, "-m", "crash.cut_victim", task.to_json()],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _until_noted(notes, calls, victim)
        victim.send_signal(signal.SIGSTOP)
        _until_stopped(victim)
        moment, told = time.monotonic(), _noted(notes)
        shutil.copyfile(image, copy)
        # It goes on until the call that was under way has returned: its state may be what the copy holds.
        victim.send_signal(signal.SIGCONT)
        _until_noted(notes, told + 2, victim)
        return told, moment
    finally:
        victim.kill()
        victim.communicate(timeout=DEADLINE)


def _noted(notes: Path) -> int:
    with suppress(FileNotFoundError):
        return notes.read_bytes().count(b"\n")
    return 0


def _until_noted(notes: Path, calls: int, victim: subprocess.Popen[str]) -> None:
    end = time.monotonic() + DEADLINE
    while _noted(notes) < calls:
        assert victim.poll() is None, f"the victim died: {victim.communicate()[1]}"
        assert time.monotonic() < end, f"the victim made no {calls} calls within {DEADLINE} s"
        time.sleep(0.0005)


def _until_stopped(victim: subprocess.Popen[str]) -> None:
    """All of its threads: one that still runs would write on while the disk is copied."""
    end = time.monotonic() + DEADLINE
    tasks = Path(f"/proc/{victim.pid}/task")

    def stopped(thread: Path) -> bool:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"
        return True

    while not all(stopped(thread) for thread in tasks.iterdir()):
        assert time.monotonic() < end, "the victim does not stop"
        time.sleep(0.0005)


def campaign(
    seed: int,
    count: int,
    *,
    subject: str = "sled",
    levels: tuple[str, ...] = LEVELS,
    shim: Path | None = None,
) -> Tally:
    """So many cuts, over levels and kinds of work in turn; `shim` is loaded into the victim before libc."""
    tally = Tally()
    with Looker(subject, {"PYTHONPATH": PYTHONPATH}) as looker:
        for turn in range(count):
            work = WORKS[turn // len(levels) % len(WORKS)]
            task = Task(
                subject=subject,
                store="",
                level=levels[turn % len(levels)],
                work=work,
                seed=seed + turn,
                steps=10**6,
            )
            cut(task, looker, tally, shim)
    return tally
