"""A read that fails inside a commit leaves nothing of that commit behind.

sled reads while it writes: a batch that stops half-way stands half in its memory, and its next flush, or its
own end, would make that half durable. So a store that met such an error is left as it is, and never flushed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobq

from . import build
from .effort import some
from .power_cut import memory
from .read_victim import SIZE
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


DELETES = 440


def whole_groups(jobs: int) -> set[int]:
    """How many jobs are gone after each group of one call that deletes so many.

    A group is cut when it holds 256 KiB; a delete weighs what it takes away, so that sled writes nothing of a
    group out before it is applied whole.
    """
    change, chunk, full = 64, 4096, 256 * 1024
    gone, weight = {0, jobs}, 0
    for job in range(jobs):
        # Its record with what goes with it, then piece by piece its payload.
        for weighs, deleted in (
            (2 * (change + 9), job),
            *[(change + 13 + chunk, job + 1)] * -(-SIZE // chunk),
        ):
            if weight >= full:
                gone.add(deleted)
                weight = 0
            weight += weighs
    return gone


def test_a_batch_whose_read_fails_leaves_nothing(folder: Path, tell: Tell) -> None:
    """What is gone is what the groups before it deleted, or, after a read that sled made once all was
    applied, it too: whole groups, in order. Seldom sled has written a part out: then it is refused.
    """
    whole, store = folder / "whole", folder / "store"
    victim("build", str(whole), root=folder)
    shutil.copytree(whole, store)
    with jobq.open(store) as svc:
        ids = [info.id for info in svc.find()]
    deleted = random.Random(1).sample(ids, DELETES)
    clean = victim("delete", str(store), "0", str(DELETES), root=store)
    reads, failed, cut_short, groups = int(clean["reads"]), 0, 0, whole_groups(DELETES)
    refused = 0
    assert clean["outcome"] == "done"
    assert reads > 0, "the batch reads nothing, so nothing is tested: the store must be larger"
    for which in sorted({1 + turn * reads // MOST for turn in range(MOST)}):
        shutil.rmtree(store)
        shutil.copytree(whole, store)
        broken = victim("delete", str(store), str(which), str(DELETES), root=store)
        if int(broken["reads"]) < which:  # how many there are differs a little from run to run
            assert broken["outcome"] == "done", f"read {which} of {reads}: {broken}"
            continue
        failed += 1
        assert broken["outcome"] == "RepositoryFailed", f"read {which} of {reads}: {broken}"
        try:
            svc = jobq.open(store)
        except jobq.RepositoryCorrupt:
            refused += 1  # sled had written a part of the group out: it is refused, not served
            continue
        with svc:
            assert svc.verify() == []
            gone = set(ids) - {info.id for info in svc.find()}
        assert gone == set(deleted[: len(gone)]), f"read {which} of {reads}: not the first of them"
        assert len(gone) in groups, f"read {which} of {reads}: {len(gone)} are gone, part of a group"
        cut_short += len(gone) < DELETES
    tell(f"{DELETES} deletes with {reads} reads: {failed} failed, {refused} refused", reads=failed)
    assert cut_short, "no read was early enough to leave a group undone"
