"""Claims and outcomes that are one statement: they guarantee what a transaction of several guaranteed."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import F
from django.utils import timezone

from async_commander.database.unit import Unit
from async_commander.exceptions import RunFenced
from async_commander.history.lease import establish, take_over
from async_commander.history.ledger import Ledger
from async_commander.history.recorder import Candidate
from async_commander.models import Run, RunClaim, RunItem
from async_commander.results import Followed, ItemOutcome

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(60)]


@pytest.fixture
def ledger(transactional_db: None) -> Ledger:
    run = Run.objects.create(command="x", identity="x", status="running", expires=timezone.now())
    return Ledger(establish("default", run.pk))


def at_once() -> AbstractContextManager[Any]:
    """Where a statement may be a transaction of its own, it is; elsewhere it is in one."""
    return nullcontext() if connection.vendor == "postgresql" else transaction.atomic()


def candidates(count: int) -> list[Candidate]:
    return [Candidate(uuid4(), str(number)) for number in range(count)]


def claimed(ledger: Ledger, count: int, change: int) -> list[UUID]:
    keys = ledger.reserve(candidates(count))
    assert keys is not None
    with at_once():
        ledger.claim_new(keys, change)
    ledger.claimed()
    return list(keys)


def done(keys: list[UUID]) -> list[Unit]:
    return [Unit("default", outcome=ItemOutcome(key=key, started=timezone.now())) for key in keys]


def counts() -> tuple[int, int, int, int]:
    return Run.objects.values_list("taken", "claimed", "done", "changes").get()


def test_new_items_are_claimed_and_finished(ledger: Ledger) -> None:
    keys = claimed(ledger, 3, change=1)
    assert counts() == (3, 3, 0, 1)
    assert RunClaim.objects.get().keys == [key.hex for key in keys]
    units = done(keys)
    assert ledger.finishes_at_once(units)
    with at_once():
        ledger.finish(units)
    assert counts() == (3, 0, 3, 1)
    assert set(RunItem.objects.values_list("key", "state", "attempts")) == {(key, "done", 1) for key in keys}


def test_a_claim_whose_answer_was_lost_is_there_when_it_is_made_again(ledger: Ledger) -> None:
    keys = ledger.reserve(candidates(2))
    assert keys is not None
    for _ in range(3):
        with at_once():
            answer = ledger.claim_new(keys, 1)
    assert answer.fresh == set(keys)
    assert counts() == (2, 2, 0, 1)
    ledger.claimed()
    ledger.settled(keys)  # the claim that is there is the one that is closed
    with at_once():
        ledger.finish(done(keys))
    assert not RunClaim.objects.exists()


def test_nothing_is_written_into_a_run_that_was_taken_over(ledger: Ledger) -> None:
    keys = claimed(ledger, 2, change=1)
    ledger.settled(keys)
    more = ledger.reserve(candidates(2))
    assert more is not None
    take_over("default", ledger.ownership.run_id)
    with pytest.raises(RunFenced), at_once():
        ledger.claim_new(more, 2)
    with pytest.raises(RunFenced), at_once():
        ledger.finish(done(keys))
    assert counts() == (2, 2, 0, 1)
    assert (RunItem.objects.count(), RunClaim.objects.count()) == (0, 1)


def test_a_row_that_is_there_already_takes_the_whole_batch_back(ledger: Ledger) -> None:
    keys = claimed(ledger, 2, change=1)
    with at_once():
        ledger.finish(done(keys[:1]))
    with pytest.raises(IntegrityError), at_once():
        ledger.finish(done(keys))
    assert counts() == (2, 1, 1, 1)


def test_what_may_be_known_is_asked_for(ledger: Ledger) -> None:
    some = candidates(2)
    assert ledger.reserve([*some, some[0]]) is None
    assert ledger.reserve(some, room=1) is None
    assert ledger.reserve(some) is not None
    assert ledger.reserve(some[1:]) is None
    ledger.source_restarted()
    assert ledger.reserve(candidates(1)) is None


def test_an_item_that_is_being_claimed_is_not_brought_up_as_well(ledger: Ledger) -> None:
    (first,) = claimed(ledger, 1, change=1)
    reserved = ledger.reserve(candidates(1))
    assert reserved is not None
    (again,) = reserved
    outcome = ItemOutcome(key=first, followed=[Followed(again, "again", "x"), Followed(uuid4(), "new", "y")])
    with transaction.atomic():
        ledger.finish([Unit("default", outcome=outcome)])
    assert outcome.followed_new == 1
    with at_once():
        ledger.claim_new(reserved, 2)
    assert counts() == (3, 1, 1, 2)
    assert not RunItem.objects.filter(key=again).exists()


def test_an_item_that_was_brought_up_is_asked_for(ledger: Ledger) -> None:
    (first,), new = claimed(ledger, 1, change=1), candidates(1)
    outcome = ItemOutcome(key=first, followed=[Followed(new[0].key, "new", "y")])
    with transaction.atomic():
        ledger.finish([Unit("default", outcome=outcome)])
        assert ledger.reserve(new) is None


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="only there two write at the same time")
def test_a_statement_that_waited_for_another_transaction_adds_to_what_that_one_wrote(ledger: Ledger) -> None:
    """The conditions are looked at again on the row as it is then; the fence is held meanwhile."""
    keys = claimed(ledger, 2, change=1)
    more = ledger.reserve(candidates(3))
    assert more is not None
    for work in (lambda: ledger.claim_new(more, 2), lambda: ledger.finish(done(keys))):
        started = threading.Event()
        failures: list[BaseException] = []

        def wait(work: Any = work, started: threading.Event = started, failures: list[Any] = failures) -> None:
            try:
                connections["default"].ensure_connection()
                started.set()
                work()
            except BaseException as error:
                failures.append(error)
            finally:
                connections["default"].close()

        with transaction.atomic():
            Run.objects.update(taken=F("taken") + 10)
            thread = threading.Thread(target=wait)
            thread.start()
            started.wait(10)
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
            with connection.cursor() as cursor:
                for _ in range(1000):
                    cursor.execute(waits)
                    if cursor.fetchone() != (0,):
                        break
                else:
                    pytest.fail("it did not wait")
        thread.join(20)
        assert failures == []
    assert counts() == (25, 3, 2, 2)
