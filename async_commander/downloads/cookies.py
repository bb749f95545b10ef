"""Cookies that live as long as the item that they were set in, and how many of them a server may set."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import httpx

LONGEST = 8192
"""Bytes of one Set-Cookie header; longer ones are left out, as browsers leave them out."""
MOST_OF_A_DOMAIN = 180
MOST = 3000
"""Cookies that are kept; the oldest ones go first, from the domain that has most."""

_AGE = re.compile(rb"(;\s*max-age\s*=\s*\d{10})\d+", re.IGNORECASE)
"""In seconds: of a longer one the standard library makes a warning, and no cookie of the answer is kept."""


class ItemCookies(httpx.Cookies):
    """The cookies of one item. They begin as those of the client, and are copied when they are first needed."""

    def __init__(self, begin: httpx.Cookies) -> None:  # the jar is made by __getattr__
        self._begin = begin

    def __getattr__(self, name: str) -> Any:
        if name != "jar":
            raise AttributeError(name)
        self.jar = httpx.Cookies(self._begin).jar
        return self.jar

    def __bool__(self) -> bool:
        return super().__bool__() if "jar" in vars(self) else bool(self._begin)


def keep_cookies(cookies: httpx.Cookies, response: httpx.Response) -> None:
    """Keep what a response sets, within bounds: a jar that many items share would grow for as long as the run lasts."""
    found = [
        (b"Set-Cookie", _AGE.sub(rb"\1", value))
        for name, value in response.headers.raw
        if name.lower() == b"set-cookie"
    ]
    headers = [pair for pair in found if len(pair[1]) <= LONGEST]
    cookies.extract_cookies(httpx.Response(response.status_code, headers=headers, request=response.request))
    jar = cookies.jar
    if len(jar) <= MOST_OF_A_DOMAIN:
        return
    kept, counts = list(jar), Counter(cookie.domain for cookie in jar)
    while (most := counts.most_common(1)[0])[1] > MOST_OF_A_DOMAIN or len(kept) > MOST:
        oldest = next(cookie for cookie in kept if cookie.domain == most[0])
        kept.remove(oldest)
        counts[oldest.domain] -= 1
        jar.clear(oldest.domain, oldest.path, oldest.name)
