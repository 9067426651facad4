"""A disk that runs full: the store stops with a clear error, and opens again once there is room."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from .conftest import DISK, MIB
from .effort import SEED
from .journal import Call, read
from .launch import DEADLINE, Zygote
from .report import Tell
from .subjects import SUBJECTS
from .supervisor import Case
from .test_errors import assert_fail_stop
from .verdicts import Death

ROOM = {"sled": (1, 6, 11, 13, 18, 24), "sqlite": (1, 3)}
"""MiB left at the start. A sled store needs about ten to be made."""


def lives(calls: list[Call]) -> list[list[Call]]:
    """One list for each opening."""
    parts: list[list[Call]] = []
    for call in calls:
        if call.op == "open":
            parts.append([])
        parts[-1].append(call)
    return parts


@pytest.mark.parametrize(
    ("subject", "room"), [(subject, room) for subject in SUBJECTS for room in ROOM[subject]]
)
def test_a_full_disk(subject: str, room: int, disk: Path, zygote: Zygote, tmp_path: Path, tell: Tell) -> None:
    """It is the one failure that every long life meets, and the one that its owner can undo."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, DISK - room * MIB)
    case = Case(tmp_path / "case", subject, "always", SEED, launch=zygote)
    case.store = disk / "store"
    with case.victim(filler=str(filler), steps=60) as victim:
        code, err = victim.finish(DEADLINE)
    assert code == 0, f"status {code}: the store did not go on once there was room\n{err}"
    full, again = lives(read(case.journal))
    assert_fail_stop(subject, full)
    assert_fail_stop(subject, again)
    assert any(call.doubtful for call in full), "the disk never ran full"
    case.deaths.append(Death(case.runs, time.monotonic()))
    verdicts = case.verify()
    assert not verdicts, case.explain(verdicts)
    kept = sum(call.ok for call in full)
    tell(
        f"{subject}, {room} MiB: full after {kept} calls, opened again in the same process, nothing lost",
        full_disks=1,
    )
