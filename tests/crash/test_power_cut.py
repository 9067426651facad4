"""A power cut at any moment takes nothing that was acknowledged, and never leaves a store that does not open.

That is the promise of `sync="always"`; at the weaker levels what is missing is the end of what was done, and
nothing before it. Each image is what a disk may hold after one cut (replay.py), in the middle of work, of a
compaction, of the first creation, of closing, and of the recovery from the cut before.
"""

import pytest

from .effort import SEED_NUMBER, some
from .power_cut import campaign
from .report import Tell

LEAST = 1_000
"""Images of all levels together in CI."""


@pytest.mark.parametrize("level", ["always", "interval", "never"])
def test_every_image_opens_and_holds_what_its_level_promises(level: str, tell: Tell) -> None:
    """The whole state is that after one of the calls, and ids and tokens go on above all given out before."""
    count = -(-some(LEAST, 100_000) // 3)
    tally = campaign(SEED_NUMBER, count, levels=(level,))
    tell(f"power cuts at {level}: {tally.summary()}", images=tally.images)
    assert not tally.failures, f"{len(tally.failures)} of {tally.images}\n" + "\n".join(tally.failures[:20])
    assert tally.images >= count


def test_a_repository_in_python_is_held_to_the_same(tell: Tell) -> None:
    """SQLite is known to keep its promise: were an image of it refused, the fault would be the harness's."""
    tally = campaign(SEED_NUMBER, some(100, 1_000), subject="sqlite", levels=("always",))
    tell(f"power cuts of SQLite: {tally.summary()}")
    assert not tally.failures, f"{len(tally.failures)} of {tally.images}\n" + "\n".join(tally.failures[:20])
    assert tally.lost_calls == 0


def test_two_stores_keep_what_was_promised_together(tell: Tell) -> None:
    """Jobs in one and topics in another: a call is acknowledged when each has what it must keep."""
    tally = campaign(SEED_NUMBER, some(100, 2_000), subject="two sleds", levels=("always",))
    tell(f"power cuts of two stores: {tally.summary()}", images=tally.images)
    assert not tally.failures, f"{len(tally.failures)} of {tally.images}\n" + "\n".join(tally.failures[:20])
