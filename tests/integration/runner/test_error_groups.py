"""Errors that come in groups, as task groups raise them: what the ledger and the run say of their members."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

import async_commander as ac

from .ledger import items_of, row_of

pytestmark = pytest.mark.timeout(120)

TWO = "ValueError: first; KeyError: 'second'"


async def fail_with(error: Exception) -> None:
    raise error


async def fail_twice() -> None:
    """Two tasks that fail in one step: neither can cancel the other before that."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fail_with, ValueError("first"))
        tasks.start_soon(fail_with, KeyError("second"))


class Letters(ac.IterateDownloadCommand[str, str]):
    """Items a, b and c; b is for the test to fail."""

    async def iterate(self):
        return list("abc")

    async def download(self, item: str) -> str:
        if item == "b":
            await self.fail()
        return item

    async def parse_and_save(self, item: str, payload: str) -> None: ...

    async def fail(self) -> None: ...


def test_the_members_are_told_in_the_items_error(run: Any) -> None:
    class Command(Letters):
        async def fail(self) -> None:
            await fail_twice()

    result = run(Command())
    [dead] = items_of(result, state="dead")
    assert (dead.label, dead.error_kind, dead.reason) == ("b", "ExceptionGroup", "permanent")
    assert dead.error.endswith(f"(2 sub-exceptions): {TWO}")
    [kind] = result.errors
    assert (kind.kind, kind.count, kind.example) == ("ExceptionGroup", 1, dead.error)
    assert TWO in row_of(result).logs.get(message__contains="failed in attempt 1, for good").message


def test_a_member_alone_is_told_as_itself_however_deep(run: Any) -> None:
    class Command(Letters):
        async def fail(self) -> None:
            raise ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("the one")])])

    result = run(Command())
    assert [(one.error_kind, one.error) for one in items_of(result, state="dead")] == [("ValueError", "the one")]
    row_of(result)


def test_a_member_alone_that_passes_is_tried_again(run: Any) -> None:
    class Command(Letters):
        retry = ac.Retry(attempts=3, initial=0.001, maximum=0.002)
        times = 0

        async def fail(self) -> None:
            type(self).times += 1
            if self.times == 1:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(fail_with, TimeoutError())

    result = run(Command())
    assert (result.status, result.counts["done"], Command.times) == (ac.RunStatus.SUCCEEDED, 3, 2)
    row_of(result)


def test_a_member_alone_may_skip_its_item(run: Any) -> None:
    class Command(Letters):
        async def fail(self) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(fail_with, ac.SkipItem("not wanted"))

    result = run(Command())
    assert [(one.label, one.reason) for one in items_of(result, state="skipped")] == [("b", "not wanted")]
    row_of(result)


@pytest.mark.parametrize("hook", ["handle", "lifespan", "end of lifespan", "cleanup"])
def test_the_members_are_told_in_the_runs_error(run: Any, hook: str) -> None:
    class Command(ac.AsyncCommand):
        @asynccontextmanager
        async def lifespan(self):
            await self.fail("lifespan")
            yield
            await self.fail("end of lifespan")

        async def handle(self) -> None:
            await self.fail("handle")

        async def cleanup(self) -> None:
            await self.fail("cleanup")

        async def fail(self, here: str) -> None:
            if here == hook:
                await fail_twice()

    with pytest.raises(ac.RunFailed) as raised:
        run(Command())
    error = row_of(raised.value.result).error
    assert error.startswith("ExceptionGroup: ")
    assert error.endswith(f"(2 sub-exceptions): {TWO}")
    assert isinstance(raised.value.__cause__, ExceptionGroup)


def test_the_members_are_told_where_a_source_fails_with_them(run: Any) -> None:
    class Command(Letters):
        async def iterate(self):
            yield "a"
            raise ExceptionGroup("many", [ValueError("first"), KeyError("second")])

    with pytest.raises(ac.RunFailed) as raised:
        run(Command())
    assert row_of(raised.value.result).error == f"ExceptionGroup: many (2 sub-exceptions): {TWO}"


def test_a_group_of_errors_that_pass_is_tried_again(run: Any) -> None:
    tries: list[int] = []

    class Command(Letters):
        retry = ac.Retry(attempts=3, initial=0.001, maximum=0.002)

        async def fail(self) -> None:
            tries.append(1)
            if len(tries) == 1:
                raise ExceptionGroup("at once", [TimeoutError("slow"), ConnectionError("gone")])
            if len(tries) == 2:
                raise ExceptionGroup("at once", [TimeoutError("slow"), ValueError("wrong")])

    result = run(Command())
    [dead] = items_of(result, state="dead")
    assert (dead.attempts, dead.reason) == (2, "permanent")
    row_of(result)


def circle() -> Exception:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def chained(length: int) -> Exception:
    error = ValueError("0")
    for number in range(1, length):
        following = ValueError(str(number))
        following.__cause__, error = error, following
    return error


def itself() -> Exception:
    error = ValueError("bad")
    error.__cause__ = error  # as `raise error from error` has it
    return error


def with_notes_that_are_none() -> Exception:
    error = ValueError("bad")
    error.__notes__ = 5  # type: ignore[assignment]
    return error


@pytest.mark.parametrize("make", [itself, circle, lambda: chained(3_000), with_notes_that_are_none])
def test_an_error_with_a_strange_chain_costs_its_item_only(run: Any, make: Any) -> None:
    class Command(Letters):
        async def fail(self) -> None:
            raise make()

    result = run(Command())
    assert (result.counts["done"], result.counts["dead"]) == (2, 1)
    assert [item.label for item in items_of(result, state="dead")] == ["b"]
