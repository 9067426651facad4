"""Settings of the shim that makes storage calls fail, shim/faults.c, and its counters."""

from __future__ import annotations

import errno as numbers
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from .build import SHIMS, shim

KINDS = re.findall(r"X\((\w+)\)", (SHIMS / "faults.c").read_text())


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is to happen, and at which storage call under the folder `store`."""

    store: Path
    at: int = 0
    """Counted from 1; 0: nothing happens, calls are only counted."""
    mode: str = "kill"
    """kill, half, error, short or skip."""
    errno: int = numbers.EIO
    sticky: bool = False
    kinds: str = "all"
    """Which calls count: all (that open or change), moving (write and its like), reads, or one of KINDS."""
    match: str = ""
    """Only calls on files whose path has this in it; of a rename, the new path."""
    tally: Path | None = None

    def environment(self) -> dict[str, str]:
        """For the process that is to suffer it."""
        return {
            "LD_PRELOAD": str(shim("faults")),
            "JOBQ_FAULT_DIR": str(self.store),
            "JOBQ_FAULT_AT": str(self.at),
            "JOBQ_FAULT_MODE": self.mode,
            "JOBQ_FAULT_ERRNO": str(self.errno),
            "JOBQ_FAULT_STICKY": "1" if self.sticky else "0",
            "JOBQ_FAULT_KINDS": self.kinds,
            "JOBQ_FAULT_MATCH": self.match,
            "JOBQ_FAULT_TALLY": str(self.tally or ""),
        }


def tally(path: Path) -> dict[str, int]:
    """How often each kind of call was made; those never made are left out."""
    counts = struct.unpack(f"{len(KINDS)}Q", path.read_bytes())
    return {kind: count for kind, count in zip(KINDS, counts, strict=True) if count}


def struck(fault: Fault) -> bool:
    """Whether its process came as far as the call that was to fail."""
    assert fault.tally is not None
    counted = {"moving": KINDS[1 : KINDS.index("fsync")], "reads": KINDS[KINDS.index("read") :]}
    chosen = counted.get(fault.kinds, KINDS[: KINDS.index("read")])
    return sum(count for kind, count in tally(fault.tally).items() if kind in chosen) >= fault.at
