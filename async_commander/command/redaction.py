"""Which names and texts are secret, and how they are hidden before anything is stored or shown."""

from __future__ import annotations

import re

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


def redacted_text(text: str) -> str:
    """The same text with the user part and the secret query parameters of its URLs hidden."""
    if "@" in text:
        text = _USER_INFO.sub(f"{HIDDEN}@", text)
    return _QUERY.sub(rf"\g<1>{HIDDEN}", text) if "=" in text else text
