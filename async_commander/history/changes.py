"""Changes of a run's record that are made once, also where the answer to a COMMIT was lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TypeVar

from django.db import connections

from async_commander.exceptions import RunFenced
from async_commander.models import Run

from .lease import Ownership

T = TypeVar("T")


class Changes:
    """Numbers the changes of one ownership; the run's row keeps the number of the last one that was committed.

    A change in doubt is not looked up, but tried again. Whoever made it holds the row's lock until it has ended; the
    number in the row then shows whether anything is left to do.
    """

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self._numbers = count(1)

    def once(self, work: Callable[[], T], *, late: bool = False) -> Callable[[], T]:
        """The same work, to be called in a transaction of its own again and again until one is known to be committed.

        The run's row is locked before the work is done, or after it where it is `late`: what holds locks of its own, or
        takes long and needs nobody kept out, comes before.
        """
        made: list[T] = []

        def work_once(number: int) -> T:
            if (made or not late) and not self._is_next(number):
                if not made:
                    raise RunFenced(
                        f"Run {self._ownership.run_id} was deleted, or is somebody else's; nothing is written there."
                    )
                return made[0]  # it is committed
            first = not made
            made[:] = [work()]
            if first and late:
                self._is_next(number)
            return made[0]

        return self.numbered(work_once)

    def numbered(self, work: Callable[[int], T]) -> Callable[[], T]:
        """Work that takes its number itself, to be called again and again likewise.

        It is given one when it is called first, so that numbers grow in the order in which the work is done.
        """
        number: list[int] = []

        def work_numbered() -> T:
            if not number:
                number.append(next(self._numbers))
            return work(number[0])

        return work_numbered

    def _is_next(self, number: int) -> bool:
        """Take the number, and with it the lock of the run's row; False where that was committed before."""
        connection = connections[self._ownership.alias]
        table = connection.ops.quote_name(Run._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table} SET changes = %s WHERE id = %s AND changes < %s",  # noqa: S608 - quoted by Django
                [number, self._ownership.run_id, number],
            )
            return bool(cursor.rowcount)
