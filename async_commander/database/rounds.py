"""The order of writes that concern the same row."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Generic, TypeVar

from django.db.models.expressions import DatabaseDefault

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from django.db.models import Model

    from .keys import Key, Keyed

Shape = TypeVar("Shape")


class Rounds(Generic[Shape]):
    """Puts objects into as few rounds as keep the order of those that stand for the same row.

    Objects of one shape can be one statement. Those of the same row and shape share a round, where the last one wins;
    unless one has an expression, which says what to make of the value that the row has by then.
    """

    def __init__(self) -> None:
        self.rounds: list[dict[Shape, list[Keyed]]] = []
        self._latest: dict[Hashable, tuple[int, Shape, Model]] = {}
        self._first = 0

    def put(self, shape: Shape, key: Key, obj: Model, same: Sequence[Hashable]) -> None:
        """Add an object after all those with which it shares one of the marks in `same`."""
        before = [self._latest[mark] for mark in same if mark in self._latest]
        turn = max([self._first, *(self._after(one, shape, obj) for one in before)])
        for mark in same:
            self._latest[mark] = turn, shape, obj
        self._put(turn, shape, (key, obj))

    def put_alone(self, shape: Shape, key: Key, obj: Model) -> None:
        """Add an object after all that were put before, and before all that come."""
        turn = len(self.rounds)
        self._first = turn + 1
        self._put(turn, shape, (key, obj))

    def _after(self, one: tuple[int, Shape, Model], shape: Shape, obj: Model) -> int:
        turn, its_shape, other = one
        return turn if its_shape == shape and not _has_expression(other) and not _has_expression(obj) else turn + 1

    def _put(self, turn: int, shape: Shape, keyed: Keyed) -> None:
        while turn >= len(self.rounds):
            self.rounds.append(defaultdict(list))
        self.rounds[turn][shape].append(keyed)


def _has_expression(obj: Model) -> bool:
    return any(
        hasattr(value, "resolve_expression") and not isinstance(value, DatabaseDefault)
        for value in obj.__dict__.values()
    )
