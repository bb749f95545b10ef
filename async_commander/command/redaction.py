"""Which names and texts are secret, and how they are hidden before anything is stored or shown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from typing import Any

from .values import PlainEncoder

HIDDEN = "********"

_WORDS = (
    "token|password|passwd|passphrase|secret|key|apikey|auth|authorization|cookie|dsn|credential"
    "|passwords|secrets|cookies|credentials"
)
_NAME = re.compile(rf"(?:^|[_\-\s])(?:{_WORDS})(?:$|[_\-\s])", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/?#\s]+@")
_QUERY = re.compile(rf"([?&;](?:[\w\-]*[_\-])?(?:{_WORDS}|sig|signature)(?:[_\-][\w\-]*)?=)[^&;#\s]+", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a whole word of the name, between `_` or `-`, says secret: `api_key` does, `author` does not."""
    return _NAME.search(name) is not None


def redacted_text(text: str) -> str:
    """The same text with the user part and the secret query parameters of its URLs hidden."""
    if "@" in text:
        text = _USER_INFO.sub(f"{HIDDEN}@", text)
    return _QUERY.sub(rf"\g<1>{HIDDEN}", text) if "=" in text else text


def redacted_value(value: Any, redact: Callable[[str], str], *, shown: Collection[str] = ()) -> Any:
    """The same in plain JSON, without secrets: neither those that `redact` finds nor what stands under a secret name.

    The names of `shown`, in the outermost dict, are known to be none. What JSON has no form for becomes text, NaN and
    the infinities become null.
    """
    try:
        return _redacted(value, redact, shown)
    except RecursionError:
        return redact(text_of_value(value))


def text_of_value(value: Any, form: Callable[[Any], str] = repr) -> str:
    """The text of any value, also of one that has none."""
    try:
        return form(value)
    except Exception:  # noqa: BLE001 - a value that cannot even be shown is no reason to fail the run
        return f"<{type(value).__name__}, whose text cannot be shown>"


def _redacted(value: Any, redact: Callable[[str], str], shown: Collection[str] = ()) -> Any:
    if isinstance(value, dict):
        return {
            redact(str(name)): HIDDEN if is_secret_name(str(name)) and name not in shown else _redacted(one, redact)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redacted(one, redact) for one in value]
    if value is None or isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return value if isinstance(value, bool) else None
    if isinstance(value, str | int | float):
        told = redact(str(value))
        return value if told == str(value) else told
    return redact(_shown(value))


def _shown(value: Any) -> str:
    try:
        return str(PlainEncoder().default(value))
    except TypeError:
        return text_of_value(value, str)
