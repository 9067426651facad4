"""A read that fails inside a commit leaves nothing of that commit behind.

sled reads while it writes: a batch that stops half-way stands half in its memory, and its next flush, or its
own end, would make that half durable. So a store that met such an error is left as it is, and never flushed.
What sled had written out by itself before the error is completed at the next open.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import jobq
from jobq._jobq import _examine

from . import bit_rot, build
from .effort import SOAK, some
from .power_cut import memory
from .read_victim import SIZE
from .recording import PYTHONPATH
from .report import Tell

MOST = some(15, 400)
"""Reads that fail."""


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


def opens(store: Path) -> bool:
    """Whether a store opens; False: it is damaged."""
    try:
        jobq.open(store).close()
    except jobq.RepositoryCorrupt:
        return False
    return True


@dataclass
class Tally:
    """What became of the calls whose read failed."""

    reads: int = 0
    failed: int = 0
    cut_short: int = 0
    parts: int = 0
    """Of these sled had written a part of the batch out."""


def fail_reads(folder: Path, verb: str, choose: Callable[[int], Iterable[int]]) -> Tally:
    """Have one read of the call fail, in turn those chosen from so many; look what is left each time.

    What is gone is what whole groups deleted, in order: those before the one that failed; and it too, where
    sled had written a part of it out, or read on once all was applied.
    """
    whole, store, spare = folder / "whole", folder / "store", folder / "spare"
    victim("build", str(whole), root=folder)
    shutil.copytree(whole, store)
    with jobq.open(store) as svc:
        ids = [info.id for info in svc.find()]
    deleted = random.Random(1).sample(ids, DELETES)
    groups = whole_groups(DELETES)
    clean = victim(verb, str(store), "0", str(DELETES), root=store)
    tally = Tally(reads=int(clean["reads"]))
    assert clean["outcome"] == "done"
    for which in choose(tally.reads):
        shutil.rmtree(store)
        shutil.copytree(whole, store)
        broken = victim(verb, str(store), str(which), str(DELETES), root=store)
        about = f"{verb}, read {which} of {tally.reads}"
        if int(broken["reads"]) < which:  # how many there are differs a little from run to run
            assert broken["outcome"] == "done", f"{about}: {broken}"
            continue
        tally.failed += 1
        assert broken["outcome"] == "RepositoryFailed", f"{about}: {broken}"
        shutil.copytree(store, spare)
        (spare / "redo").unlink(missing_ok=True)
        tally.parts += not opens(spare)
        shutil.rmtree(spare)
        faults = _examine(str(store), lambda _: None)[0]
        assert faults == [], f"{about}: one that only looks finds {faults}"
        with jobq.open(store) as svc:
            assert svc.verify() == []
            gone = set(ids) - {info.id for info in svc.find()}
        assert gone == set(deleted[: len(gone)]), f"{about}: not the first of them"
        assert len(gone) in groups, f"{about}: {len(gone)} are gone, part of a group"
        assert not (store / "redo").exists()
        tally.cut_short += len(gone) < DELETES
    return tally


@pytest.mark.parametrize("close", [False, True], ids=["killed", "closed"])
def test_a_bad_sector_at_open_destroys_nothing(close: bool, tell: Tell) -> None:
    """sled takes an error for the end of its log, and writes zeros over all that follows.

    So the store must be what it was once the disk reads again, as after a cable was plugged in.
    """
    refused = 0
    with bit_rot.made(7, close=close) as (store, looker, folder):
        copy = folder / "copy"
        (database,) = store.folder.glob("gen-*/db")
        sectors = range(-(-database.stat().st_size // 4096))
        for sector in sectors[:: 1 if SOAK else 5]:
            shutil.copytree(store.folder, copy)
            broken = victim("open", str(copy), str(sector), root=copy.resolve())
            found = looker.look(copy, store.task.level)
            about = f"sector {sector} of {len(sectors)} was bad, which ended in {broken['outcome']}"
            assert found.error is None, f"{about}: {found.error}"
            assert bit_rot.judge(found, store.state) is None, f"{about}: {found.faults}"
            shutil.rmtree(copy)
            refused += broken["outcome"] != "done"
    tell(f"{len(sectors)} sectors bad at open, {refused} opens were refused", sectors=len(sectors))
    assert refused


def test_a_batch_whose_read_fails_is_there_whole_or_not_at_all(folder: Path, tell: Tell) -> None:
    def spread(reads: int) -> Iterable[int]:
        assert reads > 0, "the call reads nothing, so nothing is tested: the store must be larger"
        return sorted({1 + turn * reads // MOST for turn in range(MOST)})

    tally = fail_reads(folder, "delete", spread)
    tell(f"{DELETES} deletes with {tally.reads} reads: {tally.failed} failed", reads=tally.failed)
    assert tally.cut_short, "no read was early enough to leave a group undone"


def test_a_batch_of_which_a_part_was_written_is_finished_at_the_next_open(folder: Path, tell: Tell) -> None:
    """Without what was kept for it such a store is damaged: `parts` counts those."""
    early = [1 + turn // 4 for turn in range(MOST)]  # there are few, in some runs none
    tally = fail_reads(folder, "part", lambda _: early)
    tell(f"{tally.failed} reads failed behind a part, {tally.parts} left it", parts=tally.parts)
    assert tally.parts, "no read failed behind a part that was written"
