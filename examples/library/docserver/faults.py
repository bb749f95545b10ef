"""Which request meets which fault: decided by the seed, the path and the attempt alone, never by chance or time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

_WHOLE = 2**64


class Fault(StrEnum):
    """What may go wrong with an answer."""

    BUSY = "busy"
    """503 with Retry-After."""
    RESET = "reset"
    """The connection is reset in the middle of the body."""
    SLOW = "slow"
    """The body comes in small pieces."""


@dataclass(frozen=True, slots=True)
class Faults:
    """A share of the requests, 0 to 1, goes wrong, and the same ones for the same seed.

    Every second attempt at a path is answered in full, so that whoever tries again gets the page.
    """

    share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"a share of {self.share} faults: from 0 to 1 is possible")

    def of(self, path: str, attempt: int) -> Fault | None:
        """The fault of this attempt at this path (1 is the first), or None: it is answered as it should be."""
        if attempt % 2 == 0:
            return None
        digest = sha256(f"{self.seed} {path} {attempt}".encode()).digest()
        draw = int.from_bytes(digest[:8], "big") / _WHOLE
        if draw >= self.share:
            return None
        kinds = tuple(Fault)
        return kinds[int(draw / self.share * len(kinds))]
