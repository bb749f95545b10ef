"""Which cursor is safe: a model in which items are settled in any order, processes crash, and sources break."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import async_commander as ac
from async_commander.command.items import value_kept
from async_commander.history.recorder import Admission, Candidate, SafeCursor
from async_commander.results import ItemOutcome, ItemState
from async_commander.runner.cursors import LONGEST, Cursors
from async_commander.text.redactor import Redactor

NAMES = UUID(int=1)


def key_of(item: object) -> UUID:
    return uuid5(NAMES, str(item))


class Sitting:
    """One process at a source, given as pairs of an item and its cursor; None for a plain one."""

    def __init__(self, source: list[tuple[int, int | None]], ledger: set[int], begun_at: SafeCursor | None) -> None:
        self.told = begun_at
        self.cursors = Cursors(self.tell, Redactor(), begun_at=begun_at)
        self.source, self.ledger = source, ledger
        self.in_hand: list[int] = []
        self.ahead: list[int] = []
        self.reading = self.rest()
        self.read: list[int] = []

    def tell(self, cursor: SafeCursor) -> None:
        self.told = cursor

    def rest(self) -> list[tuple[int, int | None]]:
        """What `iterate(after=…)` gives: all that comes behind the last item with that cursor."""
        after = self.cursors.after
        places = [place for place, (_, cursor) in enumerate(self.source) if cursor == after and after is not None]
        return self.source[places[-1] + 1 :] if places else list(self.source)

    def move(self, kind: str, choice: int) -> None:
        if kind == "s":
            self.settle(choice)
        else:
            {"r": self.read_one, "a": self.admit, "b": self.break_off}[kind]()

    def read_one(self) -> None:
        if not self.reading:
            self.cursors.ended()
            return
        item, cursor = self.reading.pop(0)
        given = item if cursor is None else ac.At(item, cursor)
        assert self.cursors.yielded(given, len(self.read) + 1) == item
        self.read.append(item)
        self.ahead.append(item)

    def admit(self) -> None:
        if self.ahead:
            item = self.ahead.pop(0)
            fresh = set() if item in self.ledger or item in self.in_hand else {key_of(item)}
            self.in_hand += [item] if fresh else []
            self.cursors.admit([Candidate(key_of(item), "")], Admission(fresh=fresh))

    def settle(self, choice: int) -> None:
        if self.in_hand:
            item = self.in_hand.pop(choice % len(self.in_hand))
            self.ledger.add(item)
            self.cursors.settle([ItemOutcome(key=key_of(item))])

    def break_off(self) -> None:
        self.cursors.restarted()
        self.reading = self.rest()

    def check(self) -> None:
        """All that would not be read again is in the ledger."""
        behind = {item for item, _ in Sitting(self.source, set(), self.told).reading}
        before = {item for item, _ in self.source} - behind
        assert before <= self.ledger, (before - self.ledger, self.told)


SOURCES = st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.booleans()), min_size=1, max_size=14)


def source_of(drawn: list[tuple[int, bool, bool]]) -> list[tuple[int, int | None]]:
    """Items, some of them twice; cursors that stand for one item or for a few, and plain items between."""
    source, cursor = [], 0
    for item, is_plain, another in drawn:
        cursor += another
        source.append((item, None if is_plain else cursor))
    return source


@given(SOURCES, st.lists(st.tuples(st.sampled_from("rrraaassssbc"), st.integers(0, 20)), max_size=80))
@settings(max_examples=300, deadline=None)
def test_what_is_not_read_again_is_settled_and_in_the_end_all_is(
    drawn: list[tuple[int, bool, bool]], moves: list[tuple[str, int]]
) -> None:
    source, ledger = source_of(drawn), set[int]()
    one = Sitting(source, ledger, None)
    for move, choice in moves:
        if move == "c":
            one = Sitting(source, ledger, one.told)
        else:
            one.move(move, choice)
        one.check()
    while one.reading or one.ahead or one.in_hand:
        one.read_one()
        one.admit()
        one.settle(0)
        one.check()
    one.read_one()
    assert ledger == {item for item, _ in source}
    cursors = [cursor for _, cursor in source if cursor is not None]
    assert one.cursors.after == (cursors[-1] if cursors else None)


def told_after(*moves: Any, **begun: Any) -> list[Any]:
    """The cursors that are told for items that come in and are settled: ac.At(…) or an item; settled by its key."""
    told: list[Any] = []
    cursors = Cursors(lambda safe: told.append((safe.place, value_kept(safe.text))), Redactor(), **begun)
    for place, move in enumerate(moves, 1):
        if isinstance(move, UUID):
            cursors.settled(move)
        else:
            item = cursors.yielded(move, place)
            cursors.admit([Candidate(key_of(item), "")], Admission(fresh={key_of(item)}))
    cursors.ended()
    return told


def test_a_cursor_waits_for_the_slowest_item_before_it() -> None:
    a, b, c = ac.At("a", 1), ac.At("b", 2), ac.At("c", 3)
    assert told_after(a, b, c, key_of("c"), key_of("b")) == []
    assert told_after(a, b, c, key_of("c"), key_of("b"), key_of("a")) == [(2, 2), (3, 3)]
    assert told_after(a, key_of("a"), b, key_of("b")) == [(1, 1), (3, 2)]


def test_a_cursor_of_many_items_waits_for_all_of_them() -> None:
    page = [ac.At(item, "next") for item in "abc"]
    assert told_after(*page, key_of("a"), key_of("b")) == []
    assert told_after(*page, key_of("a"), key_of("b"), key_of("c")) == [(3, "next")]


def test_items_that_are_yielded_as_they_are_hold_a_cursor_up_and_move_none() -> None:
    assert told_after("a", ac.At("b", 1), "c", key_of("b"), key_of("c")) == []
    assert told_after("a", ac.At("b", 1), "c", key_of("b"), key_of("a")) == [(2, 1)]
    assert told_after("a", ac.At("b", None), key_of("b"), key_of("a")) == []


def test_an_item_that_json_could_not_hold_holds_the_cursor_up() -> None:
    told: list[SafeCursor] = []
    cursors = Cursors(told.append, Redactor())
    for place, item in enumerate("abc", 1):
        cursors.yielded(ac.At(item, place), place)
        cursors.admit([Candidate(key_of(item), "")], Admission(fresh={key_of(item)}))
    cursors.settle([ItemOutcome(key=key_of("a")), ItemOutcome(key=key_of("b"), state=ItemState.RETRY, item="b")])
    assert [one.place for one in told] == [1, 2][: len(told)]
    cursors.settle([ItemOutcome(key=key_of("c"), state=ItemState.RETRY, item=None)])
    cursors.ended()
    assert cursors.after == 2


def test_what_a_quota_left_out_is_read_again() -> None:
    cursors = Cursors(lambda _: None, Redactor())
    for place, item in enumerate("ab", 1):
        cursors.yielded(ac.At(item, place), place)
    keys = {item: key_of(item) for item in "ab"}
    cursors.admit([Candidate(one, "") for one in keys.values()], Admission(fresh={keys["a"]}, left_out={keys["b"]}))
    cursors.settle([ItemOutcome(key=keys["a"])])
    cursors.ended()
    assert (cursors.after, cursors.place) == (1, 1)


@pytest.mark.parametrize("cursor", [7, "text", [1, "a"], {"page": 2}, date(2026, 2, 28), UUID(int=7), (1, 2)])
def test_a_cursor_comes_back_as_it_was_yielded(cursor: object) -> None:
    cursors = Cursors(lambda _: None, Redactor())
    cursors.yielded(ac.At("a", cursor), 1)
    cursors.admit([Candidate(key_of("a"), "")], Admission())
    cursors.ended()
    assert repr(cursors.after) == repr(cursor)


@pytest.mark.parametrize(
    ("cursor", "told"),
    [
        (object(), r"The cursor of item 7 of the source cannot be kept: a builtins\.object cannot be kept as JSON"),
        ("x" * LONGEST, r"The cursor of item 7 of the source is 2,002 characters of JSON; allowed are 2,000"),
        ({"token": "canary-of-a-secret"}, "item 7 of the source contains the value of a secret option"),
    ],
)
def test_a_cursor_that_cannot_be_kept_is_refused_with_its_place(cursor: object, told: str) -> None:
    with pytest.raises(ac.InvalidCommand, match=told):
        Cursors(lambda _: None, Redactor(["canary-of-a-secret"])).yielded(ac.At("a", cursor), 7)


def test_memory_is_that_of_the_items_in_hand() -> None:
    cursors = Cursors(lambda _: None, Redactor())
    for place in range(1, 5_000):
        cursors.yielded(ac.At(place, place), place)
        cursors.admit([Candidate(key_of(place), "")], Admission(fresh={key_of(place)}))
        if place > 1:
            cursors.settled(key_of(place))
    assert len(cursors._open) == 1
    assert not cursors._ahead
    assert cursors.after is None
    cursors.settled(key_of(1))
    assert cursors.after == 4_998
