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
    """See `Tell`."""

    def report(line: str, /, **counts: int) -> None:
        record_property("crash", line)
        for name, count in counts.items():
            record_property(f"count:{name}", count)
        print(line)

    return report
