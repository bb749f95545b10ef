"""Who is told what at which verbosity, and what happens when nobody listens any more."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from async_commander.engine.context import RunContext
from async_commander.engine.limits import Limits, Retry
from async_commander.management.reporter import TerminalReporter
from async_commander.management.screen import Verbatim, open_console
from async_commander.management.steps import Invocation
from async_commander.results import RunResult, RunStatus, Tally

from .terminals import FakeStream, wrapped

if TYPE_CHECKING:
    from async_commander.management.progress import Meter
    from async_commander.runner.reporting import Reporter

RESULT = RunResult(run_id=1, command="fetch", status=RunStatus.SUCCEEDED, duration=1.0)
INVOCATION = Invocation("manage.py arun", ["fetch"])


class Looks:
    """A display that remembers, and tells when it was asked."""

    refresh = 0.0

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, str]] = []
        self.ended = 0
        self.enough = anyio.Event()

    def show(self, meter: Meter, stage: str) -> None:
        self.seen.append((meter.name, meter.settled, stage))
        if len(self.seen) == 3:
            self.enough.set()

    def stage(self, text: str) -> None:
        self.seen.append(("stage", 0, text))

    def end(self, meter: Meter) -> None:
        self.ended += 1


def reporter(
    display: Any = None, *, verbosity: int = 1, max_items: int | None = None
) -> tuple[TerminalReporter, FakeStream]:
    wrapper, stream = wrapped(terminal=False)
    console = open_console(Verbatim(wrapper))
    return TerminalReporter(console, display or Looks(), INVOCATION, verbosity=verbosity, max_items=max_items), stream


def context(tally: Tally) -> RunContext:
    return RunContext(run_id=1, command="fetch", limits=Limits(), retry=Retry(), tally=tally)


@pytest.mark.parametrize(
    ("verbosity", "shown"), [(0, "E"), (1, "IWE"), (2, "IWE"), (3, "DIWE")], ids=["silent", "normal", "items", "debug"]
)
def test_notes_are_shown_by_verbosity(verbosity: int, shown: str) -> None:
    one, stream = reporter(verbosity=verbosity)
    for text, level in {"D": logging.DEBUG, "I": logging.INFO, "W": logging.WARNING, "E": logging.ERROR}.items():
        one.message(text, level)
    assert stream.getvalue().replace("\n", "") == shown


@pytest.mark.parametrize(("verbosity", "shown"), [(0, False), (1, False), (2, True), (3, True)])
def test_failing_items_are_shown_as_they_come_from_verbosity_2(verbosity: int, shown: bool) -> None:
    one, stream = reporter(verbosity=verbosity)
    one.item_failed("https://e.org/\x1b[31m1", "ValueError", "no\ntitle [bold]", True)
    one.item_failed("2", "TimeoutError", "late", False)
    expected = "dead   https://e.org/1  ValueError  no title [bold]\nagain  2  TimeoutError  late\n"
    assert stream.getvalue() == (expected if shown else "")


@pytest.mark.parametrize(("verbosity", "shown"), [(0, False), (1, True)])
def test_the_summary_is_shown_unless_silence_was_asked_for(verbosity: int, shown: bool) -> None:
    one, stream = reporter(verbosity=verbosity)
    one.finished(RESULT)
    assert ("✓ succeeded" in stream.getvalue()) is shown
    assert one.result is RESULT


@pytest.mark.asyncio
async def test_the_watch_reads_the_live_counts() -> None:
    looks, tally = Looks(), Tally(total=10)
    one, _ = reporter(looks)
    one.started(context(tally))
    tally.done = 4
    one.stage("stopping: 2 items in hand")
    async with anyio.create_task_group() as beside:
        beside.start_soon(one.watch)
        await looks.enough.wait()
        beside.cancel_scope.cancel()
    assert looks.seen[:2] == [("stage", 0, "stopping: 2 items in hand"), ("fetch", 4, "stopping: 2 items in hand")]


@pytest.mark.asyncio
async def test_the_steps_in_hand_are_shown() -> None:
    looks, run = Looks(), context(Tally(in_flight=2))
    one, _ = reporter(looks)
    one.started(run)
    run.steps_in_hand += ["load(2026-01)", "load(2026-02)"]
    async with anyio.create_task_group() as beside:
        beside.start_soon(one.watch)
        await looks.enough.wait()
        beside.cancel_scope.cancel()
    assert looks.seen[0] == ("fetch", 0, "load(2026-01) and 1 more")


@pytest.mark.parametrize(("kept", "shown"), [(0, False), (3, True)])
def test_a_plain_command_with_kept_steps_can_be_resumed(kept: int, shown: bool) -> None:
    one, stream = reporter()
    one.counts_items = False
    run = context(Tally())
    one.started(run)
    run.steps_kept = kept
    one.finished(RunResult(run_id=1, command="fetch", status=RunStatus.INTERRUPTED))
    assert ("--resume" in stream.getvalue()) is shown


@pytest.mark.asyncio
async def test_nothing_is_drawn_over_a_question() -> None:
    looks, tally = Looks(), Tally(total=10)
    one, _ = reporter(looks)
    one.started(context(tally))
    one.asks("Really?")
    one.asks("And this?")
    async with anyio.create_task_group() as beside:
        beside.start_soon(one.watch)
        for _ in range(2):
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            assert looks.seen == []
            one.asks("")
        await looks.enough.wait()
        beside.cancel_scope.cancel()


def test_the_display_ends_once_and_before_the_summary() -> None:
    looks = Looks()
    one, _ = reporter(looks)
    one.started(context(Tally()))
    one.finished(RESULT)
    one.close()
    assert looks.ended == 1


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_a_stream_that_goes_away_ends_the_telling_and_nothing_else(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, stream = reporter()

    def gone(text: str) -> int:
        raise error

    monkeypatch.setattr(stream, "write", gone)
    one.message("x")
    monkeypatch.undo()
    one.message("y")
    one.finished(RESULT)
    assert stream.getvalue() == ""


def test_it_is_a_reporter() -> None:
    one: Reporter = reporter()[0]
    assert one is not None


@pytest.mark.parametrize(
    ("asked_now", "asked_first", "before", "now", "cut"),
    [
        (None, None, 0, 9, False),
        (5, 5, 0, 5, True),
        (5, 5, 0, 4, False),
        (5, None, 20, 24, False),
        (5, None, 20, 25, True),
        (None, 30, 20, 30, True),
    ],
    ids=["unbounded", "reached", "not reached", "resumed, not reached", "resumed, reached", "the first time's"],
)
def test_max_items_counts_from_where_this_part_of_the_run_begins(
    asked_now: int | None, asked_first: int | None, before: int, now: int, cut: bool
) -> None:
    tally = Tally(taken=before)
    opened = context(tally)
    opened.options = {} if asked_first is None else {"max_items": asked_first}
    one, stream = reporter(max_items=asked_now)
    one.started(opened)
    tally.taken = now
    one.finished(replace(RESULT, counts=tally.as_counts()))
    assert ("ended by --max-items" in stream.getvalue()) is cut
