"""What the shapes do for an item when the author says nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from django.db import IntegrityError, OperationalError

import async_commander as ac
from async_commander.command.identity import item_key


class Command(ac.DownloadIterateCommand[str, Any]):
    def download(self) -> str:
        return ""

    def iterate(self, text: str) -> list[Any]:
        return []

    def parse_and_save(self, item: Any) -> None: ...


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "https://example.org/")
    return httpx.HTTPStatusError("", request=request, response=httpx.Response(code, request=request))


def test_the_key_of_an_item_is_its_canonical_text() -> None:
    assert Command().item_key({"b": 1, "a": 2}) == item_key({"a": 2, "b": 1})


@pytest.mark.parametrize(
    ("item", "host"),
    [
        ("https://Example.org:8000/a?b", "example.org"),
        (SimpleNamespace(url="http://example.net/"), "example.net"),
        ({"url": "http://example.net/"}, "example.net"),
        ("example.org", None),
        ("http://[broken/", None),
        (SimpleNamespace(url=None), None),
        (5, None),
    ],
)
def test_items_are_paced_by_the_host_of_their_url(item: Any, host: str | None) -> None:
    assert Command().throttle_key(item) == host


@pytest.mark.parametrize(
    "error",
    [TimeoutError(), ConnectionResetError(), status(408), status(425), status(429), status(503), OperationalError()],
)
def test_errors_that_pass_are_tried_again(error: Exception) -> None:
    assert Command().should_retry(error)


@pytest.mark.parametrize(
    "error", [ValueError(), KeyError("x"), status(404), status(403), IntegrityError(), ac.SkipItem("no")]
)
def test_errors_that_stay_are_not(error: Exception) -> None:
    assert not Command().should_retry(error)


def test_hooks_of_items_can_call_the_default() -> None:
    class Own(Command):
        def item_key(self, item: Any) -> str:
            return "own:" + super().item_key(item)

    assert Own().item_key("a") == 'own:"a"'
