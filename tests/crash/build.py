"""Compiles the C shims that are loaded before libc. Without a compiler: a loud skip, in CI a failure."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SHIMS = Path(__file__).resolve().parent / "shim"
CACHE = Path(tempfile.gettempdir()) / f"jobq-crash-shims-{os.getuid()}"


def missing(what: str) -> None:
    """This machine lacks something: the test is skipped, and says so; in CI (CI=true) it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {what}")
    print(f"SKIPPED, NOT TESTED: {what} is missing", file=sys.stderr)
    pytest.skip(f"not tested here: {what} is missing")


def shim(name: str) -> Path:
    """The shared object of shim/<name>.c, for LD_PRELOAD."""
    source = SHIMS / f"{name}.c"
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        missing("a C compiler")
        raise AssertionError
    CACHE.mkdir(mode=0o700, exist_ok=True)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    target = CACHE / f"{name}-{digest}.so"
    if not target.exists():
        building = target.with_suffix(f".{os.getpid()}")
        flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
        subprocess.run([compiler, *flags, "-o", building, source, "-ldl"], check=True, timeout=60)
        building.rename(target)
    return target
