"""The record is changed once, also where the answer to a COMMIT is lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import anyio
import pytest
from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

import async_commander as ac
from async_commander.exceptions import RunFenced
from async_commander.history.changes import Changes
from async_commander.history.lease import Ownership, establish, fence, take_over
from async_commander.history.ledger import Ledger
from async_commander.history.log_capture import LogCapture
from async_commander.history.recorder import Candidate
from async_commander.history.runs import sweep
from async_commander.models import Run, RunErrorKind, RunItem, RunLog
from tests.integration.runner.ledger import end_without_a_word, give_lease, row_of
from tests.testapp.models import Effect


class Doubts:
    """Counts COMMITs, and has one of them end in an error: before it is done, or after."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: tuple[int, str] = (-1, "")
        self.count = 0
        commit = BaseDatabaseWrapper._commit

        def failing(wrapper: BaseDatabaseWrapper) -> None:
            number, self.count = self.count, self.count + 1
            fails = self.at[0] == number
            if not (fails and self.at[1] == "before"):
                commit(wrapper)
            if fails:
                raise OperationalError("the connection was lost")

        monkeypatch.setattr(BaseDatabaseWrapper, "_commit", failing)

    def begin(self, number: int, when: str) -> None:
        self.at, self.count = (number, when), 0


@pytest.fixture
def doubts(monkeypatch: pytest.MonkeyPatch) -> Doubts:
    return Doubts(monkeypatch)


class Talkative(ac.IterateDownloadCommand[str, str]):
    """Its second chunk is all duplicates; it has something to say, and rows that belong to no item."""

    limits = ac.Limits(threads=1, batch_size=2)
    letters = "ababcd"
    broken = False

    async def iterate(self):
        self.stdout.write("asked")
        self.log.warning("asked")
        for letter in self.letters:
            yield letter

    async def download(self, item: str) -> str:
        if item == "d":
            raise LookupError("no d")
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.log.info("saved %s", item)
        self.db.add(Effect(key=item))
        if item == "c":
            self.follow("e")

    async def cleanup(self) -> None:
        self.db.add(Effect(key="tidied"))
        await self.db.flush()
        if self.broken:
            raise ValueError("not tidy")


def what_is_kept(run_id: Any) -> dict[str, Any]:
    row = Run.objects.get(pk=run_id)
    return {
        "counts": {name: getattr(row, name) for name in ("taken", "done", "skipped", "dead", "retry", "claimed")},
        "status": row.status,
        "output": row.output,
        "log": sorted(RunLog.objects.filter(run=row).values_list("message", flat=True)),
        "items": sorted(RunItem.objects.filter(run=row).values_list("label", "state")),
        "kinds": sorted(RunErrorKind.objects.filter(run=row).values_list("kind", "count")),
        "effects": sorted(Effect.objects.values_list("key", flat=True)),
    }


def resumed(run: Any, doubts: Doubts, number: int, when: str) -> dict[str, Any]:
    """The record of a run that failed and was resumed then, with a COMMIT in doubt in one of both."""
    doubts.begin(-1, when)  # the one before may not have been reached: fewer commits than were counted did
    Run.objects.all().delete()
    Effect.objects.all().delete()
    doubts.begin(number, when)
    first = Talkative()
    first.broken = True
    with pytest.raises(ac.RunFailed):
        run(first)
    again = Talkative()
    again.letters += "xyxy"
    second = run(again, resume=True)
    row_of(second)
    return what_is_kept(second.run_id)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_in_doubt_changes_nothing(run_on_lanes: Any, doubts: Doubts, when: str) -> None:
    expected = resumed(run_on_lanes, doubts, -1, when)
    assert expected["counts"] == {"taken": 11, "done": 6, "skipped": 4, "dead": 1, "retry": 0, "claimed": 0}
    assert expected["output"] == "asked\nasked\n"
    assert expected["effects"].count("tidied") == 2
    for number in range(doubts.count):
        found = resumed(run_on_lanes, doubts, number, when)
        assert found == expected, f"commit {number}"
    doubts.begin(-1, when)  # the last one may not have been reached


@pytest.fixture
def ownership(db: None) -> Ownership:
    run = Run.objects.create(command="pages", identity="0" * 64, status="running")
    return establish("default", run.pk)


