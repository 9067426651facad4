"""The volume driver: walks of seeded random steps, many times faster than Hypothesis, which shrinks.

    python -m tests.model.driver --seconds 20 --seed S [--factory memory]

A walk is told by (seed, number): what fails is printed with both and its last steps, and `--walk N` makes
walk N alone again.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass, field

from . import compare
from .factories import FACTORIES, Factory
from .state import Settings
from .vocabulary import BEGINNINGS, CAPS, DEFAULTS, RETENTIONS, STEPS
from .walk import Walk

STEPS_PER_WALK = 120
LOOK_EVERY = 6
"""Steps between two looks at everything, on the average; outcomes are compared at every step."""


class WalkFailed(Exception):
    """A walk met a difference; the text says how to make it again."""


@dataclass
class Tally:
    """What a run of the driver did."""

    walks: int = 0
    steps: int = 0
    by_name: dict[str, int] = field(default_factory=dict)


def drive(factory: Factory, seed: int, seconds: float, first: int = 0, last: int | None = None) -> Tally:
    """Make walks until the time is over, or those from `first` to `last`."""
    tally = Tally()
    end = time.monotonic() + seconds
    number = first
    while number <= last if last is not None else time.monotonic() < end:
        walk_once(factory, seed, number, tally)
        number += 1
    return tally


def walk_once(factory: Factory, seed: int, number: int, tally: Tally) -> None:
    """One walk from beginning to end."""
    rng = random.Random(f"{seed}:{number}")
    settings = Settings(
        rng.choice(DEFAULTS), rng.choice(RETENTIONS), rng.choice(RETENTIONS), rng.choice(CAPS)
    )
    told = [f"open({settings})"]
    walk = Walk(factory, settings)
    try:
        walk.begin(rng.choice(BEGINNINGS))
        for _ in range(STEPS_PER_WALK):
            take_step(walk, rng, tally, told)
        walk.check()
        walk.end()
    except Exception as error:
        walk.abandon()
        steps = "\n  ".join([told[0], f"... {len(told)} steps, the last:", *told[-25:]])
        raise WalkFailed(
            f"walk {number} of seed {seed} on {factory.name!r} fails with {type(error).__name__}: {error}\n"
            f"  {steps}\n"
            f"again: python -m tests.model.driver --factory {factory.name} --seed {seed} --walk {number}"
        ) from error
    tally.walks += 1


def take_step(walk: Walk, rng: random.Random, tally: Tally, told: list[str]) -> None:
    """One step, and now and then a look at everything.

    Topics are looked at each time: whether an empty one was dropped must be known before its next call.
    """
    possible = [step for step in STEPS if walk.can(step)]
    step = rng.choices(possible, [step.share for step in possible])[0]
    arguments = {name: rng.choice(values) for name, values in step.draws.items()}
    told.append(f"{step.name}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})")
    getattr(walk, step.name)(**arguments)
    tally.steps += 1
    tally.by_name[step.name] = tally.by_name.get(step.name, 0) + 1
    if rng.randrange(LOOK_EVERY) == 0:
        walk.check()
    else:
        compare.topics(walk)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model.driver", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="for all factories together (20)")
    parser.add_argument("--seed", type=int, default=None, help="default: a fresh one, which is printed")
    parser.add_argument("--walk", type=int, default=None, help="this walk alone")
    parser.add_argument(
        "--factory", choices=[factory.name for factory in FACTORIES], help="default: all, in turn"
    )
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    chosen = [factory for factory in FACTORIES if given.factory in (None, factory.name)]
    print(f"seed {seed}", flush=True)
    for factory in chosen:
        try:
            if given.walk is None:
                tally = drive(factory, seed, given.seconds / len(chosen))
            else:
                tally = drive(factory, seed, 0.0, given.walk, given.walk)
        except WalkFailed as failed:
            print(failed)
            return 1
        print(f"{factory.name}: {tally.walks} walks, {tally.steps} steps agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
