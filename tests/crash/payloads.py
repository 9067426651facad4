"""Payloads that judge themselves: a label, random bytes that follow from it, and a digest."""

import hashlib
import json
import random
from dataclasses import asdict, dataclass

SIZES = ((40, 200, 14), (1_100, 4_000, 4), (25_000, 60_000, 2))
"""Bounds in bytes, and how often: kept with the job, above 1 KiB, and in several pieces of 24 KiB."""


class Damaged(Exception):
    """These bytes are no payload that was ever enqueued."""


@dataclass(frozen=True)
class Label:
    """What a payload says of itself: `key` names the enqueue, the rest is what it asked for."""

    key: str
    topic: str
    weight: int
    delayed: bool
    size: int


def size(chance: random.Random) -> int:
    """A size of one of the classes."""
    low, high, _ = chance.choices(SIZES, weights=[often for _, _, often in SIZES])[0]
    return chance.randint(low, high)


def make(label: Label) -> bytes:
    """The one payload of this label."""
    head = json.dumps(asdict(label), separators=(",", ":")).encode() + b"\n"
    body = head + random.Random(label.key).randbytes(label.size)
    return body + hashlib.sha256(body).digest()


def read(payload: bytes) -> Label:
    """The label of a payload, every byte of which is as it was made; else Damaged."""
    body, digest = payload[:-32], payload[-32:]
    if hashlib.sha256(body).digest() != digest:
        raise Damaged(f"{len(payload)} bytes that do not match their digest")
    label = Label(**json.loads(body[: body.index(b"\n")]))
    if make(label) != payload:
        raise Damaged(f"{label.key}: another payload under a sound digest")
    return label
