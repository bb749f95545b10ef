"""Which names are those of secrets: of arguments, of the members of a value, and of what stands before `=` or `:`."""

from __future__ import annotations

import re
from functools import lru_cache

# fmt: off
_WORDS = frozenset({
    "token", "password", "passwd", "passphrase", "pwd", "secret", "key", "apikey", "auth", "authorization", "cookie",
    "dsn", "credential", "jwt", "passwords", "secrets", "cookies", "credentials",
})
_OWNERS = (
    "access", "refresh", "auth", "api", "app", "bearer", "client", "csrf", "id", "session", "private", "secret",
    "signing", "user", "xsrf", "db", "ssh",
)
_JOINED = {f"{owner}{what}" for owner in _OWNERS for what in ("token", "key", "secret", "password")} | {
    "sessionid", "sessid", "phpsessid", "jsessionid", "csrfmiddlewaretoken", "encryptionkey", "accountkey",
}
"""Names that are written together: `accesstoken`."""
_IN_QUERIES = frozenset({"sig", "signature", "hmac", "pass", "passcode"})
_KEYS = frozenset({
    "access", "account", "admin", "api", "app", "application", "auth", "client", "consumer", "encryption", "hmac",
    "master", "private", "secret", "service", "session", "shared", "signing", "ssh", "storage", "subscription",
})
"""What a key must be of to be a secret where it stands in a text: others sort, group, and are primary."""
# fmt: on
_SECRET = _WORDS | _JOINED
_SECRET_IN_QUERIES = _SECRET | _IN_QUERIES
_SECRET_IN_TEXTS = (_WORDS - {"key"}) | _JOINED
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]++|[A-Z]++|[^\W\d_]++")
_ERRORS = frozenset({"error", "exception", "warning"})
LONGEST = 100
"""Characters of a name that are looked at: its end."""


def is_secret_name(name: str) -> bool:
    """Whether a whole word of the name says secret: `api_key`, `Api-Key` and `apiKey` do, `author` does not.

    The name of a class of errors (`KeyError`) says what happened, and is none.
    """
    words = _words(name[-LONGEST:])
    return not _SECRET.isdisjoint(words) and not _is_an_error(name, words)


def is_secret_in_a_query(name: str) -> bool:
    """Whether the value of this name is a secret in the query of a URL: `sig` as well."""
    return not _SECRET_IN_QUERIES.isdisjoint(_words(name[-LONGEST:]))


def is_secret_in_text(name: str, before: str = "") -> bool:
    """Whether what follows this name, and `=` or `:`, in a text of any kind is a secret.

    A key is one where a word of its name, or the last one of `before`, says of what: `api key`, not `sort_key`.
    """
    words = _words(name[-LONGEST:])
    if _is_an_error(name, words):
        return False
    if not _SECRET_IN_TEXTS.isdisjoint(words):
        return True
    return "key" in words and not _KEYS.isdisjoint([*_words(before)[-1:], *words])


@lru_cache(maxsize=4096)
def _words(name: str) -> tuple[str, ...]:
    """The words of a name, between `_`, `-`, `.` or blanks, and where capitals begin one.

    What is remembered is short, however long the texts of a server are.
    """
    return tuple(word.lower() for word in _PARTS.findall(name))


def _is_an_error(name: str, words: tuple[str, ...]) -> bool:
    return bool(words) and words[-1] in _ERRORS and name[-LONGEST:].isalpha()
