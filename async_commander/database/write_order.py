"""The order of writes that concern the same row."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


class Write(Protocol):
    """One object on its way to the database."""

    @property
    def computed(self) -> bool:
        """Whether it has an expression, which says what to make of the value that the row has by then."""


Shape = TypeVar("Shape")
W = TypeVar("W", bound=Write)


class Rounds(Generic[Shape, W]):
    """Puts writes into as few rounds as keep the order of those that stand for the same row.

    Writes of one shape can be one statement. Those of the same row and shape share a round, where the last one wins;
    unless one has an expression.
    """

    def __init__(self) -> None:
        self.rounds: list[dict[Shape, list[W]]] = []
        self._latest: dict[Hashable, tuple[int, Shape, W]] = {}
        self._first = 0

    def put(self, shape: Shape, write: W, same: Sequence[Hashable]) -> None:
        """Add a write after all those with which it shares one of the marks in `same`."""
        turn = self._first
        for mark in same:
            if mark in self._latest:
                its_turn, its_shape, other = self._latest[mark]
                joins = its_shape == shape and not other.computed and not write.computed
                turn = max(turn, its_turn if joins else its_turn + 1)
        for mark in same:
            self._latest[mark] = turn, shape, write
        self._put(turn, shape, write)

    def put_alone(self, shape: Shape, write: W) -> None:
        """Add a write after all that were put before, and before all that come."""
        turn = len(self.rounds)
        self._first = turn + 1
        self._put(turn, shape, write)

    def _put(self, turn: int, shape: Shape, write: W) -> None:
        while turn >= len(self.rounds):
            self.rounds.append(defaultdict(list))
        self.rounds[turn][shape].append(write)
