"""Outside text, made fit for a terminal."""

from __future__ import annotations

import pytest

from async_commander.text.clean import plain, plain_block


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
    assert plain(outside) == shown


def test_every_control_character_is_gone() -> None:
    shown = plain("".join(map(chr, range(0xA0))) + "\u202a\u202e\u2066\u2069")
    assert all(" " <= character <= "~" for character in shown)


def test_long_text_is_cut_at_its_limit_and_says_so() -> None:
    assert plain("abcdefgh", 5) == "abcd…"
    assert plain("abcde", 5) == "abcde"


def test_a_block_keeps_its_lines_and_indentation() -> None:
    assert plain_block("Traceback:\n    raise \x1b[31mError\n\tend") == [
        "Traceback:",
        "    raise Error",
        "    end",
    ]
