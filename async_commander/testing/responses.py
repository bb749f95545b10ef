"""Answers for the requests of `self.http`, in the place of the network and below everything else."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from async_commander.downloads import client

Reply = Callable[[httpx.Request], httpx.Response]


class UnexpectedRequest(AssertionError):
    """A request was made for which the test has no answer."""


@dataclass(frozen=True, slots=True)
class _Answer:
    make: Reply
    delay: float
    error: BaseException | type[BaseException] | None


@dataclass(slots=True)
class Route:
    """The answers to one method and URL, and the requests that were made for them."""

    method: str
    url: str | re.Pattern[str]
    requests: list[httpx.Request] = field(default_factory=list)
    """Those that were answered, in order."""
    answers: list[_Answer] = field(default_factory=list)

    def fits(self, request: httpx.Request) -> bool:
        """Whether this is a request for it. A pattern has to match from the beginning of the URL."""
        if request.method != self.method:
            return False
        if isinstance(self.url, re.Pattern):
            return self.url.match(str(request.url)) is not None
        return self.url == _written_out(request.url)

    def next(self) -> _Answer:
        """The answer to the latest request; the last one stays."""
        return self.answers[min(len(self.requests), len(self.answers)) - 1]

    def __str__(self) -> str:
        url = self.url.pattern if isinstance(self.url, re.Pattern) else self.url
        return f"{self.method} {url} (asked for {len(self.requests)}×)"


class Responses(httpx.AsyncBaseTransport):
    """What the servers of a test answer. `requests` are all that were made, in order, each with its body.

    Redirects, cookies, pacing, bounds and the deadline are those of the real client. Nothing is connected to, so that
    the guard against private addresses sees only those that are written out in a URL.
    """

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self.requests: list[httpx.Request] = []
        self.unexpected: list[httpx.Request] = []

    def add(
        self,
        method: str,
        url: str | re.Pattern[str],
        *,
        status: int = 200,
        text: str | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        error: BaseException | type[BaseException] | None = None,
        reply: Reply | None = None,
    ) -> Route:
        """One more answer to this method and URL, which is given in full, with its query, or as a pattern.

        Added once more, the answers come one after another, and the last one stays. `delay` is in seconds; `error` is
        raised in the place of an answer, as a broken connection is (`httpx.ConnectError("refused")`); `reply` makes the
        answer of the request.
        """
        given = [name for name, value in {"text": text, "json": json, "content": content}.items() if value is not None]
        if len(given) > 1 or (given and (reply or error)) or (reply and error):
            raise TypeError("an answer has one of text=, json=, content=, error= and reply=")
        is_error = isinstance(error, BaseException) or (isinstance(error, type) and issubclass(error, BaseException))
        if error is not None and not is_error:
            raise TypeError(f"error={error!r}: an exception is needed, as httpx.ConnectError('refused')")
        if not 200 <= status <= 599:
            raise ValueError(f"status={status!r}: that of an answer is needed, from 200 to 599")
        if not 0 <= delay < math.inf:
            raise ValueError(f"delay={delay!r}: seconds are needed, 0 or more")
        if reply is None and error is None:
            httpx.Response(status, headers=headers, text=text, json=json, content=content)  # what it cannot hold raises

        def make(request: httpx.Request) -> httpx.Response:
            if reply is not None:
                return reply(request)
            return httpx.Response(status, headers=headers, text=text, json=json, content=content)

        whole = url if isinstance(url, re.Pattern) else _written_out(url)
        route = next((one for one in self.routes if (one.method, one.url) == (method.upper(), whole)), None)
        if route is None:
            route = Route(method.upper(), whole)
            self.routes.append(route)
        route.answers.append(_Answer(make, delay, error))
        return route

    def get(self, url: str | re.Pattern[str], **answer: Any) -> Route:
        """See `add`."""
        return self.add("GET", url, **answer)

    def post(self, url: str | re.Pattern[str], **answer: Any) -> Route:
        """See `add`."""
        return self.add("POST", url, **answer)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx: what `self.http` asks in the place of a server."""
        await request.aread()
        self.requests.append(request)
        route = next((one for one in self.routes if one.fits(request)), None)
        if route is None:
            self.unexpected.append(request)
            raise self._unexpected(request)
        route.requests.append(request)
        answer = route.next()
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.error is not None:
            raise answer.error
        response = answer.make(request)
        response.request = request
        return response

    def _unexpected(self, request: httpx.Request) -> UnexpectedRequest:
        there = "".join(f"\n  {route}" for route in self.routes) or " nothing"
        return UnexpectedRequest(
            f"{request.method} {request.url} was asked for, and the test has no answer to it. There is:{there}"
        )

    def check(self) -> None:
        """UnexpectedRequest where one was made, whatever became of its item."""
        if self.unexpected:
            raise self._unexpected(self.unexpected[0])


def _written_out(url: str | httpx.URL) -> str:
    """One spelling of all those of a URL: its host in small letters, no port that goes without saying, its path."""
    normal = httpx.URL(str(httpx.URL(url)))  # what it makes of `HTTPS://` shows in the second reading
    return f"{normal.scheme}://{normal.netloc.decode()}{normal.raw_path.decode()}"


@contextmanager
def canned_responses() -> Iterator[Responses]:
    """For the block, each `self.http` that is opened asks these in the place of servers.

    In a TestCase: `self.responses = self.enterContext(canned_responses())`. At the end of the block a request that
    nobody had an answer to is an error, even where an item has swallowed it.
    """
    responses, before = Responses(), client.make_transport
    client.make_transport = lambda: responses
    try:
        yield responses
    finally:
        client.make_transport = before
    responses.check()
