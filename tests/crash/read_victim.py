"""The process whose disk fails a read in the middle of a commit.

    python -m crash.read_victim build STORE        fills a store beyond what its cache holds
    python -m crash.read_victim delete STORE N M   deletes M jobs all over it in one call; its N-th read fails
    python -m crash.read_victim part STORE N M     the same; its N-th read behind a part that is written
    python -m crash.read_victim open STORE N       only opens; the N-th 4 KiB of its file cannot be read

Under shim/reads.c. Prints one line of JSON: how it went, and how many reads the batch made.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import sys
from pathlib import Path

import jobq

from .cut_victim import open_service
from .picture import Picture

JOBS = 6_000
SIZE = 16_000
"""Together more than sled keeps in memory of them, whatever its cache is set to: 190 MB of log."""


def build(store: Path) -> dict[str, object]:
    """Fill a store."""
    chance = random.Random(0)
    with open_service("sled", store, "never") as service:
        for _ in range(JOBS // 100):
            service.enqueue_many("a", [chance.randbytes(SIZE) for _ in range(100)])
        return {"state": Picture(service).number}


def delete(store: Path, which: int, jobs: int, *, parted: bool) -> dict[str, object]:
    """Delete under a failing read; then close, as a program does that met an error."""
    shim = ctypes.CDLL(None)
    service = open_service("sled", store, "always")
    ids = random.Random(1).sample([info.id for info in service.find()], jobs)
    shim.jobq_reads_arm(ctypes.c_long(which), parted)
    outcome = "done"
    try:
        service.delete(ids)
    except jobq.RepositoryError as error:
        outcome = type(error).__name__
    reads = shim.jobq_reads_seen()
    shim.jobq_reads_arm(ctypes.c_long(0), False)
    try:
        service.close()
    except jobq.RepositoryError:
        assert outcome != "done", "the commit succeeded, and the close did not"
    return {"outcome": outcome, "reads": reads}


def open_(store: Path, which: int) -> dict[str, object]:
    """Open from a disk with a bad sector."""
    shim = ctypes.CDLL(None)
    shim.jobq_reads_bad(ctypes.c_long(which))
    outcome = "done"
    try:
        open_service("sled", store, "always")
    except jobq.RepositoryError as error:
        outcome = type(error).__name__
    # What failed is not waited for: this process ends as one does that is killed.
    print(json.dumps({"outcome": outcome, "reads": shim.jobq_reads_seen()}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    path = Path(sys.argv[2])
    if sys.argv[1] == "build":
        answer = build(path)
    elif sys.argv[1] == "open":
        answer = open_(path, int(sys.argv[3]))
    else:
        answer = delete(path, int(sys.argv[3]), int(sys.argv[4]), parted=sys.argv[1] == "part")
    print(json.dumps(answer))
