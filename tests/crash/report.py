"""What a test of crashes saw, for its report: a line on the terminal and a property in the JUnit file."""

from __future__ import annotations

from collections.abc import Callable


def tell(record_property: Callable[[str, object], None], line: str) -> None:
    record_property("crash", line)
    print(line)
