"""The hooks of a command: what a shape declares, what an author wrote, and whether the two fit."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, overload
from uuid import UUID

from asgiref.sync import iscoroutinefunction

from async_commander.exceptions import InvalidCommand

from .annotations import label_of
from .values import is_whole

if TYPE_CHECKING:
    from argparse import ArgumentParser

Function = TypeVar("Function", bound=Callable[..., Any])


class HookKind(StrEnum):
    """How a hook is written, and so where it runs: `async def` on the loop, the rest on a thread."""

    ASYNC = "async def"
    PLAIN = "def"
    ASYNC_GENERATOR = "async def with yield"
    GENERATOR = "def with yield"


ANY_KIND = frozenset(HookKind)
A_FUNCTION = frozenset({HookKind.ASYNC, HookKind.PLAIN})
PLAIN_ONLY = frozenset({HookKind.PLAIN})


@dataclass(frozen=True, slots=True)
class Returned:
    """What a hook may return: `allowed` for people, `fits` for the check."""

    allowed: str
    fits: Callable[[object], bool]


_FINISHED = frozenset({str, bytes, int, float, bool, dict})
"""Types that most values have, and that need no closer look."""


def _is_value(value: object) -> bool:
    """Of a list the first member speaks for all: a payload may be long."""
    if value is None or type(value) in _FINISHED:
        return True
    first = value[0] if isinstance(value, list | tuple) and value else value
    return not (inspect.isawaitable(first) or inspect.isasyncgen(first) or inspect.isgenerator(value))


A_VALUE = Returned("one finished value (write `async def` and `await` inside)", _is_value)
A_SOURCE = Returned(
    "a queryset, or another iterable or async iterable of items",
    lambda value: isinstance(value, Iterable | AsyncIterable) and not isinstance(value, str | bytes | bytearray),
)
A_TOTAL = Returned(
    "the number of items, or None where it is unknown", lambda value: value is None or is_whole(value, least=0)
)
A_KEY = Returned("a text that is not empty", lambda value: isinstance(value, str) and value != "")
A_THROTTLE = Returned("a text, or None for no pacing", lambda value: value is None or isinstance(value, str))


def _is_plain_key(value: object) -> bool:
    return value is None or (isinstance(value, str | int | UUID) and not isinstance(value, bool))


A_LINE = Returned("a text, a whole number or a UUID, or None for no order", _is_plain_key)
A_BATCH = Returned("a text, a whole number or a UUID, or None, which is a key as well", _is_plain_key)
LONGEST_HOLD = 3600.0
"""Seconds that `throttle_on()` may say: it is asked again after them."""
A_WAIT = Returned(
    f"seconds to wait, a number from 0 to {LONGEST_HOLD:,.0f}, or None for none",
    lambda value: (
        value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST_HOLD)
    ),
)
A_YES_OR_NO = Returned("True or False", lambda value: isinstance(value, bool))
A_CONTEXT = Returned(
    "an async context manager (decorate it with @contextlib.asynccontextmanager)",
    lambda value: isinstance(value, AbstractAsyncContextManager),
)


@dataclass(frozen=True, slots=True)
class HookSpec:
    """One hook as its shape declares it. `takes` and `may_take` are arguments after `self`, given by position."""

    name: str
    declared: Callable[..., Any]
    takes: tuple[str, ...] = ()
    may_take: tuple[str, ...] = ()
    required: bool = False
    kinds: frozenset[HookKind] = A_FUNCTION
    returned: Returned = A_VALUE
    by_name: bool = False
    """It takes values by their names, as many as it asks for."""
    keywords: tuple[str, ...] = ()
    """Values that it gets where it has a parameter of that name."""
    instead: str = ""
    """The hook that stands for this one where it is written; a class has one of them."""

    @property
    def signature(self) -> str:
        """As an author would write it: `async def download(self, item)`."""
        kind = "async def" if HookKind.ASYNC in self.kinds else "def"
        return f"{kind} {self.name}({', '.join(('self', *self.takes))})"

    def check_returned(self, command: object, value: object) -> None:
        """Raise InvalidCommand where the hook returned a wrong kind of thing."""
        if not self.returned.fits(value):
            place, found = place_of(type(command), self.name), _found(value)
            for one in value if isinstance(value, list | tuple) else [value]:
                if inspect.iscoroutine(one):
                    one.close()  # the error says so; no warning beside it
            raise InvalidCommand(f"{place} returned {found}; allowed: {self.returned.allowed}")


@dataclass(frozen=True, slots=True)
class Hook:
    """One hook as an author wrote it. `arguments` is how many of `takes + may_take` it wants."""

    spec: HookSpec
    kind: HookKind
    arguments: int
    named: NamedParameters | None = None
    """Of a hook that takes values by their names."""
    keywords: tuple[str, ...] = ()
    """Which of those of its declaration it takes."""


@dataclass(frozen=True, slots=True)
class Stages:
    """How a shape goes about its items.

    `once` are the hooks that are called before `iterate`, which gets what they return; `per_item` those that each item
    passes, in order. At most `chunk` items are in memory before they are begun, where it is given: items may be large.
    """

    once: tuple[str, ...]
    per_item: tuple[str, ...]
    chunk: int | None = None
    divisible: bool = True
    """Whether parts of its items can be taken by several processes."""


@dataclass(frozen=True, slots=True)
class NamedParameters:
    """What a hook that is written as Django's `handle` takes."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    positions: bool
    """Whether there is `*args`."""
    others: bool
    """Whether there is `**options`."""

    def picked(self, options: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments to call it with, as Django would: `args` by position, the rest by their names."""
        rest = {name: value for name, value in options.items() if name != "args"}
        given = rest if self.others else {name: rest[name] for name in self.names if name in rest}
        return tuple(options.get("args") or ()) if self.positions else (), given


@overload
def hook(function: Function, /) -> Function: ...
@overload
def hook(
    *,
    required: bool = False,
    kinds: frozenset[HookKind] = A_FUNCTION,
    may_take: tuple[str, ...] = (),
    returned: Returned = A_VALUE,
    by_name: bool = False,
    keywords: tuple[str, ...] = (),
    instead: str = "",
) -> Callable[[Function], Function]: ...
def hook(
    function: Function | None = None,
    /,
    *,
    required: bool = False,
    kinds: frozenset[HookKind] = A_FUNCTION,
    may_take: tuple[str, ...] = (),
    returned: Returned = A_VALUE,
    by_name: bool = False,
    keywords: tuple[str, ...] = (),
    instead: str = "",
) -> Function | Callable[[Function], Function]:
    """Declare a method of a shape as a hook; its positional arguments are what the runner passes."""

    def declare(function: Function) -> Function:
        by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.items()
        takes = tuple(name for name, parameter in parameters if parameter.kind in by_position)[1:]
        must = required or getattr(function, "__isabstractmethod__", False)
        spec = HookSpec(function.__name__, function, takes, may_take, must, kinds, returned, by_name, keywords, instead)
        function.__hook__ = spec  # type: ignore[attr-defined]  # functions carry any attribute
        return function

    return declare if function is None else declare(function)


class Declaring(Protocol):
    """What a command class has beside its annotations and hooks, as those see it who read its declaration."""

    limits: ClassVar[Any]
    option_defaults: ClassVar[Mapping[str, Any]]
    dependencies: ClassVar[Sequence[Any]]
    run_once: ClassVar[bool]
    single_instance: ClassVar[bool]
    always_on: ClassVar[bool]
    deletes: ClassVar[bool]
    keep_history: ClassVar[bool | None]
    test_parameters: ClassVar[Mapping[str, Any]]
    test_options: ClassVar[Mapping[str, Any]]
    _stages: ClassVar[Stages | None]
    _features: ClassVar[frozenset[str]]

    def add_arguments(self, parser: ArgumentParser, /) -> object:
        """Add what annotations cannot say."""


def specs_of(cls: type) -> dict[str, HookSpec]:
    """Every hook that the shape of this class knows, by name, in the order of declaration."""
    found = {
        name: spec
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(spec := getattr(value, "__hook__", None), HookSpec) and spec.declared is value
    }
    return {name: spec for name, spec in found.items() if name not in _uncalled(cls)}


def hooks_of(cls: type) -> dict[str, Hook]:
    """The hooks that the author of this class wrote, by name; those left at their default are absent.

    Raises InvalidCommand as `check_hooks` does, except for missing ones.
    """
    specs = specs_of(cls)
    written = {name: _written(cls, spec) for name, spec in specs.items() if _is_written(cls, spec)}
    for name, spec in specs.items():
        if spec.instead in written and name in written:  # the one of the class that comes later counts
            one, other = (_place_in_order(cls, each) for each in (name, spec.instead))
            if one == other:
                raise InvalidCommand(
                    f"{label_of(cls)} has {name}() and {spec.instead}(): only one of them is called; leave one out"
                )
            del written[spec.instead if one < other else name]
    return written


def check_hooks(cls: type) -> None:
    """Raise InvalidCommand for a missing hook, a wrong signature or kind, or a hook that is never called."""
    written = hooks_of(cls)
    missing = [
        spec
        for name, spec in specs_of(cls).items()
        if spec.required and name not in written and spec.instead not in written
    ]
    if missing:
        wanted = " and ".join(f"`{spec.signature}`" for spec in missing)
        raise InvalidCommand(f"{label_of(cls)} has no {' and no '.join(s.name + '()' for s in missing)}: add {wanted}")
    for name, shape in _uncalled(cls).items():
        if getattr(cls, name) is not getattr(shape, name):
            known = ", ".join(f"{spec.name}()" for spec in specs_of(cls).values() if spec.required)
            raise InvalidCommand(f"{place_of(cls, name)} is never called: the hooks of this shape are {known}")


def _uncalled(cls: type) -> dict[str, type]:
    """Names of hooks that a shape inherits and does not call, with that shape."""
    return {name: base for base in cls.__mro__ for name in vars(base).get("_uncalled_hooks", ())}


def _place_in_order(cls: type, name: str) -> int:
    """Of the class that defines it, among the bases of this one: 0 is the class itself."""
    return next(place for place, base in enumerate(cls.__mro__) if name in vars(base))


def _is_written(cls: type, spec: HookSpec) -> bool:
    raw = inspect.getattr_static(cls, spec.name)
    return raw is not spec.declared and not getattr(raw, "__isabstractmethod__", False)


def _written(cls: type, spec: HookSpec) -> Hook:
    raw = inspect.getattr_static(cls, spec.name)
    function = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
    if not callable(function):
        raise InvalidCommand(f"{label_of(cls)}.{spec.name} is {raw!r:.80}; allowed: `{spec.signature}`")
    place, kind = place_of(cls, spec.name), _kind(function)
    # `@contextmanager` where `@asynccontextmanager` is wanted looks like a plain function
    of_sync_context = spec.returned is A_CONTEXT and inspect.isgeneratorfunction(getattr(function, "__wrapped__", None))
    if kind not in spec.kinds or of_sync_context:
        allowed = " or ".join(f"`{each}`" for each in HookKind if each in spec.kinds)
        raise InvalidCommand(f"{place} is `{kind}`; allowed: {allowed}, returning {spec.returned.allowed}")
    bound, signature = not isinstance(raw, staticmethod), inspect.signature(function)
    found = f"{place} is `{kind} {spec.name}{signature}`; allowed: `{spec.signature}`"
    if spec.by_name:
        return Hook(spec, kind, 0, _named_parameters(spec, signature, found, bound=bound))
    keywords = tuple(name for name in spec.keywords if name in signature.parameters)
    for count in range(len(spec.takes) + len(spec.may_take), len(spec.takes) - 1, -1):
        try:
            signature.bind(*range(count + bound), **dict.fromkeys(keywords))
        except TypeError:
            continue
        return Hook(spec, kind, count, keywords=keywords)
    if spec.keywords:
        optional = [f"{name}=None" for name in spec.keywords]
        raise InvalidCommand(f"{found} or `{spec.name}({', '.join(('self', *spec.takes, *optional))})`")
    also = f" or `{spec.name}({', '.join(('self', *spec.takes, *spec.may_take))})`" if spec.may_take else ""
    raise InvalidCommand(f"{found}{also}")


def _kind(function: Callable[..., Any]) -> HookKind:
    if inspect.isasyncgenfunction(function):
        return HookKind.ASYNC_GENERATOR
    if inspect.isgeneratorfunction(function):
        return HookKind.GENERATOR
    return HookKind.ASYNC if iscoroutinefunction(function) else HookKind.PLAIN


def _named_parameters(spec: HookSpec, signature: inspect.Signature, found: str, *, bound: bool) -> NamedParameters:
    """What a hook takes by name; InvalidCommand, which begins with `found`, where it takes something by position."""
    own = [*signature.parameters.values()]
    if bound and not own:
        raise InvalidCommand(f"{found}, or `{spec.name}(self, *args, **options)`")
    if bound and own[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        del own[0]
    kinds = {each.kind for each in own}
    if inspect.Parameter.POSITIONAL_ONLY in kinds:
        raise InvalidCommand(f"{found}, or `{spec.name}(self, *args, **options)`")
    by_name = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    named = [each for each in own if each.kind in by_name]
    return NamedParameters(
        names=tuple(each.name for each in named),
        required=tuple(each.name for each in named if each.default is each.empty),
        positions=inspect.Parameter.VAR_POSITIONAL in kinds,
        others=inspect.Parameter.VAR_KEYWORD in kinds,
    )


def _found(value: object) -> str:
    """Plain values as they are, coroutines by their function, others by their type: a queryset's text is a query."""
    if inspect.iscoroutine(value):
        return f"the coroutine {value.__qualname__}(), which was not awaited"
    name = type(value).__name__
    return f"{name} {value!r:.80}" if isinstance(value, str | int | float | None) else name


def place_of(cls: type, name: str) -> str:
    """A hook in messages."""
    return f"{label_of(cls)}.{name}()"
