"""A command with an argument of each type, for the form in the admin."""

from __future__ import annotations

import enum
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import async_commander as ac
from tests.testapp.models import Effect


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Command(ac.IterateDownloadCommand[int, int]):
    """Import what the suppliers of one <shop> have.

    Prices are those of the day; what a supplier does not have any more goes with --delete.
    """

    number: int
    kind: Literal["lamp", "chair"] = "lamp"
    size: Size | None = None
    since: date | None = None
    price: Decimal = Decimal("1.50")
    names: list[str] = ["a"]
    loud: bool = False
    file: Path | None = None
    api_token: Annotated[str, ac.Option(env="SHOWN_TOKEN")] = ""

    retry = ac.Retry(attempts=1)
    deletes = True

    def iterate(self) -> Any:
        return range(self.number)

    async def download(self, item: int) -> int:
        return item

    async def parse_and_save(self, item: int, page: int) -> None:
        if item % 2 and not await Effect.objects.filter(key="mended").aexists():
            raise ValueError(f"=odd {item}")
        self.db.add(Effect(key=f"{self.kind} {item}"))

    @classmethod
    def has_permission(cls, user: Any, action: str) -> bool:
        return (action, user.get_username()) not in {("cancel", "not here"), ("pause", "nor here")}
