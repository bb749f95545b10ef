"""The events that wait for one reader: bounded, in order, and nothing untold."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

import async_commander as ac
from async_commander.events import Place
from async_commander.runner.mailbox import LINES_HELD, Mailbox


def line(number: int) -> ac.LogLine:
    at = datetime(2024, 5, 1, tzinfo=UTC)
    return ac.LogLine(run_id=1, id=f"1.{number}", at=at, level=20, logger="shop", message=f"line {number}")


def progress(done: int, **counts: Any) -> ac.Progress:
    return ac.Progress(run_id=1, id="1.0", total=9, taken=done, done=done, **counts)


def finished() -> ac.RunFinished:
    result = ac.RunResult(run_id=1, command="shop.fetch", status=ac.RunStatus.SUCCEEDED)
    return ac.RunFinished(run_id=1, id="1.9", result=result)


def taken(mailbox: Mailbox) -> list[ac.RunEvent]:
    found = []
    while (event := mailbox.take()) is not None:
        found.append(event)
    return found


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


def test_only_the_newest_progress_waits_and_only_where_it_says_something(mailbox: Mailbox) -> None:
    for done in (1, 2, 3, 3):
        mailbox.put(progress(done))
    assert [event.done for event in taken(mailbox) if isinstance(event, ac.Progress)] == [3]
    mailbox.put(progress(3))
    assert taken(mailbox) == []
    mailbox.put(progress(3, stage="stopping"))
    assert len(taken(mailbox)) == 1


def test_a_slow_reader_gets_progress_and_lines_in_turn_and_the_end_last(mailbox: Mailbox) -> None:
    mailbox.put(ac.RunStarted(run_id=1, id="1.0", command="shop.fetch"))
    told = []
    for number in range(1, 5):
        mailbox.put(line(number))
        mailbox.put(progress(number))
        told.append(mailbox.take())
    mailbox.put(finished())
    told += taken(mailbox)
    names = [event.name for event in told if event is not None]
    assert names == ["started", "progress", "log", "progress", "log", "log", "log", "finished"]


def test_progress_has_the_place_of_what_was_read_before_it(mailbox: Mailbox) -> None:
    for number in (1, 2, 3):
        mailbox.put(line(number))
    assert [mailbox.take(), mailbox.take()] == [line(1), line(2)]
    mailbox.put(progress(5))
    event = mailbox.take()
    assert isinstance(event, ac.Progress)
    assert event.id == "1.2"
    assert mailbox.take() == line(3)


def test_lines_beyond_the_bound_are_left_out_oldest_first_and_counted(mailbox: Mailbox) -> None:
    for number in range(1, LINES_HELD + 31):
        mailbox.put(line(number))
    first, *rest = taken(mailbox)
    assert isinstance(first, ac.LeftOut)
    assert (first.count, first.id) == (30, "1.30")
    assert rest == [line(number) for number in range(31, LINES_HELD + 31)]
    mailbox.put(line(999))
    assert taken(mailbox) == [line(999)]


def test_a_gap_that_comes_along_takes_with_it_what_waits_before_it(mailbox: Mailbox) -> None:
    for number in (1, 2):
        mailbox.put(line(number))
    mailbox.put(ac.LeftOut(run_id=1, id="1.50", count=48))
    mailbox.put(line(51))
    first, second = taken(mailbox)
    assert isinstance(first, ac.LeftOut)
    assert (first.count, first.id, second) == (50, "1.50", line(51))


@pytest.mark.asyncio
async def test_a_reader_waits_for_the_next_event_and_for_the_end() -> None:
    mailbox = Mailbox()
    waiting = asyncio.ensure_future(mailbox.get())
    await asyncio.sleep(0)
    mailbox.put(line(1))
    assert await waiting == line(1)
    mailbox.put(line(2))
    mailbox.close()
    assert [await mailbox.get(), await mailbox.get()] == [line(2), None]


@pytest.mark.asyncio
async def test_an_error_comes_after_what_waits() -> None:
    mailbox = Mailbox()
    mailbox.put(line(1))
    mailbox.close(ValueError("gone"))
    assert await mailbox.get() == line(1)
    with pytest.raises(ValueError, match="gone"):
        await mailbox.get()


@pytest.mark.parametrize(
    ("text", "line"), [("7.0", 0), ("7.12", 12), ("7.", None), ("7.-1", None), ("8.12", None), ("", None), (None, None)]
)
def test_a_place_in_a_run_is_read_from_the_id_of_an_event(text: str | None, line: int | None) -> None:
    assert Place.of(7, text) == (None if line is None else Place(7, line))
