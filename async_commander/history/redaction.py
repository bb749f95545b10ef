"""Secrets taken out of text before it is stored or shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus

from async_commander.command.redaction import HIDDEN, redacted_text

_SHORT = 4
"""A secret of fewer characters is hidden where it stands alone: it would be found inside of ordinary words."""

_HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-(?:[\w-]{0,40}-)?(?:token|key|secret))(['\"]?\s*[:=]\s*)[^\r\n]+"
)
_WORTH_A_LOOK = re.compile("(?i)[@=\x00\ud800-\udfff]|authorization|cookie|x-")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""Neither PostgreSQL nor UTF-8 takes these."""


def redactor(secrets: Iterable[object] = ()) -> Callable[[str], str]:
    """A function that hides the given values, however encoded, and what looks like a credential, in a text.

    What it returns is fit for any database: characters that none can keep are replaced.
    """
    spellings = {spelling for secret in secrets if secret for spelling in _spellings(str(secret))}
    values = re.compile("|".join(map(_pattern, sorted(spellings, key=len, reverse=True)))) if spellings else None

    def redact(text: str) -> str:
        if values is None and not _WORTH_A_LOOK.search(text):
            return text
        if values is not None:
            text = values.sub(HIDDEN, text)
        text = _UNSTORABLE.sub("\ufffd", text)
        return _HEADER.sub(rf"\1\2{HIDDEN}", redacted_text(text))

    return redact


def _pattern(spelling: str) -> str:
    found = re.escape(spelling)
    return found if len(spelling) >= _SHORT else rf"(?<!\w){found}(?!\w)"


def _spellings(secret: str) -> set[str]:
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return {secret, quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace"), *escaped}
