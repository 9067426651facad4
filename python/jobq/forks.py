"""What a forked child does before anything else: it leaves its parent's services and stores alone."""

import os

from jobq._jobq import _forked


def leave_to_parent() -> None:
    """Mark every open service as the parent's, and let go of the locks of their stores.

    A lock is held as long as any process has the file open, so a child that lives on would keep the next
    owner out when its parent has closed. The descriptor stays, on a file that is nobody's: what was copied of
    the parent still knows its number.
    """
    for folder in _forked():
        _let_go(os.path.realpath(folder) + "/gen-")


def _let_go(beginning: str) -> None:
    try:
        numbers = os.listdir("/proc/self/fd")  # noqa: PTH208 - pathlib is not imported for this
    except OSError:
        return  # another system: there the store stays locked until this process ends
    for number in numbers:
        try:
            name = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
            if name.startswith(beginning):
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, int(number), inheritable=False)
                os.close(nowhere)
        except OSError:
            continue
