"""Homes of stores in a folder: Sled in each combination of roles, and the SQLite repository of the examples.

They lie in memory where the system has a place for that, because thousands of small syncs are asked of them;
what a store does for a power cut is tested elsewhere. A copy is made once everything queued is written, so it
is what a kill at that instant would leave.
"""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias, Unpack

from jobq import JobService, Memory, Repository, ServiceClosed, Sled
from jobq.testing import ManualClock

from .options import ServiceOptions

_Store: TypeAlias = Sled | Memory | Repository
Stores: TypeAlias = Callable[[Path], tuple[_Store, _Store]]
"""Makes the repositories of both roles, of what is in a folder."""

SHM = Path("/dev/shm")
PLACE = SHM if os.access(SHM, os.W_OK) else None
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class DiskHome:
    """A folder, and how repositories are opened on it."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.folder = Path(tempfile.mkdtemp(prefix="jobq-", dir=PLACE))
        self._service: JobService | None = None

    @classmethod
    def sled(cls) -> "DiskHome":
        return cls(one_sled)

    @classmethod
    def sled_jobs(cls) -> "DiskHome":
        return cls(lambda folder: (Sled(folder / "jobs"), Memory()))

    @classmethod
    def sled_topics(cls) -> "DiskHome":
        return cls(lambda folder: (Memory(), Sled(folder / "topics")))

    @classmethod
    def sled_two(cls) -> "DiskHome":
        return cls(lambda folder: (Sled(folder / "jobs"), Sled(folder / "topics")))

    @classmethod
    def sqlite(cls) -> "DiskHome":
        return cls(one_sqlite)

    @property
    def faults(self) -> list[str]:
        return []

    def open(self, clock: ManualClock | None, **options: Unpack[ServiceOptions]) -> JobService:
        jobs, topics = self.stores(self.folder)
        self._service = JobService(jobs, topics, clock=clock, **options)
        return self._service

    def copy(self) -> "DiskHome":
        if self._service is not None:
            with suppress(ServiceClosed):
                self._service.flush()
        other = DiskHome(self.stores)
        # The ballast holds nothing, and is made anew.
        ignore = shutil.ignore_patterns("ballast")
        shutil.copytree(self.folder, other.folder, dirs_exist_ok=True, ignore=ignore)
        return other

    def discard(self) -> None:
        shutil.rmtree(self.folder)


def one_sled(folder: Path) -> tuple[_Store, _Store]:
    store = Sled(folder / "store")
    return store, store


def one_sqlite(folder: Path) -> tuple[_Store, _Store]:
    spec = importlib.util.spec_from_file_location("sqlite_repository", EXAMPLES / "sqlite_repository.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    store: Repository = example.SQLite(folder / "store.db")
    return store, store
