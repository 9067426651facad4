"""What tests of crashes share: the process that theirs are forked from, and how they report."""

from collections.abc import Callable, Iterator

import pytest

from .launch import Zygote
from .report import Tell


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Reports a line of what was done: on the terminal and in the JUnit file."""

    def line(text: str) -> None:
        record_property("crash", text)
        print(text)

    return line
