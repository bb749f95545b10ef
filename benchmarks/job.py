"""The job, the same for every contender: fetch so many pages, parse each, write one row each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape

_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
_LINK = re.compile(r'<a\s+href="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Job:
    """`pages` pages from number `first` on, at most `threads` at once."""

    server: str
    first: int
    pages: int
    threads: int

    def urls(self) -> Iterator[str]:
        """The addresses of the pages, one after the other."""
        return (f"{self.server}page/{number}" for number in range(self.first, self.first + self.pages))


def parse(url: str, html: str) -> tuple[str, int]:
    """The page's title and the number of its distinct links. ValueError for a page without a title."""
    title = _TITLE.search(html)
    if title is None:
        raise ValueError(f"{url} has no title")
    return unescape(title[1]).strip(), len({unescape(link) for link in _LINK.findall(html)})
