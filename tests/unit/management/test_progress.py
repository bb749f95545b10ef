"""What is seen of a run while it goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from async_commander.management.pace import Reading
from async_commander.management.progress import BarDisplay, NoDisplay, PlainDisplay, plain_line, second_line, share
from async_commander.management.reporter import choose_display
from async_commander.management.screen import Verbatim, open_console

from .terminals import FakeStream, wrapped

READING = Reading(
    elapsed=12.0, settled=4_218, total=10_000, done=4_200, skipped=0, dead=18, retried=7, in_flight=50, waiting=0,
    paused_hosts=0, per_second=912.4, left=6.3,
)  # fmt: skip


def bar(*, terminal: bool = True) -> tuple[BarDisplay, Verbatim, Verbatim, FakeStream]:
    wrapper, stream = wrapped(terminal=terminal)
    out, err = Verbatim(wrapper), Verbatim(wrapper)
    return BarDisplay(open_console(Verbatim(wrapper)), [out, err]), out, err, stream


def test_a_plain_line_says_it_all() -> None:
    line = plain_line("fetch", READING, "")
    assert line.startswith("0:00:12 fetch: 4,218 of 10,000 items (42%), 912/s, done 4,200, dead 18, retried 7, ")
    assert line.endswith(", in flight 50, 0:00:06 left")


def test_a_plain_line_without_a_total_has_no_share_and_no_time_left() -> None:
    line = plain_line("fetch", replace(READING, total=None, left=None), "stopping")
    assert line == "0:00:12 fetch: 4,218 items, 912/s, done 4,200, dead 18, retried 7, in flight 50, stopping"


def test_hosts_that_asked_for_time_are_shown_while_there_are_any() -> None:
    assert "hosts paused 2" in plain_line("fetch", replace(READING, paused_hosts=2), "")
    assert "paused" not in plain_line("fetch", READING, "")


def test_skipped_and_waiting_items_are_told_where_there_are_any() -> None:
    line = plain_line("fetch", replace(READING, skipped=3, waiting=9), "")
    assert "done 4,200, skipped 3, dead 18" in line
    assert "in flight 50, waiting 9" in line


def test_a_command_that_counts_for_itself_has_no_items() -> None:
    line = plain_line("count", replace(READING, counts_items=False), "")
    assert line == "0:00:12 count: 4,218 of 10,000 (42%), 912/s, 0:00:06 left"


@pytest.mark.parametrize(("stage", "line"), [("", "0:00:12 idle"), ("stopping", "0:00:12 idle: stopping")])
def test_a_command_that_counts_nothing_shows_no_number(stage: str, line: str) -> None:
    idle = replace(READING, counts_items=False, settled=0, total=None, per_second=0.0, left=None)
    assert plain_line("idle", idle, stage) == line


@pytest.mark.parametrize(
    ("settled", "total", "shown"),
    [(0, 0, ""), (0, 10, "0%"), (9_999, 10_000, "99%"), (10, 10, "100%"), (12, 10, "100%")],
)
def test_a_hundred_per_cent_means_all(settled: int, total: int, shown: str) -> None:
    assert share(replace(READING, settled=settled, total=total)) == shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_second_line_fits(width: int) -> None:
    many = replace(READING, settled=1_234_567, total=9_999_999, done=1_234_000, dead=567, retried=12_345)
    line = second_line(many, "", width)
    assert line.cell_len <= max(width, 65)
    assert ("1,234,567 of 9,999,999" in line.plain) is (width == 120)


def test_the_bar_shows_speed_counts_and_time_left() -> None:
    display, _, _, stream = bar()
    display.show("scrapers_fetch", READING, "")
    shown = stream.getvalue()
    for part in ("scrapers_fetch", "42%", "912/s", "0:00:06 left", "18", "in flight"):
        assert part in shown
    display.end("scrapers_fetch", READING)


def test_without_a_total_there_is_no_bar_but_a_count() -> None:
    display, _, _, stream = bar()
    display.show("poll", replace(READING, total=None, left=None), "")
    display.end("poll", READING)
    assert "4,218 items" in stream.getvalue()
    assert "left" not in stream.getvalue()


def test_nothing_is_drawn_before_there_is_something_to_show() -> None:
    display, _, _, stream = bar()
    display.show("fetch", replace(READING, settled=0, in_flight=0, total=None), "")
    assert stream.getvalue() == ""


def test_the_command_s_own_lines_go_above_the_bar_whole() -> None:
    display, out, _, stream = bar()
    display.show("fetch", READING, "")
    before = len(stream.getvalue())
    out.write("half ")
    assert len(stream.getvalue()) == before
    out.write("a line\nand")
    display.end("fetch", READING)
    written = stream.getvalue()[before:]
    assert written.index("half a line") < written.rindex("\x1b[")
    assert written.endswith("and")


def test_a_question_makes_the_bar_step_aside_until_the_run_moves_on() -> None:
    display, _, err, stream = bar()
    display.show("fetch", READING, "")
    err.write("Go on? [y/N] ")
    err.flush()
    asked = stream.getvalue()
    assert asked.endswith("Go on? [y/N] ")
    moved = replace(READING, settled=READING.settled + 1)
    display.show("fetch", moved, "")
    display.show("fetch", moved, "")
    assert stream.getvalue() == asked
    display.show("fetch", replace(moved, settled=moved.settled + 1), "")
    assert stream.getvalue() != asked
    display.end("fetch", READING)


def test_the_end_gives_the_terminal_back() -> None:
    display, out, err, stream = bar()
    display.show("fetch", READING, "")
    display.end("fetch", READING)
    display.end("fetch", READING)
    assert "\x1b[?25h" in stream.getvalue()
    out.write("free")
    assert stream.getvalue().endswith("free")
    assert (out.mover, err.mover) == (None, None)


def test_outside_markup_in_a_name_is_shown_as_it_is() -> None:
    display, _, _, stream = bar()
    display.show("[red]fetch[/red]", READING, "")
    display.end("fetch", READING)
    assert "[red]fetch[/red]" in stream.getvalue()


def test_a_log_gets_no_escape_sequences() -> None:
    wrapper, stream = wrapped(terminal=False)
    display = PlainDisplay(open_console(Verbatim(wrapper)))
    display.show("fetch", READING, "")
    display.stage("stopping: 3 items in hand")
    display.end("fetch", READING)
    assert stream.getvalue().count("\n") == 3
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("how", "terminal", "quiet", "expected"),
    [
        ("auto", True, False, BarDisplay),
        ("auto", False, False, PlainDisplay),
        ("auto", True, True, NoDisplay),
        ("none", True, False, NoDisplay),
        ("plain", True, True, PlainDisplay),
        ("bar", True, True, BarDisplay),
        ("bar", False, False, PlainDisplay),
    ],
)
def test_a_bar_needs_a_terminal(how: str, terminal: bool, quiet: bool, expected: type[Any]) -> None:
    wrapper, _ = wrapped(terminal=terminal)
    stream = Verbatim(wrapper)
    assert type(choose_display(how, open_console(stream), stream, stream, quiet=quiet)) is expected


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Verbatim(wrapped(terminal=True)[0])
    assert isinstance(choose_display("auto", open_console(stream), stream, stream, quiet=False), PlainDisplay)
