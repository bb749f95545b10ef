"""Ask what things cost, and show how it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated

from prices.models import Price

import async_commander as ac


class Command(ac.IterateDownloadCommand[str, int]):
    """Fetch the prices of so many products from a supplier that answers slowly, and not always."""

    products: Annotated[int, ac.Option(named=True, help="how many")] = 100
    pace: Annotated[float, ac.Option(identity=False, help="seconds for an answer")] = 0.2

    limits = ac.Limits(threads=5)
    retry = ac.Retry(attempts=2, initial=0.1, maximum=0.1)

    def iterate(self) -> Iterator[str]:
        yield from (f"product-{number:04}" for number in range(self.products))

    def total(self) -> int:
        return self.products

    async def download(self, product: str) -> int:
        number = int(product.removeprefix("product-"))
        await asyncio.sleep(self.pace)  # the supplier thinks
        if number % 17 == 13:
            raise TimeoutError("the supplier did not answer")
        if number % 25 == 0:
            self.log.info("The supplier is at %s.", product)
        return 100 + number * 37 % 900

    async def parse_and_save(self, product: str, cents: int) -> None:
        self.db.upsert(Price(product=product, cents=cents), unique=["product"], update=["cents"])
