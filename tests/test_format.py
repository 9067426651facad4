"""A store that an earlier jobq wrote opens in this one: nobody's jobs are left behind by an update.

`fixtures/format-1.tar.xz` was written by `python tests/test_format.py` at format 1, and is never written
anew: a new format gets a file of its own, and the old ones must still open.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

import jobq
from jobq.testing import ManualClock

FIXTURES = Path(__file__).parent / "fixtures"
LARGE = bytes(range(256)) * 40
START = datetime(2026, 11, 25, tzinfo=UTC)
"""Where the clocks of writer and reader stand."""


def fill(path: Path) -> None:
    """A job in each status, of each size, with a log, an error, and options."""
    options = jobq.JobOptions(name="letter", lease=60, max_retries=2, min_backoff=1, max_backoff=8, jitter=0)
    with jobq.open(path, clock=ManualClock(START)) as svc:
        svc.enqueue("mail", b"ready", -7, options=options)
        svc.enqueue("mail", LARGE)
        svc.enqueue("mail", b"delayed", delay=3600)
        for word in ("done", "retried", "rejected"):
            svc.enqueue("work", word.encode())
        done, retried, rejected = svc.reserve("work", 3, timeout=0)
        done.log("finished at last")
        done.done()
        retried.retry(0, error="OSError: no route")
        rejected.cancel(error="no such user")
        svc.pause("work")


@pytest.mark.parametrize("archive", sorted(FIXTURES.glob("format-*.tar.xz")), ids=lambda path: path.stem)
def test_a_store_of_an_earlier_jobq_opens_whole(archive: Path, tmp_path: Path) -> None:
    """With its order, payloads, logs, errors, options, pause and counts."""
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    with jobq.open(tmp_path / "store", clock=ManualClock(START)) as svc:
        assert svc.recovery.clean
        assert svc.verify() == []
        found = {info.id: info for info in svc.find()}
        assert [str(info.status) for info in found.values()] == [
            "ready",
            "ready",
            "delayed",
            "done",
            "ready",
            "canceled",
        ]
        assert [svc.payload(id) for id in (1, 2, 3)] == [b"ready", LARGE, b"delayed"]
        assert (found[1].weight, found[1].name, found[1].lease, found[1].max_retries) == (-7, "letter", 60, 2)
        assert [line.message for line in found[4].log] == ["finished at last"]
        assert (found[5].error, found[5].retries, found[5].attempts) == ("OSError: no route", 1, 1)
        assert (found[6].error, found[6].reason) == ("no such user", jobq.Reason.REJECTED)
        work = svc.topic_stats("work")
        assert (work.paused, work.enqueued, work.completions, work.dead) == (True, 3, 1, 1)
        assert [job.id for job in svc.reserve("mail", 9, timeout=0)] == [1, 2]
        assert svc.enqueue("mail", b"") > 6


def test_there_is_a_store_of_each_format() -> None:
    """A format without one is not held to anything."""
    assert (FIXTURES / "format-1.tar.xz").is_file()


def main(archive: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder, "store"))
        Path(folder, "store", "ballast").unlink()
        with tarfile.open(archive, "x:xz") as packed:
            packed.add(Path(folder, "store"), "store")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
