"""The fixtures of the contract: every test runs on each kind of service that its rule speaks of."""

from collections.abc import Callable, Iterator

import pytest

from jobq import JobService
from jobq.testing import ManualClock

from .factory import FACTORIES, DictHome, Factory
from .observe import recount


def on(choose: Callable[[Factory], bool]) -> object:
    """A fixture on the factories chosen; it ends by holding that no repository was misused."""

    @pytest.fixture(params=[kind for kind in FACTORIES if choose(kind)], ids=lambda kind: kind.name)
    def made(request: pytest.FixtureRequest) -> Iterator[Factory]:
        fresh: Factory = request.param.fresh()
        yield fresh
        assert fresh.end() == []

    return made


factory = on(lambda kind: kind.broad)
jobs_factory = on(lambda kind: kind.jobs)
"""Those whose jobs outlive a reopen."""
topics_factory = on(lambda kind: kind.topics)
"""Those whose topics' pauses and statistics outlive a reopen."""
forgetful_factory = on(lambda kind: not kind.jobs)
"""Those whose jobs are gone at a reopen."""
whole_factory = on(lambda kind: kind.jobs and kind.topics)
"""Those that forget nothing."""
python_factory = on(lambda kind: kind.jobs and kind.found in (DictHome.one_object, DictHome.jobs_alone))
"""Those whose jobs lie in a `DictRepository`, which a test can fail, hold up or corrupt."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def svc(factory: Factory, clock: ManualClock) -> Iterator[JobService]:
    """A service whose time moves when told. Whatever the test did, its statistics must equal a recount."""
    service = factory.open(clock)
    yield service
    if not service.closed:
        recount(service)
