"""`self.http`: an httpx client that can be pointed at the open internet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import httpx

from async_commander.exceptions import AsyncCommanderError

from .connecting import Connector, ThreadResolver, proxy_of
from .cookies import ItemCookies, keep_cookies
from .decoding import ACCEPTED
from .errors import DownloadTimeout
from .fetching import Fetched, fetched
from .guard import AddressGuard
from .journey import Journey
from .limits import SHARED, BodyMemory, bound_of, timeout_of
from .pacing import Turns
from .pool import ConnectionPool
from .protocol import Ask
from .redirects import next_request
from .scope import item_scope
from .tls import Cert, Trust, Verify
from .transport import BoundedTransport, check_address
from .wire import origin_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from http.cookiejar import CookieJar

    from hishel import AsyncBaseStorage

    from async_commander.engine.pace import Pace

    from .connecting import Resolver
    from .http_cache import HttpCache
    from .response import Response

USER_AGENT = f"async-commander python-httpx/{httpx.__version__}"
TIMEOUT = httpx.Timeout(connect=15.0, read=30.0, write=30.0, pool=None)

_NO: Mapping[str, Any] = MappingProxyType({})
_OF_A_JOURNEY = frozenset({"deadline", "max_body", "internal_redirects"})
"""The extensions that are ours; the others are for httpx's way."""


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
    transport: httpx.AsyncBaseTransport | None = None,
    resolver: Resolver | None = None,
) -> Client:
    """A client for `threads` requests at once, to be used as an async context manager on one asyncio loop.

    `max_body` is in decoded bytes and `deadline` in seconds, both for a whole request with its redirects and bodies;
    one request can have its own: `client.get(url, extensions={"deadline": 600, "max_body": 2**30})`.
    Bodies that are read into memory may hold 128 KiB each; what is above that holds `body_memory` bytes in all, and one
    `max_body`: of many large bodies some wait for others, and one that drips gives its place to those who wait.
    Streamed ones do not wait.

    `pace` gives each request its turn at its host, and hears of each 429 and 503. `internal_hosts` may be reached
    although they are not public; a redirect from a public address leads there only for a request with
    `extensions={"internal_redirects": True}`. `transport` replaces the connections, and `resolver` the system's, in
    tests.

    Redirects are followed. Proxies of the environment are not used; see `Client.proxy`. ValueError for bounds and hosts
    that make no sense.
    """
    for name, bound in {"threads": threads, "max_body": max_body, "deadline": deadline}.items():
        bound_of(name, bound)
    connector = Connector(AddressGuard.of(internal_hosts), resolver or ThreadResolver(threads))
    pool = ConnectionPool(connector, threads)
    return Client(
        transport=bounded_transport(transport or make_transport(), pool, Turns(pace)),
        deadline=deadline,
        max_body=max_body,
        body_memory=body_memory,
        max_redirects=max_redirects,
        user_agent=user_agent or USER_AGENT,
    )


bounded_transport = BoundedTransport
"""By whose class a client sends; one that is derived from it may look on."""


def make_transport() -> httpx.AsyncBaseTransport | None:
    """What requests are sent by in the place of our connections: nothing; a test's plugin may have another answer."""
    return None


