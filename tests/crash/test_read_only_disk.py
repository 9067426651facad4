"""A disk that is only read any more, as a failing one is mounted: what is on it can still be saved."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import jobq

from .recording import PYTHONPATH, tree


def test_salvage_needs_no_right_to_write(disk: Path, tmp_path: Path) -> None:
    """Nobody should have to write to a disk that is dying."""
    with jobq.open(disk / "store") as svc:
        ids = svc.enqueue_many("mail", [b"%d" % number * 600 for number in range(50)])
    before = tree(disk / "store")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=10)
    with pytest.raises(jobq.RepositoryError, match="Read-only file system"):
        jobq.open(disk / "store")
    done = subprocess.run(
        [sys.executable, "-m", "jobq", "salvage", str(disk / "store"), str(tmp_path / "new")],
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(disk / "store") == before
    with jobq.open(tmp_path / "new") as svc:
        assert [info.id for info in svc.find()] == list(ids)
