"""A read that fails inside a commit leaves nothing of that commit that could be served.

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


# Of up to three keys each: more than 1,000 keys would be two batches.
@pytest.mark.parametrize("jobs", [80, 300])
def test_a_batch_whose_read_fails_is_never_served_in_part(folder: Path, tell: Tell, jobs: int) -> None:
    """None of it is there, or, after a read that sled made once all was applied, the whole. Of a large batch
    sled may have written a part out before: then the store is refused, and `salvage` is the way on.
    """
    whole, store = folder / "whole", folder / "store"
    state = victim("build", str(whole), root=folder)["state"]
    shutil.copytree(whole, store)
    clean = victim("delete", str(store), "0", str(jobs), root=store)
    reads, failed, refused = int(clean["reads"]), 0, 0
    assert clean["outcome"] == "done"
    assert reads > 0, "the batch reads nothing, so nothing is tested: the store must be larger"
    points = sorted({1 + turn * reads // MOST for turn in range(MOST)})
    with Looker("sled", {"PYTHONPATH": PYTHONPATH}) as looker:
        after = looker.look(store, "always").state
        for which in points:
            shutil.rmtree(store)
            shutil.copytree(whole, store)
            broken = victim("delete", str(store), str(which), str(jobs), root=store)
            if int(broken["reads"]) < which:  # how many there are differs a little from run to run
                assert broken["outcome"] == "done", f"read {which} of {reads}: {broken}"
                continue
            failed += 1
            assert broken["outcome"] == "RepositoryFailed", f"read {which} of {reads}: {broken}"
            found = looker.look(store, "always")
            if found.error is not None:
                assert found.error.startswith("RepositoryCorrupt: "), (
                    f"read {which} of {reads}: {found.error}"
                )
                refused += 1
            else:
                assert found.state in {state, after}, f"read {which} of {reads}: part of the batch is there"
    tell(f"{jobs} deletes with {reads} reads: {failed} failed one by one, {refused} stores refused after")
    assert refused < failed, "no read was early enough to leave the store as it was"
