"""The process that victims and verifiers are forked from: it has imported all they need, and opened no store.

A child costs a millisecond instead of the eighty of a new interpreter. The shim of faults is loaded here,
asleep, and woken in the child that is to suffer. One child at a time; more zygotes for more.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import traceback

from . import verifier, victim

ROLES = {"victim": victim.main, "verifier": verifier.main}
_LONGEST = 65_536


def _become(role: str, plan: str, settings: dict[str, str], descriptors: list[int]) -> None:
    """The child: never returns."""
    code = 70
    try:
        for target, descriptor in enumerate(descriptors, start=1):
            os.dup2(descriptor, target)
            os.close(descriptor)
        os.environ.update(settings)
        if settings:
            ctypes.CDLL(None).jobq_faults_prepare()
        code = ROLES[role](plan)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def serve(channel: socket.socket) -> None:
    """Until the other side is gone: fork what is asked for, tell its pid, then how it ended.

    A child that has ended is kept as a zombie until the next is asked for: its pid cannot be another's when
    the supervisor kills it.
    """
    last = 0
    while True:
        asked, descriptors, _, _ = socket.recv_fds(channel, _LONGEST, 2)
        if last:
            os.waitpid(last, 0)
        if not asked:
            return
        role, plan, settings = json.loads(asked)
        last = os.fork()
        if last == 0:
            channel.close()
            _become(role, plan, settings, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        channel.send(str(last).encode())
        ended = os.waitid(os.P_PID, last, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        channel.send(str(status).encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
