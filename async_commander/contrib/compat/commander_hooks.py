"""Hooks that are called with several values, in a runner that carries one item and one payload.

What `iterate()` yields and `download()` returns as a list or a tuple becomes the arguments of the next hook; any other
value is one argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from asgiref.sync import iscoroutinefunction

from async_commander.command import identity
from async_commander.command.cached import _MARK

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Yielded(Sequence[Any]):
    """What `iterate()` yielded: the values of one item, and which one it was."""

    values: list[Any]
    place: int = field(default=0, compare=False)

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    @property
    def item_label(self) -> str:
        """How messages call it."""
        return identity.item_label(self.values[0] if len(self.values) == 1 else self.values)


def spread(arguments: Sequence[Any]) -> list[Any]:
    """The arguments for a hook of the author's, of those that the runner gives it, or that the author's code does."""
    if arguments and isinstance(arguments[0], Yielded):
        item, *payload = arguments
        return [*item.values, *(value for each in payload for value in several(each))]
    return list(arguments)


def several(value: Any) -> list[Any]:
    """What a hook returned or yielded, as arguments."""
    return list(value) if isinstance(value, list | tuple) else [value]


def adapted(written: Function, arguments: Callable[[Sequence[Any]], list[Any]] = spread) -> Function:
    """A hook of the author's for the runner: `async def` where his is, its result untouched."""
    if iscoroutinefunction(written):

        async def async_hook(self: Any, *given: Any) -> Any:
            return await written(self, *arguments(given))

        return named_after(async_hook, written)

    def hook(self: Any, *given: Any) -> Any:
        return written(self, *arguments(given))

    return named_after(hook, written)


def without_arguments(written: Function) -> Function:
    """The same for a hook that wants nothing of what the runner may give it."""
    if iscoroutinefunction(written):

        async def async_hook(self: Any) -> Any:
            return await written(self)

        return named_after(async_hook, written)

    def hook(self: Any) -> Any:
        return written(self)

    return named_after(hook, written)


def adapted_source(written: Function) -> Function:
    """`iterate()` of the author's: each thing that it yields is an item with its values."""

    def arguments(self: Any, given: Sequence[Any]) -> list[Any]:
        by_the_runner = self._session is not None and type(self).iterate is hook
        return several(given[0]) if by_the_runner and len(given) == 1 else list(given)

    if inspect.isasyncgenfunction(written):

        async def async_source(self: Any, *given: Any) -> Any:
            places = count()
            async for each in written(self, *arguments(self, given)):
                yield _item(each, places)

        hook: Function = named_after(async_source, written)
    else:

        def source(self: Any, *given: Any) -> Iterator[Yielded]:
            places = count()
            for each in written(self, *arguments(self, given)):
                yield _item(each, places)

        hook = named_after(source, written)
    return hook


def _item(value: Any, places: Iterator[int]) -> Yielded:
    return value if isinstance(value, Yielded) else Yielded(several(value), next(places))


def named_after(hook: Function, written: Function) -> Function:
    """The hook by the name of the author's, with what is known of his, but not with his signature."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(hook, name, getattr(written, name))
    hook.__written__ = written  # type: ignore[attr-defined]
    if (caching := getattr(written, _MARK, None)) is not None:
        setattr(hook, _MARK, caching)
    return hook
