"""The ledger's own bookkeeping: claims that are worked off, and items that bring up very many."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from async_commander.database.unit import Unit
from async_commander.history.lease import Tenure, establish
from async_commander.history.ledger import Ledger
from async_commander.history.recorder import Followed, ItemOutcome
from async_commander.models import Run, RunClaim, RunItem
from tests.integration.database.conftest import few_parameters

__all__ = ["few_parameters"]


@pytest.fixture
def ledger(db: None) -> Ledger:
    run = Run.objects.create(command="x", identity="x", status="running", expires=timezone.now() + timedelta(hours=1))
    establish("default", run.pk)
    return Ledger(Tenure("default", run.pk, 1))


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
