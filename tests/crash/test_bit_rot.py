"""A disk that changes what was written never makes a store serve less, or something else.

sled alone does: after a flipped bit it may drop what it takes for a torn tail, or panic. The store's check
record and mark turn both into RepositoryCorrupt, and `salvage` gets out what can still be read.
"""

import pytest

from . import bit_rot
from .effort import SEED_NUMBER, SOAK, some
from .report import Tell

FLIPS, TRUNCATIONS = 256, 64
STORES = 5 if SOAK else 1
"""Each so often."""


@pytest.mark.parametrize("close", [False, True], ids=["killed", "closed"])
def test_a_damaged_store_opens_complete_or_is_refused(close: bool, tell: Tell) -> None:
    """Every file of it in turn, and every second time the one with the records."""
    verdicts = bit_rot.Verdicts()
    for number in range(STORES):
        bit_rot.campaign(SEED_NUMBER + number, FLIPS, TRUNCATIONS, verdicts, close=close)
    tell(
        f"bit rot: {verdicts.complete} complete, {verdicts.refused} refused",
        complete=verdicts.complete,
        refused=verdicts.refused,
    )
    assert not verdicts.failures, f"{len(verdicts.failures)}\n" + "\n".join(verdicts.failures[:20])
    assert verdicts.complete and verdicts.refused, "damage that is never felt, or always, judges nothing"


@pytest.mark.parametrize("seed", [1, 2], ids=["killed", "closed"])
def test_salvage_brings_what_reads_names_the_rest_and_leaves_the_old_store_alone(
    seed: int, tell: Tell
) -> None:
    """The old store may be all that its owner has left."""
    salvages = bit_rot.salvage_campaign(2 * SEED_NUMBER + seed, some(20, 400))
    tell(
        f"salvage: {salvages.jobs} of {salvages.of} jobs from {salvages.stores} stores",
        salvages=salvages.stores,
    )
    assert not salvages.failures, "\n".join(salvages.failures[:20])
    assert salvages.jobs > 0
