"""Read, change, write: each item adds one to the same row, in one of several ways."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

from django.db.models import OuterRef, Subquery

import async_commander as ac
from tests.faults.behaviour import tell
from tests.testapp.models import Book

WAYS = ("plain", "coroutine", "nowait", "skip_locked", "of", "subquery")


class Command(ac.IterateDownloadCommand[int, int]):
    """Add one to the stock of one book so many times."""

    retry = ac.Retry(attempts=50, initial=0.01, maximum=0.1)

    label: str
    count: int = 200
    way: str = "plain"
    journal: Annotated[str, ac.Option(identity=False)] = "/dev/null"

    def http_client(self):
        return nullcontext()

    async def iterate(self):
        tell(self.journal, "began")
        return range(self.count)

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, payload: int) -> None:
        if self.way == "coroutine":
            book = await Book.objects.select_for_update().aget(isbn="counter")
            book.stock += 1
            await book.asave()
        else:
            await self.db(self.increment)

    def increment(self) -> None:
        books = Book.objects.select_for_update(**({self.way: True} if self.way in ("nowait", "skip_locked") else {}))
        if self.way == "of":
            books = Book.objects.select_for_update(of=("self",))
        elif self.way == "subquery":
            locked = Book.objects.filter(pk=OuterRef("pk")).select_for_update()
            books = Book.objects.annotate(again=Subquery(locked.values("pk")[:1]))
        book = books.get(isbn="counter")
        book.stock += 1
        book.save()
