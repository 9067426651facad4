"""The Hypothesis state machine: a walk whose steps and options Hypothesis chooses, and shrinks when it fails.

The rules are `vocabulary.STEPS`; nothing here knows what they do. `machine(factory)` gives the machine of one
kind of service. After every step the walk looks at everything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from .factories import Factory
from .state import Bounds, Caps, Options, Settings
from .vocabulary import BEGINNINGS, CAPS, DEFAULTS, RETENTIONS, STEPS, Step
from .walk import Walk


class QueueMachine(RuleBasedStateMachine):
    """A service and its model. What the options are is part of the example."""

    factory: ClassVar[Factory]

    def __init__(self) -> None:
        super().__init__()
        self.walk: Walk | None = None
        self._failed = False

    @initialize(
        defaults=st.sampled_from(DEFAULTS),
        kept=st.sampled_from(RETENTIONS),
        dead=st.sampled_from(RETENTIONS),
        caps=st.sampled_from(CAPS),
        beginning=st.sampled_from(BEGINNINGS),
    )
    def open(self, defaults: Options, kept: Bounds, dead: Bounds, caps: Caps, beginning: str) -> None:
        self.walk = Walk(self.factory, Settings(defaults, kept, dead, caps))
        self.run(lambda walk: walk.begin(beginning))

    def run(self, act: Callable[[Walk], None]) -> None:
        """Act on the walk; what fails there is reported, not what ending a failed walk would add."""
        if self.walk is not None:
            try:
                act(self.walk)
            except BaseException:
                self._failed = True
                raise

    @invariant()
    def everything_agrees(self) -> None:
        self.run(Walk.check)

    def teardown(self) -> None:
        if self.walk is not None:
            if self._failed:
                self.walk.abandon()
            else:
                self.walk.end()


def _rule(step: Step) -> object:
    """The rule of one kind of step."""

    def take(self: QueueMachine, **arguments: object) -> None:
        self.run(lambda walk: getattr(walk, step.name)(**arguments))

    def possible(self: QueueMachine) -> bool:
        return self.walk is not None and self.walk.can(step)

    take.__name__ = take.__qualname__ = step.name
    draws: dict[str, Any] = {name: st.sampled_from(values) for name, values in step.draws.items()}
    return precondition(possible)(rule(**draws)(take))


# Hypothesis takes each rule as often as any other, so a step has as many rules as its share.
for _step in STEPS:
    for _copy in range(_step.share):
        setattr(QueueMachine, f"take_{_step.name}_{_copy}", _rule(_step))


def machine(factory: Factory) -> type[QueueMachine]:
    """The machine of one kind of service."""
    return type(f"QueueMachine_{factory.name.replace('-', '_')}", (QueueMachine,), {"factory": factory})
