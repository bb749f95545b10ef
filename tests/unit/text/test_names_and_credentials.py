"""What is secret is hidden, and nothing else."""

from __future__ import annotations

import tracemalloc

import pytest

from async_commander.text.names import is_secret_name
from async_commander.text.redactor import HIDDEN, no_credentials


@pytest.mark.parametrize(
    "name",
    [
        *("token", "API_TOKEN", "db_password", "key", "secret_name", "auth", "session_cookie", "sentry_dsn"),
        *("x-api-key", "Authorization", "Set-Cookie", "passwd", "credential", "credentials"),
        *("accessToken", "clientSecret", "Api-Key", "apiKey", "APIKey", "API key", "token2", "PHPSESSID", "authtoken"),
    ],
)
def test_names_with_a_secret_word_are_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["author", "keyboard", "monkey", "tokenizer", "passwordless", "authority", "KeyError"])
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
    assert no_credentials(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("accessToken=X1y2", "accessToken=***"),
        ("clientSecret: X1y2 is wrong", "clientSecret: *** is wrong"),
        ("Api-Key: X1y2", "Api-Key: ***"),
        ("api key = X1y2", "api key = ***"),
        ("API_KEY=X1y2", "API_KEY=***"),
        ("the access token is refreshToken:X1y2", "the access token is refreshToken:***"),
        ("Bearer X1y2", "Bearer ***"),
        ("bearer token is missing", "bearer token is missing"),
        ("Basic dXNlcjpwYXNz", "Basic ***"),
        ("basic information", "basic information"),
        ("Authorization: Bearer X1y2\nHost: h", "Authorization: ***\nHost: h"),
        ("{'Authorization': 'Bearer X1y2', 'Accept': 'a'}", "{'Authorization': '***', 'Accept': 'a'}"),
        ("[(b'authorization', b'Bearer X1y2')]", "[(b'authorization', b'***')]"),
        ("Set-Cookie: a=X1y2; b=X1y2", "Set-Cookie: ***"),
        ("cookies={'a': 'X1y2'}", "cookies={***}"),
        ('{"accessToken": "X1\\"y2", "n": 1}', '{"accessToken": "***", "n": 1}'),
        (r'{"body": "{\"apiKey\": \"X1y2\"}"}', r'{"body": "{\"apiKey\": \"***\"}"}'),
        ("connect(password='X1 y2', user='me')", "connect(password='***', user='me')"),
        (
            "https://h/?next=https%3A%2F%2Fh%2F%3Ftoken%3DX1y2&p=2",
            "https://h/?next=https%3A%2F%2Fh%2F%3Ftoken%3D***&p=2",
        ),
        ("https%3A%2F%2Fme%3AX1y2%40h%2F", "https%3A%2F%2F***%40h%2F"),
        ("https://h/#access_token=X1y2&state=1", "https://h/#access_token=***&state=1"),
        ("/a?sig=X1y2;key=X1y2#top", "/a?sig=***;key=***#top"),
        ("DETAIL:  Key (api_token)=(X1y2) already exists.", "DETAIL:  Key (api_token)=(***) already exists."),
        ("sort_key=name, primary key: 5", "sort_key=name, primary key: 5"),
        ("KeyError: 'price'", "KeyError: 'price'"),
        ("token = self.options['token']", "token = self.options['token']"),
        ("password = read_password(path)", "password = read_password(path)"),
        ("fields: ['password', 'email']", "fields: ['password', 'email']"),
        ("C:\\tokens\\new and 5:30", "C:\\tokens\\new and 5:30"),
    ],
)
def test_values_with_the_name_of_a_secret_are_hidden_in_every_text(text: str, shown: str) -> None:
    assert no_credentials(text) == shown.replace("***", HIDDEN)
    assert no_credentials(no_credentials(text)) == no_credentials(text)


def test_of_the_long_names_that_a_server_sends_nothing_is_kept() -> None:
    tracemalloc.start()
    try:
        for number in range(100):
            no_credentials(f"{number}-key" * 4_000 + "=1 ")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 200_000
