"""SIGKILL at a random moment, with several threads at work, again and again on one store.

What a kill at a chosen call cannot find: states that only threads in a race reach, and what builds up over
many crashes.
"""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from .effort import SEED, some
from .launch import Zygote
from .report import Tell
from .supervisor import Case
from .verdicts import Promise

CHAIN = 8
"""Crashes of one store before the next is begun: more than a job survives that is held at each."""
BUSY = 0.2
"""Seconds that the writer may wait for a processor that others use; what passes 0.1 s is counted and told."""
PROMISES = {
    ("sled", "always"): Promise(leases=True),
    ("sled", "interval"): Promise(leases=True),
    ("sled", "never"): Promise(leases=True, window=0.1 + BUSY),
    ("two sleds", "always"): Promise(leases=True),
    ("two sleds", "never"): Promise(leases=True, window=0.1 + BUSY),
    ("sqlite", "always"): Promise(),
}
"""After a kill; the machine itself goes on."""
COUNTS = {"sled": 66, "two sleds": 20, "sqlite": 10}
"""Kills in CI, of each level."""


def kill_once(case: Case, chance: random.Random) -> None:
    """Let it work for 0.1 to 500 ms, short times as likely as long ones; one in ten dies while it opens."""
    early = chance.random() < 0.1
    with case.victim() as victim:
        victim.reaches(b"o" if early else b"w")
        # The moment is what is drawn: this is no wait for anything.
        time.sleep(10 ** chance.uniform(-4, -2 if early else -0.3))
        victim.kill()


@pytest.mark.parametrize(("subject", "level"), PROMISES)
def test_a_kill_at_any_moment(subject: str, level: str, zygote: Zygote, tmp_path: Path, tell: Tell) -> None:
    """Nothing acknowledged is lost or undone, but at `never` the last 0.1 s, as a suffix."""
    chance = random.Random(f"{SEED}-{subject}-{level}")
    kills = some(COUNTS[subject], 20 * COUNTS[subject])
    calls = late = 0
    oldest = 0.0
    case: Case | None = None
    for number in range(kills):
        if case is None or len(case.deaths) == CHAIN:
            if case is not None:
                calls += case.calls()
                shutil.rmtree(case.folder)
            promise = PROMISES[subject, level]
            case = Case(tmp_path / f"{number}", subject, level, f"{SEED}-{number}", promise, zygote)
        kill_once(case, chance)
        verdicts = case.verify(drain=chance.random() < 0.5)
        assert not verdicts, case.explain(verdicts)
        oldest = max(oldest, case.oldest_loss)
        late += case.oldest_loss > 0.1
    assert case is not None
    calls += case.calls()
    assert calls > kills, "the victims hardly worked"
    line = f"{subject} at {level}: {kills} kills, {calls} calls journaled, oldest loss {1000 * oldest:.0f} ms"
    tell(line, kills=kills, calls=calls, losses_above_100_ms=late)
