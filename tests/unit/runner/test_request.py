"""What may be asked of a run: each shared option is checked by type and range, and a command's own names go first."""

from __future__ import annotations

import io
import math
import re
from argparse import ArgumentParser
from typing import Any

import pytest
from django.http import HttpRequest

import async_commander as ac
from async_commander.command.declaration import declaration_of
from async_commander.command.options import REQUESTS, TRIGGER_LENGTH, USER_LENGTH
from async_commander.runner.request import RunRequest, split_call

BOTH = (True, False)
FLAGS = (
    "resume", "yes", "force", "wait", "detach", "test", "dry_run", "delete", "refresh_cache", "run_dependencies",
    "ignore_dependencies", "json", "no_color", "force_color",
)  # fmt: skip

TAKEN: dict[str, tuple[Any, ...]] = {
    "max_items": (None, 1, 10**9),
    "resume_run": (None, 1),
    "retry_failed": (None, 1),
    "only_kind": (None, [], ()),
    "again": (None, 1),
    "ask": (None, "wait", "fail"),
    "grace": (0, 0.5, 3600),
    "shards": (None, 1, 1000),
    "distribute": (None, "processes"),
    "lease_seconds": (0.1, 60),
    "verbosity": (0, 1, 2, 3),
    "database": (None, "default"),
    "trigger": ("", "t" * TRIGGER_LENGTH),
    "request": (None, HttpRequest()),
    "user": ("", "Zoë", "u" * USER_LENGTH),
    "stdout": (None, io.StringIO()),
    "stderr": (None, io.StringIO()),
    **dict.fromkeys(FLAGS, BOTH),
}
ONLY_KIND = "the name of an error, as ValueError, or a reason, as crashed, or a list of such is needed."
AT_MOST = ", and at most 1e+09, 31 years."
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "max_items": ((0, -1, 1.0, True, "5"), "a whole number from 1 is needed; leave it out to take all items."),
    "resume_run": ((0, True, 2.0, "7"), "the number of a run is needed."),
    "retry_failed": ((0, True, 2.0, "7"), "the number of a run is needed."),
    "only_kind": ((3, "", [""], [None]), ONLY_KIND),
    "again": ((0, True, 2.0, "7"), "the number of a run is needed."),
    "ask": (("", "no", True, 1), "one of wait, fail is needed."),
    "grace": (
        (-1, 1e300, math.inf, math.nan, True, "10", None),
        f"at least 0 seconds are needed{AT_MOST}",
    ),
    "lease_seconds": (
        (0, -1, 1e300, math.inf, math.nan, True, "60", None),
        f"more than 0 seconds are needed{AT_MOST}",
    ),
    "shards": (
        (0, -1, 1001, 2.0, True, "2"),
        "a whole number from 1 to 1000 is needed; leave it out for a run in one process.",
    ),
    "distribute": ((1, True, ""), "processes, or the name of an engine, is needed."),
    "verbosity": ((-1, 4, 1.0, True, "1", None), "0, 1, 2 or 3 is needed."),
    "database": ((0, True, b"default", ""), "an alias of DATABASES is needed."),
    "trigger": (("t" * (TRIGGER_LENGTH + 1), "\x00", None, 1), "a text of at most 20 characters is needed."),
    "user": (("u" * (USER_LENGTH + 1), "\ud800", None, 1), "a text of at most 150 characters is needed."),
    "request": ((True, "GET /", object()), "a request of Django is needed."),
    "stdout": (("out.txt", 1, object()), "a file to write text to is needed."),
    "stderr": (("err.txt", 2, object()), "a file to write text to is needed."),
    **dict.fromkeys(FLAGS, ((0, 1, None, "yes"), "True or False is needed.")),
}


def test_all_that_is_checked_is_tried_here() -> None:
    assert TAKEN.keys() == REFUSED.keys() == REQUESTS.keys()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in TAKEN.items() for value in values])
def test_a_value_that_fits_is_taken(name: str, value: Any) -> None:
    assert getattr(RunRequest(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [(name, value, allowed) for name, (values, allowed) in REFUSED.items() for value in values],
    ids=repr,
)
def test_a_value_that_does_not_fit_is_refused_with_what_is_allowed(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(ac.InvalidCommand) as raised:
        RunRequest(**{name: value})
    assert str(raised.value) == f"{name}={value!r:.80}: {allowed}"


def test_a_long_value_is_not_repeated_in_full() -> None:
    with pytest.raises(ac.InvalidCommand) as raised:
        RunRequest(user="u" * 10_000)
    assert len(str(raised.value)) < 200


# -- split_call ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [{"grace": -1}, {"verbosity": True}, {"stdout": "out.txt"}, {"json": 1}])
def test_a_call_is_checked_like_a_request(values: dict[str, Any]) -> None:
    [name] = values
    with pytest.raises(ac.InvalidCommand, match=re.escape(f"{name}={values[name]!r}: ")):
        split_call(values)


class Greets(ac.AsyncCommand):
    """Declares names that runs have as well, but that no line in the terminal has."""

    user: str
    trigger: int = 0

    async def handle(self) -> None: ...


class Adds(ac.AsyncCommand):
    """Does so by `add_arguments()`."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user")

    async def handle(self) -> None: ...


@pytest.mark.parametrize("cls", [Greets, Adds])
def test_what_a_command_declares_is_its_own(cls: type[ac.AsyncCommand]) -> None:
    request, own = split_call({"user": "Zoë", "threads": 3, "yes": True}, declaration_of(cls).names)
    assert own == {"user": "Zoë"}
    assert (request.user, request.yes, request.limits.given) == ("", True, {"threads": 3})


def test_a_declared_name_may_hold_what_a_run_would_refuse() -> None:
    values = {"user": "u" * 10_000, "trigger": 7}
    request, own = split_call(values, declaration_of(Greets).names)
    assert own == values
    assert (request.user, request.trigger) == ("", RunRequest().trigger)


def test_what_no_command_declares_is_told_to_the_run() -> None:
    request, own = split_call({"user": "Zoë", "trigger": "cron"})
    assert (request.user, request.trigger, own) == ("Zoë", "cron", {})
