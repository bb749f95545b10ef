"""What no item may survive, raised by each hook, in each way of writing it: the run ends, and its row says how."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

import async_commander as ac
from async_commander.models import Run

from .ledger import row_of
from .test_endings import QUICK


class OfItsOwn(BaseException):
    """An author's own, derived from the root of them all."""


ERRORS = [
    GeneratorExit,
    SystemExit,
    KeyboardInterrupt,
    MemoryError,
    OfItsOwn,
    asyncio.CancelledError,
]
HOOKS = ["lifespan", "lifespan_end", "iterate", "total", "download", "parse_and_save", "committed", "cleanup", "handle"]


def made(hook: str, error: BaseException, *, plain: bool) -> ac.AsyncCommand:
    """A command that raises the error in one hook, written as a plain function or as a coroutine."""

    def fail(_: Any = None) -> Any:
        raise error

    async def fail_later(_: Any = None) -> Any:
        await asyncio.sleep(0)
        raise error

    hooks: dict[str, Any] = {hook: (lambda self, *a: fail()) if plain else fail_later_of(fail_later)}
    if hook in ("lifespan", "lifespan_end"):
        hooks = {"lifespan": lifespan(error, late=hook == "lifespan_end")}
    if hook == "handle":
        return type("Command", (ac.AsyncCommand,), {**hooks, "__module__": __name__})()
    return type("Command", (Items,), {**hooks, "__module__": __name__})()


def fail_later_of(function: Any) -> Any:
    async def hook(self: Any, *arguments: Any) -> Any:
        return await function()

    return hook


def lifespan(error: BaseException, *, late: bool) -> Any:
    @asynccontextmanager
    async def hook(self: Any) -> Any:
        if not late:
            raise error
        yield
        raise error

    return hook


class Items(ac.IterateDownloadCommand[int, int]):
    limits = ac.Limits(threads=2)
    retry = QUICK

    async def iterate(self) -> Any:
        return range(3)

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None: ...


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "async"])
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("error", ERRORS)
def test_the_run_ends_and_its_row_is_true(
    run_on_lanes: Any, error: type[BaseException], hook: str, plain: bool
) -> None:
    command = made(hook, error("here"), plain=plain)
    try:
        result = run_on_lanes(command)
    except ac.RunFailed as failed:
        result = failed.result
    row = Run.objects.get()
    assert row.status not in ("running", "queued")
    assert row.finished is not None
    row_of(result)
    is_an_item_s = error is asyncio.CancelledError and hook == "committed"
    assert result.status == ("succeeded" if is_an_item_s else "failed")
