"""What tests of crashes share: the process that theirs are forked from, and how they report."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .build import missing
from .launch import Zygote
from .report import Tell

MIB = 1 << 20
DISK = 64 * MIB
"""The size of the small file system."""


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small tmpfs."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        missing("root, to mount a small file system")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "jobq-test", str(place)]
    mounted = subprocess.run(mount, capture_output=True, text=True, timeout=10, check=False)
    if mounted.returncode != 0:
        missing(f"the right to mount ({mounted.stderr.strip()})")
    yield place
    subprocess.run(["umount", str(place)], check=True, timeout=10)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """See `Tell`."""

    def report(line: str, /, **counts: int) -> None:
        record_property("crash", line)
        for name, count in counts.items():
            record_property(f"count:{name}", count)
        print(line)

    return report
