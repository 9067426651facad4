"""Bad calls as data: a parameter, a value wrong there, and the check that the refusal changes nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from surface import SECRET, World, make_world

MOST = 2**63 - 1
Wrong = dict[str, tuple[Any, type[Exception]]]
"""Values wrong at a spot, by a label for the test's id, each with the class it must raise."""


@contextmanager
def refused(world: World, error: type[BaseException], *words: str) -> Iterator[pytest.ExceptionInfo[Any]]:
    """The block raises exactly this class, its text holds the words and no payload, all is as before."""
    before = world.snapshot()
    with pytest.raises(error) as caught:
        yield caught
    assert type(caught.value) is error, repr(caught.value)
    text = str(caught.value)
    assert [word for word in words if word not in text] == [], text
    assert SECRET.decode() not in text
    assert world.snapshot() == before


@dataclass(frozen=True)
class Spot:
    """One parameter of one public callable."""

    verb: str
    parameter: str
    call: Callable[[World, Any], object]
    optional: bool = False  # None is the default's name
    least: int = 0  # integers only
    most: int | None = MOST  # integers only; None: the bound is not part of the API
    many: bool = False  # takes an iterable too

    def __str__(self) -> str:
        return f"{self.verb}-{self.parameter}"


@dataclass(frozen=True)
class Case:
    """A spot, a value that is wrong there, and what must come of it."""

    spot: Spot
    label: str
    value: Any
    error: type[Exception]


def cases(spots: list[Spot], wrong: Callable[[Spot], Wrong]) -> Any:
    """Parametrise over all spots and the values wrong at each, under readable ids."""
    made = [
        Case(spot, label, value, error) for spot in spots for label, (value, error) in wrong(spot).items()
    ]
    return pytest.mark.parametrize("case", made, ids=[f"{case.spot}-{case.label}" for case in made])


def check(world: World, case: Case) -> None:
    """The body of all tables: what came is named by its type, or by its value if that is a small number."""
    words = [case.spot.parameter]
    if case.error is TypeError and not isinstance(case.value, type):
        words.append("None" if case.value is None else type(case.value).__name__)
    elif isinstance(case.value, int) and abs(case.value) <= 2**63:
        words.append(str(case.value))
    with refused(world, case.error, *words):
        case.spot.call(world, case.value)


def all_but(names: set[str], table: Wrong) -> Wrong:
    """The table without these labels."""
    return {label: value for label, value in table.items() if label not in names}


def outcome(spot: Spot, value: Any) -> str:
    """What a fresh world makes of a value the API is silent about: taken, or refused with a clear error."""
    world = make_world()
    before, error = world.snapshot(), None
    try:
        spot.call(world, value)
    except (TypeError, RuntimeError) as caught:
        error = caught
    after = world.snapshot()
    world.svc.close()
    if error is None:
        return "taken"
    assert after == before
    assert spot.parameter in str(error) or str(error) == "from __index__", str(error)
    return type(error).__name__


def refused_or_readable(world: World, spot: Spot, value: Any) -> None:
    """The value is refused as all bad ones are, or it is taken and everything can still be looked at."""
    before = world.snapshot()
    error = None
    try:
        spot.call(world, value)
    except ValueError as caught:
        error = caught
    after = world.snapshot()
    if error is not None:
        assert type(error) is ValueError
        assert spot.parameter in str(error)
        assert after == before
