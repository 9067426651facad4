"""Kill at every storage call in turn: of a whole life of a store, and of the recovery after a kill.

A random kill all but never hits the few microseconds between two system calls in which a store is half made.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pytest

from .effort import SEED, SOAK, every
from .faults import Fault
from .launch import DEADLINE, Zygote
from .report import Tell
from .subjects import SUBJECTS
from .supervisor import Case

STEPS = 60
KILLED = -signal.SIGKILL
STEP = {"sled": 1, "sqlite": 1 if SOAK else 5}
"""In CI every call of our own store, and about each fifth of the other's."""
LIVES = 40 if SOAK else 140
"""About each which cut of a life has its recovery cut too."""

MOST = 20
"""Recoveries in one run."""


def live(case: Case, fault: Fault) -> bool:
    """A life of a store (creation, operations, a compaction, close) under a fault; whether it was cut."""
    # One seed for all, so that it is every point of one and the same life.
    with case.victim(fault.environment(), steps=STEPS, seed=SEED) as victim:
        code, err = victim.finish(DEADLINE)
    assert code in {0, KILLED}, f"at call {fault.at}: status {code}\n{err}"
    return code == KILLED


def sweep(zygote: Zygote, folder: Path, subject: str, points: Iterable[int], mode: str, kinds: str) -> int:
    """Cut the life at these calls, one after another, until it has no more; how many cuts there were."""
    cuts = 0
    for at in points:
        case = Case(folder / f"{at}", subject, "always", SEED, launch=zygote)
        killed = live(case, Fault(store=case.store, at=at, mode=mode, kinds=kinds))
        verdicts = case.verify()
        assert not verdicts, case.explain(verdicts)
        shutil.rmtree(case.folder)
        if not killed:
            break
        cuts += 1
    return cuts


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_kill_before_every_call_of_a_life(subject: str, zygote: Zygote, tmp_path: Path, tell: Tell) -> None:
    """Wherever it dies, what was acknowledged is there, and the store opens."""
    cuts = sweep(zygote, tmp_path, subject, every(STEP[subject]), "kill", "all")
    assert cuts > STEPS / STEP[subject], f"only {cuts} calls were seen: the shim is blind"
    tell(f"{subject}: killed before each of {cuts} storage calls", cuts=cuts)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_kill_within_every_write_of_a_life(
    subject: str, zygote: Zygote, tmp_path: Path, tell: Tell
) -> None:
    """A write of which only the first half was done looks to a store like none that it ever made."""
    cuts = sweep(zygote, tmp_path, subject, every(STEP[subject]), "half", "moving")
    assert cuts > STEPS / STEP[subject] / 2, f"only {cuts} writes were seen: the shim is blind"
    tell(f"{subject}: killed within each of {cuts} writes", cuts=cuts)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_kill_at_every_call_of_a_recovery(subject: str, zygote: Zygote, tmp_path: Path, tell: Tell) -> None:
    """What recovers must be as hard to break as what works: machines that crash once crash again."""
    calls, lives = 0, 0
    for cut in islice(every(LIVES), MOST):
        first = Case(tmp_path / f"{cut}", subject, "always", SEED, launch=zygote)
        if not live(first, Fault(store=first.store, at=cut)):
            break
        lives += 1
        for at in every(STEP[subject]):
            case = first.copy(tmp_path / f"{cut}-{at}")
            killed = case.recover(Fault(store=case.store, at=at).environment()) == KILLED
            verdicts = case.verify()
            assert not verdicts, case.explain(verdicts)
            shutil.rmtree(case.folder)
            if not killed:
                break
            calls += 1
        shutil.rmtree(first.folder)
    assert lives and calls > lives, "no recovery was cut: the shim is blind"
    tell(f"{subject}: {lives} recoveries, killed before each of {calls} calls", recoveries=lives, cuts=calls)
