"""The service against the model: a Hypothesis machine on each kind of service, and seeded walks in volume.

How many examples and how long they are is the profile's affair (`tests/conftest.py`).
"""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from .driver import WalkFailed, drive, main
from .factories import FACTORIES, MEMORY, Factory
from .machine import machine
from .state import State

SHRINKING_SECONDS = 40
SECONDS = 5.0
"""For the walks on all kinds of service together; soaks run the driver by itself, for longer."""


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.name)
def test_the_service_does_what_the_model_does(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is called, in whatever order: what it returns, raises and leaves is what the contract says."""
    # Hypothesis would shrink for five minutes; the watchdog of the suite ends a test after two, in silence.
    monkeypatch.setattr("hypothesis.internal.conjecture.engine.MAX_SHRINKING_SECONDS", SHRINKING_SECONDS)
    run_state_machine_as_test(machine(factory), settings=settings(suppress_health_check=list(HealthCheck)))


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.name)
def test_long_walks_agree_too(factory: Factory) -> None:
    """Faults that need a long history are beyond what Hypothesis reaches in its time."""
    seed = 0 if settings().derandomize else random.SystemRandom().randrange(2**32)
    assert drive(factory, seed, SECONDS / len(FACTORIES)).walks > 0


def test_a_walk_that_fails_says_how_to_make_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A volume driver that could not fail, or not be replayed, would be worth nothing."""
    monkeypatch.setattr(State, "to_place", State.to_ready)  # the model forgets O3
    with pytest.raises(WalkFailed) as failed:
        drive(MEMORY, 7, seconds=60.0)
    first, *_, again = str(failed.value).splitlines()
    arguments = again.removeprefix("again: python -m tests.model.driver ").split()
    assert main(arguments) == 1
    assert first in capsys.readouterr().out
    monkeypatch.undo()
    assert main(arguments) == 0
