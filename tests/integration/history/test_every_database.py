"""The history on every database that Django's users have: SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

import async_commander as ac
from async_commander.exceptions import RunFenced
from async_commander.history.lease import establish, fence, release, renew, take_over
from async_commander.history.ledger_rows import insert_claim
from async_commander.history.runs import sweep
from async_commander.models import Lease, Run, RunClaim, RunItem, RunLog
from tests.testapp.models import Page


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "async_commander", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_a_run_is_recorded_with_its_items() -> None:
    result = ac.run("pages", count=250, threads=20)
    run = Run.objects.get(pk=result.run_id)
    assert (run.status, run.taken, run.done, run.claimed) == ("succeeded", 250, 250, 0)
    assert run.accounts
    assert RunItem.objects.filter(run=run, state="done").count() == Page.objects.count() == 250
    assert not RunClaim.objects.filter(run=run).exists()
    assert run.finished is not None
    assert run.heartbeat is not None


@pytest.mark.django_db(transaction=True)
def test_a_stopped_run_is_resumed_where_it_stopped() -> None:
    first = ac.run("pages", count=40, max_items=15)
    Run.objects.filter(pk=first.run_id).update(status="interrupted", options={}, source_ended=False)
    second = ac.run("pages", count=40, resume=True)
    assert second.run_id == first.run_id
    assert (second.status, second.counts["done"]) == ("succeeded", 40)
    assert Page.objects.count() == RunItem.objects.filter(run=first.run_id).count() == 40


@pytest.mark.django_db
def test_an_item_is_once_in_a_run(run_row: Run) -> None:
    key = "12345678-1234-5678-9234-567812345678"
    RunItem.objects.create(run=run_row, key=key, state="done")
    with pytest.raises(IntegrityError), transaction.atomic():
        RunItem.objects.create(run=run_row, key=key, state="done")


@pytest.mark.django_db
def test_a_once_key_is_held_by_one_run_and_any_number_have_none(run_row: Run) -> None:
    Run.objects.create(command="other", identity="1" * 64)
    Run.objects.filter(pk=run_row.pk).update(once_key="k")
    with pytest.raises(IntegrityError), transaction.atomic():
        Run.objects.create(command="other", identity="2" * 64, once_key="k")


@pytest.mark.django_db
def test_the_fence_holds_for_the_newest_epoch_only(run_row: Run) -> None:
    first = establish("default", run_row.pk)
    fence(first)
    second = take_over("default", run_row.pk)
    fence(second)
    with pytest.raises(RunFenced, match="was taken over"):
        fence(first)
    with pytest.raises(RunFenced):
        release(first)
    assert not renew(first, 30).held
    assert renew(second, 30).held
    release(second)
    assert Lease.objects.get().pid is None


@pytest.mark.django_db(transaction=True)
def test_a_claim_comes_with_its_counts_and_not_at_all_where_the_run_was_taken_over(run_row: Run) -> None:
    first = establish("default", run_row.pk)
    with transaction.atomic():
        number = insert_claim(first, [UUID(int=1), UUID(int=2)], {"taken": 3, "claimed": 2, "skipped": 1})
    claim = RunClaim.objects.get()
    assert (claim.pk, claim.run_id, claim.epoch) == (number, run_row.pk, 1)
    assert claim.keys == [UUID(int=1).hex, UUID(int=2).hex]
    take_over("default", run_row.pk)
    with pytest.raises(RunFenced, match="was taken over"), transaction.atomic():
        insert_claim(first, [UUID(int=3)], {"taken": 1, "claimed": 1})
    run_row.refresh_from_db()
    assert (run_row.taken, run_row.claimed, run_row.skipped, RunClaim.objects.count()) == (3, 2, 1, 1)


@pytest.mark.django_db
def test_a_run_whose_process_is_gone_is_marked_as_crashed(run_row: Run) -> None:
    ownership = establish("default", run_row.pk)
    Lease.objects.update(boot_id="an earlier boot")
    assert sweep("default") == 1
    run_row.refresh_from_db()
    assert run_row.status == "crashed"
    with pytest.raises(RunFenced):
        fence(ownership)


@pytest.mark.django_db
def test_of_very_many_runs_without_a_process_the_newest_hundred_are_marked_at_a_time() -> None:
    orphans = [Run(command="orphan", identity={}, parameters={}, options={}, status="running") for _ in range(101)]
    for orphan in orphans:
        orphan.save()
        establish("default", orphan.pk)
    Lease.objects.update(boot_id="an earlier boot")
    assert (sweep("default"), sweep("default"), sweep("default")) == (100, 1, 0)
    assert Run.objects.filter(status="crashed").count() == 101


@pytest.mark.django_db
def test_a_run_of_this_process_is_left_alone(run_row: Run) -> None:
    establish("default", run_row.pk)
    assert sweep("default") == 0


@pytest.mark.django_db(transaction=True)
def test_items_on_lanes_are_no_hindrance_to_each_other() -> None:
    """A deadlock in the ledger would be an error of an item, though it is tried again."""

    class OnLanes(ac.IterateDownloadCommand[str, str]):
        limits = ac.Limits(threads=20, db_lanes=4)

        async def iterate(self):
            return [f"item {number}" for number in range(100)]

        async def download(self, item: str) -> str:
            return item

        async def parse_and_save(self, item: str, payload: str) -> None:
            await Page.objects.acreate(url=item)

    result = ac.run(OnLanes())
    assert (result.status, result.counts["done"], result.errors) == ("succeeded", 100, [])


@pytest.mark.django_db(transaction=True)
def test_text_of_any_kind_can_be_kept() -> None:
    result = ac.run("pages", count=1)
    run = Run.objects.get(pk=result.run_id)
    RunLog.objects.create(run=run, at=run.started, level=20, logger="x", message="snow ☃, flag 🇪🇺, quote ' \" \\ %s")
    assert RunLog.objects.get(message__contains="☃").message.endswith("%s")


@pytest.fixture
def run_row() -> Any:
    return Run.objects.create(command="pages", identity="0" * 64, status="running")


def test_the_suite_runs_where_it_says(settings: Any) -> None:
    vendors = {"sqlite": "sqlite", "postgres": "postgresql", "mariadb": "mysql"}
    assert connection.vendor == vendors[settings.DATABASE]
