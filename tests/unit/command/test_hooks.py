"""Hooks: which an author wrote, of what kind, with how many arguments, and what is said about those that do not fit."""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import async_commander as ac
from async_commander.command.hooks import HookKind, check_hooks, hooks_of, specs_of
from async_commander.exceptions import InvalidCommand
from tests.testapp.models import Author

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Whole(ac.IterateDownloadCommand[str, str]):
    async def iterate(self) -> AsyncIterator[str]:
        yield "a"

    async def download(self, url: str) -> str:
        return url

    def parse_and_save(self, url: str, html: str) -> None: ...


def shaped(**hooks: Any) -> type:
    """`Whole` with other hooks."""
    return type("Command", (Whole,), hooks)


def handled(**hooks: Any) -> type:
    """A plain command with other hooks."""

    async def handle(self: Any) -> None: ...

    return type("Command", (ac.AsyncCommand,), {"handle": handle, **hooks})


def test_only_hooks_that_were_written_are_listed_in_the_order_of_the_shape() -> None:
    assert list(hooks_of(Whole)) == ["iterate", "download", "parse_and_save"]


def test_a_shape_knows_its_hooks_and_not_the_plain_one() -> None:
    assert set(specs_of(Whole)) == {
        *("lifespan", "cleanup", "prepare_connection", "on_timeout", "http_client"),
        *("total", "item_key", "throttle_key", "order_key", "throttle_on", "should_retry", "committed"),
        *("iterate", "download", "parse_and_save", "batch_key", "parse_and_save_many"),
    }
    assert "handle" in specs_of(ac.AsyncCommand)


def test_the_kind_says_how_a_hook_is_written() -> None:
    def generator(self: Any) -> Iterator[str]:
        yield "a"

    kinds = {name: hook.kind for name, hook in hooks_of(Whole).items()}

    assert kinds == {
        "iterate": HookKind.ASYNC_GENERATOR,
        "download": HookKind.ASYNC,
        "parse_and_save": HookKind.PLAIN,
    }
    assert hooks_of(shaped(iterate=generator))["iterate"].kind is HookKind.GENERATOR


