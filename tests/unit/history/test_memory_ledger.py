"""The ledger of a dry run, which is in memory only."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_commander.history.memory_ledger import KeySet, MemoryLedger
from async_commander.history.recorder import Candidate
from async_commander.results import Followed, ItemOutcome, ItemState

KEYS = st.integers(0, 40).map(lambda number: UUID(int=number * 1024))  # so that many would go to one place


def key(number: int) -> UUID:
    return UUID(int=number + 1)


def candidates(*numbers: int) -> list[Candidate]:
    return [Candidate(key(number), str(number)) for number in numbers]


@given(st.lists(st.tuples(st.sampled_from(["add", "discard"]), KEYS), max_size=200))
def test_a_set_of_keys_is_a_set(changes: list[tuple[str, UUID]]) -> None:
    found, expected = KeySet(), set[UUID]()
    for change, one in changes:
        getattr(found, change)(one)
        getattr(expected, change)(one)
    assert {one for _, one in changes if one in found} == expected


def test_it_grows() -> None:
    found = KeySet()
    for number in range(5_000):
        found.add(key(number * 7))
    assert all(key(number * 7) in found for number in range(5_000))
    assert not any(key(number * 7 + 1) in found for number in range(5_000))


def test_the_books_balance_all_the_time() -> None:
    ledger = MemoryLedger()
    assert ledger.admit(candidates(1, 2, 3, 3), None).duplicates == 1
    assert ledger.counts() == {"taken": 4, "claimed": 3, "skipped": 1, "done": 0, "retry": 0, "dead": 0}
    ledger.finish(ItemOutcome(key=key(1), followed=[Followed(key(9), "9", 9), Followed(key(2), "2", 2)]))
    ledger.finish(ItemOutcome(key=key(2), state=ItemState.RETRY, delay=100, item=2))
    ledger.finish(ItemOutcome(key=key(3), state=ItemState.DEAD))
    assert ledger.counts() == {"taken": 5, "claimed": 0, "skipped": 1, "done": 1, "retry": 2, "dead": 1}
    stored = ledger.stored(10)
    assert [one.item for one in stored.items] == [9]
    assert stored.next_in == pytest.approx(100, abs=1)
    ledger.let_go()
    assert ledger.counts() == {"taken": 5, "claimed": 0, "skipped": 1, "done": 1, "retry": 2, "dead": 1}


def test_what_was_never_done_is_as_if_never_taken() -> None:
    ledger = MemoryLedger()
    ledger.admit(candidates(1, 2), None)
    ledger.release([key(1)], [])
    assert ledger.counts()["taken"] == 1
    assert ledger.admit(candidates(1), None).fresh == {key(1)}
    ledger.let_go()
    assert ledger.counts()["taken"] == 0


def test_room_is_kept_to() -> None:
    ledger = MemoryLedger()
    ledger.taken_at_most = 3
    assert len(ledger.admit(candidates(1, 2), None).fresh) == 2
    outcome = ItemOutcome(key=key(1), followed=[Followed(key(number), "", number) for number in (7, 8)])
    ledger.finish(outcome)
    assert (outcome.followed_new, outcome.left_out) == (1, 1)
    assert ledger.admit(candidates(5), None).fresh == set()


def test_an_item_that_only_the_source_can_give_again_waits_for_it() -> None:
    ledger = MemoryLedger()
    ledger.admit(candidates(1), None)
    ledger.finish(ItemOutcome(key=key(1), state=ItemState.RETRY, attempts=2, item=None))
    assert ledger.stored(10).items == []
    ledger.source_restarted()
    answer = ledger.admit(candidates(1), None)
    assert (answer.again[key(1)].attempts, answer.from_retry, answer.fresh) == (2, 1, set())


def test_without_history_a_key_is_known_while_it_is_in_hand() -> None:
    ledger = MemoryLedger(remembers=False)
    assert ledger.admit(candidates(1, 1), None).duplicates == 1
    ledger.finish(ItemOutcome(key=key(1)))
    assert ledger.admit(candidates(1), None).fresh == {key(1)}
