"""What an item of the victims does: decided by its number and the run's seed, so that a test can foretell it."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from dataclasses import dataclass

FOLLOWED = 1_000_000
"""What item n brings up is n + this."""


class Transient(ConnectionError):
    """Passes by itself: the second attempt of the same process succeeds."""


class Permanent(ValueError):
    """Never passes."""


@dataclass(frozen=True)
class Behaviour:
    """Shares are per mille."""

    seed: int
    permanent: int = 10
    transient: int = 50
    following: int = 50

    def draw(self, what: str, number: int) -> int:
        """A number below 1,000."""
        return zlib.crc32(f"{self.seed}:{what}:{number}".encode()) % 1_000

    def is_permanent(self, number: int) -> bool:
        return self.draw("permanent", number) < self.permanent

    def is_transient(self, number: int) -> bool:
        return self.draw("transient", number) < self.transient

    def fails_late(self, number: int) -> bool:
        """After it has written, instead of before."""
        return self.draw("late", number) < 500

    def follows(self, number: int) -> bool:
        return number < FOLLOWED and self.draw("follow", number) < self.following and not self.is_permanent(number)

    def seconds(self, number: int) -> float:
        """How long its download takes."""
        return self.draw("seconds", number) / 1_000 * 0.006

    def queued(self, number: int) -> list[str]:
        """The effects that it queues."""
        return {0: [f"{number}/a"], 1: [], 2: [f"{number}/a", f"{number}/b"], 3: [f"{number}/b"]}[number % 4]

    def called(self, number: int) -> list[str]:
        """The effects that it has by ORM calls."""
        return {0: [], 1: [f"{number}/a"], 2: [], 3: [f"{number}/a"]}[number % 4]

    def effects(self, number: int) -> list[str]:
        return [*self.queued(number), *self.called(number)]

    def numbers(self, count: int) -> list[int]:
        """All items of a run, followed ones included."""
        return [*range(count), *(number + FOLLOWED for number in range(count) if self.follows(number))]

    def dead(self, count: int) -> set[int]:
        return {number for number in self.numbers(count) if self.is_permanent(number)}

    def all_effects(self, count: int) -> Counter[str]:
        alive = [number for number in self.numbers(count) if not self.is_permanent(number)]
        return Counter(effect for number in alive for effect in self.effects(number))


def tell(path: str, *words: object) -> None:
    """One line that outlives a kill."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, (" ".join(map(str, (os.getpid(), *words))) + "\n").encode())
    os.close(file)
