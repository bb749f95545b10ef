"""Runs that follow a script: each item is brought into a state of its own, and then the run is ended in some way."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import anyio
import pytest
from django.db import InternalError, OperationalError, connection, connections
from django.utils import timezone

import async_commander as ac
from async_commander.command.identity import item_key, key_uuid
from async_commander.database.transaction import LaneTransaction
from async_commander.history.database_recorder import DatabaseRecorder
from async_commander.history.ledger import CRASHES_ALONE
from async_commander.models import Run, RunClaim, RunItem
from async_commander.results import RunResult
from async_commander.runner.signals import open_run
from async_commander.testing import InMemoryRecorder
from tests.integration.runner.ledger import give_lease
from tests.testapp.models import Effect

FOLLOWED = 100
"""Added to an item's number: the item that it brings up."""

STATES = (
    "done", "done on a lane", "dead", "skipped", "waits", "follows", "in hand",
    "handed over", "handed over on a lane", "follows at the end",
)  # fmt: skip
"""Where an item is when its run ends. What is handed over is so at the very end."""

PLAIN_ENDS = ("the source ends", "the source breaks", "stopped", "cancelled", "an item ends the run")
CLOSED_ENDS = ("away until it is closed", "out of memory", "refused")
"""Of the database, but the run is closed in order then."""
SILENT_ENDS = ("away", "no answer to a commit")
"""The row says `running` when the process is gone."""
DATABASE_ENDS = (*CLOSED_ENDS, *SILENT_ENDS)
ENDS = (*PLAIN_ENDS, *DATABASE_ENDS)


def ask_for_the_end() -> None:
    """Of the run that this code is part of, as somebody does in its row."""
    run = open_run.get()
    assert run is not None
    run.stops.ask()


@dataclass(frozen=True)
class Sitting:
    """One start of the run: the state of each item, by its number, and how it ends."""

    states: dict[int, str] = field(default_factory=dict)
    end: str = "the source ends"
    max_items: int | None = None
    due: bool = True
    """Whether the time of what waits has come."""
    threads: int = 30
    batch_size: int = 5


class Trouble:
    """What the database does to transactions of the run, and what its row says after each commit."""

    def __init__(self) -> None:
        self.kind = ""
        self.storm: Storm | None = None
        self.closing = False
        self.wrong: list[str] = []

    @property
    def is_away(self) -> bool:
        return self.kind == "away" or (self.kind == "away until it is closed" and not self.closing)

    def open(self) -> None:
        if self.is_away:
            raise away()

    def before_commit(self) -> None:
        if self.is_away:
            raise away()
        if self.kind == "out of memory" and not self.closing:
            raise MemoryError
        if self.kind == "refused" and not self.closing:
            raise InternalError("no")

    def after_commit(self, alias: str) -> None:
        for run in Run.objects.using(alias):
            if not run.accounts or min(getattr(run, name) for name in COUNTS) < 0:
                self.wrong.append(f"{self.kind or 'no trouble'}: {counts_of(run)}")
        if self.kind == "no answer to a commit" and not self.closing:
            self.kind = "away"
            raise away()


COUNTS = ("taken", "done", "skipped", "dead", "retry", "claimed")


def counts_of(run: Run) -> dict[str, int]:
    return {name: getattr(run, name) for name in COUNTS}


def away() -> OperationalError:
    """As SQLite says that its file cannot be opened."""
    cause = sqlite3.OperationalError("unable to open database file")
    cause.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    error = OperationalError(*cause.args)
    error.__cause__ = cause
    return error


@contextmanager
def troubled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trouble]:
    """Every transaction of the block asks the trouble."""
    trouble = Trouble()
    opened, commit = LaneTransaction.open, LaneTransaction.commit

    def open_or_fail(self: LaneTransaction) -> None:
        trouble.open()
        opened(self)

    def commit_or_fail(self: LaneTransaction) -> None:
        try:
            trouble.before_commit()
        except BaseException:
            self.roll_back()
            raise
        commit(self)
        try:
            trouble.after_commit(self.alias)
        except OperationalError:
            self.committed, self._committing = False, True
            raise

    with monkeypatch.context() as patch:
        patch.setattr(LaneTransaction, "open", open_or_fail)
        patch.setattr(LaneTransaction, "commit", commit_or_fail)
        yield trouble


