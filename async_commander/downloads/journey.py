"""One request on its way through its redirects: what all its hops share."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .memory import BodyMemory

Origin = tuple[str, bytes, int | None]

# What a server on another origin may know. Everything else may be a secret, whatever its name.
_HARMLESS = frozenset(
    b"accept accept-charset accept-encoding accept-language cache-control connection content-encoding content-language "
    b"content-length content-type date dnt expect host if-modified-since if-none-match if-unmodified-since "
    b"pragma range te transfer-encoding upgrade-insecure-requests user-agent".split()
)


@dataclass(slots=True, kw_only=True)
class Journey:
    """The bounds of one request, its redirects and bodies together, and what its hops hand on to each other."""

    seconds: float
    """The deadline, in seconds from the start."""
    deadline: float
    """The same on the monotonic clock; time spent waiting for a host's turn moves it."""
    max_body: int
    bytes_left: int
    """Decoded bytes that may still come, over all hops."""
    memory: BodyMemory
    home: Origin | None = None
    host: str = ""
    """The host of the hop under way."""
    refused: str | None = None
    """An address that the guard refused on the hop under way."""
    cookies: httpx.Cookies | None = None
    """Set by redirects of this journey, sent on its later hops, forgotten at its end."""
    watch: asyncio.Timeout | None = None
    """The time-out around the whole request; None once a streamed response is in the caller's hands."""

    @classmethod
    def start(cls, seconds: float, max_body: int, memory: BodyMemory) -> Journey:
        """A journey that begins now."""
        deadline = monotonic() + seconds
        return cls(seconds=seconds, deadline=deadline, max_body=max_body, bytes_left=max_body, memory=memory)

    def enter(self, request: httpx.Request) -> None:
        """Take the next hop: leave secrets behind where the origin is another, bring the cookies that belong there."""
        url = request.url
        origin = (url.scheme, url.raw_host, url.port)
        self.host = url.raw_host.decode("ascii")
        self.refused = None
        if self.home is None:
            self.home = origin
        elif origin != self.home:
            request.headers = httpx.Headers([pair for pair in request.headers.raw if pair[0].lower() in _HARMLESS])
        if self.cookies is not None:
            self._bring_cookies(request, self.cookies)

    def _bring_cookies(self, request: httpx.Request, cookies: httpx.Cookies) -> None:
        given = request.headers.pop("Cookie", None)
        cookies.set_cookie_header(request)
        both = [value for value in (given, request.headers.get("Cookie")) if value]
        if both:
            request.headers["Cookie"] = "; ".join(both)

    def keep_cookies(self, response: httpx.Response) -> None:
        """Remember what a redirect sets: sites that answer so go round in circles otherwise."""
        if response.has_redirect_location:
            self.cookies = httpx.Cookies() if self.cookies is None else self.cookies
            self.cookies.extract_cookies(response)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that passes in here is not the server's: the deadline moves by it."""
        before = monotonic()
        if self.watch is not None:
            self.watch.reschedule(None)
        try:
            yield
        finally:
            self.deadline += monotonic() - before
            if self.watch is not None:
                self.watch.reschedule(asyncio.get_running_loop().time() + self.deadline - monotonic())


current_journey: ContextVar[Journey | None] = ContextVar("async_commander_journey", default=None)
