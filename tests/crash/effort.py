"""How much of each test is run: what CI has time for, or, with JOBQ_CRASH_EFFORT=soak, all of it."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator
from itertools import count

SOAK = os.environ.get("JOBQ_CRASH_EFFORT") == "soak"
SEED = os.environ.get("JOBQ_CRASH_SEED", "0")
"""The same in every run of CI; the soak takes others."""
SEED_NUMBER = zlib.crc32(SEED.encode())
"""It, where a number is wanted."""


def some(ci: int, soak: int) -> int:
    """A number of repetitions."""
    return int(os.environ.get("JOBQ_CRASH_COUNT", soak if SOAK else ci))


def every(step: int) -> Iterator[int]:
    """Points of a sweep, without end: about each step-th, by the seed; each, where the step is 1."""
    if step == 1:
        yield from count(1)
    chance = random.Random(SEED)
    at = 0
    while True:
        at += chance.randint(1, 2 * step - 1)
        yield at
