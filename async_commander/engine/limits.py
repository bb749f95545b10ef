"""The bounds of a run, and how often and when an item is tried again."""

from __future__ import annotations

import random as random_numbers
import re
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, dataclass_transform

from .cpus import available_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_SHARE_APPLIES_AFTER = 100
_MOST = 2**63
"""Of any number: a longer one fits into no column of a database."""
LONGEST = 1e9
"""Seconds, 31 years: what is due later than that fits into no calendar of a database sooner or later."""
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One bound of a run, whole: whoever reads, checks, shows or documents bounds takes it from here.

    `check(value)` returns the value as it is kept; its errors say what is needed. `written` is how a command line
    writes it ("N", "TIME", "RATE", "SHARE"), None where that has no option for it. `items`: it acts only where a
    command has items; `plain_help` is what it means to one that has none. `fixed` is why it stays as it is while a run
    is at work; empty where it can be changed. `note` is what the reference says beside `help`, `counted` where a
    default comes from that is no constant.
    """

    default: Any
    check: Callable[[Any], Any]
    help: str
    written: str | None = None
    items: bool = False
    rare: bool = False
    plain_help: str = ""
    fixed: str = ""
    note: str = ""
    counted: str = ""

    @property
    def value(self) -> Any:
        """The default; that of `processes` is counted."""
        return self.default() if callable(self.default) else self.default


def bound(*, default: Any, **words: Any) -> Any:
    """Declare a bound in the body of `Limits`: `threads: int = …(default=20, check=…, help="…")`."""
    return Bound(default=default, **words)


def _checked(name: str, value: Any, check: Callable[[Any], Any]) -> Any:
    """The value as it is kept; the error of one that does not fit names it."""
    try:
        return check(value)
    except (TypeError, ValueError) as error:
        try:
            text = f"{value!r:.80}"
        except ValueError:  # of a number that is too long for a text
            text = f"<an integer of {value.bit_length()} bits>"
        raise type(error)(f"{name}={text}: {error}") from None


def _whole(value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("a whole number is needed")
    if not least <= value < _MOST:
        raise ValueError(f"at least {least} is needed" if value < least else f"less than {_MOST} is needed")
    return value


def _number(value: Any, least: float, what: str = "a number") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is needed")
    if not least <= value < _MOST:
        raise ValueError(f"at least {least} is needed, and not infinitely much")
    return value


def _stretch(value: Any) -> float:
    if _number(value, 0, "a number of seconds") > LONGEST:
        raise ValueError(f"at most {LONGEST:g} seconds, 31 years, are allowed")
    return value  # type: ignore[no-any-return]


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number is needed")
    if not 0 < value < _MOST:
        raise ValueError("more than 0 is needed, and not infinitely much; leave it out for no limit")
    if value < 1 / LONGEST:
        raise ValueError(f"at least {1 / LONGEST:g} is needed, once in 31 years")
    return float(value)


def _seconds(value: Any) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number of seconds is needed")
    if not 0 < value <= LONGEST:
        raise ValueError(f"more than 0 is needed, and at most {LONGEST:g}, 31 years; leave it out for no limit")
    return float(value)


def _or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _failures(value: Any) -> int | str:
    if not isinstance(value, str):
        return _whole(value, least=0)
    text = value.strip()
    if text.isdecimal() and len(text) < 20:
        return _whole(int(text), least=0)
    share = _SHARE.fullmatch(text)
    if share is None or float(share[1]) > 100:
        raise ValueError('a number of items, or a share from "0%" to "100%", is needed; "100%" allows any number')
    return f"{share[1]}%"


def _size(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError('a number of bytes, or a text like "64 MiB", is needed')
    _whole(Limits.parse_size(value))
    return value


BOUNDS: dict[str, Bound] = {}
"""All bounds by name, as `Limits` declares them."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(bound,))
def _declared(cls: type[T]) -> type[T]:
    """Take the bounds out of the class into the table, and make the keywords of its constructor of them."""

    def init(self: Any, *positional: Any, **bounds: Any) -> None:
        if positional:
            raise TypeError(f"Limits() takes its bounds by keyword, found {positional[0]!r}; write Limits(threads=…)")
        for name, value in bounds.items():
            if name not in BOUNDS:
                close = get_close_matches(name, BOUNDS, n=1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(BOUNDS)}"
                raise TypeError(f"limits have no bound {name!r}: {hint}")
            object.__setattr__(self, name, _checked(name, value, BOUNDS[name].check))
        for name, each in BOUNDS.items():
            if name not in bounds:
                object.__setattr__(self, name, each.value)
        object.__setattr__(self, "_given", tuple(bounds))

    for name in cls.__annotations__:
        BOUNDS[name] = vars(cls)[name]
        delattr(cls, name)
    cls.__init__ = init  # type: ignore[method-assign]  # what dataclass_transform tells the type checker
    return cls


