"""The text of a group of errors tells its members: "many (2 sub-exceptions)" alone helps nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
import pytest
from django.core.exceptions import SynchronousOnlyOperation

import async_commander as ac
from async_commander.runner.verdicts import LEAVES, TEXT_CAP, judge, place_of, text_of
from async_commander.text.redactor import Redactor, no_credentials


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise LookupError


def refused() -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "https://example.org/")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(403))


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([ValueError("one")], "ValueError: one"),
        ([ValueError("one"), KeyError("two")], "ValueError: one; KeyError: 'two'"),
        ([ValueError(), TimeoutError()], "ValueError: ValueError(); TimeoutError: TimeoutError()"),
        ([refused(), OSError("gone")], "HTTPStatusError 403: no; OSError: gone"),
        ([Unspeakable(), OSError("gone")], "Unspeakable: Unspeakable, whose text cannot be shown; OSError: gone"),
    ],
)
def test_a_group_tells_the_kind_and_the_words_of_each_member(members: list[Exception], told: str) -> None:
    plural = "s" * (len(members) > 1)
    assert (
        text_of(ExceptionGroup("many", members), no_credentials)
        == f"many ({len(members)} sub-exception{plural}): {told}"
    )


def test_a_status_is_told_without_a_link_to_what_it_means() -> None:
    request = httpx.Request("GET", "https://example.org/a")
    with pytest.raises(httpx.HTTPStatusError) as raised:
        httpx.Response(404, request=request).raise_for_status()
    assert text_of(raised.value, no_credentials) == "Client error '404 Not Found' for url 'https://example.org/a'"


def test_the_commonest_mistake_is_told_with_its_remedy() -> None:
    told = text_of(SynchronousOnlyOperation("You cannot call this from an async context."), no_credentials)
    assert told.startswith("You cannot call this from an async context. In an async hook use ")
    assert "await self.db(function)" in told


@pytest.mark.parametrize("use", [lambda made: made.text, lambda made: made[0], lambda made: made + "", len])
def test_an_error_that_shows_a_missing_await_says_so(use: Callable[[Any], object]) -> None:
    async def fetched() -> str:
        return ""

    made = fetched()
    with pytest.raises((AttributeError, TypeError)) as raised:
        use(made)
    made.close()
    assert "An `await` is missing where this value was made" in text_of(raised.value, no_credentials)


def test_an_awaited_queued_row_is_answered_with_what_is_not_awaited() -> None:
    async def hook(queued: Any = None) -> None:
        await queued

    with pytest.raises(TypeError) as raised, closing(hook()) as made:
        made.send(None)
    assert text_of(raised.value, no_credentials).endswith(
        "upsert(), update() and delete() of self.db queue at once, and are not awaited."
    )


def test_other_errors_of_these_kinds_are_told_as_they_are() -> None:
    assert (
        text_of(TypeError("'NoneType' object is not iterable"), no_credentials) == "'NoneType' object is not iterable"
    )


def test_groups_in_groups_are_told_too() -> None:
    inner = ExceptionGroup("inner", [KeyError("deep"), OSError("deeper")])
    assert text_of(ExceptionGroup("outer", [ValueError("top"), inner]), no_credentials) == (
        "outer (2 sub-exceptions): ValueError: top; "
        "ExceptionGroup: inner (2 sub-exceptions): KeyError: 'deep'; OSError: deeper"
    )


def test_a_group_of_what_no_item_survives_is_told_like_any_other() -> None:
    group = BaseExceptionGroup("ended", [SystemExit(3), ValueError("and this")])
    assert text_of(group, no_credentials) == "ended (2 sub-exceptions): SystemExit: 3; ValueError: and this"


def test_of_many_members_the_first_are_told_and_all_are_counted() -> None:
    text = text_of(ExceptionGroup("many", [ValueError(f"number {one}") for one in range(50)]), no_credentials)
    assert text.startswith("many (50 sub-exceptions): ")
    assert text.count("ValueError: number") == LEAVES


def test_the_text_of_a_group_is_capped() -> None:
    members = [ValueError("x" * 100_000), ValueError("y")]
    assert len(text_of(ExceptionGroup("many", members), no_credentials)) == TEXT_CAP


def test_a_group_so_deep_that_it_cannot_be_told_is_an_error_all_the_same() -> None:
    deep: Exception = ValueError("at the bottom")
    for _ in range(5_000):
        deep = ExceptionGroup("deep", [deep])
    assert text_of(deep, no_credentials).startswith("deep (1 sub-exception): ExceptionGroup: ")
    assert len(text_of(deep, no_credentials)) <= TEXT_CAP


def test_secrets_of_members_are_hidden() -> None:
    group = ExceptionGroup("many", [ValueError("my pass word"), KeyError("x")])
    assert text_of(group, Redactor(["pass word"])) == "many (2 sub-exceptions): ValueError: my ********; KeyError: 'x'"


def test_a_group_that_is_not_retried_is_given_up_as_permanent() -> None:
    group = ExceptionGroup("many", [ac.SkipItem("not wanted"), ValueError("no")])
    assert (judge(group, lambda: False).kind, judge(group, lambda: False).reason) == ("dead", "permanent")


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def failed_in_a_library() -> Exception:
    try:
        json.loads("{")
    except ValueError as caught:
        return caught
    raise AssertionError


def test_the_place_of_an_error_is_the_last_line_of_the_projects_own_code() -> None:
    assert re.fullmatch(r" \(unit/runner/test_verdicts\.py:\d+ in raised\)", place_of(raised(KeyError("x"))))
    assert "test_verdicts.py" in place_of(failed_in_a_library())


def test_what_servers_answer_and_what_was_never_raised_has_no_place() -> None:
    assert [place_of(one) for one in (raised(refused()), raised(ac.SkipItem("no")), KeyError("x"))] == ["", "", ""]
