"""A command with arguments of every kind."""

from __future__ import annotations

from typing import Annotated

import async_commander as ac


class Command(ac.IterateDownloadCommand[int, int]):
    """Take one item, twice where its source breaks."""

    site: str
    token: Annotated[str, ac.Option(env="CATALOGUE_TOKEN")]
    pages: int = 5
    note: Annotated[str, ac.Option(identity=False)] = ""

    keep_values = True

    def add_arguments(self, parser) -> None:
        parser.add_argument("--breaks", action="store_true")

    async def iterate(self):
        if self.options["breaks"] and self.token == "s3cret":
            raise ValueError("the source broke")
        yield 1

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> list[object]:
        return [self.site, self.pages, self.token, self.note]