@_declared
class Limits:
    """The bounds of a run; a frozen value that remembers which of them were given.

    `Limits(threads=50)` gives one bound and leaves the others to the next layer (see `layered`) or to their defaults.
    Times are in seconds, sizes in bytes or as text ("64 MiB"), rates per second. Unknown names and wrong types raise
    TypeError, values out of range ValueError.
    """

    threads: int = bound(
        default=20,
        check=_whole,
        written="N",
        help="items in hand at once: tasks, not threads of the operating system",
        plain_help="requests of self.http at once",
    )
    processes: int = bound(
        default=available_cpus,
        check=_whole,
        written="N",
        help="processes for self.cpu",
        fixed="the pool belongs to all runs of its process",
        counted="the CPUs that this process may use; 1 in `await ac.arun`",
    )
    db_lanes: int = bound(
        default=4,
        check=_whole,
        written="N",
        rare=True,
        help="database threads for items that make ORM calls",
        fixed="items in hand have its lanes, each with a connection",
    )
    batch_size: int = bound(
        default=100,
        check=_whole,
        written="N",
        items=True,
        rare=True,
        help="items saved in one transaction, at most",
        note="twice as many may be unconfirmed",
        fixed="what is on its way was counted by it, and below it batches find their size by themselves",
    )
    per_host: int | None = bound(
        default=None, check=_or_none(_whole), written="N", rare=True, help="requests to one host at once"
    )
    per_second: float | None = bound(
        default=None, check=_or_none(_rate), written="RATE", rare=True, help="requests begun per second and host"
    )
    item_timeout: float | None = bound(
        default=None,
        check=_or_none(_seconds),
        written="TIME",
        items=True,
        rare=True,
        help="give one attempt at an item this much time",
        note="without what it spends in queues and pauses",
        fixed="the database ends long statements by it, too",
    )
    timeout: float | None = bound(
        default=None,
        check=_or_none(_seconds),
        written="TIME",
        rare=True,
        help="end the run after this time",
    )
    max_failures: int | str | None = bound(
        default="10%",
        check=_or_none(_failures),
        written="SHARE",
        items=True,
        help="end the run when more items failed: a number, or a share of those finished as in 5%",
        note="a share applies from 100 finished items on; `None`, as 100%, allows any number",
    )
    max_body: int | str = bound(
        default="64 MiB", check=_size, help="of one response, decoded", fixed="the client was opened with it"
    )

    @property
    def given(self) -> dict[str, Any]:
        """The bounds that were given, without the defaults."""
        names: tuple[str, ...] = getattr(self, "_given", ())
        return {name: getattr(self, name) for name in names}

    @property
    def max_body_bytes(self) -> int:
        """`max_body` as a number of bytes."""
        return self.parse_size(self.max_body)

    def replace(self, **bounds: Any) -> Limits:
        """The same bounds except for those named, which then count as given."""
        return Limits.layered(Limits(**bounds), self)

    def failures_allowed(self, finished: int) -> int | None:
        """How many of `finished` items (done, skipped or dead) may be dead; None: any number, for now or for good."""
        if not isinstance(self.max_failures, str):
            return self.max_failures
        if finished < _SHARE_APPLIES_AFTER:
            return None
        return int(finished * float(self.max_failures.rstrip("%")) / 100)

    @staticmethod
    def layered(*layers: Limits | None) -> Limits:
        """The bounds of several layers as one: for each bound the first layer that gives it wins, then the default."""
        bounds: dict[str, Any] = {}
        for layer in layers:
            if layer is not None:
                bounds = {**layer.given, **bounds}
        return Limits(**bounds)

    @staticmethod
    def parse_size(text: str | int) -> int:
        """The bytes that "64 MiB", "1.5 GB", "200" or 200 stand for."""
        match = _SIZE.fullmatch(str(text).strip())
        unit = _UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise ValueError(
                f"{text!r} is no size: a number of bytes, or one with kB, KiB, MB, MiB, GB or GiB, is needed"
            )
        size = int(match[1]) * unit if match[1].isdecimal() else int(float(match[1]) * unit)
        if size >= _MOST:
            raise ValueError(f"{text!r:.80} is too large a size")
        return size

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in BOUNDS)

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Limits) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"Limits({', '.join(f'{name}={getattr(self, name)!r}' for name in BOUNDS)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Limits, **self.given), ()

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"limits are frozen: {name} cannot be set; make new ones by .replace({name}=...)")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"limits are frozen: {name} cannot be deleted")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often an item is tried, and how long it waits in between.

    The wait is exponential with full jitter: a random time between 0 and `initial * factor ** (attempt - 1)` seconds,
    at most `maximum`. (Source: "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.) A server's Retry-After
    is obeyed up to `retry_after_cap` seconds. A pause that a server asked for, and that was obeyed, costs no attempt,
    as long as its host gives an answer now and then: without one in `host_budget` seconds its items are given up.
    """

    attempts: int = 3
    initial: float = 0.5
    factor: float = 2.0
    maximum: float = 60.0
    retry_after_cap: float = 300.0
    host_budget: float = 600.0

    def __post_init__(self) -> None:
        _checked("attempts", self.attempts, _whole)
        for name in ("initial", "maximum", "retry_after_cap", "host_budget"):
            _checked(name, getattr(self, name), _stretch)
        _checked("factor", self.factor, lambda value: _number(value, 1))

    def again(self, attempt: int) -> bool:
        """Whether another attempt may follow after this many."""
        return attempt < self.attempts

    def delay(
        self, attempt: int, *, retry_after: float | None = None, random: Callable[[], float] = random_numbers.random
    ) -> float:
        """Seconds to wait after attempt number `attempt` (from 1), at least what is obeyed of a server's."""
        return max(random() * self.longest(attempt), self.asked(retry_after))

    def longest(self, attempt: int) -> float:
        """The longest wait after attempt number `attempt` (from 1) that no server asked for."""
        try:
            return min(self.maximum, self.initial * self.factor ** max(0, attempt - 1))
        except OverflowError:
            return self.maximum

    def asked(self, retry_after: float | None) -> float:
        """The Retry-After seconds that are obeyed: never below zero or above the cap."""
        return min(max(0.0, retry_after or 0.0), self.retry_after_cap)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """How many items one call of `parse_and_save_many()` gets at most, and how many seconds the first of them waits.

    A call is made as soon as there are `size` of one `batch_key`, or the first of them has waited for `seconds`, or
    nothing else is to come.
    """

    size: int = 100
    seconds: float = 1.0

    def __post_init__(self) -> None:
        _checked("size", self.size, _whole)
        _checked("seconds", self.seconds, _stretch)