def test_a_wrapped_hook_keeps_its_kind_and_arguments() -> None:
    def twice(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    @twice
    async def download(self: Any, url: str) -> str:
        return url

    hook = hooks_of(shaped(download=download))["download"]
    assert hook.kind is HookKind.ASYNC
    assert hook.arguments == 1


def test_static_and_class_methods_are_hooks_too() -> None:
    def key(item: str) -> str:
        return item

    def key_of(cls: type, item: str) -> str:
        return item

    assert hooks_of(shaped(item_key=staticmethod(key)))["item_key"].arguments == 1
    assert hooks_of(shaped(item_key=classmethod(key_of)))["item_key"].arguments == 1


def test_missing_hooks_are_named_with_their_signatures() -> None:
    class Half(ac.IterateDownloadCommand[str, str]):
        async def iterate(self) -> list[str]:
            return []

    with pytest.raises(InvalidCommand) as caught:
        Half()  # type: ignore[abstract]
    assert "Half has no download() and no parse_and_save()" in str(caught.value)
    assert "add `async def download(self, item)` and `async def parse_and_save(self, item, payload)`" in str(
        caught.value
    )


def test_a_plain_command_without_handle_is_refused() -> None:
    class Empty(ac.AsyncCommand): ...

    with pytest.raises(InvalidCommand, match=r"has no handle\(\): add `async def handle\(self\)`"):
        Empty()


def test_handle_in_a_shape_is_refused_because_nobody_calls_it() -> None:
    async def handle(self: Any) -> None: ...

    with pytest.raises(
        InvalidCommand, match=r"handle\(\) is never called: the hooks of this shape are iterate\(\), download"
    ):
        check_hooks(shaped(handle=handle))


async def too_few(self: Any) -> str:
    return ""


async def too_many(self: Any, url: str, other: str) -> str:
    return ""


async def by_name_only(self: Any, *, url: str) -> str:
    return ""


@pytest.mark.parametrize("download", [too_few, too_many, by_name_only])
def test_a_signature_that_does_not_fit_says_found_and_allowed(download: Any) -> None:
    with pytest.raises(
        InvalidCommand, match=r"download\(\) is `async def download\(self.*allowed: `async def download\(self, item\)`"
    ):
        check_hooks(shaped(download=download))


def test_defaults_and_star_arguments_fit() -> None:
    async def download(self: Any, *args: Any, deep: bool = False) -> str:
        return ""

    assert hooks_of(shaped(download=download))["download"].arguments == 1


def test_a_generator_where_one_value_is_wanted_is_refused() -> None:
    async def download(self: Any, url: str) -> AsyncIterator[str]:
        yield ""

    with pytest.raises(InvalidCommand, match=r"is `async def with yield`; allowed: `async def` or `def`"):
        check_hooks(shaped(download=download))


def test_quick_decisions_are_plain_functions() -> None:
    async def item_key(self: Any, url: str) -> str:
        return url

    with pytest.raises(InvalidCommand, match=r"item_key\(\) is `async def`; allowed: `def`"):
        check_hooks(shaped(item_key=item_key))


def test_a_hook_that_is_no_function_is_refused() -> None:
    with pytest.raises(InvalidCommand, match=r"download is 5; allowed: `async def download\(self, item\)`"):
        check_hooks(shaped(download=5))


async def lifespan_bare(self: Any) -> AsyncIterator[None]:
    yield


@contextmanager
def lifespan_sync(self: Any) -> Iterator[None]:
    yield


@pytest.mark.parametrize("lifespan", [lifespan_bare, lifespan_sync])
def test_a_lifespan_that_is_no_async_context_manager_names_the_decorator(lifespan: Any) -> None:
    with pytest.raises(InvalidCommand, match=r"decorate it with @contextlib.asynccontextmanager"):
        check_hooks(handled(lifespan=lifespan))


def test_a_lifespan_with_its_decorator_fits() -> None:
    hook = hooks_of(handled(lifespan=asynccontextmanager(lifespan_bare)))["lifespan"]

    assert (hook.kind, hook.arguments) == (HookKind.PLAIN, 0)


def test_cleanup_may_take_the_result() -> None:
    async def without(self: Any) -> None: ...

    async def with_result(self: Any, result: Any) -> None: ...

    async def with_more(self: Any, result: Any, more: Any) -> None: ...

    assert hooks_of(handled(cleanup=without))["cleanup"].arguments == 0
    assert hooks_of(handled(cleanup=with_result))["cleanup"].arguments == 1
    with pytest.raises(InvalidCommand, match=r"allowed: `async def cleanup\(self\)` or `cleanup\(self, result\)`"):
        check_hooks(handled(cleanup=with_more))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("iterate", 5, r"iterate\(\) returned int 5; allowed: a queryset, or another iterable"),
        ("iterate", "abc", "returned str 'abc'"),
        ("iterate", None, "returned NoneType None"),
        ("total", Author.objects.all(), "total.* returned QuerySet; allowed: the number"),
        ("total", -1, "allowed: the number of items, or None"),
        ("total", True, "returned bool True"),
        ("item_key", "", "allowed: a text that is not empty"),
        ("item_key", 5, "returned int 5"),
        ("throttle_key", 5, "a text, or None"),
        ("should_retry", None, "True or False"),
        ("lifespan", None, "async context manager"),
        ("download", (each for each in ()), "one finished value"),
    ],
)
def test_a_wrong_return_value_says_found_and_allowed(name: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidCommand, match=message):
        specs_of(Whole)[name].check_returned(Whole(), value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("iterate", []), ("iterate", {1: 2}), ("total", None), ("total", 0), ("item_key", "a"), ("download", None)],
)
def test_right_return_values_pass(name: str, value: Any) -> None:
    specs_of(Whole)[name].check_returned(Whole(), value)
