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
from .power_cut import Chain, Edit, chain, memory
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
