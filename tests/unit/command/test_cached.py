"""`@ac.cached` on a class: what stays as it was, and what is refused with the class."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any

import pytest

import async_commander as ac
from async_commander.command.declaration import declaration_of


def test_a_cached_method_stays_what_it_was() -> None:
    class Command(ac.AsyncCommand):
        @ac.cached
        async def one(self, url: str, *, deep: bool = False) -> str:
            """What it does."""
            return url

        @ac.cached(ttl=60)
        def two(self, url: str) -> str:
            return url

        async def handle(self) -> None: ...

    assert inspect.iscoroutinefunction(Command.one)
    assert not inspect.iscoroutinefunction(Command.two)
    assert str(inspect.signature(Command.one)) == "(self, url: 'str', *, deep: 'bool' = False) -> 'str'"
    assert (Command.one.__name__, Command.one.__doc__) == ("one", "What it does.")
    assert {name: each.seconds for name, each in declaration_of(Command).cached.items()} == {
        "one": float("inf"),
        "two": 60,
    }


def test_a_cached_hook_with_a_wrong_signature_is_refused_as_any_other() -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        def iterate(self) -> list[int]:
            return []

        @ac.cached
        async def download(self) -> int:  # type: ignore[override]
            return 1

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    with pytest.raises(ac.InvalidCommand, match=r"download\(self"):
        Command()


def test_a_method_that_is_overridden_without_the_decorator_is_not_cached() -> None:
    class Base(ac.AsyncCommand):
        @ac.cached
        async def one(self) -> int:
            return 1

        async def handle(self) -> None: ...

    class Command(Base):
        async def one(self) -> int:
            return 2

    assert declaration_of(Command).cached == {}


def on_a_method(decorate: Any, make: Callable[[], Any] | None = None) -> type[ac.AsyncCommand]:
    async def one(self: Any, url: str) -> str:
        return url

    class Command(ac.AsyncCommand):
        language: Annotated[str, ac.Option(identity=False)] = "en"

        async def handle(self) -> None: ...

    Command.one = decorate(one if make is None else make())  # type: ignore[attr-defined]
    return Command


async def a_generator(self: Any) -> AsyncIterator[int]:
    yield 1


def a_plain_generator(self: Any) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("decorate", "make", "told"),
    [
        (ac.cached(ttl=0), None, "ttl=0; allowed: seconds above 0"),
        (ac.cached(ttl=-1.5), None, "ttl=-1.5"),
        (ac.cached(ttl=True), None, "ttl=True"),
        (ac.cached(ttl="1d"), None, "ttl='1d'"),  # type: ignore[call-overload]
        (ac.cached(ttl=float("nan")), None, "ttl=nan"),
        (ac.cached(ttl=timedelta(0)), None, "ttl=datetime.timedelta"),
        (ac.cached(version=None), None, "version=None; allowed: a number or a text"),  # type: ignore[call-overload]
        (ac.cached(vary="langage"), None, "no option of this command; did you mean 'language'"),
        (ac.cached(vary=["threads"]), None, "vary names 'threads'.*its options are language"),
        (ac.cached(vary=3), None, "vary=3; allowed: the name of an option"),  # type: ignore[call-overload]
        (ac.cached(key="url"), None, "key='url'; allowed: a plain function"),  # type: ignore[call-overload]
        (ac.cached, lambda: a_generator, "a generator has no result to keep; allowed: a method that returns a list"),
        (ac.cached, lambda: a_plain_generator, "a generator has no result"),
        (ac.cached, lambda: staticmethod(len), "found a staticmethod; allowed: a method with self"),
        (ac.cached, lambda: classmethod(lambda cls: 1), "found a classmethod"),
        (ac.cached, lambda: property(lambda self: 1), "found property; allowed: a method"),
        (lambda function: property(ac.cached(function)), None, "found property"),
        (lambda function: staticmethod(ac.cached(function)), None, "found a staticmethod"),
        (ac.cached, lambda: 3, "found int; allowed: a method"),
        (ac.cached, lambda: lambda: 1, "it has no self"),
    ],
)
def test_a_bad_use_is_refused_with_the_class(decorate: Any, make: Any, told: str) -> None:
    command = on_a_method(decorate, make)
    with pytest.raises(ac.InvalidCommand, match=f"Command.one is decorated with @ac.cached: .*{told}"):
        declaration_of(command)


@pytest.mark.parametrize("name", ["parse_and_save", "committed", "cleanup", "lifespan", "item_key", "http_client"])
def test_a_hook_that_is_there_for_its_effects_or_decides_is_refused(name: str) -> None:
    class Command(ac.IterateDownloadCommand[int, int]):
        def iterate(self) -> list[int]:
            return []

        async def download(self, item: int) -> int:
            return 1

        async def parse_and_save(self, item: int, payload: int) -> None: ...

    @asynccontextmanager
    async def context(self: Any) -> AsyncIterator[None]:
        yield

    hooks: dict[str, Any] = {
        "parse_and_save": Command.parse_and_save,
        "committed": lambda self, item: None,
        "cleanup": lambda self: None,
        "lifespan": context,
        "item_key": lambda self, item: str(item),
        "http_client": lambda self: None,
    }
    setattr(Command, name, ac.cached(hooks[name]))
    with pytest.raises(ac.InvalidCommand, match=f"Command.{name} is decorated with @ac.cached"):
        Command()


@pytest.mark.asyncio
async def test_in_another_class_it_says_what_it_is_for() -> None:
    class Other:
        @ac.cached
        async def one(self) -> int:
            return 1

    with pytest.raises(ac.InvalidCommand, match=r"for methods of commands; found .*Other"):
        await Other().one()


def test_refresh_cache_acts_only_where_something_is_cached() -> None:
    class Command(ac.AsyncCommand):
        async def handle(self) -> None: ...

    with pytest.raises(ac.InvalidCommand, match=r"refresh_cache=True has no effect here: .* has no cached methods"):
        ac.run(Command(), refresh_cache=True)
