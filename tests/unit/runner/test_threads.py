"""Threads for plain functions: bounded, reused, and left behind only when that is asked for."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator

import anyio
import pytest

from async_commander.runner.threads import AbandonableThreads

word: contextvars.ContextVar[str] = contextvars.ContextVar("word")


@pytest.fixture
def go() -> Iterator[threading.Event]:
    go = threading.Event()
    yield go
    go.set()


@pytest.mark.asyncio
async def test_results_and_errors_come_back_and_the_context_goes_along() -> None:
    threads = AbandonableThreads(2)
    word.set("here")
    assert await threads.call(word.get) == "here"
    with pytest.raises(ZeroDivisionError):
        await threads.call(lambda: 1 // 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.call(lambda: next(iter([])))


@pytest.mark.asyncio
async def test_no_more_threads_than_calls_at_once() -> None:
    threads, seen = AbandonableThreads(3), set[int]()
    together = threading.Barrier(3)

    def meet() -> None:
        together.wait(10)
        seen.add(threading.get_ident())

    for _ in range(4):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(threads.call, meet)
    assert len(seen) == 3


@pytest.mark.asyncio
async def test_a_cancelled_caller_waits_until_it_may_go(go: threading.Event) -> None:
    threads, begun, left = AbandonableThreads(1), threading.Event(), asyncio.Event()

    def block() -> None:
        begun.set()
        go.wait(10)

    async def call() -> None:
        try:
            await threads.call(block)
        finally:
            left.set()

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        while not begun.is_set():
            await asyncio.sleep(0)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(20):
                await asyncio.sleep(0)
            assert not left.is_set()
            threads.abandon()
            await left.wait()
    assert not go.is_set()


@pytest.mark.asyncio
@pytest.mark.parametrize("fails", [False, True])
async def test_who_was_cancelled_stays_so_whatever_the_call_came_to(
    go: threading.Event, caplog: pytest.LogCaptureFixture, fails: bool
) -> None:
    threads, begun = AbandonableThreads(1), threading.Event()

    def block() -> int:
        begun.set()
        go.wait(10)
        return 1 // (not fails)

    results: list[int] = []
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def call() -> None:
                results.append(await threads.call(block))

            group.start_soon(call)
            while not begun.is_set():
                await asyncio.sleep(0)
            scope.cancel()
            with anyio.CancelScope(shield=True):
                while not caplog.messages:
                    await asyncio.sleep(0)
                go.set()
    assert scope.cancelled_caught
    assert results == []
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "A plain `def download` cannot be interrupted"
    ]


@pytest.mark.asyncio
async def test_a_native_cancel_leaves_no_call_behind(go: threading.Event) -> None:
    """So that there are never more threads than room."""
    threads, begun = AbandonableThreads(1), threading.Event()
    running: list[int] = []

    def block() -> None:
        running.append(1)
        begun.set()
        go.wait(10)
        running.pop()

    first = asyncio.ensure_future(threads.call(block))
    while not begun.is_set():
        await asyncio.sleep(0)
    second = asyncio.ensure_future(threads.call(lambda: len(running)))
    for _ in range(3):
        first.cancel()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not first.done()
        assert not second.done()
    go.set()
    assert await second == 0
    assert first.cancelled()
