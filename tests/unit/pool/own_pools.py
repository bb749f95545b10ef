"""Pools of a test's own, and a look at what their processes do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread

from async_commander.pool.child import Hooks
from async_commander.pool.processes import ProcessPool


@asynccontextmanager
async def own_pool(
    size: int,
    initializer: Callable[[], None] | None = None,
    after_call: Callable[[], None] | None = None,
    **options: Any,
) -> AsyncIterator[ProcessPool]:
    pool = ProcessPool(size, hooks=Hooks(initializer, after_call), **options)
    try:
        yield pool
    finally:
        pool.kill()
        await anyio.to_thread.run_sync(pool.join, 10)


def pids_of(pool: ProcessPool) -> list[int]:
    """The processes that are ready or at work."""
    with pool._changed:
        return [child.pid for child in pool._ready]


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again at what another process does."""
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.002)
