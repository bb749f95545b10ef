"""`@ac.cached`: what a method of a command returned is kept, and returned again for the same arguments."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, Protocol, TypeVar, overload

from asgiref.sync import iscoroutinefunction

from async_commander.exceptions import InvalidCommand

from .annotations import is_ours, label_of
from .hooks import A_CONTEXT, A_KEY, A_THROTTLE, A_YES_OR_NO, HookSpec

Function = TypeVar("Function", bound=Callable[..., Any])

_MARK = "__cached__"


class HasOptions(Protocol):
    """A command, as its cached methods see it."""

    @property
    def parameters(self) -> dict[str, Any]: ...
    @property
    def options(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """What `@ac.cached(…)` says of one function. It is checked with the class, by `cached_of()`."""

    function: Callable[..., Any]
    ttl: float | timedelta | None = None
    version: int | str = 1
    vary: Collection[str] | str = ()
    key: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        """Of the function, unlike that of any other: one that calls `super()` is not the one it calls."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def seconds(self) -> float:
        """How long a result is good for."""
        if self.ttl is None:
            return math.inf
        return self.ttl.total_seconds() if isinstance(self.ttl, timedelta) else float(self.ttl)

    @property
    def options(self) -> tuple[str, ...]:
        """The options by whose values results differ."""
        return (self.vary,) if isinstance(self.vary, str) else tuple(self.vary)


@dataclass(frozen=True, slots=True)
class CachedCall:
    """One call of a cached method."""

    caching: Caching
    command: HasOptions
    positional: tuple[Any, ...]
    named: Mapping[str, Any]

    def make(self) -> Any:
        """Call the function itself; of an `async def` a coroutine."""
        return self.caching.function(self.command, *self.positional, **self.named)

    def arguments(self) -> Any:
        """What makes this call another one than others: its arguments by name, or what `key=` makes of them."""
        if self.caching.key is not None:
            return self.caching.key(self.command, *self.positional, **self.named)
        bound = inspect.signature(self.caching.function).bind(self.command, *self.positional, **self.named)
        bound.apply_defaults()
        return dict([*bound.arguments.items()][1:])

    def varied(self) -> dict[str, Any]:
        """The options that `vary=` names, with their values."""
        options = self.command.options
        return {name: options.get(name, getattr(self.command, name, None)) for name in self.caching.options}


@overload
def cached(function: Function, /) -> Function: ...
@overload
def cached(
    *,
    ttl: float | timedelta | None = None,
    version: int | str = 1,
    vary: Collection[str] | str = (),
    key: Callable[..., Any] | None = None,
) -> Callable[[Function], Function]: ...
def cached(
    function: Function | None = None,
    /,
    *,
    ttl: float | timedelta | None = None,
    version: int | str = 1,
    vary: Collection[str] | str = (),
    key: Callable[..., Any] | None = None,
) -> Function | Callable[[Function], Function]:
    """Keep what a hook or a method of a command returns, for all runs to come: `@ac.cached`, or with keywords.

        @ac.cached(ttl=timedelta(days=1), vary="language")
        async def download(self, url: str) -> str:
            return (await self.http.get(url)).raise_for_status().text

    A result is found again by the command, the function and its `version`, the arguments of the call, the command's
    identity, and the options that `vary` names. `ttl`, in seconds or as a timedelta, is how long it is good for; for
    ever without it. `key(self, …)`, called with the arguments of the call, returns what stands for them where they have
    no stable text. Results are texts, bytes, what JSON can say, tuples, and data frames of polars.

    Many who ask for one result at once share it; so do other processes. Errors are not kept. Outside of a run the
    function is simply called.
    """

    def declare(function: Function) -> Function:
        caching = Caching(function=function, ttl=ttl, version=version, vary=vary, key=key)
        is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        marked = _wrapped(caching) if inspect.isfunction(function) and not is_generator else function
        try:
            setattr(marked, _MARK, caching)
        except AttributeError:  # a property, or what else is no function: it is refused with the class
            return _Misused(caching)  # type: ignore[return-value]
        return marked  # type: ignore[return-value]

    return declare if function is None else declare(function)


def cached_of(cls: type, specs: Mapping[str, HookSpec], options: Collection[str]) -> dict[str, Caching]:
    """The cached methods of a command class by name. InvalidCommand for what cannot be cached, or not so.

    `options` are what `vary=` may name.
    """
    found = {}
    for name in {name: None for base in reversed(cls.__mro__) if not is_ours(base) for name in vars(base)}:
        caching = _marked(inspect.getattr_static(cls, name))
        if caching is not None:
            for problem in _problems(name, caching, specs.get(name), options):
                raise InvalidCommand(f"{label_of(cls)}.{name} is decorated with @ac.cached: {problem}")
            found[name] = caching
    return found


