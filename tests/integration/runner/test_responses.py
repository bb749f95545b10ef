"""Answers that a test gives in the place of servers: below the client, whose ways are all there."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

import async_commander as ac
from async_commander.results import RunStatus
from async_commander.testing import (
    CommandRun,
    InMemoryRecorder,
    Responses,
    UnexpectedRequest,
    assert_dead,
    assert_done,
    canned_responses,
    run_command,
)

SITE = "https://site.test"


class Pages(ac.IterateDownloadCommand[str, str]):
    """Read some pages of a site that is not there."""

    paths: list[str]

    keep_values = True
    limits = ac.Limits(threads=1)
    retry = ac.Retry(attempts=3, initial=0.001, maximum=0.002)

    async def iterate(self):
        return self.paths

    async def download(self, path: str) -> str:
        response = await self.http.get(f"{SITE}{path}")
        return response.raise_for_status().text

    async def parse_and_save(self, path: str, page: str) -> str:
        return page


def read(*paths: str, kind: type[Pages] = Pages) -> CommandRun:
    return run_command(kind(paths=list(paths)), recorder=InMemoryRecorder())


def test_answers_are_given_and_requests_recorded(responses: Responses) -> None:
    responses.get(f"{SITE}/a", text="A")
    one = responses.get(f"{SITE}/b?page=1", json={"b": 1})
    assert read("/a", "/b?page=1").values == ["A", '{"b":1}']
    assert [str(request.url) for request in responses.requests] == [f"{SITE}/a", f"{SITE}/b?page=1"]
    assert one.requests[0].headers["user-agent"].startswith("async-commander")


def test_answers_come_one_after_another_and_the_last_one_stays(responses: Responses) -> None:
    for status, text in ((503, "busy"), (200, "first"), (200, "second")):
        responses.get(f"{SITE}/a", status=status, text=text)
    ran = read("/a")
    assert ran.values == ["first"]
    assert len(responses.requests) == 2
    assert read("/a").values == read("/a").values == ["second"]


def test_redirects_and_cookies_are_the_clients(responses: Responses) -> None:
    responses.get(f"{SITE}/a", status=302, headers={"Location": "/b", "Set-Cookie": "seen=1"})
    responses.get(f"{SITE}/b", reply=lambda request: httpx.Response(200, text=request.headers.get("cookie", "")))
    assert read("/a").values == ["seen=1"]


def test_a_private_address_is_not_reached_by_a_redirect_either(responses: Responses) -> None:
    responses.get(f"{SITE}/a", status=302, headers={"Location": "file:///etc/passwd"})
    with pytest.raises(ac.RunFailed) as failed:
        read("/a")
    assert_dead(failed.value.result, "/a")  # type: ignore[arg-type]


def test_errors_and_a_server_that_takes_its_time(responses: Responses) -> None:
    responses.get(f"{SITE}/gone", error=httpx.ConnectError("refused"))
    responses.get(f"{SITE}/gone", text="back")
    responses.get(f"{SITE}/slow", text="late", delay=30)

    class Hurried(Pages):
        async def download(self, path: str) -> str:
            return (await self.http.get(f"{SITE}{path}", extensions={"deadline": 0.05})).text

    ran = read("/gone", "/slow", kind=Hurried)
    assert_done(ran, "/gone")
    assert_dead(ran, "/slow", reason="exhausted", error="DownloadTimeout")


def test_bounds_hold(responses: Responses) -> None:
    responses.get(f"{SITE}/large", content=b"x" * 2000)

    class Small(Pages):
        limits = ac.Limits(threads=1, max_body=1000)

    with pytest.raises(ac.RunFailed) as failed:
        read("/large", kind=Small)
    assert_dead(failed.value.result, "/large", reason="too_large")  # type: ignore[arg-type]


def test_the_quick_way_and_patterns_and_posts(responses: Responses) -> None:
    responses.get(re.compile(rf"{SITE}/items/\d+$"), reply=lambda request: httpx.Response(200, text=request.url.path))
    asked = responses.post(f"{SITE}/search", json=[1])

    class Both(Pages):
        async def download(self, path: str) -> str:
            await self.http.post(f"{SITE}/search", json={"path": path})
            return (await self.fetch(f"{SITE}{path}")).text

    assert read("/items/7", kind=Both).values == ["/items/7"]
    assert asked.requests[0].content == b'{"path":"/items/7"}'


def test_a_request_without_an_answer_is_an_error_that_shows_what_is_there() -> None:
    with pytest.raises(UnexpectedRequest, match=rf"GET {SITE}/b was asked for.*\n  GET {SITE}/a \(asked for 1×\)"):
        with canned_responses() as responses:
            responses.get(f"{SITE}/a", text="A")
            ran = read("/a", "/b")
            assert ran.status is RunStatus.PARTIAL
            assert_dead(ran, "/b", reason="permanent", error="UnexpectedRequest")


def test_the_error_of_the_test_itself_comes_first() -> None:
    with pytest.raises(ac.RunFailed):
        with canned_responses():
            read("/b")


@pytest.mark.parametrize(
    "answer", [{"text": "", "json": 1}, {"text": "a", "error": OSError}, {"reply": print, "error": OSError}]
)
def test_what_would_be_two_answers_is_refused(answer: Any) -> None:
    with canned_responses() as responses, pytest.raises(TypeError, match="an answer has one of text="):
        responses.get(SITE, **answer)


def test_after_the_block_the_network_is_asked_again(responses: Responses) -> None:
    from async_commander.downloads import client

    with canned_responses() as inner:
        assert client.make_transport() is inner
    assert client.make_transport() is responses


@pytest.mark.parametrize(
    "url", ["HTTPS://SITE.test:443/up", "https://site.test:443/up", "https://user:word@site.test/up"]
)
def test_a_url_may_be_spelled_in_any_way(responses: Responses, url: str) -> None:
    responses.get(url, text="here")
    assert read("/up").values == ["here"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"error": "refused"}, r"error='refused': an exception is needed"),
        ({"error": object}, "an exception is needed"),
        ({"status": 9999}, "from 200 to 599"),
        ({"status": 100}, "from 200 to 599"),
        ({"delay": -1}, "delay=-1: seconds are needed"),
        ({"delay": float("nan")}, "seconds are needed"),
        ({"json": object()}, "not JSON serializable"),
        ({"text": 5}, "encode"),
    ],
)
def test_an_answer_that_cannot_be_is_refused_where_it_is_given(
    responses: Responses, answer: dict[str, Any], told: str
) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError), match=told):
        responses.get(f"{SITE}/a", **answer)
    assert not responses.routes
