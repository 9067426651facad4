"""The model of the power-cut tests is held against a real file system: ext4, cut in the middle of its work.

The recorder and its model could share a mistake. Here nothing is modelled: the kernel decides what had
reached the device when the victim was stopped, ext4 replays its own journal, and the same judge looks at what
is there.
"""

import pytest

from . import build, loop_image
from .effort import SEED_NUMBER, some
from .power_cut import LEVELS
from .report import Tell


@pytest.fixture(autouse=True)
def _loop_devices() -> None:
    loop_image.need_loop_devices()


def test_a_real_file_system_cut_at_work_keeps_what_was_promised(
    tell: Tell,
) -> None:
    """At `always` every acknowledged call; at the weaker levels the store opens, and only an end is gone."""
    count = some(5, 100)
    tally = loop_image.campaign(SEED_NUMBER, count, levels=("always", *LEVELS, "always"))
    tell(f"loop image: {tally.summary()}", ext4_cuts=tally.images)
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.images == count


def test_without_its_syncs_the_same_store_is_found_out() -> None:
    """Else the copies would hold what was never sent to the device, and every store would pass."""
    tally = loop_image.campaign(1, 4, levels=("always",), shim=build.shim("no_sync"))
    assert tally.failures
