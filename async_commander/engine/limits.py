"""The bounds of a run, and how often and when an item is tried again."""

from __future__ import annotations

import math
import random as random_numbers
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict, Unpack

from .cpus import available_cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SHARE_APPLIES_AFTER = 100
_OF = dict.fromkeys(("timeout", "item_timeout", "initial", "maximum", "retry_after_cap", "host_budget"), " of seconds")
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class Bounds(TypedDict, total=False):
    """The keywords of `Limits`."""

    threads: int
    processes: int
    db_lanes: int
    batch_size: int
    per_host: int | None
    per_second: float | None
    item_timeout: float | None
    timeout: float | None
    max_failures: int | str | None
    max_body: int | str


class Limits:
    """The bounds of a run; a frozen value that remembers which of them were given.

    `Limits(threads=50)` gives one bound and leaves the others to the next layer (see `layered`) or to their defaults.
    Times are in seconds, sizes in bytes or as text ("64 MiB"), rates per second. Unknown names and wrong types raise
    TypeError, values out of range ValueError.
    """

    threads: int
    """Items in hand at once: tasks, not threads of the operating system. Default 20."""
    processes: int
    """Processes in the pool behind `self.cpu`. Default: the processors that this process may use."""
    db_lanes: int
    """Threads with a database connection each. Default 4."""
    batch_size: int
    """Units of work in one transaction of the writer, at most; twice as many may be unconfirmed. Default 100."""
    per_host: int | None
    """Requests to one host at once."""
    per_second: float | None
    """Requests begun per second and host."""
    item_timeout: float | None
    """Seconds that one attempt at an item may take."""
    timeout: float | None
    """Seconds that the whole run may take."""
    max_failures: int | str | None
    """Dead items that end the run when passed: a number, or a share ("10%") of the items finished, which applies
    once 100 items are finished. None: any number. Default "10%"."""
    max_body: int | str
    """The largest body of a response, decoded. Default "64 MiB"."""

    __slots__ = (*Bounds.__annotations__, "_given")

    def __init__(self, **bounds: Unpack[Bounds]) -> None:
        given: Mapping[str, Any] = bounds
        for name, value in given.items():
            _check_name(name)
            object.__setattr__(self, name, _CHECKS[name](name, value))
        for name, value in {"processes": available_cpus(), **_DEFAULTS}.items():
            if name not in given:
                object.__setattr__(self, name, value)
        object.__setattr__(self, "_given", tuple(given))

    @property
    def given(self) -> dict[str, Any]:
        """The bounds that were given, without the defaults."""
        names: tuple[str, ...] = getattr(self, "_given", ())
        return {name: getattr(self, name) for name in names}

    @property
    def max_body_bytes(self) -> int:
        """`max_body` as a number of bytes."""
        return self.parse_size(self.max_body)

    def replace(self, **bounds: Unpack[Bounds]) -> Limits:
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
        return int(float(match[1]) * unit)

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in _CHECKS)

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Limits) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"Limits({', '.join(f'{name}={getattr(self, name)!r}' for name in _CHECKS)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.given,)

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
        _whole("attempts", self.attempts)
        for name in ("initial", "maximum", "retry_after_cap", "host_budget"):
            _number(name, getattr(self, name), least=0)
        _number("factor", self.factor, least=1)

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


def _rebuilt(given: Bounds) -> Limits:
    return Limits(**given)


def _check_name(name: str) -> None:
    if name not in _CHECKS:
        close = get_close_matches(name, _CHECKS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(_CHECKS)}"
        raise TypeError(f"limits have no bound {name!r}: {hint}")


def _whole(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: a whole number is needed")
    if value < least:
        raise ValueError(f"{name}={value}: at least {least} is needed")
    return value


def _number(name: str, value: Any, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r}: a number{_OF.get(name, '')} is needed")
    if not least <= value < math.inf:
        raise ValueError(f"{name}={value}: at least {least} is needed, and not infinitely much")
    return value


def _positive(name: str, value: Any) -> float:
    if _number(name, value, least=0) == 0:
        raise ValueError(f"{name}={value}: more than 0 is needed; leave it out, or say None, for no limit")
    return float(value)


def _or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else check(name, value)


def _failures(name: str, value: Any) -> int | str:
    if not isinstance(value, str):
        return _whole(name, value, least=0)
    text = value.strip()
    if text.isdecimal():
        return int(text)
    share = _SHARE.fullmatch(text)
    if share is None or float(share[1]) > 100:
        raise ValueError(f'{name}={value!r}: a number of items, a share from "0%" to "100%", or None for any number')
    return f"{share[1]}%"


def _size(name: str, value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(f'{name}={value!r}: a number of bytes, or a text like "64 MiB", is needed')
    try:
        size = Limits.parse_size(value)
    except ValueError as error:
        raise ValueError(f"{name}={value!r}: {error}") from None
    _whole(name, size)
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "threads": _whole,
    "processes": _whole,
    "db_lanes": _whole,
    "batch_size": _whole,
    "per_host": _or_none(_whole),
    "per_second": _or_none(_positive),
    "item_timeout": _or_none(_positive),
    "timeout": _or_none(_positive),
    "max_failures": _or_none(_failures),
    "max_body": _size,
}

_DEFAULTS: Bounds = {
    "threads": 20,
    "db_lanes": 4,
    "batch_size": 100,
    "per_host": None,
    "per_second": None,
    "item_timeout": None,
    "timeout": None,
    "max_failures": "10%",
    "max_body": "64 MiB",
}
