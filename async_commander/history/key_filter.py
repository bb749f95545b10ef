"""Which keys a run has surely not met: what need not be looked up in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

BITS = 24
"""Of a position: 2 MiB in all. Among a million keys one new one of 900 is taken for known, and looked up in vain."""
POSITIONS = 5
"""For each key; they are cut out of its digest."""
_MASK = (1 << BITS) - 1


class KeyFilter:
    """A Bloom filter of keys: it may be wrong where it says that a key is in, and never where it says that it is not.

    (Source: "Space/Time Trade-offs in Hash Coding with Allowable Errors", B. H. Bloom, 1970.) Not for two threads that
    add at once.
    """

    def __init__(self) -> None:
        self._bits = bytearray(1 << (BITS - 3))

    def add(self, keys: Iterable[UUID]) -> None:
        """From now on these are in."""
        bits = self._bits
        for key in keys:
            number = key.int
            for _ in range(POSITIONS):
                bits[(number & _MASK) >> 3] |= 1 << (number & 7)
                number >>= BITS

    def among(self, keys: Iterable[UUID]) -> list[UUID]:
        """Those of the keys that may be in."""
        bits, found = self._bits, []
        for key in keys:
            number = key.int
            for _ in range(POSITIONS):
                if not bits[(number & _MASK) >> 3] >> (number & 7) & 1:
                    break
                number >>= BITS
            else:
                found.append(key)
        return found
