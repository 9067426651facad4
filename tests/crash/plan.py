"""What one process of a test is to do, as its supervisor tells it: one JSON argument."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run of a victim or a verifier."""

    subject: str
    """As in `subjects.open_service`."""
    level: str
    store: str
    """The store's folder."""
    journal: str
    """The journal's folder, on another file system where the store's may fail."""
    run: int
    """Counts the processes that have had the store; unique within a journal."""
    seed: str
    steps: int = 0
    """Operations in one thread, then close; 0: threads that work until they are killed."""
    producers: int = 2
    consumers: int = 2
    seconds: float = 30.0
    """After this long the threads stop, should nobody kill them."""
    filler: str = ""
    """A file on a small disk: work until that is full, remove it, go on in the same process."""
    drain: bool = True
    """Verifier: reserve and finish all that is live."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        return cls(**json.loads(text))

    @property
    def folder(self) -> Path:
        return Path(self.journal)

    @property
    def report(self) -> Path:
        """Where a verifier writes what it saw."""
        return self.folder / f"{self.run:06d}-seen.json"

    @property
    def stderr(self) -> Path:
        """Where what the process writes to stderr goes."""
        return self.folder / f"{self.run:06d}-stderr"
