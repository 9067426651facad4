"""The harness catches what it is there to catch: stores with planted faults, each of which it must find.

A harness that passes whatever a store does proves nothing when it passes.
"""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import pytest

from .effort import SEED
from .faults import Fault
from .launch import DEADLINE, Zygote
from .supervisor import Case
from .verdicts import Promise

CAUGHT = {
    "dropped": {"LOST"},
    "undone": {"UNDONE"},
    "reused": {"TOKEN"},
    "swapped": {"SWAPPED"},
    "late": {"LOST", "UNDONE"},
}
"""The fault, and the verdicts of which at least one must be given."""
SEEDS = range(4)
LEASES = Promise(leases=True)


def verdicts_on(zygote: Zygote, folder: Path, subject: str, seed: int) -> set[str]:
    """Kinds of the verdicts after a life that was killed at some call."""
    case = Case(folder, subject, "always", f"planted-{seed}", launch=zygote)
    fault = Fault(store=case.store, at=200 + seed)
    with case.victim(fault.environment(), steps=120) as victim:
        assert victim.finish(DEADLINE)[0] == -9
    # Looked at by an honest store: what is planted lies in what was written.
    return {verdict.kind for verdict in case.verify(subject="sqlite")}


@pytest.mark.parametrize("how", CAUGHT)
def test_a_planted_fault_is_caught(how: str, zygote: Zygote, tmp_path: Path) -> None:
    """One kill is enough for most; a last commit matters only if acknowledged, so there are a few."""
    for seed in SEEDS:
        if verdicts_on(zygote, tmp_path / f"{seed}", f"sqlite+{how}", seed) & CAUGHT[how]:
            return
    pytest.fail(f"a store that cheats passes: {how}")


def test_where_nothing_is_planted_nothing_is_caught(zygote: Zygote, tmp_path: Path) -> None:
    """The same lives and kills on the honest store: what is found above is the fault and nothing else."""
    for seed in SEEDS:
        assert not verdicts_on(zygote, tmp_path / f"{seed}", "sqlite", seed)


def test_a_torn_snapshot_left_behind_is_caught(zygote: Zygote, tmp_path: Path) -> None:
    """A kill in a window of three system calls leaves one; a store that does not set it aside is dead."""
    first = Case(tmp_path / "first", "sled", "always", SEED, launch=zygote)
    with first.victim(steps=3) as victim:
        assert victim.finish(DEADLINE)[0] == 0
    for at in count(1):
        case = first.copy(tmp_path / f"{at}")
        killed = case.recover(Fault(store=case.store, at=at).environment()) == -9
        assert killed, "no kill left one that matters: the sweep misses the window"
        if not list(case.store.rglob("snap.*.generating")):
            continue
        other = case.copy(tmp_path / f"{at}-kept")
        assert not case.verify()
        kept = Fault(
            store=other.store, at=1, mode="skip", kinds="rename", match="aside/unfinished", sticky=True
        )
        if {verdict.kind for verdict in other.verify(kept.environment())} == {"OPEN"}:
            return


def test_a_lease_that_is_never_written_is_caught(zygote: Zygote, tmp_path: Path) -> None:
    """A job that kills its process at once would be tried for ever."""
    found: dict[bool, set[str]] = {False: set(), True: set()}
    for planted, kinds in found.items():
        for seed in SEEDS:
            case = Case(tmp_path / f"{planted}-{seed}", "sled", "always", f"{seed}", LEASES, zygote)
            deaf = Fault(
                store=case.store, at=1, mode="skip", kinds="pwrite64", match="/store/inflight", sticky=True
            )
            with case.victim(deaf.environment() if planted else None) as victim:
                end = time.monotonic() + DEADLINE
                while case.calls() < 200:
                    assert time.monotonic() < end, "the victim hardly works"
                victim.kill()
            kinds |= {verdict.kind for verdict in case.verify()}
    assert found == {False: set(), True: {"FORGOTTEN"}}
