"""A power cut at any moment takes nothing that was acknowledged, and never leaves a store that does not open.

That is the promise of `sync="always"`; at the weaker levels what is missing is the end of what was done, and
nothing before it. Each image is what a disk may hold after one cut (replay.py), in the middle of work, of a
compaction, of the first creation, of closing, and of the recovery from the cut before.
"""

import os
from collections.abc import Callable

import pytest

from .power_cut import campaign

IMAGES = int(os.environ.get("JOBQ_CUT_IMAGES", "1000"))
SEED = int(os.environ.get("JOBQ_CUT_SEED", "1"))


@pytest.mark.parametrize("level", ["always", "interval", "never"])
def test_every_image_opens_and_holds_what_its_level_promises(
    level: str, record_property: Callable[[str, object], None]
) -> None:
    """The whole state is that after one of the calls, and ids and tokens go on above all given out before."""
    count = -(-IMAGES // 3)
    tally = campaign(SEED, count, levels=(level,))
    record_property(f"power cuts at {level}", f"{tally}")
    assert not tally.failures, f"{len(tally.failures)} of {tally.images}\n" + "\n".join(tally.failures[:20])
    assert tally.images >= count


def test_a_repository_in_python_is_held_to_the_same(record_property: Callable[[str, object], None]) -> None:
    """SQLite is known to keep its promise: were an image of it refused, the fault would be the harness's."""
    tally = campaign(SEED, 100, subject="sqlite", levels=("always",))
    record_property("power cuts of SQLite", f"{tally}")
    assert not tally.failures, f"{len(tally.failures)} of {tally.images}\n" + "\n".join(tally.failures[:20])
    assert tally.lost_calls == 0
