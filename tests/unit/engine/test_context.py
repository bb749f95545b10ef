"""An item is nobody else's: each attempt runs in a context of its own, which begins as that of the run was."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from contextvars import ContextVar, copy_context

import anyio
import pytest
import sniffio

from async_commander.engine.limits import Limits, Retry
from async_commander.engine.pace import Pace
from async_commander.engine.stepping import InContext

from .desk import Desk, Transient

pytestmark = pytest.mark.anyio

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
language: ContextVar[str] = ContextVar("language")


@pytest.mark.parametrize("threads", [1, 2, 50])
async def test_what_an_item_sets_is_seen_by_itself_only(threads) -> None:
    rng, elsewhere = random.Random(7), []

    async def beside(item) -> None:
        await anyio.sleep(0.01)
        if tenant.get() != str(item):
            elsewhere.append(item)
        tenant.set("a task of its own")

    async def work(item) -> None:
        if tenant.get() != "of the run" or language.get("none") != "none":
            elsewhere.append(item)
        tenant.set(str(item))
        if rng.random() < 0.5:
            language.set(str(item))
        await anyio.sleep(rng.random() / 10)
        if rng.random() < 0.2:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(beside, item)
        if tenant.get() != str(item) or language.get(str(item)) != str(item):
            elsewhere.append(item)
        if rng.random() < 0.1:
            raise Transient

    token = tenant.set("of the run")
    desk = Desk(
        work,
        limits=Limits(threads=threads, max_failures=None),
        retry=Retry(attempts=2, initial=0.1),
        pace=Pace(per_key=2),
        throttle=lambda item: f"host{item % 5}" if item % 3 else None,
    )
    assert await desk.run(range(3000))
    assert elsewhere == []
    assert desk.tally.retried > 100
    assert (tenant.get(), language.get("none")) == ("of the run", "none")
    tenant.reset(token)


async def test_scopes_cancels_results_and_errors_pass_through() -> None:
    async def give(value):
        await anyio.sleep(1)
        return value

    async def fail():
        try:
            await anyio.sleep(1)
        finally:
            raise ValueError("its own")

    async def with_a_scope():
        with anyio.move_on_after(5) as scope:
            await anyio.sleep(1000)
        return scope.cancelled_caught

    assert await InContext(copy_context(), give(3)) == 3
    with pytest.raises(ValueError, match="its own"):
        await InContext(copy_context(), fail())
    assert await InContext(copy_context(), with_a_scope())
    with anyio.move_on_after(5) as outer:
        await InContext(copy_context(), anyio.sleep(1000))
    assert outer.cancelled_caught


async def test_a_native_cancel_reaches_the_coroutine() -> None:
    if sniffio.current_async_library() != "asyncio":
        pytest.skip("trio has no native cancellation of tasks")
    seen = []

    async def wait() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            seen.append(tenant.get())
            raise

    async def main() -> None:
        context = copy_context()
        context.run(tenant.set, "in there")
        await InContext(context, wait())

    task = asyncio.ensure_future(main())
    await anyio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["in there"]


async def test_an_error_is_freed_without_the_cyclic_collector() -> None:
    class Big(Exception):
        pass

    async def fail() -> None:
        await anyio.sleep(0)
        raise Big

    gc.collect()
    gc.disable()
    try:
        try:
            await InContext(copy_context(), fail())
        except Big as error:
            gone = weakref.ref(error)
        assert gone() is None
    finally:
        gc.enable()
