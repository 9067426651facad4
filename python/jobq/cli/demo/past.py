"""What earlier runs of the demo left in a store: which files are queued, and what the done ones came to.

A run that is killed loses nothing of this: a path is known once its job is enqueued, and a file's digest is
written into its job's log by the same commit that makes the job done.
"""

import os
from dataclasses import dataclass, field

import jobq
from jobq.cli.demo.hasher import Digest, Result, Sums
from jobq.cli.errors import UsageError


@dataclass
class Past:
    """What a store knew before this run; nothing for one in memory."""

    paths: dict[bytes, bool] = field(default_factory=dict[bytes, bool])
    """Each path that has a job, and whether that is still to be done."""
    topics: set[str] = field(default_factory=set[str])
    sums: dict[str, Sums] = field(default_factory=dict[str, Sums])
    """Of the done jobs, by topic."""
    results: list[Result] = field(default_factory=list[Result])

    @property
    def total(self) -> Sums:
        """Of all done jobs."""
        total = Sums()
        for part in self.sums.values():
            total.add(part)
        return total

    @property
    def finished(self) -> int:
        """Jobs that are done or dead letters."""
        return sum(not live for live in self.paths.values())


def recall(svc: jobq.JobService, directory: bytes, *, keep: bool) -> Past:
    """Read the store; `keep` keeps each result. UsageError for one that is not of this directory's demo."""
    past = Past()
    inside = os.path.join(directory, b"")  # noqa: PTH118 - pathlib knows no bytes
    for info in svc.find():
        path = svc.payload(info.id)
        digest = Digest.of_log(info.log)
        is_done = info.status == jobq.Status.DONE
        if not path.startswith(inside) or path in past.paths or (is_done and digest is None):
            raise UsageError(
                f"job {info.id} of the store is not the demo's for this directory: "
                "take another store, or the directory that this one was made for"
            )
        past.paths[path] = not is_done and info.status != jobq.Status.CANCELED
        past.topics.add(info.topic)
        if is_done and digest is not None:
            past.sums.setdefault(info.topic, Sums()).add(digest)
            if keep:
                past.results.append(Result(info.id, info.topic, path, info.attempts, digest))
    return past
