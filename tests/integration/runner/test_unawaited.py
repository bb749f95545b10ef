"""A forgotten `await` is an error with the remedy, in every hook: not a warning beside a run that succeeded."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from typing import Any

import pytest

import async_commander as ac
from tests.testapp.models import Tag

from .ledger import row_of


class Letters(ac.IterateDownloadCommand[str, str]):
    limits = ac.Limits(threads=1)

    async def iterate(self):
        return list("ab")

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None: ...


class Plain(ac.AsyncCommand):
    async def handle(self) -> None: ...


def forgets(value: Any) -> Any:
    """A plain hook, and an `async def` one, that leave a query unawaited and return this."""

    def plain(self: Any, *_: Any) -> Any:
        Tag.objects.acreate(name="never")
        return value

    async def coroutine(self: Any, *_: Any) -> Any:
        Tag.objects.acreate(name="never")
        return value

    return plain, coroutine


def yields_after_forgetting() -> Any:
    def plain(self: Any) -> Any:
        Tag.objects.acreate(name="never")
        yield "a"

    async def coroutine(self: Any) -> Any:
        Tag.objects.acreate(name="never")
        yield "a"

    return plain, coroutine


def lifespan(*, at_the_end: bool) -> Any:
    @asynccontextmanager
    async def hook(self: Any) -> Any:
        if not at_the_end:
            Tag.objects.acreate(name="never")
        yield
        if at_the_end:
            Tag.objects.acreate(name="never")

    return hook


OF_THE_RUN = [
    *(("iterate", hook) for hook in forgets(["a"])),
    *(("iterate", hook) for hook in yields_after_forgetting()),
    *(("total", hook) for hook in forgets(2)),
    *(("cleanup", hook) for hook in forgets(None)),
    ("item_key", forgets("a")[0]),
    ("throttle_key", forgets(None)[0]),
    ("lifespan", lifespan(at_the_end=False)),
    ("lifespan", lifespan(at_the_end=True)),
]


@pytest.mark.parametrize(("name", "hook"), OF_THE_RUN, ids=lambda value: value if isinstance(value, str) else "")
def test_a_hook_of_the_run_that_leaves_a_coroutine_unawaited_fails_it(run_on_lanes: Any, name: str, hook: Any) -> None:
    with pytest.raises(ac.RunFailed, match="did not await it") as raised:
        run_on_lanes(type("Command", (Letters,), {name: hook})())
    assert f"{name}() made the coroutine QuerySet.acreate()" in row_of(raised.value.result).error


@pytest.mark.parametrize("hook", forgets("x"))
@pytest.mark.parametrize("name", ["download", "parse_and_save"])
def test_a_hook_of_an_item_that_leaves_a_coroutine_unawaited_fails_the_run(run: Any, name: str, hook: Any) -> None:
    with pytest.raises(ac.RunFailed) as raised:
        run(type("Command", (Letters,), {name: hook})())
    row = row_of(raised.value.result)
    assert f"{name}() made the coroutine QuerySet.acreate() and did not await it" in row.error
    assert row.done == 0


@pytest.mark.parametrize("hook", forgets("x"))
def test_a_handle_that_leaves_a_coroutine_unawaited_fails(run: Any, hook: Any) -> None:
    with pytest.raises(ac.RunFailed, match=r"handle\(\) made the coroutine QuerySet\.acreate\(\)"):
        run(type("Command", (Plain,), {"handle": hook})())


async def later() -> str:
    return "later"


async def some() -> Any:
    yield 1


@pytest.mark.parametrize(
    "made", [later, some, lambda: [later()], lambda: (some(),)], ids=["one", "stream", "list", "pair"]
)
@pytest.mark.parametrize("written", ["plain", "async"])
def test_a_hook_that_returns_what_should_be_awaited_says_so(run: Any, written: str, made: Any) -> None:
    def plain(self: Any) -> Any:
        return made()

    async def coroutine(self: Any) -> Any:
        return made()

    hook = plain if written == "plain" else coroutine
    with pytest.raises(ac.RunFailed, match="allowed: one finished value"):
        run(type("Command", (Plain,), {"handle": hook})())


def test_what_a_hook_raises_goes_before_what_it_left_unawaited(run: Any) -> None:
    async def handle(self: Any) -> None:
        Tag.objects.acreate(name="never")
        raise LookupError("this first")

    with pytest.raises(ac.RunFailed, match="LookupError: this first"):
        run(type("Command", (Plain,), {"handle": handle})())


def test_outside_of_hooks_the_interpreter_warns_as_ever() -> None:
    with pytest.warns(RuntimeWarning, match="'later' was never awaited"):
        later()


def test_what_the_collector_finds_in_a_hook_is_not_blamed_on_it(run: Any) -> None:
    class Ring:
        def __init__(self) -> None:
            self.ring, self.coroutine = self, later()

    async def handle(self: Any) -> str:
        gc.collect()
        return "well"

    gc.disable()
    try:
        Ring()
        with pytest.warns(RuntimeWarning, match="'later' was never awaited"):
            assert run(type("Command", (Plain,), {"handle": handle})()).value == "well"
    finally:
        gc.enable()
