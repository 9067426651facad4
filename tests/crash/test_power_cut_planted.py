"""The power-cut harness is blind to none of the ways to break a store that it is there to find.

Each is planted in the recorded stream of a sound store: the syncs it would not have made are taken out, or
its writes put into another order. A harness that passes these would pass anything.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import pytest

from . import stream
from .cut_looker import Found
from .power_cut import Chain, Edit, chain, memory
from .promises import Note, Promises, Tally
from .report import Tell

SEGMENT = 2 << 20
"""Of the sled adapter."""


def failures(level: str, edit: Edit | None, *, images: int = 150, steps: int = 250) -> list[str]:
    """What the harness finds in one life of a store."""
    plan = Chain(subject="sled", level=level, work="churn", seed=5, lives=1, images=images, steps=steps)
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        return chain(plan, Path(folder), edit).failures


def test_the_same_life_unbroken_passes() -> None:
    """Else what the planted ones fail by would prove nothing."""
    for level in ("always", "never"):
        assert failures(level, None) == []


@pytest.mark.parametrize("level", ["always", "interval", "never"])
def test_no_fdatasync_at_all_is_found(level: str, tell: Tell) -> None:
    """Acknowledged calls are lost; and at `never`, which may lose them, the store itself breaks."""
    found = failures(level, partial(stream.without_syncs, file="db"), images=40)
    tell(f"no fdatasync, {level}: {len(found)} of 40")
    assert found


@pytest.mark.parametrize("level", ["always", "never"])
def test_an_fdatasync_every_two_segments_is_found(level: str, tell: Tell) -> None:
    """The log is overwritten before what replaced it was safe; no lost call gives it away at `never`."""
    edit = partial(stream.with_rare_syncs, file="db", every=2 * SEGMENT)
    found = failures(level, edit, images=80, steps=2_000)
    tell(f"fdatasync every two segments, {level}: {len(found)} of 80")
    assert found


def test_a_mark_before_its_fdatasync_is_found(tell: Tell) -> None:
    """The mark vouches for what the disk does not hold: a sound store is refused after a power cut."""
    edit = partial(stream.with_writes_before_syncs, file="mark", synced="db")
    found = failures("always", edit, images=400)
    tell(f"mark before fdatasync: {len(found)} of 400")
    assert any("RepositoryCorrupt" in line for line in found), found[:3]


@pytest.mark.parametrize(
    ("level", "synced", "bad"),
    [
        ("always", 7.0, True),
        ("interval", 7.0, True),
        ("never", 1.0, False),  # the calls that are gone came after that sync
        ("never", 7.0, True),
        ("never", None, False),
    ],
)
def test_what_may_be_lost_is_bounded_at_each_level(level: str, synced: float | None, bad: bool) -> None:
    """A call each second, a cut at the tenth, and all from the fourth on is gone."""
    notes = [Note(call="x", seconds=float(at), state=at, between=(), id=at, token=at) for at in range(11)]
    found = Found(error=None, faults=[], state=3, id=99, token=99, seconds=0.0)
    tally = Tally()
    wrong = Promises(level=level, notes=notes).judge(found, 11, 10.0, tally, synced)
    assert (wrong is not None) == bad, wrong
    assert (tally.lost_calls, tally.lost_seconds) == (7, 6.0)
