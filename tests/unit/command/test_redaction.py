"""What is secret is hidden, and nothing else."""

from __future__ import annotations

import pytest

from async_commander.command.redaction import HIDDEN, is_secret_name, redacted_text


@pytest.mark.parametrize(
    "name",
    [
        *("token", "API_TOKEN", "db_password", "key", "secret_name", "auth", "session_cookie", "sentry_dsn"),
        *("x-api-key", "Authorization", "Set-Cookie", "passwd", "credential", "credentials"),
    ],
)
def test_names_with_a_secret_word_are_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["author", "keyboard", "monkey", "tokenizer", "passwordless", "authority", "domain"])
def test_names_that_only_contain_one_are_not(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://me:pw@example.org/a", f"see https://{HIDDEN}@example.org/a"),
        ("https://example.org/?api_key=abc&page=2#top", f"https://example.org/?api_key={HIDDEN}&page=2#top"),
        ("https://example.org/?author=abc", "https://example.org/?author=abc"),
        ("mail me@example.org", "mail me@example.org"),
    ],
)
def test_secrets_in_urls_are_hidden(text: str, shown: str) -> None:
    assert redacted_text(text) == shown
