"""One kept result as bytes: a mark, a signature, a line about it, the result. Whatever was changed in it is noticed.

The signature is an HMAC by SECRET_KEY: a cache may lie where others can write, and what they plant is no result.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from .codecs import Packed

MARK = b"async_commander cache 1\n"
_SALT = "async_commander.cache"
_DIGITS = 64


class Damaged(Exception):
    """What was found is no entry as it was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A result with what is known about it. `created` is in seconds since 1970."""

    key: str
    command: str
    function: str
    created: float
    packed: Packed


def to_bytes(entry: Entry) -> bytes:
    """What is written."""
    about = {**asdict(entry), "packed": entry.packed.codec, "length": len(entry.packed.body)}
    signed = json.dumps(about).encode() + b"\n" + entry.packed.body
    return b"".join((MARK, _signature(signed, settings.SECRET_KEY).encode(), b"\n", signed))


def from_bytes(raw: bytes, key: str) -> Entry:
    """What was written under this key. Damaged for anything else, cut or changed by a single bit."""
    if not raw.startswith(MARK):
        raise Damaged("it does not begin as an entry does")
    start = len(MARK) + _DIGITS + 1
    signature, signed = raw[len(MARK) : start], raw[start:]
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    if not any(constant_time_compare(signature, _signature(signed, one).encode() + b"\n") for one in secrets):
        raise Damaged("it was cut or changed, or written under another SECRET_KEY")
    line, _, body = signed.partition(b"\n")
    try:
        about = json.loads(line)
        packed = Packed(about.pop("packed"), body)
        length = about.pop("length")
        entry = Entry(packed=packed, **about)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged("another version of this package has written it") from None
    if entry.key != key or length != len(body):
        raise Damaged("it belongs under another key")
    if not packed.is_readable:
        raise Damaged(f"its result is kept as {packed.codec!r}, which cannot be read here")
    return entry


def _signature(signed: bytes, secret: str | bytes) -> str:
    return salted_hmac(_SALT, signed, secret=secret, algorithm="sha256").hexdigest()