class Storm:
    """The real database under faults: PostgreSQL's connections are ended, or another one has SQLite's lock."""

    def __init__(self, spares_the_end: bool) -> None:
        self.spares_the_end = spares_the_end
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rage, daemon=True)
        if connection.vendor == "postgresql":
            connection.ensure_connection()
            self._ours = connection.connection.info.backend_pid

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _rage(self) -> None:
        try:
            if connection.vendor == "postgresql":
                self._end_connections()
            else:
                with connection.cursor() as cursor:
                    if self._has_the_lock(cursor):
                        self._over.wait()
                        cursor.execute("ROLLBACK")
        finally:
            connections.close_all()

    def _has_the_lock(self, cursor: Any) -> bool:
        """Take SQLite's lock, however often the run is quicker; False where the storm is over before."""
        while not self._over.is_set():
            with suppress(OperationalError):
                cursor.execute("BEGIN IMMEDIATE")
                return True
        return False

    def _end_connections(self) -> None:
        with connection.cursor() as cursor:
            while not self._over.wait(0.01):
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), %s)",
                    [self._ours],
                )


class Scripted(ac.IterateDownloadCommand[int, int]):
    """Yields the numbers below `count`; does with each what the sitting says, and its effect where it is done."""

    count: int = 0
    retry = ac.Retry(attempts=3, initial=1000, maximum=1000)

    async def iterate(self):
        self.is_over = anyio.Event()
        self.reached: set[int] = set()
        self.news = anyio.Event()
        if self.sitting.max_items is not None:
            self.is_over.set()
        for number in range(self.count):
            yield number
        expected = self.expected()
        with anyio.move_on_after(20) as patience:
            while not expected <= self.reached:
                self.news = anyio.Event()
                await self.news.wait()
        assert not patience.cancelled_caught, f"{expected - self.reached} were not begun"
        await self.end()

    def expected(self) -> set[int]:
        """What is begun before the end: items that are done by now are not, and of a cut run nobody knows."""
        return set() if self.sitting.max_items is not None else set(range(self.count)) - self.not_begun

    async def end(self) -> None:
        end = self.sitting.end
        if end in DATABASE_ENDS:
            self.trouble.kind = end
        if self.trouble.storm is not None:
            self.trouble.storm.begin()
        self.is_over.set()
        if end == "the source breaks":
            raise ValueError("the source broke")
        if end == "an item ends the run" and "in hand" not in map(self.state, self.reached):
            raise MemoryError
        if end in ("stopped", "cancelled"):
            ask_for_the_end()
        if end == "cancelled":
            ask_for_the_end()
        if end in DATABASE_ENDS or self.trouble.storm is not None:
            await anyio.sleep(0.05)
            self.stop_what_is_in_hand()

    def stop_what_is_in_hand(self) -> None:
        """For the case that nothing was handed over, so that nobody met the trouble."""
        if not self.stopping:
            ask_for_the_end()
            ask_for_the_end()

    def is_at(self, number: int) -> None:
        self.reached.add(number)
        self.news.set()

    def state(self, number: int) -> str:
        return self.sitting.states.get(number, "done")

    async def download(self, number: int) -> int:
        state = self.state(number)
        if state in ("in hand", "handed over", "handed over on a lane", "follows at the end"):
            self.is_at(number)
            await self.is_over.wait()
            if state == "in hand" and self.sitting.end == "an item ends the run":
                raise MemoryError
            if state == "in hand" and self.sitting.end not in ("the source ends", "the source breaks", "stopped"):
                await anyio.sleep_forever()
        return number

    async def parse_and_save(self, number: int, payload: int) -> None:
        state = self.state(number)
        self.is_at(number)
        if state == "dead":
            raise LookupError("no such page")
        if state == "skipped":
            raise ac.SkipItem("old")
        if state == "waits":
            raise TimeoutError("later")
        if state.startswith("follows"):
            self.follow(number + FOLLOWED)
        if state.endswith("on a lane"):
            await Effect.objects.acreate(key=str(number))
        else:
            self.db.add(Effect(key=str(number)))


