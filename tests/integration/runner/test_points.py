"""Runs that a test interrupts, or crashes, at a point: what is left of them, and what a resume makes of that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import TestCase

import async_commander as ac
from async_commander.models import Lease, Run, RunItem
from async_commander.results import RunStatus
from async_commander.testing import (
    CommandRun,
    InMemoryRecorder,
    arun_command,
    assert_dead,
    assert_done,
    assert_skipped,
    assert_succeeded,
    run_command,
)
from tests.testapp.models import Effect

OUTSIDE: Counter[str] = Counter()
"""An effect that no transaction takes back, as a mail is none."""
ITEMS = list("abcdef")


@pytest.fixture(autouse=True)
def nothing_outside() -> None:
    OUTSIDE.clear()


class Letters(ac.IterateDownloadCommand[str, str]):
    """One item after another, and one transaction for each."""

    limits = ac.Limits(threads=1, batch_size=1)

    async def iterate(self):
        return ITEMS

    async def download(self, item: str) -> str:
        return item.upper()

    async def parse_and_save(self, item: str, payload: str) -> None:
        OUTSIDE[item] += 1
        self.db.add(Effect(key=item))


class ByTheOrm(Letters):
    """Each item has a lane, and a transaction of its own there."""

    async def parse_and_save(self, item: str, payload: str) -> None:
        OUTSIDE[item] += 1
        await Effect.objects.acreate(key=item)


class Many(Letters):
    limits = ac.Limits(threads=20)


@pytest.fixture(params=["lanes", pytest.param("shared", marks=pytest.mark.django_db)])
def run(request: pytest.FixtureRequest) -> Callable[..., CommandRun]:
    if request.param == "lanes":
        request.getfixturevalue("transactional_db")
    return run_command


def effects() -> list[str]:
    return sorted(Effect.objects.values_list("key", flat=True))


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        (Letters, ["item:3", "commit:2", "commit:2:after"]),
        (ByTheOrm, ["parse_and_save:3:after", "commit:2:after"]),
        (Many, ["item:3"]),
    ],
)
def test_an_interrupted_run_is_resumed(run: Any, kind: type[Letters], points: list[str]) -> None:
    for point in points:
        Effect.objects.all().delete()
        OUTSIDE.clear()
        ran = run(kind(), interrupt_at=point)
        assert ran.status is RunStatus.INTERRUPTED, point
        assert 2 <= len(effects()) < len(ITEMS), point
        assert_done(ran, *effects())
        resumed = run(kind(), resume=True)
        assert_succeeded(resumed)
        assert resumed.run_id == ran.run_id
        assert effects() == ITEMS
        assert dict.fromkeys(ITEMS, 1) == OUTSIDE, point


@pytest.mark.parametrize(
    ("kind", "point", "left", "twice"),
    [
        (Letters, "item:3", "ab", ""),
        (Letters, "download:3", "ab", ""),
        (Letters, "parse_and_save:3:after", "ab", "c"),
        (Letters, "commit:2", "a", "b"),
        (Letters, "commit:2:after", "ab", ""),
        (ByTheOrm, "parse_and_save:3:after", "ab", "c"),
        (ByTheOrm, "commit:2", "a", "b"),
        (ByTheOrm, "commit:2:after", "ab", ""),
    ],
)
def test_a_crash_costs_what_was_not_committed(run: Any, kind: type[Letters], point: str, left: str, twice: str) -> None:
    crashed = run(kind(), crash_at=point)
    assert crashed.status is RunStatus.CRASHED
    assert effects() == list(left)
    assert_done(crashed, *left)
    row = Run.objects.get()
    assert (row.status, row.finished, row.output) == ("running", None, "")
    assert row.accounts
    resumed = run(kind(), resume=True)
    assert_succeeded(resumed)
    assert resumed.run_id == crashed.run_id
    assert effects() == ITEMS
    assert {item for item, times in OUTSIDE.items() if times > 1} >= set(twice)


@pytest.mark.parametrize("kind", [Many, ByTheOrm])
@pytest.mark.parametrize("point", ["commit:1:after", "item:4"])
def test_nothing_is_lost_or_twice_when_many_items_are_in_hand(run: Any, kind: type[Letters], point: str) -> None:
    class Wide(kind):  # type: ignore[misc,valid-type]
        limits = ac.Limits(threads=20, batch_size=1)

    crashed = run(Wide(), crash_at=point)
    assert crashed.status is RunStatus.CRASHED
    assert len(effects()) < len(ITEMS)
    assert_succeeded(run(Wide(), resume=True))
    assert effects() == ITEMS


def test_a_call_for_many_items_is_a_point(run: Any) -> None:
    class Together(ac.DownloadIterateCommand[None, str]):
        batches = ac.Batches(size=2)

        async def download(self) -> None: ...

        def iterate(self, payload: None):
            return ITEMS

        async def parse_and_save_many(self, items: list[str]) -> None:
            self.db.add(*[Effect(key=item) for item in items])

    assert run(Together, crash_at="parse_and_save_many:2").status == "crashed"
    assert Effect.objects.count() < len(ITEMS)
    assert run(Together, resume=True).status == "succeeded"
    assert Effect.objects.count() == len(ITEMS)


def test_a_crash_calls_nothing_that_a_killed_process_would_not(run: Any) -> None:
    called: list[str] = []

    class Tidy(Letters):
        async def cleanup(self) -> None:
            called.append("cleanup")

        async def committed(self, item: str) -> None:
            called.append(item)

    run(Tidy(), crash_at="commit:2:after")
    assert set(called) <= {"a"}


def test_what_a_hook_writes_on_its_way_out_of_a_crash_is_refused(run: Any) -> None:
    class Ends(Letters):
        @asynccontextmanager
        async def lifespan(self):
            try:
                yield
            finally:
                await Effect.objects.acreate(key="the end")

    run(Ends(), crash_at="item:2")
    assert effects() == ["a"]
    run(Ends(), resume=True)
    assert effects() == [*ITEMS, "the end"]


def test_a_step_that_was_kept_is_not_done_again(run: Any) -> None:
    class Steps(ac.AsyncCommand):
        async def handle(self) -> int:
            return sum([await self.step(name, self.write, name) for name in "abc"])

        async def write(self, name: str) -> int:
            OUTSIDE[name] += 1
            await Effect.objects.acreate(key=name)
            return 1

    crashed = run(Steps(), crash_at="step:2:after")
    assert effects() == ["a"]
    assert [one.label for one in crashed.steps] == ["a('a')"] or len(crashed.steps) == 1
    resumed = run(Steps(), resume=True)
    assert resumed.value == 3
    assert effects() == ["a", "b", "c"]
    assert OUTSIDE == {"a": 1, "b": 2, "c": 1}


def test_a_command_that_writes_elsewhere_is_shown_to_do_so_twice(run: Any) -> None:
    """The mistake of an author: the mail goes out with the item, not after its commit."""
    run(Letters(), crash_at="commit:1")
    run(Letters(), resume=True)
    assert OUTSIDE["a"] == 2

    class AfterTheCommit(Letters):
        async def parse_and_save(self, item: str, payload: str) -> None:
            self.db.add(Effect(key=f"{item} 2"))

        async def committed(self, item: str) -> None:
            OUTSIDE[item] += 1

    OUTSIDE.clear()
    run(AfterTheCommit(), crash_at="commit:1")
    run(AfterTheCommit(), resume=True)
    assert dict.fromkeys(ITEMS, 1) == OUTSIDE


def test_a_run_that_was_to_happen_once_may_happen_after_its_crash(run: Any) -> None:
    class Once(Letters):
        run_once = True
        single_instance = True

    run(Once(), crash_at="item:2")
    assert run(Once(), resume=True).status is RunStatus.SUCCEEDED
    assert run(Once()).status is RunStatus.SKIPPED


def test_three_crashes_of_one_item_bury_it(run: Any) -> None:
    class One(Letters):
        async def iterate(self):
            return ["a"]

    for _ in range(3):
        run(One(), crash_at="parse_and_save:1", resume=True)
    with pytest.raises(ac.RunFailed) as failed:
        run(One(), resume=True)
    assert_dead(failed.value.result, "a", reason="crashed")


@pytest.mark.django_db
def test_a_point_that_is_not_reached_is_an_error_that_says_what_was() -> None:
    with pytest.raises(AssertionError, match=r"crash_at='commit:99' was never reached: .*commit 6×.*download 6×"):
        run_command(Letters(), crash_at="commit:99")


@pytest.mark.parametrize("text", ["item", "item:0", "items:1", "item:-1", "item:1:during", "item: 1", "", 3, "item:01"])
def test_what_is_no_point_is_refused(text: Any) -> None:
    with pytest.raises(ac.InvalidCommand, match=r"is no point of a run: write PLACE:NUMBER.*commit, committed"):
        run_command(Letters(), crash_at=text)


def test_two_ends_and_a_crash_without_a_database_are_refused() -> None:
    with pytest.raises(ac.InvalidCommand, match="a run ends once"):
        run_command(Letters(), crash_at="item:1", interrupt_at="item:1")
    with pytest.raises(ac.InvalidCommand, match="recorded elsewhere"):
        run_command(Letters(), crash_at="item:1", recorder=InMemoryRecorder())
    with pytest.raises(ac.InvalidCommand, match="in a dry run"):
        run_command(Letters(), crash_at="item:1", dry_run=True)


def test_a_run_in_memory_is_interrupted_and_resumed() -> None:
    class NoRows(Letters):
        async def parse_and_save(self, item: str, payload: str) -> None:
            OUTSIDE[item] += 1

    recorder = InMemoryRecorder()
    ran = run_command(NoRows(), recorder=recorder, interrupt_at="item:2")
    assert ran.status is RunStatus.INTERRUPTED
    assert_done(ran, "a", "b")
    assert_succeeded(run_command(NoRows(), recorder=recorder, resume=True))
    assert dict.fromkeys(ITEMS, 1) == OUTSIDE


@pytest.mark.django_db
def test_a_run_that_another_one_begins_is_not_meant() -> None:
    class Outer(ac.AsyncCommand):
        async def handle(self) -> None:
            await ac.arun(Letters())

    with pytest.raises(AssertionError, match="was never reached: the run came to handle 1×"):
        run_command(Outer(), crash_at="item:2")
    assert effects() == ITEMS


# -- without pytest ------------------------------------------------------------------------------------------------


class TestInADjangoTestCase(TestCase):
    def test_a_crash(self) -> None:
        assert run_command(Letters(), crash_at="commit:2").status is RunStatus.CRASHED
        assert effects() == ["a"]
        assert_succeeded(run_command(Letters(), resume=True))
        assert effects() == ITEMS

    async def test_a_coroutine(self) -> None:
        ran = await arun_command(Letters(), crash_at="commit:2")
        assert ran.status is RunStatus.CRASHED
        assert_done(ran, "a")
        assert_succeeded(await arun_command(Letters(), resume=True))

    def test_nothing_is_left_of_it(self) -> None:
        assert not Run.objects.exists()
        assert not RunItem.objects.exists()
        assert not Lease.objects.exists()


# -- in coroutine tests --------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_coroutine_test_of_pytest_asyncio(arun_db: None) -> None:
    ran = await arun_command(Letters(), crash_at="commit:2:after")
    assert_done(ran, "a", "b")
    assert_succeeded(await arun_command(Letters(), resume=True))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_coroutine_test_of_anyio(transactional_db: None, anyio_backend: str) -> None:
    ran = await arun_command(Letters(), interrupt_at="item:2")
    assert_done(ran, "a", "b")
    assert_succeeded(await arun_command(Letters(), resume=True))
    await sync_to_async(connections.close_all)()


@pytest.mark.asyncio
@pytest.mark.django_db
async def test_a_transaction_on_the_loops_thread_is_refused(arun_command: Any) -> None:
    with pytest.raises(ac.InvalidCommand, match=r"django_db\(transaction=True\)"):
        await arun_command(Letters())


# -- what is seen --------------------------------------------------------------------------------------------------


class Mixed(ac.IterateDownloadCommand[str, str]):
    retry = ac.Retry(attempts=2, initial=0.001)

    async def iterate(self):
        return ["good", "bad", "left"]

    async def download(self, item: str) -> str:
        if item == "bad":
            raise ValueError("no such page")
        if item == "left":
            raise ac.SkipItem("old")
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.log.info("saving %s", item)
        self.stdout.write("saved")


@pytest.mark.django_db
def test_ledger_dead_letters_output_and_log() -> None:
    ran = run_command(Mixed())
    assert ran.status is RunStatus.PARTIAL
    assert [one.label for one in ran.dead] == ["bad"]
    assert ran.output == "saved\n"
    assert "saving good" in ran.log
    assert_done(ran, "good")
    assert_skipped(ran, "left", reason="old")
    assert_dead(ran, "bad", reason="permanent", error="ValueError")
    assert_dead(ran, "bad", error="no such page")
    told = r"'bad' is dead, not done\.(.|\n)*good: done(.|\n)*bad: dead \(permanent\)"
    with pytest.raises(AssertionError, match=told):
        assert_done(ran, "bad")
    with pytest.raises(AssertionError, match="'else' is not in the ledger"):
        assert_done(ran, "else")
    with pytest.raises(AssertionError, match="another reason than 'timeout'"):
        assert_dead(ran, "bad", reason="timeout")
    with pytest.raises(AssertionError, match="another error than 'KeyError'"):
        assert_dead(ran, "bad", error="KeyError")
    with pytest.raises(AssertionError, match="partial, not succeeded"):
        assert_succeeded(ran)


@pytest.mark.django_db
def test_a_failed_run_raises_and_can_be_looked_at() -> None:
    class Fails(Mixed):
        async def iterate(self):
            return ["bad"]

    with pytest.raises(ac.RunFailed) as failed:
        run_command(Fails())
    assert isinstance(failed.value.result, CommandRun)
    assert_dead(failed.value.result, "bad")


def test_the_fixtures_are_there(run_command: Any, arun_command: Any) -> None:
    assert run_command(Mixed(), recorder=InMemoryRecorder()).counts["done"] == 1
    assert callable(arun_command)
