"""A `next()` too many in an author's plain hook is an error like any other: it is told, and nothing waits for ever."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any, NoReturn

import anyio
import pytest

import async_commander as ac
from tests.testapp.models import Tag

from .ledger import items_of, row_of

pytestmark = pytest.mark.timeout(120)


class Letters(ac.IterateDownloadCommand[str, str]):
    """Items a, b and c, each saved as a tag."""

    retry = ac.Retry(attempts=3, initial=0.001, maximum=0.002)

    async def iterate(self):
        return list("abc")

    async def download(self, item: str) -> str:
        return item

    async def parse_and_save(self, item: str, payload: str) -> None:
        self.db.add(Tag(name=payload))


def run_out(*_: Any) -> NoReturn:
    next(iter(()))
    raise AssertionError


class Empty:
    """A source that fails where its first item is asked for."""

    def __iter__(self) -> NoReturn:
        run_out()


class EndsBadly(Letters):
    @asynccontextmanager
    async def lifespan(self):
        yield
        run_out()


@pytest.mark.parametrize("hook", ["iterate", "total", "item_key", "throttle_key", "lifespan", "http_client", "cleanup"])
def test_it_fails_the_run_where_no_item_is_to_blame(run: Any, hook: str) -> None:
    raises = (lambda self, item: run_out()) if hook.endswith("_key") else (lambda self: run_out())
    command = type("Command", (Letters,), {hook: raises})
    with pytest.raises(ac.RunFailed, match="StopIteration") as raised:
        run(command())
    row = row_of(raised.value.result)
    assert "StopIteration" in row.error
    assert row.done == (3 if hook == "cleanup" else 0)


@pytest.mark.parametrize("written", ["a generator", "an iterable"])
def test_it_does_not_end_a_source_as_if_all_had_been_read(run: Any, written: str) -> None:
    class Generates(Letters):
        def iterate(self):
            yield "a"
            run_out()

    class Returns(Letters):
        def iterate(self):
            return Empty()

    with pytest.raises(ac.RunFailed, match="StopIteration") as raised:
        run(Generates() if written == "a generator" else Returns())
    assert row_of(raised.value.result).status == "failed"


def test_it_fails_a_run_whose_lifespan_ends_with_it(run: Any) -> None:
    with pytest.raises(ac.RunFailed, match="StopIteration") as raised:
        run(EndsBadly())
    assert row_of(raised.value.result).done == 3


def test_it_fails_a_run_whose_one_download_raises_it(run: Any) -> None:
    class Command(ac.DownloadIterateCommand[str, str]):
        def download(self) -> str:
            run_out()

        def iterate(self, payload: str):
            return [payload]

        def parse_and_save(self, item: str) -> None: ...

    with pytest.raises(ac.RunFailed, match="StopIteration") as raised:
        run(Command())
    assert row_of(raised.value.result).taken == 0


@pytest.mark.parametrize("hook", ["download", "parse_and_save"])
def test_it_fails_the_item_whose_plain_hook_raises_it(run: Any, hook: str) -> None:
    def plain(self: Any, item: str, *payload: str) -> str:
        return run_out() if item == "b" else item

    command = type("Command", (Letters,), {hook: plain})
    result = run(command())
    assert (result.status, result.counts["done"], result.counts["dead"]) == ("partial", 2, 1)
    [dead] = items_of(result, state="dead")
    assert (dead.label, dead.reason) == ("b", "permanent")
    assert "StopIteration" in dead.error
    row_of(result)


def test_it_fails_the_run_whose_should_retry_raises_it(run: Any) -> None:
    class Command(Letters):
        def should_retry(self, error: Exception) -> bool:
            run_out()

        def download(self, item: str) -> str:
            raise ValueError(item)

    with pytest.raises(ac.RunFailed, match="StopIteration") as raised:
        run(Command())
    assert row_of(raised.value.result).status == "failed"


def test_in_committed_it_is_logged_and_the_items_stay_done(run: Any) -> None:
    class Command(Letters):
        def committed(self, item: str) -> None:
            run_out()

    result = run(Command())
    row = row_of(result)
    assert (row.status, row.done) == ("succeeded", 3)
    assert row.logs.filter(message__contains="committed() failed for", level=40).count() == 3
    assert row.logs.filter(message__contains="StopIteration").count() == 3


def test_in_on_timeout_it_is_logged_and_the_run_is_stopped_all_the_same(run: Any) -> None:
    class Command(Letters):
        limits = ac.Limits(threads=1, timeout=0.05)

        async def download(self, item: str) -> str:
            while not self.stopping:
                await anyio.sleep(0.001)
            return item

        def on_timeout(self) -> None:
            run_out()

    with pytest.raises(ac.RunFailed, match="time-out") as raised:
        run(Command())
    row = row_of(raised.value.result)
    assert row.logs.filter(message__startswith="on_timeout() failed").filter(message__contains="StopIteration").exists()