@dataclass
class Story:
    """A run that is begun, ended and resumed as its sittings say, and at last carried to its end."""

    trouble: Trouble
    count: int
    in_memory: InMemoryRecorder | None = None
    run_id: Any = None
    complete: bool = False

    def sit(self, sitting: Sitting) -> RunResult:
        self.trouble.kind, self.trouble.closing = "", False
        if sitting.due:
            self.waiting_is_over()
        command = Scripted(count=self.count)
        command.sitting, command.trouble = sitting, self.trouble
        command.not_begun = self.not_begun()
        command.recorder = self.in_memory or self.recorder(sitting)
        options = {"threads": sitting.threads, "batch_size": sitting.batch_size, "max_failures": None}
        options |= {"grace": 2, "timeout": 10}
        if sitting.max_items is not None:
            options["max_items"] = sitting.max_items
        try:
            result: RunResult = ac.run(command, recorder=command.recorder, resume=True, **options)
        except ac.RunFailed as error:
            result = error.result
        assert self.run_id in (None, result.run_id), result
        self.run_id = result.run_id
        assert "time-out" not in result.error, (sitting, result)
        self.trouble.kind = ""
        self.complete = result.status in ("succeeded", "partial")
        return result

    def recorder(self, sitting: Sitting) -> DatabaseRecorder:
        recorder = DatabaseRecorder(batch_size=sitting.batch_size, outage_budget=0.1)
        close = recorder.close

        async def closed(ending: Any) -> Any:
            self.trouble.closing = True
            if self.trouble.storm is not None and self.trouble.storm.spares_the_end:
                await anyio.to_thread.run_sync(self.trouble.storm.end)
            return await close(ending)

        recorder.close = closed  # type: ignore[method-assign]
        return recorder

    def not_begun(self) -> set[int]:
        """The numbers that have an outcome, or that wait, or that must run alone."""
        numbers = {key_uuid(item_key(number)): number for number in range(self.count)}
        if self.in_memory is not None:
            return {numbers[key] for key in self.in_memory.items if key in numbers}
        rows = RunItem.objects.filter(run_id=self.run_id).exclude(state="claimed", crashes__lt=CRASHES_ALONE - 1)
        return {numbers[key] for key in rows.values_list("key", flat=True) if key in numbers}

    def is_left_by_its_process(self) -> None:
        """Nobody is told of the end: the row says `running`, and its owner is gone."""
        if self.in_memory is None and Run.objects.get(pk=self.run_id).status == "running":
            give_lease(self.run_id, process_start=1)

    def waiting_is_over(self) -> None:
        if self.in_memory is not None:
            self.in_memory._due.update(dict.fromkeys(self.in_memory._due, 0.0))
        else:
            RunItem.objects.filter(run_id=self.run_id, state="retry").update(next_at=timezone.now())

    def check(self) -> None:
        """The stored row agrees with itself and with the ledger, and each effect with its item's row."""
        assert not self.trouble.wrong
        if self.in_memory is not None:
            self.check_effects({key for key, one in self.in_memory.items.items() if one.state == "done"})
            return
        run = Run.objects.get(pk=self.run_id)
        assert run.accounts, counts_of(run)
        states = dict(RunItem.objects.filter(run=run).values_list("key", "state"))
        found = Counter(states.values())
        claimed = {UUID(key) for claim in RunClaim.objects.filter(run=run) for key in claim.keys}
        found["claimed"] = len((claimed - states.keys()) | {key for key in states if states[key] == "claimed"})
        told = counts_of(run)
        told.pop("taken")
        assert told == {name: found[name] for name in told}
        self.check_effects({key for key, state in states.items() if state == "done"})

    def check_effects(self, done: set[UUID]) -> None:
        numbers = {key_uuid(item_key(number)): str(number) for number in [*range(self.count), *range(100, 200)]}
        assert Counter(Effect.objects.values_list("key", flat=True)) == Counter(numbers[key] for key in done)

    def finish(self) -> None:
        """Carry what is left, with nothing in the way. Items that crash thrice are dead, all others as they were."""
        if not self.complete:
            result = self.sit(Sitting())
            assert result.counts["claimed"] == result.counts["retry"] == 0, result
            assert result.counts["taken"] == sum(result.counts[name] for name in ("done", "skipped", "dead"))
            assert self.complete or (result.counts["dead"] and not result.counts["done"]), result
