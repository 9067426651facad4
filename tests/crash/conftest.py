"""The zygote, which all tests of crashes fork their processes from."""

from collections.abc import Iterator

import pytest

from .launch import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()