@dataclass(frozen=True, slots=True)
class _Misused:
    """Stands in the class for something that cannot be cached, until the class is checked."""

    caching: Caching


def _marked(attribute: object) -> Caching | None:
    if isinstance(attribute, _Misused):
        return attribute.caching
    for one in (attribute, getattr(attribute, "__func__", None), getattr(attribute, "fget", None)):
        if isinstance(caching := getattr(one, _MARK, None), Caching):
            return caching if one is attribute else Caching(function=attribute)  # type: ignore[arg-type]
    return None


def _wrapped(caching: Caching) -> Callable[..., Any]:
    """The function with the cache around it, of the same kind and signature."""
    if iscoroutinefunction(caching.function):

        @functools.wraps(caching.function)
        async def wrapper(command: HasOptions, /, *positional: Any, **named: Any) -> Any:
            call = CachedCall(caching, command, positional, named)
            session = _session_of(call)
            return await (call.make() if session is None else session.kept.aresult(call))

        return wrapper

    @functools.wraps(caching.function)
    def plain_wrapper(command: HasOptions, /, *positional: Any, **named: Any) -> Any:
        call = CachedCall(caching, command, positional, named)
        session = _session_of(call)
        return call.make() if session is None else session.kept.result(call)

    return plain_wrapper


def _session_of(call: CachedCall) -> Any:
    try:
        return call.command._session  # type: ignore[attr-defined]  # noqa: SLF001 - its own affair, and ours
    except AttributeError:
        raise InvalidCommand(
            f"{call.caching.name}() is decorated with @ac.cached, which is for methods of commands; found "
            f"{type(call.command).__qualname__} in the place of self"
        ) from None


# -- what can be cached ------------------------------------------------------------------------------------------------

_FOR_THEIR_EFFECTS = frozenset({"parse_and_save", "committed", "cleanup", "on_timeout", "prepare_connection"})
_DECIDE = (A_KEY, A_THROTTLE, A_YES_OR_NO)
_AGE = "seconds above 0, a timedelta above 0, or None for ever"


def _problems(name: str, caching: Caching, spec: HookSpec | None, options: Collection[str]) -> Iterator[str]:
    function: object = caching.function
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        yield "a generator has no result to keep; allowed: a method that returns a list"
    elif isinstance(function, staticmethod | classmethod):
        yield f"found a {type(function).__name__}; allowed: a method with self, whose run knows the cache"
    elif not inspect.isfunction(function):
        yield f"found {type(function).__name__}; allowed: a method, `def` or `async def`"
    elif not inspect.signature(function).parameters:
        yield "it has no self; allowed: a method"
    if name in _FOR_THEIR_EFFECTS:
        yield (
            f"{name}() is there for what it does, which a kept result would leave out; put what is worth keeping into "
            "a method of its own and cache that"
        )
    elif name in {"add_arguments", "__init__"} or (spec is not None and spec.returned is A_CONTEXT):
        yield f"what {name}() makes belongs to one run; allowed: methods that return data"
    elif spec is not None and spec.returned in _DECIDE:
        yield f"{name}() decides on the event loop, where nothing may wait for a cache"
    yield from _problems_of_keywords(caching, options)


def _problems_of_keywords(caching: Caching, options: Collection[str]) -> Iterator[str]:
    ttl: object = caching.ttl
    number = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if ttl is not None and (not isinstance(number, int | float) or isinstance(number, bool) or not number > 0):
        yield f"ttl={ttl!r:.80}; allowed: {_AGE}"
    if not isinstance(caching.version, int | str) or isinstance(caching.version, bool):
        yield f"version={caching.version!r:.80}; allowed: a number or a text"
    if caching.key is not None and (not callable(caching.key) or iscoroutinefunction(caching.key)):
        yield f"key={caching.key!r:.80}; allowed: a plain function that takes what the method takes"
    if not isinstance(caching.vary, Collection) or not all(isinstance(one, str) for one in caching.options):
        yield f"vary={caching.vary!r:.80}; allowed: the name of an option, or a list of such names"
        return
    for one in caching.options:
        if one not in options:
            close = get_close_matches(one, options, n=1)
            meant = f"did you mean {close[0]!r}?" if close else f"its options are {', '.join(options) or 'none'}"
            yield f"vary names {one!r}, which is no option of this command; {meant}"
