"""`self.http`: an httpx client that can be pointed at the open internet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

from .errors import DownloadTimeout
from .guard import AddressGuard
from .inflate import ACCEPTED
from .journey import Journey, current_journey
from .memory import SHARED, BodyMemory
from .pacing import Turns
from .transport import BoundedTransport
from .wire import aiohttp_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from async_commander.engine.pace import Pace

USER_AGENT = f"async-commander python-httpx/{httpx.__version__}"
TIMEOUT = httpx.Timeout(connect=15.0, read=30.0, write=30.0, pool=None)


def open_client(
    *,
    threads: int,
    max_body: int,
    body_memory: int = SHARED,
    deadline: float = 60.0,
    pace: Pace | None = None,
    internal_hosts: Sequence[str] = (),
    user_agent: str | None = None,
    max_redirects: int = 5,
    retry_after_cap: float = 300.0,
    on_retry_after: Callable[[str, float], None] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Client:
    """A client for `threads` requests at once, to be used as an async context manager on one asyncio loop.

    `max_body` is in decoded bytes and `deadline` in seconds, both for a whole request with its redirects and bodies;
    one request can have its own: `client.get(url, extensions={"deadline": 600, "max_body": 2**30})`.
    Bodies that are read into memory may hold 128 KiB each; what is above that holds `body_memory` bytes in all, and one
    `max_body`: of many large bodies some wait for others, without their deadlines running. Streamed ones do not wait.

    `pace` gives each request its turn at its host; a 429 or 503 with Retry-After pauses the host for so many seconds,
    `retry_after_cap` at most, and `on_retry_after(host, seconds)` is told. `internal_hosts` may be reached although
    they are not public. `transport` replaces the aiohttp transport, in tests.

    Redirects are followed. Proxies of the environment are not used. ValueError for bounds and hosts that make no sense.
    """
    for name, bound in {"threads": threads, "max_body": max_body, "deadline": deadline}.items():
        if bound <= 0:
            raise ValueError(f"{name}={bound}: it has to be more than 0")
    inner = transport or aiohttp_transport(threads, AddressGuard.of(internal_hosts))
    turns = Turns(pace, retry_after_cap=retry_after_cap, on_retry_after=on_retry_after)
    return Client(
        transport=BoundedTransport(inner, turns),
        deadline=deadline,
        max_body=max_body,
        body_memory=body_memory,
        max_redirects=max_redirects,
        user_agent=user_agent or USER_AGENT,
    )


class Client(httpx.AsyncClient):
    """`httpx.AsyncClient` with bounds around each request, and without a memory from one request to the next.

    Cookies that a response sets are not kept: what one item is given is not another's. Those that are put into
    `cookies` by hand, say after a login, are sent with every request.
    """

    def __init__(
        self,
        *,
        transport: BoundedTransport,
        deadline: float,
        max_body: int,
        body_memory: int,
        max_redirects: int,
        user_agent: str,
    ) -> None:
        self._kept = KeptCookies()
        self._deadline = deadline
        self._max_body = max_body
        self._memory = BodyMemory(body_memory)
        super().__init__(
            transport=transport,
            headers={"User-Agent": user_agent, "Accept-Encoding": ACCEPTED},
            timeout=TIMEOUT,
            follow_redirects=True,
            max_redirects=max_redirects,
            trust_env=False,
        )

    @property
    def cookies(self) -> httpx.Cookies:
        """The cookies to send with every request; only what is put here by hand is here."""
        return self._kept

    @cookies.setter
    def cookies(self, cookies: Any) -> None:
        self._kept = KeptCookies(cookies)

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request and its redirects, as `httpx.AsyncClient.send` does, within their bounds.

        DownloadTimeout where the deadline passes first; the errors of `downloads.errors` for the other bounds.
        """
        journey = self._journey(request.extensions)
        token = current_journey.set(journey)
        try:
            async with asyncio.timeout(journey.seconds) as journey.watch:
                return await super().send(request, **options)
        except TimeoutError as error:
            if journey.watch is None or not journey.watch.expired():
                raise
            raise DownloadTimeout(f"not finished after {journey.seconds:g} s", request=request) from error
        finally:
            journey.watch = None
            current_journey.reset(token)

    def _journey(self, extensions: dict[str, Any]) -> Journey:
        seconds = extensions.get("deadline", self._deadline)
        return Journey.start(seconds, extensions.get("max_body", self._max_body), self._memory)


class KeptCookies(httpx.Cookies):
    """Cookies that responses cannot add to."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Forget what the response sets."""
