"""The command that is measured in one process and in shards: it makes pages, parses them and writes their rows."""

from __future__ import annotations

from collections.abc import Iterator

import async_commander as ac

from .job import parse
from .models import Page
from .server import page_body

BODY = page_body().decode()


def parsed(url: str, html: str, times: int) -> tuple[str, int]:
    """The same page, so many times."""
    for _ in range(times - 1):
        parse(url, html)
    return parse(url, html)


class Pages(ac.IterateDownloadCommand[int, str]):
    """Pages that need no server."""

    limits = ac.Limits(threads=20)
    count: int
    times: int = 1
    by_cpu: bool = False

    def iterate(self) -> Iterator[int]:
        """Their numbers."""
        yield from range(self.count)

    async def download(self, number: int) -> str:
        """Made here."""
        return f"<title>Page {number}</title>{BODY}"

    async def parse_and_save(self, number: int, html: str) -> None:
        """In this process, or in the pool."""
        url = f"http://127.0.0.1/page/{number}"
        if self.by_cpu:
            title, links = await self.cpu(parsed, url, html, self.times)
        else:
            title, links = parsed(url, html, self.times)
        self.db.add(Page(url=url, title=title, links=links))
