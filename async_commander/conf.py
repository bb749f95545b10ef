"""The settings of this package: one dict, `ASYNC_COMMANDER`, read when first needed and checked as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

NAME = "ASYNC_COMMANDER"
KEEP_DAYS: dict[str, int | None] = {"items": 30, "logs": 30, "runs": 365}
MOST_DAYS = 36_500


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `ASYNC_COMMANDER` says; a key of the dict is a name of this class in capitals."""

    limits: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Bounds for every run that gives no others: the keywords of `Limits`."""
    command_packages: tuple[str, ...] = ()
    """Packages with commands that belong to no app."""
    cache: str = ""
    """The alias in STORAGES of where the results of cached methods are kept; empty: on this machine, for this user."""
    uploads: str = ""
    """The alias in STORAGES of where files are kept that the admin's form takes for a run; empty: it takes none."""
    internal_hosts: tuple[str, ...] = ()
    """Names, addresses and networks that `self.http` may reach although they are not public."""
    keep_days: Mapping[str, int | None] = field(default_factory=lambda: MappingProxyType(dict(KEEP_DAYS)))
    """For how many days `aruns prune` keeps what: items that are done, logs, and runs; None: for ever."""
    engine: str = "worker"
    """Which queue detached runs go to: worker, tasks, celery, procrastinate, or the dotted path of an Engine."""
    prepare_connection: str = ""
    """The dotted path of what prepares each connection of a run whose command has no hook for it."""
    mail_admins: bool = False
    """Whether ADMINS get a mail for each run that fails or crashes; a command's own `mail_admins` goes before it."""


def get_settings() -> Settings:
    """The settings as they stand, `override_settings` included. ImproperlyConfigured names the key and the remedy."""
    return _read()


@cache
def _read() -> Settings:
    given = getattr(settings, NAME, {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"{NAME} is {given!r:.80}; allowed: a dict")
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in _READERS:
            close = get_close_matches(str(key).upper(), _READERS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(_READERS)}"
            raise ImproperlyConfigured(f"{NAME} has no key {key!r}; {hint}")
        try:
            values[key.lower()] = _READERS[key](value)
        except ValueError as error:
            raise ImproperlyConfigured(f"{NAME}[{key!r}] is {value!r:.80}; {error}") from None
    return Settings(**values)


def _forget(*, setting: str, **_: Any) -> None:
    if setting == NAME:
        _read.cache_clear()


setting_changed.connect(_forget, dispatch_uid="async_commander.conf")


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError("allowed: a dict like {'threads': 50}")
    return MappingProxyType(dict(value))


def _dotted(value: Any) -> str:
    if not isinstance(value, str) or not _DOTTED.fullmatch(value):
        raise ValueError("allowed: a name, or the dotted path of a class, as a text")
    return value


def _alias(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("allowed: an alias of STORAGES, as a text")
    return value


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("allowed: True or False")  # noqa: TRY004 - as all of these
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple | set | frozenset) or not all(
        isinstance(each, str) and each for each in value
    ):
        raise ValueError("allowed: a list of texts")
    return tuple(value)


def _days(value: Any) -> Mapping[str, int | None]:
    given = value if isinstance(value, Mapping) else dict.fromkeys(KEEP_DAYS, value)
    fits = all(one is None or (type(one) is int and 1 <= one <= MOST_DAYS) for one in given.values())
    if not fits or not given.keys() <= KEEP_DAYS.keys():
        raise ValueError(f"allowed: a dict like {KEEP_DAYS}, or one number; from 1 day to 100 years, None for ever")
    return MappingProxyType({**KEEP_DAYS, **given})


_DOTTED = re.compile(r"[\w-]+(\.[\w-]+)*")

_READERS: dict[str, Callable[[Any], Any]] = {
    "LIMITS": _mapping,
    "COMMAND_PACKAGES": _texts,
    "CACHE": _alias,
    "UPLOADS": _alias,
    "INTERNAL_HOSTS": _texts,
    "KEEP_DAYS": _days,
    "ENGINE": _dotted,
    "PREPARE_CONNECTION": _dotted,
    "MAIL_ADMINS": _yes_or_no,
}
