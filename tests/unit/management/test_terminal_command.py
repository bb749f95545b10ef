"""How a program is named, and when it is colourless."""

from __future__ import annotations

import pytest

from async_commander.management.terminal_command import colours_refused, program


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
    assert program(path) == shown


def test_djangos_own_variable_is_honoured_whatever_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_COLORS", "nocolor")
    assert colours_refused({"force_color": True})
    monkeypatch.setenv("DJANGO_COLORS", "light;error=yellow")
    assert not colours_refused({})


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
    assert colours_refused(options) is refused
