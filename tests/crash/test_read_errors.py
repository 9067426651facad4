"""A read that fails inside a commit leaves nothing of that commit behind.

sled reads while it writes: a batch that stops half-way stands half in its memory, and its next flush, or its
own end, would make that half durable. So a store that met such an error is left as it is, and never flushed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import build
from .cut_looker import Looker
from .effort import some
from .power_cut import memory
from .recording import PYTHONPATH
from .report import Tell

MOST = some(15, 400)
"""Reads that fail, spread evenly over those that the batch makes."""


def victim(*arguments: str, root: Path) -> dict[str, int | str]:
    """Run read_victim; return what it printed."""
    environment = {
        "PYTHONPATH": PYTHONPATH,
        "LD_PRELOAD": str(build.shim("reads")),
        "JOBQ_READS_ROOT": str(root),
    }
    done = subprocess.run(
        [sys.executable, "-m", "crash.read_victim", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    answer: dict[str, int | str] = json.loads(done.stdout)
    return answer


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=memory()) as name:
        yield Path(name).resolve()


def test_a_batch_whose_read_fails_leaves_nothing(folder: Path, tell: Tell) -> None:
    """Each read of it in turn."""
    whole, store = folder / "whole", folder / "store"
    state = victim("build", str(whole), root=folder)["state"]
    shutil.copytree(whole, store)
    clean = victim("delete", str(store), "0", root=store)
    reads = int(clean["reads"])
    tell(f"reads inside the batch: {reads}")
    assert clean["outcome"] == "done"
    assert reads > 0, "the batch reads nothing, so nothing is tested: the store must be larger"
    with Looker("sled", {"PYTHONPATH": PYTHONPATH}) as looker:
        for which in sorted({1 + turn * reads // MOST for turn in range(MOST)}):
            shutil.rmtree(store)
            shutil.copytree(whole, store)
            broken = victim("delete", str(store), str(which), root=store)
            assert broken["outcome"] == "RepositoryFailed", f"read {which} of {reads}: {broken}"
            found = looker.look(store, "always")
            assert found.error is None, f"read {which} of {reads}: {found.error}"
            assert found.state == state, f"read {which} of {reads}: half of the batch is there"
