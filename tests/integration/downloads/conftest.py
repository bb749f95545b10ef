from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from async_commander.downloads.client import Client, open_client

from .hostile import HostileServer

OpenClient = Callable[..., Client]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest.fixture
def small_client() -> OpenClient:
    """A client with bounds that a test reaches soon, and loopback allowed."""

    def open_small(**options: object) -> Client:
        bounds = {"threads": 10, "max_body": 2 * 1024 * 1024, "deadline": 5.0, "internal_hosts": ["127.0.0.1"]}
        return open_client(**{**bounds, **options})

    return open_small
