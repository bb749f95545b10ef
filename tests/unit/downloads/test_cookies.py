"""How many cookies a server may set."""

from __future__ import annotations

import httpx
import pytest

from async_commander.downloads.cookies import LONGEST, MOST, MOST_OF_A_DOMAIN, keep_cookies


def set_by(host: str, *cookies: str) -> httpx.Response:
    headers = [("Set-Cookie", cookie) for cookie in cookies]
    return httpx.Response(200, headers=headers, request=httpx.Request("GET", f"http://{host}/"))


def test_a_server_cannot_fill_a_jar() -> None:
    jar = httpx.Cookies()
    for page in range(10):
        keep_cookies(jar, set_by("a.test", *(f"c{page}-{number}=1" for number in range(100))))
    assert len(jar.jar) == MOST_OF_A_DOMAIN
    assert "c9-99" in jar
    assert "c0-0" not in jar


def test_many_domains_cannot_fill_a_jar_and_drive_out_nobody_small() -> None:
    jar = httpx.Cookies()
    keep_cookies(jar, set_by("small.test", "session=1"))
    for number in range(40):
        keep_cookies(jar, set_by(f"h{number}.test", *(f"c{cookie}=1" for cookie in range(100))))
    assert len(jar.jar) == MOST
    assert jar.get("session", domain="small.test") == "1"


def test_a_cookie_that_is_too_long_is_left_out_and_its_neighbours_are_kept() -> None:
    jar = httpx.Cookies()
    keep_cookies(jar, set_by("a.test", "before=1", "long=" + "x" * LONGEST, "after=1"))
    assert sorted(jar) == ["after", "before"]


@pytest.mark.parametrize("age", ["9" * 11, "9" * 400, "9" * 4_000])
def test_an_endless_age_costs_no_cookie_and_no_warning(age: str) -> None:
    jar = httpx.Cookies()
    keep_cookies(jar, set_by("a.test", "other=1", f"mine=2; Max-Age={age}; Path=/"))
    assert dict(jar) == {"other": "1", "mine": "2"}


@pytest.mark.parametrize(
    "odd",
    [
        "",
        ";",
        "=",
        "=x",
        "x",
        "x;;;=;",
        "x=1; Max-Age=-" + "9" * 400,
        "x=1; Max-Age=soon",
        "x=1; Expires=Mon, 99 Jan 99999 99:99:99 GMT",
        "x=1; Domain=.",
        "x=1; Domain=other.test",
        "x=1; Domain=[::1]",
        "x=1; Version=" + "9" * 400,
        "x=1; Port=99999999",
        "x=\x00\x7f\xff",
        'x="unfinished',
    ],
)
def test_no_cookie_is_too_odd(odd: str) -> None:
    jar = httpx.Cookies()
    headers = [(b"Set-Cookie", odd.encode("latin-1")), (b"Set-Cookie", b"plain=1")]
    keep_cookies(jar, httpx.Response(200, headers=headers, request=httpx.Request("GET", "http://a.test/")))
    assert jar["plain"] == "1"
