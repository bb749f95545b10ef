"""The ledger's own bookkeeping: claims that are worked off, and items that bring up very many."""

from __future__ import annotations

import json
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from async_commander.database.unit import Unit
from async_commander.history.key_filter import KeyFilter
from async_commander.history.lease import Ownership, establish
from async_commander.history.ledger import Ledger
from async_commander.history.ledger_rows import find_items, insert_outcomes
from async_commander.history.recorder import Candidate
from async_commander.models import Run, RunClaim, RunItem
from async_commander.results import Followed, ItemOutcome, ItemState
from tests.integration.database.conftest import few_parameters

__all__ = ["few_parameters"]


@pytest.fixture
def ledger(db: None) -> Ledger:
    run = Run.objects.create(command="x", identity="x", status="running", expires=timezone.now() + timedelta(hours=1))
    establish("default", run.pk)
    return Ledger(Ownership("default", run.pk, 1))


def close_claims(ledger: Ledger, count: int) -> None:
    for key in [uuid4() for _ in range(count)]:
        ledger.claim([key])
        ledger.claimed()
        ledger.settled([key])


def test_closed_claims_are_dropped_with_the_next_batch(ledger: Ledger) -> None:
    with transaction.atomic():
        close_claims(ledger, 3)
        assert RunClaim.objects.count() == 3
        ledger.finish([])
    assert not RunClaim.objects.exists()


class Shared(deque[int]):
    """Closed claims of which another lane takes one at the same time."""

    def popleft(self) -> int:
        first = super().popleft()
        if self:
            super().popleft()
        return first


def test_lanes_that_drop_closed_claims_at_the_same_time_do_not_disturb_each_other(ledger: Ledger) -> None:
    with transaction.atomic():
        close_claims(ledger, 5)
        ledger._closed_claims = Shared(ledger._closed_claims)
        ledger.finish([])
    assert RunClaim.objects.count() == 2


@pytest.mark.usefixtures("few_parameters")
def test_an_item_brings_up_more_than_a_statement_has_parameters(ledger: Ledger) -> None:
    followed = [Followed(uuid4(), label=str(number), item=str(number)) for number in range(1_100)]
    with transaction.atomic():
        for _ in range(2):
            ledger.finish([Unit("default", outcome=ItemOutcome(key=uuid4(), followed=followed))])
    assert RunItem.objects.filter(state="retry").count() == 1_100


# -- what it costs -------------------------------------------------------------------------------------------------


def admitted(ledger: Ledger, keys: list[UUID]) -> Any:
    answer = ledger.admit([Candidate(key, "") for key in keys])
    ledger.claimed()
    return answer


def looks_for_items(queries: CaptureQueriesContext) -> bool:
    return any("SELECT" in one["sql"] and RunItem._meta.db_table in one["sql"] for one in queries)


def test_new_keys_of_a_run_that_is_all_ours_are_not_looked_up(ledger: Ledger) -> None:
    keys = [uuid4() for _ in range(100)]
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        assert admitted(ledger, keys).fresh == set(keys)
    assert not looks_for_items(queries)


def test_what_was_met_before_is_known_whatever_became_of_it(ledger: Ledger) -> None:
    done, in_hand, followed = uuid4(), uuid4(), uuid4()
    with transaction.atomic():
        admitted(ledger, [done, in_hand])
        brought_up = [Followed(followed, label="followed", item=1)]
        ledger.finish([Unit("default", outcome=ItemOutcome(key=done, followed=brought_up))])
        ledger.settled([done])
        answer = admitted(ledger, [done, in_hand, followed])
    assert (answer.fresh, answer.duplicates) == (set(), 2)
    assert Run.objects.get().accounts


@pytest.mark.parametrize("how", ["taken over", "the source is begun anew"])
def test_where_rows_may_be_there_already_all_keys_are_looked_up(ledger: Ledger, how: str) -> None:
    known = uuid4()
    RunItem.objects.create(run_id=ledger.ownership.run_id, key=known, state="done")
    if how == "taken over":
        ledger.take_over(crashed=False, longest_wait=60)
    else:
        ledger.source_restarted()
    assert known not in admitted(ledger, [known, uuid4()]).fresh


@pytest.mark.parametrize("number", [100, 5_000])
def test_a_key_that_was_added_is_in_the_filter(number: int) -> None:
    met, others = [uuid4() for _ in range(number)], [uuid4() for _ in range(5_000)]
    keys = KeyFilter()
    for start in range(0, number, 100):
        keys.add(met[start : start + 100])
    assert keys.among(met) == met
    assert len(keys.among(others)) < 10


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only its planner needs to be told")
def test_a_key_is_looked_up_by_itself_in_a_run_that_the_statistics_do_not_know(ledger: Ledger) -> None:
    """After ANALYZE knew of other runs only, the rows of a new one would all be read for each key."""
    other = Run.objects.create(command="x", identity="y")
    insert_outcomes(Ownership("default", other.pk, 1), [ItemOutcome(key=uuid4()) for _ in range(3_000)])
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {RunItem._meta.db_table}")
    keys = [uuid4() for _ in range(3_000)]
    insert_outcomes(ledger.ownership, [ItemOutcome(key=key) for key in keys])
    with CaptureQueriesContext(connection) as queries:
        assert {row.key for row in find_items(ledger.ownership, keys[:100])} == set(keys[:100])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {queries[0]['sql']}")
        plan = json.dumps(cursor.fetchone()[0])
    assert "ac_item_once_per_run" in plan
    assert "Rows Removed by Filter" not in plan


TEXTS = ["", "NULL", '"', "\\", "{}", ",", '\\"', "a\nb", "snow ☃", "100 %s", "'"]


def test_any_text_is_kept_as_it_is(ledger: Ledger) -> None:
    began = datetime(2026, 11, 30, 12, 30, 15, 123456, UTC)
    outcomes = [
        ItemOutcome(key=uuid4(), label=text, error=text, item={"text": text}, state=ItemState.DEAD, started=began)
        for text in TEXTS
    ]
    insert_outcomes(ledger.ownership, [*outcomes, ItemOutcome(key=uuid4(), item=None, label="none")])
    for one in outcomes:
        row = RunItem.objects.get(key=one.key)
        assert (row.label, row.error, row.item, row.started) == (one.label, one.error, one.item, one.started)
    assert RunItem.objects.get(label="none").item is None
