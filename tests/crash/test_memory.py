"""Deleting from a large store does not fill the memory: sled keeps what it has freed until it is told to let
go.

A million deletes at random took 3 GB before that was found.
"""

import json

import pytest

from child import run

from .power_cut import memory
from .report import Tell

ROUNDS = 10
JOBS = 100_000
MOST = 250 << 20


@pytest.mark.parametrize("sync", ["never"])
def test_a_million_random_deletes_stay_within_250_mb(sync: str, tell: Tell) -> None:
    """In rounds of 100,000 waiting jobs each, in groups of 1,000; the peak is the whole process's."""
    outcome = run(
        f"""
        import array, json, random, resource, tempfile
        import jobq
        chance = random.Random(1)
        with tempfile.TemporaryDirectory(dir={str(memory())!r}) as folder:
            with jobq.open(folder + "/store", sync={sync!r}) as svc:
                for _ in range({ROUNDS}):
                    ids = array.array("q")
                    for _ in range({JOBS} // 1000):
                        ids.extend(svc.enqueue_many("a", [b"x" * 64] * 1000))
                    chance.shuffle(ids)
                    for at in range(0, {JOBS}, 1000):
                        svc.delete(ids[at:at + 1000])
        print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
        """,
        seconds=300,
    ).succeeded()
    peak = json.loads(outcome.out)
    tell(f"a million random deletes: peak RSS {peak >> 20} MB")
    assert peak <= MOST, f"{peak >> 20} MB"
