"""How a test of crashes reports what it did: a line on the terminal, and properties in the JUnit file."""

from __future__ import annotations

from typing import Protocol


class Tell(Protocol):
    """Reports one line, and the numbers in it by their names, which a soak adds up."""

    def __call__(self, line: str, /, **counts: int) -> None: ...
