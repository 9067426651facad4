"""A disk that changes what was written never makes a store serve less, or something else.

sled alone does: after a flipped bit it may drop what it takes for a torn tail, or panic. The store's check
record and mark turn both into RepositoryCorrupt, and `salvage` gets out what can still be read.
"""

import os
from collections.abc import Callable

import pytest

from . import bit_rot

FLIPS = int(os.environ.get("JOBQ_ROT_FLIPS", "256"))
TRUNCATIONS = int(os.environ.get("JOBQ_ROT_TRUNCATIONS", "64"))
SALVAGES = int(os.environ.get("JOBQ_ROT_SALVAGES", "20"))


@pytest.mark.parametrize("close", [False, True], ids=["killed", "closed"])
def test_a_damaged_store_opens_complete_or_is_refused(
    close: bool, record_property: Callable[[str, object], None]
) -> None:
    """Every file of it in turn, and every second time the one with the records."""
    verdicts = bit_rot.campaign(1, FLIPS, TRUNCATIONS, close=close)
    record_property("bit rot", f"{verdicts.complete} complete, {verdicts.refused} refused")
    assert not verdicts.failures, f"{len(verdicts.failures)}\n" + "\n".join(verdicts.failures[:20])
    assert verdicts.complete and verdicts.refused, "damage that is never felt, or always, judges nothing"


@pytest.mark.parametrize("seed", [1, 2], ids=["killed", "closed"])
def test_salvage_brings_what_reads_names_the_rest_and_leaves_the_old_store_alone(
    seed: int, record_property: Callable[[str, object], None]
) -> None:
    """The old store may be all that its owner has left."""
    salvages = bit_rot.salvage_campaign(seed, SALVAGES)
    record_property("salvage", f"{salvages.jobs} of {salvages.of} jobs from {salvages.stores} stores")
    assert not salvages.failures, "\n".join(salvages.failures[:20])
    assert salvages.jobs > 0