class Client(httpx.AsyncClient):
    """`httpx.AsyncClient` with bounds around each request, and with cookies that live as long as the item.

    Inside an item `cookies` are the item's own: what its servers set, redirects included, and what is put there by hand
    is sent by its later requests and by no other item's. Each item begins with the cookies that were put there outside
    of items: in `http_client()`, in `iterate()`, after a login. `share_cookies = True` keeps one jar for all.
    """

    share_cookies = False
    """Whether all items share one jar of cookies."""

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
        self._shared = httpx.Cookies()
        self._bounded = transport
        self._deadline = deadline
        self._max_body = max_body
        self._memory = BodyMemory(body_memory)
        self._closing = _Closing(transport)
        super().__init__(
            transport=self._closing,
            headers={"User-Agent": user_agent, "Accept-Encoding": ACCEPTED},
            timeout=TIMEOUT,
            follow_redirects=True,
            max_redirects=max_redirects,
            trust_env=False,
        )

    def resize(self, threads: int) -> None:
        """So many requests at once, from now on."""
        self._bounded.pool.resize(threads)

    @property
    def cookies(self) -> httpx.Cookies:
        """The cookies to send: the item's inside an item, elsewhere those that all items begin with."""
        scope = item_scope.get()
        if scope is None or self.share_cookies:
            return self._shared
        cookies = scope.cookies.get(self)
        if cookies is None:
            cookies = ItemCookies(self._shared)
            scope.cookies = {**scope.cookies, self: cookies}
        return cookies

    @cookies.setter
    def cookies(self, cookies: httpx.Cookies | CookieJar | dict[str, str] | list[tuple[str, str]]) -> None:
        scope = item_scope.get()
        if scope is None or self.share_cookies:
            self._shared = httpx.Cookies(cookies)
        else:
            scope.cookies = {**scope.cookies, self: httpx.Cookies(cookies)}

    @property
    def proxy(self) -> str | None:
        """The URL of a proxy that is asked by CONNECT for every connection: `http://user:password@host:3128`.

        An `httpx.Proxy` is taken, too, with headers, or the SSLContext, for the proxy itself. Names are then looked up
        by the proxy: the guard sees only addresses that are written out in a URL. To be set before the first request.
        """
        proxy = self._bounded.pool.connector.proxy
        return None if proxy is None else str(proxy.url)

    @proxy.setter
    def proxy(self, given: httpx.Proxy | httpx.URL | str | None) -> None:
        self._bounded.pool.connector.proxy = None if given is None else proxy_of(given)

    @property
    def verify(self) -> Verify:
        """Whom to trust, where not those whom all trust: the file or the folder of authorities, or an SSLContext.

        To be set before the first request. ValueError for what cannot be used, False included.
        """
        return self._bounded.pool.connector.trusts.verify

    @verify.setter
    def verify(self, given: Verify) -> None:
        connector = self._bounded.pool.connector
        connector.trusts = Trust(given, connector.trusts.cert)

    @property
    def cert(self) -> Cert | None:
        """A certificate for servers that ask for one: its file, or `(file, key file)`, or with the key's password.

        To be set before the first request. ValueError for what cannot be used.
        """
        return self._bounded.pool.connector.trusts.cert

    @cert.setter
    def cert(self, given: Cert | None) -> None:
        connector = self._bounded.pool.connector
        connector.trusts = Trust(connector.trusts.verify, given)

    @property
    def cache(self) -> AsyncBaseStorage | None:
        """A storage of hishel's, an extra, in which answers are kept as HTTP says (RFC 9111). Closed with the client.

        To be set before the first request. AsyncCommanderError where hishel is not installed.
        """
        cache = self._closing.cache
        return None if cache is None else cache.storage

    @cache.setter
    def cache(self, storage: AsyncBaseStorage | None) -> None:
        if storage is None:
            self._closing.cache = None
            return
        try:
            from .http_cache import HttpCache
        except ImportError as error:
            raise AsyncCommanderError("client.cache needs hishel: pip install 'async-commander[hishel]'") from error
        self._closing.cache = HttpCache(storage)

    def build_request(self, method: str, url: httpx.URL | str, **options: Any) -> httpx.Request:
        """As `httpx.AsyncClient.build_request`; BlockedAddress for a URL without a scheme, which no cookie fits."""
        try:
            request = super().build_request(method, url, **options)
        except ValueError:
            check_address(self.base_url.join(url))
            raise
        if not request.url.scheme:
            check_address(httpx.URL(url))  # of which httpx has made a path
        return request

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = httpx.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx.USE_CLIENT_DEFAULT,
    ) -> httpx.Response:
        """Send a request and its redirects, as `httpx.AsyncClient.send` does, within their bounds.

        DownloadTimeout where the deadline passes first; the errors of `downloads.errors` for the other bounds.
        """
        if self.is_closed:
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        follow = self.follow_redirects if follow_redirects is httpx.USE_CLIENT_DEFAULT else bool(follow_redirects)
        journey = self._journey(request.extensions)
        try:
            async with asyncio.timeout(journey.seconds) as journey.watch:
                return await self._authenticated(request, auth, journey, follow=follow, stream=stream)
        except TimeoutError as error:
            if journey.is_over():
                raise DownloadTimeout(str(journey.over()), request=request) from error
            raise
        finally:
            journey.watch = None
            self._bounded.leave(journey)

    def _journey(self, extensions: Mapping[str, Any]) -> Journey:
        return Journey.start(
            self._memory,
            deadline=extensions.get("deadline", self._deadline),
            max_body=extensions.get("max_body", self._max_body),
            internal_redirects=extensions.get("internal_redirects", False),
        )

    async def _authenticated(
        self, request: httpx.Request, auth: Any, journey: Journey, *, follow: bool, stream: bool
    ) -> httpx.Response:
        """With the credentials that the call gives, else the client, else the URL, as httpx chooses them.

        Each step of a flow is a request of its own: one that fetches a token elsewhere keeps its credentials.
        """
        given, url = self.auth if auth is httpx.USE_CLIENT_DEFAULT else auth, request.url
        if given is None and (url.username or url.password):
            given = (url.username, url.password)
        if isinstance(given, tuple):
            given = httpx.BasicAuth(*given)
        if not isinstance(given, httpx.Auth):
            if given is not None and not callable(given):
                raise TypeError(f'Invalid "auth" argument: {given!r}')
            step = request if given is None else given(request)
            return await self._follow(step, journey, follow=follow, stream=stream)
        flow = given.async_auth_flow(request)
        try:
            step, earlier = await anext(flow), list[httpx.Response]()
            while True:
                journey.from_public = False
                response = await self._follow(step, journey, follow=follow, stream=stream)
                response.history = earlier + response.history
                try:
                    step = await flow.asend(response)
                except StopAsyncIteration:
                    return response
                except BaseException:
                    await response.aclose()
                    raise
                await response.aread()
                earlier = [*response.history, response]
        finally:
            await flow.aclose()

    async def _follow(
        self,
        request: httpx.Request,
        journey: Journey,
        *,
        follow: bool,
        stream: bool,
        earlier: Sequence[httpx.Response] = (),
    ) -> Response:
        history = list(earlier)
        while True:
            for hook in self.event_hooks["request"]:
                await hook(request)
            try:
                cache = self._closing.cache
                if cache is None:
                    response = await self._bounded.send(request, journey)
                else:
                    response = await cache.send(request, journey, self._bounded)
            except httpx.RequestError as error:
                error.request = request
                raise
            try:
                response.history = list(history)
                request, is_last = await self._look_at(response, journey, follow=follow)
                if not is_last or not stream:
                    await response.aread()
            except BaseException:
                await response.aclose()
                raise
            finally:
                self._bounded.leave(journey)
            if is_last:
                return response
            history.append(response)

    async def _look_at(self, response: Response, journey: Journey, *, follow: bool) -> tuple[httpx.Request, bool]:
        """Keep the cookies of a response; the next request, where there is one, and whether there is none."""
        if response.sets_cookies:
            keep_cookies(self.cookies, response)
        for hook in self.event_hooks["response"]:
            await hook(response)
        if not response.has_redirect_location:
            return response.request, True
        following = next_request(response.request, response, self.cookies)
        if not follow:
            response.next_request = following
            return response.request, True
        if len(response.history) >= self.max_redirects:
            raise httpx.TooManyRedirects(f"more than {self.max_redirects} redirects", request=response.request)
        journey.redirected()
        return following, False

    async def fetch(
        self,
        url: httpx.URL | str,
        *,
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> Fetched:
        """GET one small answer, the quick way: within the same bounds, guard, turns, cookies and redirects as `get()`.

        A status is an error only through `Fetched.raise_for_status()`.
        """
        hooks, options = self.event_hooks, extensions or _NO
        sees_httpx = (
            self.is_closed
            or self._closing.cache
            or self.cookies
            or self.params
            or self.auth
            or hooks["request"]
            or hooks["response"]
        )
        if self._bounded.inner is None and not (sees_httpx or headers or options.keys() - _OF_A_JOURNEY):
            quick = httpx.URL(url)
            if not quick.is_relative_url and not quick.userinfo:
                return await self._quick(quick, self._journey(options))
        return fetched(await self.get(url, headers=headers, extensions=dict(options)))

    async def _quick(self, url: httpx.URL, journey: Journey) -> Fetched:
        """With the objects of httpx only where an answer sets cookies, or leads elsewhere."""
        times = {"timeout": self.timeout.as_dict()}
        try:
            ask = Ask(
                b"GET",
                origin_of(check_address(url)),
                url.raw_path,
                [(b"Host", url.netloc), *self.headers.raw],
                connect_timeout=timeout_of(times, "connect"),
                read_timeout=timeout_of(times, "read"),
                write_timeout=timeout_of(times, "write"),
            )
            async with asyncio.timeout(journey.seconds) as journey.watch:
                head, content = await self._bounded.fetch(ask, journey)
                small = Fetched(str(url), head.status, tuple(head.headers), content)
                if not 300 <= head.status < 400 and all(name.lower() != b"set-cookie" for name, _ in head.headers):
                    return small
                self._bounded.leave(journey)
                response = small.as_response()
                keep_cookies(self.cookies, response)
                if not response.has_redirect_location:
                    return small
                journey.redirected()
                following = next_request(self.build_request("GET", url), response, self.cookies)
                return fetched(await self._follow(following, journey, follow=True, stream=False, earlier=[response]))
        except TimeoutError as error:
            if journey.is_over():
                raise DownloadTimeout(str(journey.over()), request=httpx.Request("GET", url)) from error
            raise
        except httpx.RequestError as error:
            error.request = httpx.Request("GET", url)
            raise
        finally:
            journey.watch = None
            self._bounded.leave(journey)


class _Closing(httpx.AsyncBaseTransport):
    """What httpx closes with the client; requests go through `Client.send`."""

    cache: HttpCache | None = None

    def __init__(self, bounded: BoundedTransport) -> None:
        self._bounded = bounded

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise NotImplementedError("requests of this client go through its send()")

    async def aclose(self) -> None:
        await self._bounded.aclose()
        if self.cache is not None:
            await self.cache.aclose()
