"""Which names and texts are secret, and how they are hidden before anything is stored or shown."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

HIDDEN = "********"

_WORDS = (
    "token|password|passwd|passphrase|secret|key|apikey|auth|authorization|cookie|dsn|credential"
    "|passwords|secrets|cookies|credentials"
)
_NAME = re.compile(rf"(?:^|[_\-\s])(?:{_WORDS})(?:$|[_\-\s])", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/?#@\s]+@")
_QUERY = re.compile(rf"([?&;](?:[\w\-]*[_\-])?(?:{_WORDS})(?:[_\-][\w\-]*)?=)[^&;#\s]+", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a whole word of the name, between `_` or `-`, says secret: `api_key` does, `author` does not."""
    return _NAME.search(name) is not None


def redacted(values: Mapping[str, Any], *, shown: Collection[str] = ()) -> dict[str, Any]:
    """The same values, nested ones too, with those under secret names, and the secret parts of URLs, hidden.

    Those named in `shown` are known to be no secrets, whatever their names say.
    """
    return {
        name: HIDDEN if name not in shown and is_secret_name(str(name)) else _redacted_value(value)
        for name, value in values.items()
    }


def redacted_text(text: str) -> str:
    """The same text with the user part and the secret query parameters of its URLs hidden."""
    if "@" in text:
        text = _USER_INFO.sub(f"{HIDDEN}@", text)
    return _QUERY.sub(rf"\g<1>{HIDDEN}", text) if "=" in text else text


def _redacted_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return redacted(value)
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, list | tuple):
        return [_redacted_value(each) for each in value]
    return value
