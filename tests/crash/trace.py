"""What strace saw of a process: its storage calls on one folder, by the names that the shim gives them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

_CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
_CANONICAL = {
    "openat": "open",
    "creat": "open",
    "openat2": "open",
    "renameat": "rename",
    "renameat2": "rename",
    "unlinkat": "unlink",
    "mkdirat": "mkdir",
    "linkat": "link",
    "symlinkat": "symlink",
    "fchown": "chown",
    "fchmod": "chmod",
    "fchmodat": "chmod",
    "pwritev2": "pwritev",
    "preadv2": "preadv",
}
_HARMLESS = frozenset(
    [
        *("access", "close", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fcntl", "flock"),
        *("fstat", "fstatfs", "getcwd", "getdents64", "ioctl", "lseek", "lstat", "munmap", "newfstatat"),
        *("readlink", "readlinkat", "stat", "statfs", "statx", "execve", "geteuid", "fgetxattr", "chdir"),
    ]
)
"""They change no file. All that is not named here counts, so that a call nobody thought of is noticed."""


def storage_calls(trace: Path, store: Path) -> tuple[Counter[str], list[str]]:
    """Counts by kind, and the lines that store to a mapped file, which no shim can see."""
    counts: Counter[str] = Counter()
    mapped: list[str] = []
    place = re.compile(rf'[<"]{re.escape(str(store))}[/>"]')
    for line in trace.read_text(errors="replace").splitlines():
        found = _CALL.match(line)
        if found is None:
            continue
        name, rest = found.groups()
        asked = rest.rpartition(") = ")[0] or rest
        if name in {"io_uring_setup", "io_uring_enter"}:
            counts[name] += 1
        if not place.search(asked):
            continue
        if name == "mmap":
            if "PROT_WRITE" in asked and "MAP_SHARED" in asked:
                mapped.append(line)
        elif name == "unlinkat" and "AT_REMOVEDIR" in asked:
            counts["rmdir"] += 1
        elif name not in _HARMLESS:
            counts[_CANONICAL.get(name, name)] += 1
    return counts, mapped
