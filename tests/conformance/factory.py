"""Service factories: the kinds of service that the contract is tested on, and how another kind joins.

A **factory** says what one kind of service is called, which of its roles outlive a reopen, and how a **home**
for it is founded. A home is where one test's data lives. It has three methods:

* `open(clock, **options)` opens a service on the data; the options are `JobService`'s keywords. It may be
  called again once the service opened before is closed, and then finds what that one left.
* `copy()` founds another home on what a kill at this instant would leave, while the service goes on: for a
  store on disk, a copy of its folder.
* `discard()` throws the data away.

and one attribute, `faults`: what the service did wrong to its repositories, as far as the home can tell.

To join, write a home and add one line to `FACTORIES`; homes of stores in a folder are in disk.py.

Every test then runs on it, those on durable roles as well; without `broad` those alone. `jobs` (`topics`) is
True when the job (topic) repository keeps what it acknowledged over close and over a crash. A factory that
has neither still runs: what it forgets is part of the contract too. `table` is True when the job repository
keeps reservations in a table beside the jobs, as Sled does: a job that is taken is not written then. Tests
that fail, hold up or corrupt a repository are about Python repositories alone and stay with `DictHome`.

With JOBQ_FACTORIES=all in the environment, as in CI, each is `broad`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, Unpack

from jobq import JobService, Memory
from jobq.testing import ManualClock

from .dict_repository import DictRepository, Disk
from .disk import DiskHome
from .options import ServiceOptions


class Home(Protocol):
    """Where one test's data lives."""

    @property
    def faults(self) -> list[str]: ...
    def open(self, clock: ManualClock | None, **options: Unpack[ServiceOptions]) -> JobService: ...
    def copy(self) -> "Home": ...
    def discard(self) -> None: ...


class MemoryHome:
    """Nothing is kept, so there is nothing to find again."""

    @property
    def faults(self) -> list[str]:
        return []

    def open(self, clock: ManualClock | None, **options: Unpack[ServiceOptions]) -> JobService:
        return JobService(Memory(), Memory(), clock=clock, **options)

    def copy(self) -> "MemoryHome":
        return MemoryHome()

    def discard(self) -> None:
        pass


class DictHome:
    """One or both roles in repositories made in Python, on dicts that are kept over close and reopen.

    `jobs_disk is topics_disk` means one object for both roles; None means a new `Memory()` each time.
    """

    def __init__(self, jobs_disk: Disk | None, topics_disk: Disk | None) -> None:
        self.jobs_disk = jobs_disk
        self.topics_disk = topics_disk
        self.jobs: DictRepository | None = None
        """The job repository of the service opened last."""
        self.topics: DictRepository | None = None
        """Its topic repository."""
        self._opened: list[DictRepository] = []

    @classmethod
    def one_object(cls) -> "DictHome":
        disk = Disk()
        return cls(disk, disk)

    @classmethod
    def two_objects(cls) -> "DictHome":
        return cls(Disk(), Disk())

    @classmethod
    def jobs_alone(cls) -> "DictHome":
        return cls(Disk(), None)

    @classmethod
    def topics_alone(cls) -> "DictHome":
        return cls(None, Disk())

    @property
    def faults(self) -> list[str]:
        return [fault for repository in self._opened for fault in repository.faults]

    def open(self, clock: ManualClock | None, **options: Unpack[ServiceOptions]) -> JobService:
        self.connect()
        return JobService(self.jobs or Memory(), self.topics or Memory(), clock=clock, **options)

    def connect(self) -> None:
        """Make the repositories of the next service."""
        self.jobs = None if self.jobs_disk is None else DictRepository(self.jobs_disk)
        if self.topics_disk is self.jobs_disk:
            self.topics = self.jobs
        else:
            self.topics = None if self.topics_disk is None else DictRepository(self.topics_disk)
        for repository in (self.jobs, self.topics):
            if repository is not None and repository not in self._opened:
                self._opened.append(repository)

    def copy(self) -> "DictHome":
        jobs = None if self.jobs_disk is None else self.jobs_disk.copy()
        if self.topics_disk is self.jobs_disk:
            return DictHome(jobs, jobs)
        return DictHome(jobs, None if self.topics_disk is None else self.topics_disk.copy())

    def discard(self) -> None:
        pass


@dataclass
class Factory:
    """One kind of service, and, once `fresh`, all that one test opened of it."""

    name: str
    found: Callable[[], Home]
    jobs: bool
    topics: bool
    broad: bool = True
    """Whether it runs the tests that ask nothing of a repository, too: one kind of a family does for all."""
    table: bool = False
    """Whether reservations are kept beside the jobs."""
    _homes: list[Home] = field(default_factory=list, init=False)
    _services: list[JobService] = field(default_factory=list, init=False)

    def fresh(self) -> "Factory":
        """The same kind with data of its own."""
        return Factory(self.name, self.found, self.jobs, self.topics, self.broad, self.table)

    @property
    def home(self) -> Home:
        """The home that `open` opens: the first, or the copy made by the last `crash`."""
        if not self._homes:
            self._homes.append(self.found())
        return self._homes[-1]

    def open(self, clock: ManualClock | None = None, **options: Unpack[ServiceOptions]) -> JobService:
        """Open a service on the data."""
        service = self.home.open(clock, **options)
        self._services.append(service)
        return service

    def reopen(self, clock: ManualClock | None = None, **options: Unpack[ServiceOptions]) -> JobService:
        """Close the service opened last, and open one on what it left."""
        self._services[-1].close()
        return self.open(clock, **options)

    def crash(self, clock: ManualClock | None = None, **options: Unpack[ServiceOptions]) -> JobService:
        """Open a service on what a kill at this instant would leave; the one before goes on, unseen."""
        self._homes.append(self.home.copy())
        return self.open(clock, **options)

    def end(self) -> list[str]:
        """Close all, throw the data away, and return what went wrong with the repositories."""
        for service in self._services:
            service.close()
        faults = [fault for home in self._homes for fault in home.faults]
        for home in self._homes:
            home.discard()
        return faults


EVERY = os.environ.get("JOBQ_FACTORIES") == "all"
"""Whether kinds of which another of their family runs all tests do so too, as in CI."""

FACTORIES = [
    Factory("memory", MemoryHome, jobs=False, topics=False),
    Factory("python", DictHome.one_object, jobs=True, topics=True),
    Factory("python-jobs", DictHome.jobs_alone, jobs=True, topics=False),
    Factory("python-topics", DictHome.topics_alone, jobs=False, topics=True),
    Factory("sled", DiskHome.sled, jobs=True, topics=True, table=True),
    Factory("sled-jobs", DiskHome.sled_jobs, jobs=True, topics=False, broad=EVERY, table=True),
    Factory("sled-topics", DiskHome.sled_topics, jobs=False, topics=True, broad=EVERY),
    Factory("sled-two", DiskHome.sled_two, jobs=True, topics=True, broad=EVERY, table=True),
    Factory("sqlite", DiskHome.sqlite, jobs=True, topics=True, broad=EVERY),
]
