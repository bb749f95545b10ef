"""HTTP's own cache (RFC 9111) for `self.http`: hishel, an extra, between a request and its hop.

It stands before turns, pool and guard: what it has costs no turn and no connection, and what it has to ask for goes the
usual way, within the usual bounds.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, cast

import httpx
from hishel.httpx import AsyncCacheTransport

from .pacing import Turn
from .response import BoundedBody, Response
from .transport import check_address

if TYPE_CHECKING:
    from hishel import AsyncBaseStorage

    from .journey import Journey
    from .transport import BoundedTransport

_OF_SOMEBODY = ("authorization", "cookie")
"""Headers of requests whose answers may be for somebody."""


class HttpCache:
    """Answers from `storage` what HTTP allows to be answered so, and keeps there what may be kept.

    Requests with credentials or cookies pass it by: what they get belongs to one item. So do redirects, each hop of
    which is checked.
    """

    def __init__(self, storage: AsyncBaseStorage) -> None:
        self.storage = storage

    async def send(self, request: httpx.Request, journey: Journey, bounded: BoundedTransport) -> Response:
        """As `BoundedTransport.send`; the extension `caching` of the response says what the cache did."""
        if any(name in request.headers for name in _OF_SOMEBODY):
            return await bounded.send(request, journey)
        check_address(request.url)
        sent, hop = perf_counter(), _Hop(bounded, journey)
        try:
            found = await AsyncCacheTransport(hop, self.storage, rfc=True).handle_async_request(request)
        except BaseException:
            await hop.aclose()
            raise
        status, fresh = found.extensions["caching"], hop.response
        if fresh is not None and not (status["stored"] or status["from_cache"]):
            fresh.extensions["caching"] = status
            return fresh
        if status["from_cache"] and found.has_redirect_location:
            await found.aclose()
            bounded.leave(journey)
            return await bounded.send(request, journey)
        # What is kept for all sets nobody's cookies.
        headers = (
            fresh.headers.raw
            if fresh is not None and status["stored"]
            else [(name, value) for name, value in found.headers.raw if name.lower() != b"set-cookie"]
        )
        body = _Through(cast("httpx.AsyncByteStream", found.stream), journey, Turn(None, None, ""), fresh)
        try:
            return Response(request, found.status_code, headers, body, sent, extensions=found.extensions)
        except BaseException:
            await body.aclose()
            raise

    async def aclose(self) -> None:
        """Close the storage."""
        await self.storage.close()


class _Hop(httpx.AsyncBaseTransport):
    """The way to the server of one request; hishel goes it once or, where a 304 fits nothing, twice."""

    def __init__(self, bounded: BoundedTransport, journey: Journey) -> None:
        self._bounded = bounded
        self._journey = journey
        self.response: Response | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self.aclose()
        self._bounded.leave(self._journey)
        self.response = await self._bounded.send(request, self._journey)
        return self.response

    async def aclose(self) -> None:
        if self.response is not None:
            await self.response.aclose()


class _Through(BoundedBody):
    """A body that comes out of the cache, or from the server through it."""

    def __init__(self, inner: httpx.AsyncByteStream, journey: Journey, turn: Turn, fresh: Response | None) -> None:
        super().__init__(inner, journey, turn)
        self._fresh = None if fresh is None else fresh.stream

    def give_up(self, error: Exception) -> None:
        """See BoundedBody."""
        if isinstance(self._fresh, BoundedBody):
            self._fresh.give_up(error)
