"""The pytest plugin: fixtures to run commands, and to answer their requests.

What respx and pytest-httpx intercept of httpx, they intercept of `self.http`, too. And what cached methods keep is gone
after each test, unless the project's settings say where it is kept.

Both interceptors put something in the place of parts of httpx and httpcore, which the transport of `self.http` does not
use. With this plugin, which pytest loads by itself, a client that is opened while they are at work sends through httpx.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import httpx

    from async_commander.testing import CommandRun, Responses

_INTERCEPTORS = ("respx", "pytest_httpx")


def pytest_configure(config: pytest.Config) -> None:
    """Remember how httpx looks before a test changes it; without an interceptor httpx is not even imported."""
    del config
    if any(map(find_spec, _INTERCEPTORS)):
        from async_commander.downloads import client

        client.make_transport = Switch().transport


def pytest_runtest_setup(item: pytest.Item) -> None:
    """No test finds what another one, or the project itself, has kept."""
    del item
    from django.conf import settings

    if settings.configured:
        from django.core.files.storage import InMemoryStorage

        from async_commander.cache import store

        store.make_default = cache(InMemoryStorage)


@pytest.fixture
def run_command() -> Callable[..., CommandRun]:
    """`testing.run_command`: runs a command in a `def` test, inside its transaction."""
    from async_commander.testing import run_command

    return run_command


@pytest.fixture
def arun_command() -> Callable[..., Awaitable[CommandRun]]:
    """`testing.arun_command`, to be awaited in an `async def` test, whichever plugin drives it.

    Not with plain `django_db`: that test's transaction is on the event loop's thread, where no run can join it.
    """
    from django.db import connections

    from async_commander.exceptions import InvalidCommand
    from async_commander.testing import arun_command

    in_transaction = any(connection.in_atomic_block for connection in connections.all(initialized_only=True))

    async def checked(command: Any, /, **arguments: Any) -> CommandRun:
        if in_transaction and arguments.get("recorder") is None:
            raise InvalidCommand(
                "arun_command() in the transaction of plain `django_db`: the run would work on another connection, and "
                "neither see the test's rows nor be rolled back. Mark the test "
                "@pytest.mark.django_db(transaction=True), or write `def` and call run_command()."
            )
        return await arun_command(command, **arguments)

    return checked


@pytest.fixture
def responses() -> Iterator[Responses]:
    """What the servers answer that `self.http` asks: `responses.get("https://example.org/", text="hello")`."""
    from async_commander.testing import canned_responses

    with canned_responses() as responses:
        yield responses


class Switch:
    """Chooses the transport of a client when it is opened."""

    def __init__(self) -> None:
        import httpcore
        import httpx

        self._parts = (httpx.AsyncClient, httpx.AsyncHTTPTransport, httpcore.AsyncConnectionPool)
        self._untouched = self._look()

    def _look(self) -> list[dict[str, Any]]:
        return [dict(vars(part)) for part in self._parts]

    def transport(self) -> httpx.AsyncBaseTransport | None:
        """One through httpx where something was put in the place of its parts."""
        return None if self._look() == self._untouched else through_httpx()


def through_httpx() -> httpx.AsyncBaseTransport:
    """A transport that sends by a plain client of httpx, past the guard: it is for requests that go nowhere."""
    import httpx

    class ThroughHttpx(httpx.AsyncBaseTransport):
        """Redirects, cookies and credentials are seen to by the client above."""

        def __init__(self) -> None:
            self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await self._client.send(request, stream=True, auth=httpx.Auth())

        async def aclose(self) -> None:
            await self._client.aclose()

    return ThroughHttpx()
