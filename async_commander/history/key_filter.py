"""Which keys a run has surely not met: what need not be looked up in the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

BITS = 1 << 25
"""4 MiB. Among a million keys one new one of 6,000 is taken for known, and looked up in vain."""
_PRIMES = (33_554_393, 33_554_383, 33_554_371, 33_554_347)
"""The largest below BITS: the remainders of a key, which is a digest, are its positions."""


FEW = 4096
"""So many keys are kept as they are: most runs have no more, and the bits of one take milliseconds to lay out."""


class KeyFilter:
    """A Bloom filter of keys: it may be wrong where it says that a key is in, and never where it says that it is not.

    (Source: "Space/Time Trade-offs in Hash Coding with Allowable Errors", B. H. Bloom, 1970.) Not for two threads that
    add at once.
    """

    def __init__(self) -> None:
        self._few: set[int] = set()
        self._bits: bytearray | None = None

    def add(self, keys: Iterable[UUID]) -> None:
        """From now on these are in."""
        numbers: Iterable[int] = [key.int for key in keys]
        if self._bits is not None:
            _set(self._bits, numbers)
            return
        self._few.update(numbers)
        if len(self._few) > FEW:
            bits = bytearray(BITS // 8)
            _set(bits, self._few)
            self._bits = bits  # before they are dropped there: another thread may be looking
            self._few = set()

    def among(self, keys: Iterable[UUID]) -> list[UUID]:
        """Those of the keys that may be in."""
        few, bits, found = self._few, self._bits, []
        if bits is None:
            return [key for key in keys if key.int in few]
        for key in keys:
            number = key.int
            for prime in _PRIMES:
                place = number % prime
                if not bits[place >> 3] >> (place & 7) & 1:
                    break
            else:
                found.append(key)
        return found


def _set(bits: bytearray, numbers: Iterable[int]) -> None:
    for number in numbers:
        for prime in _PRIMES:
            place = number % prime
            bits[place >> 3] |= 1 << (place & 7)
