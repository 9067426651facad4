"""Storage calls that fail: with EIO, with ENOSPC, half done; each of a life in turn, once or from then on.

The first error ends the store's work: nothing is acknowledged after it, everything before it is there at the
next open, and the error says what it is.
"""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from .effort import SEED, SOAK, every
from .faults import Fault, struck
from .journal import Call, read
from .launch import Zygote
from .report import Tell
from .subjects import ERRORS, SUBJECTS
from .supervisor import Case
from .verdicts import Death
from .victim import FAILED

STEPS = 60
PATIENCE = 100.0
"""Seconds: a write that hangs fails after 30; sled's flush may hang, and one call waited for twice that."""
STEP = {"sled": 5, "sqlite": 15}
"""About each which call fails; a soak comes by others in each round."""
KINDS: dict[str, dict[str, Any]] = {
    "EIO": {"mode": "error", "errno": errno.EIO},
    "EIO from then on": {"mode": "error", "errno": errno.EIO, "sticky": True},
    "ENOSPC": {"mode": "error", "errno": errno.ENOSPC},
    "ENOSPC from then on": {"mode": "error", "errno": errno.ENOSPC, "sticky": True},
    "short": {"mode": "short", "kinds": "moving"},
}
MORE: dict[str, dict[str, Any]] = {
    name: {"mode": "error", "errno": getattr(errno, name)}
    for name in ("EDQUOT", "EMFILE", "EFBIG", "EINTR", "EROFS", "EACCES")
}
"""In the soak alone."""


def assert_fail_stop(subject: str, calls: list[Call]) -> None:
    """Clear errors alone, and after the first of them no success but that of close."""
    failed: Call | None = None
    for call in calls:
        assert call.outcome is not None, f"{call.op} neither returned nor raised"
        if call.ok:
            assert failed is None or call.op == "close", f"{call.op} went on after {failed}"
        elif call.doubtful:
            assert call.outcome in ERRORS[subject], f"{call.op} raised {call.outcome}: {call.reply}"
            failed = failed or call


def endure(zygote: Zygote, folder: Path, subject: str, fault: Fault) -> tuple[bool, bool]:
    """One life with one fault: whether it struck, and whether the service failed of it."""
    case = Case(folder, subject, "always", SEED, launch=zygote)
    with case.victim(fault.environment(), steps=STEPS, seed=SEED) as victim:
        code, err = victim.finish(PATIENCE)
    assert code in {0, FAILED}, f"at call {fault.at}: status {code}\n{err}"
    assert_fail_stop(subject, read(case.journal))
    if code == FAILED:
        case.deaths.append(Death(case.runs, time.monotonic()))
    verdicts = case.verify()
    assert not verdicts, case.explain(verdicts)
    return struck(fault), code == FAILED


@pytest.mark.parametrize("kind", [*KINDS, *(MORE if SOAK else ())])
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_call_that_fails(subject: str, kind: str, zygote: Zygote, tmp_path: Path, tell: Tell) -> None:
    """An error that is swallowed, retried or half obeyed shows days later, as jobs that are not there."""
    strikes = failures = 0
    for at in every(STEP[subject]):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        settings = {**KINDS, **MORE}[kind]
        fault = Fault(store=folder / "store", at=at, tally=folder / "tally", **settings)
        hit, failed = endure(zygote, folder, subject, fault)
        shutil.rmtree(folder)
        if not hit:
            break
        strikes += 1
        failures += failed
    assert strikes > STEPS / STEP[subject] / 2, f"only {strikes} calls were seen: the shim is blind"
    assert failures or kind in {"short", "EINTR"}, "no error was ever noticed"
    line = f"{subject}, {kind}: {strikes} calls failed, the service stopped at {failures} of them"
    tell(line, failing_calls=strikes)