@pytest.mark.parametrize("late", [False, True])
def test_a_change_that_is_called_again_is_made_once(ownership: Ownership, late: bool) -> None:
    made: list[str] = []
    changes = Changes(ownership)
    for name in ("first", "second"):
        change = changes.once(lambda name=name: made.append(name) or name, late=late)
        assert [change(), change(), change()] == [name] * 3
    assert made == ["first", "second"]


@pytest.mark.parametrize("late", [False, True])
def test_a_change_that_was_rolled_back_is_made_again(ownership: Ownership, late: bool) -> None:
    made: list[int] = []
    change = Changes(ownership).once(lambda: made.append(1), late=late)
    change()
    Run.objects.update(changes=0)
    change()
    assert made == [1, 1]


def test_a_run_that_was_deleted_is_not_written_to(ownership: Ownership) -> None:
    change = Changes(ownership).once(lambda: pytest.fail("written"))
    Run.objects.all().delete()
    with pytest.raises(RunFenced, match="was deleted"):
        change()


CHANGES: dict[str, Callable[[Ledger], object]] = {
    "admit": lambda ledger: ledger.admit([Candidate(uuid4(), "a")]),
    "claim": lambda ledger: ledger.claim([uuid4()]),
    "claim nothing": lambda ledger: ledger.claim([]),
    "stored": lambda ledger: ledger.stored(10, source_ended=True),
    "adopt": lambda ledger: ledger.adopt(uuid4()),
    "state_of": lambda ledger: ledger.state_of(uuid4()),
    "release": lambda ledger: ledger.release([uuid4()], []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_a_deposed_owner_leaves_the_numbers_of_the_heir_alone(ownership: Ownership, name: str) -> None:
    ledger, changes = Ledger(ownership), Changes(ownership)
    heir = take_over("default", ownership.run_id)
    with pytest.raises(RunFenced), transaction.atomic():
        changes.once(lambda: CHANGES[name](ledger))()
    assert Run.objects.get().changes == 0
    with transaction.atomic():
        Changes(heir).once(lambda: fence(heir))()


# -- what is missing is said ---------------------------------------------------------------------------------------


def test_the_log_of_a_run_whose_process_was_killed_says_that_lines_are_missing(run_on_lanes: Any) -> None:
    first = Talkative()
    first.broken = True
    with pytest.raises(ac.RunFailed) as raised:
        run_on_lanes(first)
    run_id = raised.value.result.run_id
    gaps = RunLog.objects.filter(run_id=run_id, message__contains="are missing here")
    run_on_lanes(Talkative(), resume=True, max_items=None)
    assert not gaps.exists()
    for crashes in (1, 2):
        end_without_a_word(run_id, "f")
        run_on_lanes(Talkative(), resume=True)
        assert gaps.count() == crashes
    end_without_a_word(run_id, "f")
    assert sweep("default") == 1
    assert gaps.count() == 3


def test_a_run_that_is_taken_over_from_another_host_says_that_lines_are_missing(run_on_lanes: Any) -> None:
    run_id = run_on_lanes(Talkative()).run_id
    end_without_a_word(run_id)
    give_lease(run_id, host="elsewhere")
    Run.objects.filter(pk=run_id).update(expires=timezone.now())
    run_on_lanes(Talkative(), resume=True)
    assert RunLog.objects.filter(run_id=run_id, message__contains="are missing here").count() == 1


def test_log_lines_that_cannot_be_written_leave_a_mark_and_cost_nothing_else(
    run_on_lanes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of the log, the ledger tells the truth."""
    taken: list[Any] = []
    take = LogCapture.take

    def spoilt(capture: LogCapture) -> list[Any]:
        lines = take(capture)
        taken.append(lines)
        return [None] * len(lines) if len(taken) == 1 else lines  # type: ignore[list-item]

    monkeypatch.setattr(LogCapture, "take", spoilt)

    class Command(Talkative):
        async def iterate(self):
            self.log.warning("lost")
            yield "a"

        async def parse_and_save(self, item: str, payload: str) -> None:
            self.db.add(Effect(key=item))
            while not taken:
                await anyio.sleep(0.01)

        async def cleanup(self) -> None:
            self.log.warning("kept")

    result = run_on_lanes(Command())
    row = row_of(result)
    assert (row.status, row.done) == ("succeeded", 1)
    messages = [line.message for line in row.logs.order_by("id")]
    assert "lost" not in messages
    assert f"{len(taken[0])} log records are missing here: they could not be written." in messages
    assert "kept" in messages
