"""`self.fetch(url)`: one small answer, without the ceremony around it."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Self

import httpx

from .decoding import MARK_LENGTH, charset_of, is_usable, needs_mark, without_mark


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer that was read to its end: a plain value, safe to keep and to send to `self.cpu`.

    `url` is where the last redirect led; `content` is decoded.
    """

    url: str
    status: int
    raw_headers: tuple[tuple[bytes, bytes], ...]
    """Names and values as the server wrote them."""
    content: bytes

    @property
    def headers(self) -> httpx.Headers:
        """The headers by name, in any case."""
        return httpx.Headers(list(self.raw_headers))

    @property
    def text(self) -> str:
        """The content as text, by the charset of its Content-Type, else as UTF-8. Never raises."""
        charset = charset_of(next((value for name, value in self.raw_headers if name.lower() == b"content-type"), b""))
        if not charset or not is_usable(charset):
            charset = "utf-8"
        elif needs_mark(charset):
            charset = without_mark(charset, self.content[:MARK_LENGTH])
        return codecs.decode(self.content, charset, "replace")

    def raise_for_status(self) -> Self:
        """httpx.HTTPStatusError where the status is not a success, as `httpx.Response.raise_for_status()` raises it."""
        if not 200 <= self.status < 300:
            self.as_response().raise_for_status()
        return self

    def as_response(self) -> httpx.Response:
        """This answer as a response of httpx."""
        headers = [pair for pair in self.raw_headers if pair[0].lower() != b"content-encoding"]  # it is decoded
        request = httpx.Request("GET", self.url)
        return httpx.Response(self.status, headers=headers, content=self.content, request=request)


def fetched(response: httpx.Response) -> Fetched:
    """A response that was read, as a plain value."""
    return Fetched(str(response.url), response.status_code, tuple(response.headers.raw), response.content)
