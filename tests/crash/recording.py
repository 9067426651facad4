"""Runs a program under shim/record.c and keeps what it did: the tree before it, and its stream of events."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import build, stream
from .replay import Disk

HERE = Path(__file__).resolve().parent
DEADLINE = 120.0
PYTHONPATH = os.pathsep.join(
    [str(HERE.parent), str(HERE.parents[1] / "examples"), *filter(None, [os.environ.get("PYTHONPATH")])]
)
"""Where a process of ours finds this package, the repository in SQLite, and what the tests found."""


@dataclass(frozen=True)
class Recording:
    """What one process did to one folder. `base` is the tree before it, None for an empty one."""

    base: Path | None
    events: list[stream.Event]


def record(command: Sequence[str], root: Path, scratch: Path, *, code: int = 0) -> Recording:
    """Run the command over the folder `root` and return what it did; `scratch` takes what must be kept.

    It is told its notes' file by JOBQ_RECORD_NOTES, and must exit with this code within the deadline.
    AssertionError when the stream, replayed whole, does not give the tree that is there: then something went
    past the recorder, and no image built from it would mean anything.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    root.mkdir(exist_ok=True)
    base = None
    if any(root.iterdir()):
        base = scratch / "base"
        shutil.copytree(root, base)
    path = scratch / "stream"
    environment = os.environ | {
        "PYTHONPATH": PYTHONPATH,
        "LD_PRELOAD": str(build.shim("record")),
        "JOBQ_RECORD_ROOT": str(root.resolve()),
        "JOBQ_RECORD_STREAM": str(path),
        "JOBQ_RECORD_NOTES": str(scratch.resolve() / "notes"),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == code, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    recording = Recording(base, stream.read(path))
    _check(recording, root, scratch / "check")
    return recording


def record_python(module: str, *arguments: str, root: Path, scratch: Path) -> Recording:
    """Record `python -m crash.MODULE ARGUMENTS`."""
    command = [sys.executable, "-W", "error", "-X", "faulthandler", "-m", f"crash.{module}", *arguments]
    return record(command, root, scratch)


def _check(recording: Recording, root: Path, scratch: Path) -> None:
    disk = Disk(recording.base)
    for event in recording.events:
        disk.happen(event)
    disk.newest(scratch)
    try:
        seen, built = tree(root), tree(scratch)
        differ = sorted(name for name in seen.keys() | built.keys() if seen.get(name) != built.get(name))
        assert not differ, f"the recorder was passed by: {differ}"
    finally:
        shutil.rmtree(scratch)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, with the contents of files and None for folders."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }
