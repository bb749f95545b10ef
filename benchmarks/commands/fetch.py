"""The job as a command."""

from __future__ import annotations

from collections.abc import Iterator

import async_commander as ac
from benchmarks.job import Job, parse
from benchmarks.models import Page


class Command(ac.IterateDownloadCommand[str, str]):
    """Fetch the pages of the benchmarks' server."""

    server: str
    pages: int
    first: int = 0

    def iterate(self) -> Iterator[str]:
        return Job(self.server, self.first, self.pages, threads=0).urls()

    async def download(self, url: str) -> str:
        response = await self.http.get(url)
        response.raise_for_status()
        return response.text

    async def parse_and_save(self, url: str, html: str) -> None:
        title, links = parse(url, html)
        self.db.add(Page(url=url, title=title, links=links))
