"""How many items a run may take: the bound of this process (`--max-items`), and the run's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from async_commander.results import Tally


@dataclass(slots=True)
class Quota:
    """Counts by a live tally; made before the first item is taken. Without bounds any number may be.

    A run has the bound that it was begun with. One that a later process is given for itself may be narrower, and the
    run stays unfinished then; or wider, and widens the run's.
    """

    tally: Tally
    asked: int | None = None
    """New items that this process is asked to take, at most."""
    begun_with: int | None = None
    """Items that a resumed run was asked to take when it was begun."""
    resumed: bool = False
    recovered: int = 0
    """Items that a crashed process took, and that the source has not brought up again: they need no room."""
    closed: bool = False
    """The source was read to its end before: it gives no new items, and is read for those that were recovered alone."""
    run_at_most: int | None = None
    """What the run may take in all, by every process."""
    _at_most: int | None = None

    def __post_init__(self) -> None:
        taken, asked, begun_with = self.tally.taken, self.asked, self.begun_with
        if asked is not None:
            self._at_most = taken + asked
        elif begun_with is not None:
            self._at_most = max(taken, begun_with)
        if self.closed:
            self._at_most = taken if self.recovered > 0 else None  # else it is not read at all
        if not self.resumed:
            self.run_at_most = asked
        elif begun_with is not None and asked is not None:
            self.run_at_most = max(begun_with, taken + asked)
        else:
            self.run_at_most = begun_with  # a bound that only this process has leaves no item out for good

    @property
    def room(self) -> int | None:
        """New items that may still be taken now; None: any number."""
        return None if self._at_most is None else max(0, self._at_most - self.tally.taken)

    @property
    def spent(self) -> bool:
        """Nothing more is to be read from the source."""
        return self.room == 0 and self.recovered <= 0

    @property
    def narrower(self) -> bool:
        """This process stops before the run is done: its own bound is reached before the run's."""
        if not self.resumed or self.asked is None:
            return False
        return self.begun_with is None or self.tally.taken < self.begun_with

    def of_chunk(self, size: int) -> int:
        """How much of a chunk may be taken from the source. What was recovered may be anywhere in it."""
        room = self.room
        return size if room is None or self.recovered > 0 else min(size, room)

    def of_total(self, total: int) -> int:
        """What this run will come to, of a source that has so many items."""
        return min(total, self.asked) if self.asked is not None and not self.resumed else total
