"""What makes a run this run and an item this item: exact, stable texts and their digests."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from django.db.models import Model

from async_commander.text.redactor import Redactor, no_credentials
from async_commander.text.values import MOST_BITS, redacted_value, text_of_value

LABEL_LENGTH = 200
DEEPEST = 100
"""Levels of lists and dicts in one another: how many the interpreter takes is another number in each version."""
TOO_DEEP = f"it is nested in more than {DEEPEST} levels, or contains itself"
_LEVELS = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]')
_NAME_BITS = ~(0xF << 76 | 0x3 << 62)
_VERSION_5 = 5 << 76 | 0x2 << 62
_HOST = re.compile(r"\s*[a-z][a-z0-9+.\-]*://(?:[^/?#]*@)?(\[[^\]]*\]|[^/?#:\[\]]*)", re.IGNORECASE)


def canonical_json(value: Any) -> str:
    """One text for one value: sorted, exact, the same in every process and version.

    Dates are ISO texts, `Decimal` and `UUID` and paths their text, an `Enum` its value, a dataclass its fields, a model
    instance its label and primary key, a set its sorted members. TypeError for anything else, ValueError for NaN and
    infinity, for a model instance that is not saved and for what is nested too deep; both say what to do.
    """
    if type(value) is int:
        return repr(value)
    if type(value) is str:
        return _dump(value)
    try:
        text = _dump(_plain(value))
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if text.count("[") + text.count("{") > DEEPEST and _depth(text) > DEEPEST:
        raise ValueError(TOO_DEEP)
    return text


def identity(name: str, parameters: Mapping[str, Any]) -> str:
    """The SHA-256 of a command's name and its parameters, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json([name, parameters]).encode()).hexdigest()


def item_key(item: Any) -> str:
    """The stable text of an item.

    A model instance has its label and primary key, anything else its canonical JSON. TypeError or ValueError, with the
    remedy, where an item has neither.
    """
    try:
        if not isinstance(item, Model):
            return canonical_json(item)
        pk = _plain(saved_pk(item))
        return f"{model_label(item)}:{pk if isinstance(pk, str) else _dump(pk)}"
    except (TypeError, ValueError) as error:
        raise (TypeError if isinstance(error, TypeError) else ValueError)(
            f"the item {item_label(item)!r} has no stable key: {error}. Define item_key(self, item) and return a text "
            f"that is the same for this item in every run"
        ) from None


def key_uuid(key: str) -> UUID:
    """The key's SHA-256 as a name-based UUID, 122 bits of it: what the ledger stores.

    It bears the variant and the version that RFC 9562 asks for: MariaDB's UUID column takes no other.
    """
    number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:16])
    return UUID(int=number & _NAME_BITS | _VERSION_5)  # `bytes=` and `version=` give the same, in twice the time


def item_label(item: Any, redact: Redactor = no_credentials) -> str:
    """A readable line about an item, of at most 200 characters, without control characters and secrets.

    It never touches the database, so a model instance is not asked for its text. An item of ours names itself, by
    `item_label`: a batch of rows is called by its place.
    """
    try:
        if isinstance(item, str):
            text: str = item
        elif isinstance(item, Model):
            text = " ".join(map(str, filter(None, (f"{model_label(item)} {item.pk}", _url_of(item)))))
        elif type(item) is int and item.bit_length() <= MOST_BITS:
            text = str(item)
        elif isinstance(named := getattr(item, "item_label", None), str):
            text = named
        else:
            text = _dump(redacted_value(_plain(item), redact))
    except Exception:  # noqa: BLE001 - an item that cannot be looked at has a label all the same
        text = f"{type(item).__qualname__} {text_of_value(item, lambda one: str(_url_of(one) or ''))}"
    return redact.line(text, LABEL_LENGTH)


def host_of(item: Any) -> str | None:
    """The host of an item that is a URL, or of its `url`, as requests to it are paced; None where there is none."""
    url = item if isinstance(item, str) else _url_of(item)
    if not isinstance(url, str) or "://" not in url:
        return None
    found = _HOST.match(url)
    host: str = found[1].strip("[]").lower() if found else ""
    if host.isascii():
        return host or None
    import httpx

    from async_commander.downloads.pacing import pace_key

    try:
        return pace_key(f"http://{host}/")
    except httpx.InvalidURL:
        return host


def model_label(instance: Model) -> str:
    """`app.Model` of the row's table: the same for a proxy and its model."""
    return (instance._meta.concrete_model or type(instance))._meta.label


def saved_pk(instance: Model) -> Any:
    """The primary key of a saved instance; ValueError where there is none yet."""
    if instance.pk is None or instance._state.adding:
        raise ValueError(f"a {model_label(instance)} that is not saved has no primary key to go by: save it first")
    return instance.pk


_TEXTS: dict[type, Callable[[Any], str]] = {
    **dict.fromkeys((date, time), lambda value: value.isoformat()),
    **dict.fromkeys((Decimal, UUID, PurePath, timedelta), str),
    **dict.fromkeys((bytes, bytearray), lambda value: value.hex()),
}


_dump = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def _plain(value: Any) -> Any:
    while isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no canonical text; use a finite number or None")
        return value
    if isinstance(value, Model):
        return [model_label(value), _plain(saved_pk(value))]
    if isinstance(value, tuple(_TEXTS)):
        return next(text(value) for cls, text in _TEXTS.items() if isinstance(value, cls))
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return _plain_collection(value)


def _plain_collection(value: Any) -> Any:
    if isinstance(value, Mapping):
        plain = {key if isinstance(key, str) else canonical_json(key): _plain(each) for key, each in value.items()}
        if len(plain) != len(value):
            keys = sorted(map(str, value))
            raise ValueError(f"two keys of the dict {keys} have one canonical text; use texts as keys")
        return plain
    if isinstance(value, AbstractSet):
        return sorted((_plain(member) for member in value), key=_dump)
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    raise TypeError(
        f"a {type(value).__module__}.{type(value).__qualname__} has no canonical text; allowed: text, numbers, dates, "
        f"Decimal, UUID, Path, Enum, dataclasses, saved model instances, and lists, sets and dicts of them"
    )


def _depth(text: str) -> int:
    """How many levels of lists and dicts a text of JSON has."""
    level = deepest = 0
    for sign in _LEVELS.findall(text):
        level += (sign in "[{") - (sign in "]}")
        deepest = max(deepest, level)
    return deepest


def _url_of(item: Any) -> Any:
    """Its `url`, where there is one. Asks for no query: a deferred field of a model instance is not loaded for it."""
    if isinstance(item, Mapping):
        return item.get("url")
    return vars(item).get("url") if isinstance(item, Model) else getattr(item, "url", None)
