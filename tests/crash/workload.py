"""What a victim does: operations drawn by a seed, in one thread, or by producers and consumers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import jobq

from .actor import Actor

TOPICS = ("a", "b")
LATER = 3600.0
"""A delay that no test waits for."""

_Step = Callable[[Actor, list[jobq.Job]], object]


def _topic(actor: Actor) -> str:
    return actor.chance.choice(TOPICS)


def _enqueue(actor: Actor, _held: list[jobq.Job]) -> None:
    actor.enqueue(_topic(actor), actor.chance.choice((-1, 0, 0, 1)))


def _enqueue_later(actor: Actor, _held: list[jobq.Job]) -> None:
    actor.enqueue(_topic(actor), delay=actor.chance.choice((0.005, LATER)))


def _enqueue_many(actor: Actor, _held: list[jobq.Job]) -> None:
    actor.enqueue_many(_topic(actor), actor.chance.randint(2, 5))


def _by_id(verb: Callable[[Actor, int], object]) -> _Step:
    def step(actor: Actor, _held: list[jobq.Job]) -> None:
        if actor.enqueued:
            verb(actor, actor.chance.choice(actor.enqueued))

    return step


def _reserve(actor: Actor, held: list[jobq.Job]) -> None:
    held.extend(actor.reserve(_topic(actor), actor.chance.randint(1, 3), timeout=0))


def _settle(verb: Callable[[Actor, jobq.Job], object]) -> _Step:
    def step(actor: Actor, held: list[jobq.Job]) -> None:
        if held:
            verb(actor, held.pop(actor.chance.randrange(len(held))))

    return step


def _done_many(actor: Actor, held: list[jobq.Job]) -> None:
    if held:
        actor.done_many([held.pop() for _ in range(min(len(held), 4))])


def _pause(actor: Actor, _held: list[jobq.Job]) -> None:
    topic = _topic(actor)
    actor.pause(topic)
    actor.resume(topic)


PRODUCE: list[tuple[_Step, int]] = [
    (_enqueue, 10),
    (_enqueue_later, 2),
    (_enqueue_many, 2),
    (_by_id(Actor.cancel), 1),
    (_by_id(Actor.delete), 1),
    (_by_id(Actor.reset), 1),
]
CONSUME: list[tuple[_Step, int]] = [
    (_reserve, 9),
    (_settle(Actor.done), 10),
    (_done_many, 1),
    (_settle(lambda actor, job: actor.retry(job, 0)), 1),
    (_settle(lambda actor, job: actor.retry(job, LATER)), 1),
    (_settle(Actor.release), 1),
    (_settle(Actor.reject), 1),
]
OPERATE: list[tuple[_Step, int]] = [(_pause, 1), (lambda actor, _held: actor.flush(), 1)]

_RACES = (jobq.InvalidTransition, jobq.JobNotFound)
"""What an operation by id may meet: another thread, or an earlier step, was there first."""


class Worker:
    """Draws operations from a table and does them. What it holds it keeps: a handle dropped would expire."""

    def __init__(self, actor: Actor, table: list[tuple[_Step, int]]) -> None:
        self._actor = actor
        self._steps = [step for step, _ in table]
        self._often = [often for _, often in table]
        self._held: list[jobq.Job] = []

    def step(self) -> None:
        """One operation."""
        step = self._actor.chance.choices(self._steps, weights=self._often)[0]
        with suppress(*_RACES):
            step(self._actor, self._held)


def steps(actor: Actor, count: int) -> list[Exception]:
    """That many operations of all kinds in this thread, a compaction in the middle, then close.

    Goes on after an error, so that what is refused afterwards is journaled too; returns the errors.
    """
    worker = Worker(actor, PRODUCE + CONSUME + OPERATE)
    errors: list[Exception] = []
    plan: list[Callable[[], None]] = [worker.step] * count
    plan.insert(count * 2 // 3, actor.compact)
    for step in [*plan, actor.close]:
        try:
            step()
        except Exception as error:
            errors.append(error)
    return errors


def until_error(actor: Actor, most: int = 20_000) -> None:
    """Operations in this thread until one fails, a few after it, then close."""
    worker = Worker(actor, PRODUCE + CONSUME)
    left = most
    while left:
        left -= 1
        try:
            worker.step()
        except Exception:
            left = min(left, 10)
    with suppress(Exception):
        actor.close()


def threads(actors: list[Actor], producers: int, stop: threading.Event) -> list[Exception]:
    """Work in as many threads as there are actors, the first ones as producers, until an error or `stop`."""
    errors: list[Exception] = []

    def work(worker: Worker) -> None:
        try:
            while not stop.is_set():
                worker.step()
        except Exception as error:
            errors.append(error)
            stop.set()

    workers = [
        Worker(actor, PRODUCE if place < producers else CONSUME + OPERATE)
        for place, actor in enumerate(actors)
    ]
    crew = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in workers]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    return errors
