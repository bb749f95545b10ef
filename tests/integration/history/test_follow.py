"""An item that another one brings up and that the source yields as well is one item, whichever came first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import anyio
import pytest
from django.db import connection, connections

import async_commander as ac
from async_commander.command.identity import item_key, key_uuid
from async_commander.database.gate import gate_of
from async_commander.database.transaction import LaneTransaction
from async_commander.database.unit import Unit
from async_commander.history.changes import Changes
from async_commander.history.lease import establish
from async_commander.history.ledger import Ledger
from async_commander.history.recorder import Candidate
from async_commander.models import Run, RunItem
from async_commander.results import Followed, ItemOutcome
from async_commander.testing import InMemoryRecorder
from tests.integration.runner.ledger import row_of
from tests.testapp.models import Effect

T = TypeVar("T")


class Meeting(ac.IterateDownloadCommand[str, str]):
    """`first` brings up `x`, which the source yields as well: when x waits in the ledger, is in hand, or is done."""

    when: str = "done"
    limits = ac.Limits(threads=4, batch_size=1)

    async def iterate(self):
        self.reached = {name: anyio.Event() for name in ("x begins", "x is done", "last begins")}
        if self.when == "never met before":
            yield "x"
        yield "first"
        if self.when == "in hand":
            await self.reached["x begins"].wait()
        elif self.when == "done":
            await self.reached["x is done"].wait()
        if self.when != "never met before":
            yield "x"
        yield "last"

    async def download(self, item: str) -> str:
        if item == "last":
            self.reached["last begins"].set()
        if item == "x":
            self.reached["x begins"].set()
            if self.when == "in hand":
                await self.reached["last begins"].wait()
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Effect(key=item))
        if item == "first":
            self.follow("x")

    async def committed(self, item: str) -> None:
        if item == "x":
            self.reached["x is done"].set()


@pytest.mark.parametrize("when", ["never met before", "in hand", "done"])
def test_an_item_that_is_followed_and_yielded_is_counted_once(run: Any, when: str) -> None:
    result = run(Meeting(when=when))
    assert result.status == "succeeded"
    assert result.counts == {"taken": 3, "done": 3, "skipped": 0, "dead": 0, "retry": 0, "claimed": 0}
    row = row_of(result)
    assert not row.logs.filter(message__contains="duplicates").exists()
    assert sorted(Effect.objects.values_list("key", flat=True)) == ["first", "last", "x"]


@pytest.mark.parametrize("when", ["never met before", "in hand", "done"])
def test_it_is_counted_once_in_memory_too(run: Any, when: str) -> None:
    result = run(Meeting(when=when), recorder=InMemoryRecorder())
    assert result.counts == {"taken": 3, "done": 3, "skipped": 0, "dead": 0, "retry": 0, "claimed": 0}


@pytest.mark.parametrize("recorded", [True, False])
def test_what_the_source_yields_twice_is_a_duplicate_even_if_it_was_brought_up(run: Any, recorded: bool) -> None:
    class Command(Meeting):
        async def iterate(self):
            async for item in super().iterate():
                yield item
            yield "x"
            yield "x"

    result = run(Command(), recorder=None if recorded else InMemoryRecorder())
    assert result.counts == {"taken": 5, "done": 3, "skipped": 2, "dead": 0, "retry": 0, "claimed": 0}


class Endless(ac.IterateDownloadCommand[int, int]):
    """Each item brings up two more, so that there are always more than may be taken."""

    limits = ac.Limits(threads=3, batch_size=4)

    async def iterate(self):
        return [0]

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        self.follow(2 * item + 1, 2 * item + 2)
        self.db.add(Effect(key=str(item)))


class EndlessOnLanes(Endless):
    async def parse_and_save(self, item: int, payload: int) -> None:
        self.follow(2 * item + 1, 2 * item + 2)
        await Effect.objects.acreate(key=str(item))


@pytest.mark.parametrize("command", [Endless, EndlessOnLanes])
@pytest.mark.parametrize("recorded", [True, False])
def test_max_items_bounds_what_items_bring_up(run: Any, command: type[Endless], recorded: bool) -> None:
    result = run(command(), max_items=10, recorder=None if recorded else InMemoryRecorder())
    assert result.status == "succeeded"
    assert result.counts == {"taken": 10, "done": 10, "skipped": 0, "dead": 0, "retry": 0, "claimed": 0}
    assert Effect.objects.count() == 10
    if recorded:
        row = row_of(result)
        assert row.total == 10
        assert row.logs.filter(message__contains="are left out").count() == 1


def test_what_items_bring_up_is_part_of_the_total(run: Any) -> None:
    class Command(Endless):
        async def parse_and_save(self, item: int, payload: int) -> None:
            if item < 7:
                self.follow(2 * item + 1, 2 * item + 2)

    row = row_of(run(Command()))
    assert (row.total, row.done) == (15, 15)


# -- both at the same time -----------------------------------------------------------------------------------------


X = key_uuid(item_key("x"))


class Race:
    """A lane whose item brings up x, and the intake to which the source gives x, on connections of their own."""

    def __init__(self) -> None:
        run = Run.objects.create(command="race", identity="0" * 64, status="running", taken=1, claimed=1)
        ownership = establish("default", run.pk)
        self.ledger, self.changes = Ledger(ownership), Changes(ownership)
        self.run = run
        self.threads = ThreadPoolExecutor(2)

    def in_transaction(self, work: Callable[[], T], *, before_commit: Callable[[], None] = lambda: None) -> Future[T]:
        def transact() -> T:
            try:
                with LaneTransaction("default"):
                    result = work()
                    before_commit()
                return result
            finally:
                connections.close_all()

        return self.threads.submit(transact)

    def follow(self) -> None:
        followed = [Followed(X, "x", "x")]
        outcome = ItemOutcome(key=key_uuid(item_key("first")), label="first", followed=followed)
        self.ledger.finish([Unit("default", outcome=outcome)])

    def admit(self) -> Any:
        work = self.changes.once(lambda: self.ledger.admit([Candidate(X, "x")]))
        return work()


def somebody_waits_for_a_lock() -> bool:
    if connection.vendor == "sqlite":
        gate = gate_of(connection)
        return gate is not None and gate.waiting > 0
    statement = {
        "postgresql": "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        "mysql": "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone() is not None


def wait_until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.2 if connection.vendor == "mysql" else 0.005)  # who asks MariaDB more often gets the old answer


def raced(first: str) -> tuple[Race, Any]:
    """Both at once: the one begins, and commits when the other has begun, and waits for it or has ended."""
    race = Race()
    begun, go_on = threading.Event(), threading.Event()
    works = {"follow": race.follow, "admit": race.admit}
    second = "admit" if first == "follow" else "follow"

    def hold() -> None:
        begun.set()
        assert go_on.wait(20)

    one = race.in_transaction(works[first], before_commit=hold)
    assert begun.wait(20)
    other = race.in_transaction(works[second])
    wait_until(lambda: other.done() or somebody_waits_for_a_lock())
    go_on.set()
    results = {first: one.result(20), second: other.result(20)}
    race.threads.shutdown()
    return race, results["admit"]


def test_what_is_just_being_brought_up_is_not_handed_out_as_new(transactional_db: None) -> None:
    race, admitted = raced("follow")
    assert (admitted.fresh, admitted.duplicates) == (set(), 0)
    race.run.refresh_from_db()
    assert (race.run.taken, race.run.retry, race.run.claimed) == (2, 1, 0)
    assert race.run.accounts


def test_what_is_just_being_handed_out_is_not_brought_up(transactional_db: None) -> None:
    race, admitted = raced("admit")
    assert admitted.fresh == {X}
    race.run.refresh_from_db()
    assert (race.run.taken, race.run.done, race.run.claimed) == (2, 1, 1)
    assert not RunItem.objects.filter(key=X).exists()
    assert race.run.accounts
