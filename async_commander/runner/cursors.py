"""How far a source is settled: the cursor behind which nothing has to be read again.

An item is settled where the ledger has its outcome, or keeps the item itself for another attempt. The items are in the
order of the source; those that are not settled stand between the cursors that may be told and the others:

told ◀─ mark ─ [open item] ◀─ mark ─ [open item] ◀─ mark …       each mark: the last cursor before the next open item
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from async_commander.command.items import text_to_keep, value_kept
from async_commander.command.shapes import At
from async_commander.exceptions import InvalidCommand
from async_commander.history.recorder import SafeCursor
from async_commander.results import ItemOutcome, ItemState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from async_commander.history.recorder import Admission, Candidate
    from async_commander.text.redactor import Redactor

LONGEST = 2_000
"""Characters of JSON that a cursor may have: it is written with each batch."""


class _Open:
    """An item that is not settled, or the beginning of the source; and the last cursor before the next one of these."""

    __slots__ = ("before", "behind", "gone", "mark")

    def __init__(self, before: _Open | None = None, mark: SafeCursor | None = None) -> None:
        self.before = before
        self.behind: _Open | None = None
        self.mark = mark
        self.gone = False


class Cursors:
    """The cursors of one source, in O(items in hand). `tell` hears of the last one that is safe, when it is another.

    A cursor is safe once all items that were yielded with it, and all before them, are settled. A source may yield the
    same cursor with many items, as with those of one page: that there are no more of them is known when it yields
    another one, or has ended.
    """

    def __init__(
        self, tell: Callable[[SafeCursor], None], redact: Redactor, *, begun_at: SafeCursor | None = None
    ) -> None:
        self._tell = tell
        self._redact = redact
        self._first = self._last = _Open(mark=begun_at)
        self._open: dict[UUID, _Open] = {}
        self._ahead: deque[tuple[int, str | None] | None] = deque()
        """Place and cursor of what was yielded and not admitted yet; None where the source was begun anew."""
        self._latest: tuple[SafeCursor, _Open] | None = None
        """The cursor of which there may be more, and where the last item with it stands."""
        self._ended = False

    @property
    def after(self) -> Any:
        """What `iterate(after=…)` is called with: the last safe cursor, as it was yielded; None where there is none."""
        return None if self._first.mark is None else value_kept(self._first.mark.text)

    @property
    def place(self) -> int:
        """How many items of the source come before what is read from there on."""
        return 0 if self._first.mark is None else self._first.mark.place

    def yielded(self, item: Any, place: int) -> Any:
        """The source gave one more; returns the item itself. InvalidCommand where its cursor cannot be kept."""
        if type(item) is not At:
            self._ahead.append((place, None))
            return item
        self._ahead.append((place, None if item.cursor is None else self._text(item.cursor, place)))
        return item.item

    def admit(self, candidates: Iterable[Candidate], answer: Admission) -> None:
        """The next ones of those that were yielded: some are in hand from now on, or left out; others are known."""
        still_open = answer.fresh | answer.again.keys() | answer.crashed.keys() | answer.left_out
        for candidate in candidates:
            self.admitted(candidate.key, is_open=candidate.key in still_open)

    def settle(self, outcomes: Iterable[object]) -> None:
        """These are committed. One that waits, and that JSON could not hold or that goes in order, has to be yielded
        again: it is open.
        """
        for one in outcomes:
            if isinstance(one, ItemOutcome) and (
                one.state is not ItemState.RETRY or (one.item is not None and one.line is None)
            ):
                self.settled(one.key)

    def admitted(self, key: UUID, *, is_open: bool) -> None:
        """The next one of those that were yielded is in hand, or left out, where it `is_open`; else it is settled."""
        while (ahead := self._ahead.popleft()) is None:
            self._latest = None  # whether the source had more of that cursor nobody knows
        place, text = ahead
        if is_open and key not in self._open:
            self._last.behind = self._open[key] = self._last = _Open(self._last)
        if text is not None:
            if self._latest is not None and self._latest[0].text != text:
                self._confirm()
            self._latest = SafeCursor(place, text), self._last
        self._confirm_at_the_end()

    def settled(self, key: UUID) -> None:
        """The ledger has an outcome of this one, or keeps it."""
        one = self._open.pop(key, None)
        if one is None:
            return
        before, one.gone = one.before, True
        assert before is not None  # noqa: S101 - the beginning of the source is no item
        before.behind = one.behind
        if one.behind is None:
            self._last = before
        else:
            one.behind.before = before
        if one.mark is not None:
            self._set(before, one.mark)

    def restarted(self) -> None:
        """The source is begun anew, after the last safe cursor."""
        self._ahead.append(None)

    def ended(self) -> None:
        """The source has no more."""
        self._ended = True
        self._confirm_at_the_end()

    def _confirm_at_the_end(self) -> None:
        if self._ended and not self._ahead:
            self._confirm()

    def _confirm(self) -> None:
        """There are no more items with the latest cursor."""
        if self._latest is None:
            return
        (mark, where), self._latest = self._latest, None
        while where.gone and where.before is not None:
            where = where.before
        self._set(where, mark)

    def _set(self, where: _Open, mark: SafeCursor) -> None:
        where.mark = mark
        if where is self._first:
            self._tell(mark)

    def _text(self, cursor: Any, place: int) -> str:
        whose = f"The cursor of item {place} of the source"
        try:
            text = text_to_keep(cursor)
        except (TypeError, ValueError) as error:
            raise InvalidCommand(
                f"{whose} cannot be kept: {error}. A cursor is what says where to go on: a key, a token."
            ) from None
        if len(text) > LONGEST:
            raise InvalidCommand(f"{whose} is {len(text):,} characters of JSON; allowed are {LONGEST:,}.")
        if self._redact.knows(text):
            raise InvalidCommand(f"{whose} contains the value of a secret option, which is stored nowhere.")
        return text
