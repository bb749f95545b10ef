from __future__ import annotations

import time
from email.utils import formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_commander.downloads.pacing import pace_key, retry_after


def response(value: str) -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": value}, request=httpx.Request("GET", "http://example.org"))


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0.0), ("120", 120.0), (" 5 ", 5.0), ("1.5", 1.5), ("9" * 5000, 10 * 365 * 24 * 3600.0)]
)
def test_a_number_is_seconds(value: str, seconds: float) -> None:
    assert retry_after(response(value)) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "-5",
        "+5",
        "1.5.1",
        ".5",
        "²",
        "1e9",
        "Mon, 99 Foo 2024 99:99:99 GMT",
        "Mon, 01 Jan 99999 00:00:00 GMT",
    ],
)
def test_what_makes_no_sense_is_none(value: str) -> None:
    assert retry_after(httpx.Response(503, headers={"Retry-After": value.encode()})) is None


def test_a_date_is_seconds_from_now_and_never_in_the_past() -> None:
    assert retry_after(response(formatdate(time.time() + 60, usegmt=True))) == pytest.approx(60, abs=2)
    assert retry_after(response(formatdate(time.time() + 60))) == pytest.approx(60, abs=2)
    assert retry_after(response(formatdate(0, usegmt=True))) == 0.0


def test_it_is_read_from_errors_too() -> None:
    with pytest.raises(httpx.HTTPStatusError) as caught:
        response("7").raise_for_status()
    assert retry_after(caught.value) == 7.0
    assert retry_after(ValueError("no response here")) is None


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=50))
def test_no_header_is_too_odd(value: str) -> None:
    seconds = retry_after(httpx.Response(503, headers={"Retry-After": value.encode("latin-1")}))
    assert seconds is None or seconds >= 0


def test_hosts_are_paced_by_name_alone() -> None:
    assert pace_key("HTTPS://Example.ORG:8443/path?x#y") == "example.org"
    assert pace_key("http://user:pw@bücher.example/") == "xn--bcher-kva.example"
    assert pace_key("http://[::1]:80/") == "::1"
