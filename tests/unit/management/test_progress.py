"""What is seen of a run while it goes on."""

from __future__ import annotations

from typing import Any

import pytest

from async_commander.management.progress import BarDisplay, Meter, NoDisplay, PlainDisplay, counts_line, plain_line
from async_commander.management.reporter import choose_display
from async_commander.management.screen import Verbatim, open_console
from async_commander.results import Tally

from .terminals import FakeStream, wrapped


def standing(name: str = "fetch", *, counts_items: bool = True, **counts: Any) -> Meter:
    """A run that stands as `counts` say, at about 351 items per second, after twelve seconds."""
    at = 100.0
    tally = Tally(total=10_000)
    meter = Meter(name, tally, counts_items, now=lambda: at)
    at += 12.0
    for count, number in ({"done": 4_200, "dead": 18, "retried": 7, "in_flight": 50} | counts).items():
        setattr(tally, count, number)
    return meter


def bar(*, terminal: bool = True) -> tuple[BarDisplay, Verbatim, Verbatim, FakeStream]:
    wrapper, stream = wrapped(terminal=terminal)
    out, err = Verbatim(wrapper), Verbatim(wrapper)
    return BarDisplay(open_console(Verbatim(wrapper)), [out, err]), out, err, stream


def test_a_plain_line_says_it_all() -> None:
    line = plain_line(standing(), "")
    assert line.startswith("0:00:12 fetch: 4,218 of 10,000 items (42%), 352/s, done 4,200, dead 18, retried 7, ")
    assert line.endswith(", in flight 50, 0:00:16 left")


def test_a_plain_line_without_a_total_has_no_share_and_no_time_left() -> None:
    line = plain_line(standing(total=None), "stopping")
    assert line == "0:00:12 fetch: 4,218 items, 352/s, done 4,200, dead 18, retried 7, in flight 50, stopping"


def test_hosts_that_asked_for_time_are_shown_while_there_are_any() -> None:
    assert "hosts paused 2" in plain_line(standing(paused_hosts=2), "")
    assert "paused" not in plain_line(standing(), "")


def test_skipped_and_waiting_items_are_told_where_there_are_any() -> None:
    line = plain_line(standing(skipped=3, waiting=9), "")
    assert "done 4,200, skipped 3, dead 18" in line
    assert "in flight 50, waiting 9" in line


def test_a_command_that_counts_for_itself_has_no_items() -> None:
    line = plain_line(standing("count", counts_items=False), "")
    assert line == "0:00:12 count: 4,218 of 10,000 (42%), 352/s, 0:00:16 left"


@pytest.mark.parametrize(("stage", "line"), [("", "0:00:12 idle"), ("stopping", "0:00:12 idle: stopping")])
def test_a_command_that_counts_nothing_shows_no_number(stage: str, line: str) -> None:
    idle = standing("idle", counts_items=False, done=0, dead=0, total=None)
    assert plain_line(idle, stage) == line


@pytest.mark.parametrize(
    ("settled", "total", "shown"),
    [(0, 0, ""), (0, 10, "0%"), (9_999, 10_000, "99%"), (10, 10, "100%"), (12, 10, "100%")],
)
def test_a_hundred_per_cent_means_all(settled: int, total: int, shown: str) -> None:
    assert standing(done=settled, dead=0, total=total).share == shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_second_line_fits(width: int) -> None:
    many = standing(total=9_999_999, done=1_234_000, dead=567, retried=12_345)
    line = counts_line(many, "", width)
    assert line.cell_len <= max(width, 65)
    assert ("1,234,567 of 9,999,999" in line.plain) is (width == 120)


def test_the_bar_shows_speed_counts_and_time_left() -> None:
    display, _, _, stream = bar()
    display.show(standing("scrapers_fetch"), "")
    shown = stream.getvalue()
    for part in ("scrapers_fetch", "42%", "352/s", "0:00:16 left", "18", "in flight"):
        assert part in shown
    display.end(standing())


def test_without_a_total_there_is_no_bar_but_a_count() -> None:
    display, _, _, stream = bar()
    display.show(standing("poll", total=None), "")
    display.end(standing())
    assert "4,218 items" in stream.getvalue()
    assert "left" not in stream.getvalue()


def test_nothing_is_drawn_before_there_is_something_to_show() -> None:
    display, _, _, stream = bar()
    display.show(standing(done=0, dead=0, in_flight=0, total=None), "")
    assert stream.getvalue() == ""


def test_the_command_s_own_lines_go_above_the_bar_whole() -> None:
    display, out, _, stream = bar()
    display.show(standing(), "")
    before = len(stream.getvalue())
    out.write("half ")
    assert len(stream.getvalue()) == before
    out.write("a line\nand")
    display.end(standing())
    written = stream.getvalue()[before:]
    assert written.index("half a line") < written.rindex("\x1b[")
    assert written.endswith("and")


def test_a_question_makes_the_bar_step_aside_until_the_run_moves_on() -> None:
    display, _, err, stream = bar()
    meter = standing()
    display.show(meter, "")
    meter.tally.done += 1
    err.write("Go on? [y/N] ")
    err.flush()
    asked = stream.getvalue()
    assert asked.endswith("Go on? [y/N] ")
    display.show(meter, "")
    display.show(meter, "")
    assert stream.getvalue() == asked
    meter.tally.done += 1
    display.show(meter, "")
    assert stream.getvalue() != asked
    display.end(meter)


def test_the_end_gives_the_terminal_back() -> None:
    display, out, err, stream = bar()
    display.show(standing(), "")
    display.end(standing())
    display.end(standing())
    assert "\x1b[?25h" in stream.getvalue()
    out.write("free")
    assert stream.getvalue().endswith("free")
    assert (out.mover, err.mover) == (None, None)


def test_outside_markup_in_a_name_is_shown_as_it_is() -> None:
    display, _, _, stream = bar()
    display.show(standing("[red]fetch[/red]"), "")
    display.end(standing())
    assert "[red]fetch[/red]" in stream.getvalue()


def test_a_log_gets_no_escape_sequences() -> None:
    wrapper, stream = wrapped(terminal=False)
    display = PlainDisplay(open_console(Verbatim(wrapper)))
    display.show(standing(), "")
    display.stage("stopping: 3 items in hand")
    display.end(standing())
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
