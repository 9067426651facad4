"""The kinds of service a walk may stand on: those of the conformance suite."""

try:
    from conformance.factory import FACTORIES, Factory  # pytest has tests/ on its path
except ModuleNotFoundError:
    from tests.conformance.factory import FACTORIES, Factory  # python -m tests.model.driver

FACTORIES = [factory for factory in FACTORIES if factory.broad]
MEMORY = next(factory for factory in FACTORIES if factory.name == "memory")

__all__ = ["FACTORIES", "MEMORY", "Factory"]
