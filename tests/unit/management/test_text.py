"""Outside text on a terminal, and figures."""

from __future__ import annotations

import pytest

from async_commander.management import text


@pytest.mark.parametrize(
    ("outside", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("\x1b(Bset", "set"),
        ("\x1b]52;c;never ended", ""),
        ("one\r\ntwo\n  three", "one two three"),
        ("a\u2028b\x85c", "a b c"),
        ("bell\x07 null\x00 delete\x7f", "bell null delete"),
        ("txt.\u202eexe", "txt.exe"),
        ("zero\u200bwidth", "zerowidth"),
        ("half \ud83d", "half \ufffd"),
        ("[bold]markup[/bold] :smile:", "[bold]markup[/bold] :smile:"),
        (ValueError("also\x1b[0m objects"), "also objects"),
    ],
)
def test_outside_text_loses_whatever_could_move_the_terminal(outside: object, shown: str) -> None:
    assert text.plain(outside) == shown


def test_every_control_character_is_gone() -> None:
    shown = text.plain("".join(map(chr, range(0xA0))) + "\u202a\u202e\u2066\u2069")
    assert all(" " <= character <= "~" for character in shown)


def test_long_text_is_cut_at_its_limit_and_says_so() -> None:
    assert text.plain("abcdefgh", 5) == "abcd…"
    assert text.plain("abcde", 5) == "abcde"


def test_a_block_keeps_its_lines_and_indentation() -> None:
    assert text.plain_block("Traceback:\n    raise \x1b[31mError\n\tend") == [
        "Traceback:",
        "    raise Error",
        "    end",
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0.00 s"),
        (0.84, "0.84 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (59.6, "1:00 min"),
        (187, "3:07 min"),
        (7509, "2:05:09 h"),
        (266_700, "3 d 2:05 h"),
    ],
)
def test_a_duration_is_as_short_as_it_can_be_read(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("per_second", "shown"),
    [(None, ""), (0.0, ""), (0.05, "3/min"), (3.04, "3.0/s"), (912.4, "912/s"), (12_345.0, "12,345/s")],
)
def test_a_rate_has_about_three_figures(per_second: float | None, shown: str) -> None:
    assert text.rate(per_second) == shown


def test_a_clock_shows_hours_minutes_and_seconds() -> None:
    assert (text.clock(-3), text.clock(187.9), text.clock(36_000)) == ("0:00:00", "0:03:07", "10:00:00")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("manage.py", "manage.py"),
        ("./bin/manage.py", "manage.py"),
        ("/usr/lib/python3/site-packages/django/__main__.py", "python -m django"),
        ("/usr/bin/django-admin", "django-admin"),
    ],
)
def test_a_program_is_named_as_it_is_typed(path: str, shown: str) -> None:
    assert text.program(path) == shown


def test_columns_stand_under_each_other() -> None:
    assert text.columns([["1", "a", "x"], ["1,234", "bbb", ""]], right=frozenset({0})) == [
        "    1  a    x",
        "1,234  bbb",
    ]


def test_djangos_own_variable_is_honoured_whatever_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_COLORS", "nocolor")
    assert text.colours_refused({"force_color": True})
    monkeypatch.setenv("DJANGO_COLORS", "light;error=yellow")
    assert not text.colours_refused({})


@pytest.mark.parametrize(
    ("options", "variable", "refused"),
    [
        ({}, "", False),
        ({}, "1", True),
        ({"no_color": True}, "", True),
        ({"force_color": True}, "1", False),
    ],
)
def test_no_color_is_honoured_unless_colour_is_forced(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, bool], variable: str, refused: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", variable)
    assert text.colours_refused(options) is refused
