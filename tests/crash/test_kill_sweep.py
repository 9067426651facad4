"""Kill at every storage call in turn: of a whole life of a store, and of the recovery after a kill.

A random kill all but never hits the few microseconds between two system calls in which a store is half made.
"""

from __future__ import annotations

import shutil
from itertools import count
from pathlib import Path

import pytest

from .faults import Fault
from .launch import DEADLINE, Zygote
from .report import tell
from .subjects import SUBJECTS
from .supervisor import Case

STEPS = 60


def life(zygote: Zygote, folder: Path, subject: str, level: str, at: int, mode: str) -> tuple[Case, bool]:
    """A life of a store (creation, operations, a compaction, close), cut at a call; whether it was."""
    case = Case(folder, subject, level, f"sweep-{at}", launch=zygote)
    fault = Fault(store=case.store, at=at, mode=mode, tally=folder / "tally")
    # One seed for all, so that every point of one and the same life is hit.
    with case.victim(fault.environment(), steps=STEPS, seed="sweep") as victim:
        code, err = victim.finish(DEADLINE)
    assert code in {0, -9}, f"at call {at}: status {code}\n{err}"
    return case, code == -9


@pytest.mark.parametrize("mode", ["kill", "half"])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_kill_at_every_call_of_a_life(
    zygote: Zygote, subject: str, mode: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """Wherever it dies, what was acknowledged is there, and the store opens."""
    for at in count(1):
        case, killed = life(zygote, tmp_path / f"{at}", subject, "always", at, mode)
        verdicts = case.verify()
        assert not verdicts, case.explain(verdicts)
        shutil.rmtree(case.folder)
        if not killed:
            break
    assert at > STEPS, f"only {at} calls were seen: the shim is blind"
    tell(record_property, f"{subject}: {at - 1} calls, mode {mode}, each cut once")
