"""A plain command with a value, whatever it is asked for."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import async_commander as ac


class Command(ac.AsyncCommand):
    """Gives back what it was told."""

    what: str = "text"
    since: date | None = None
    token: Annotated[str, ac.Option(env="QUEUED_TOKEN")] = ""
    password: str = ""

    async def handle(self) -> Any:
        if self.what == "error":
            raise ValueError("as it was told")
        if self.what == "object":
            return object()
        if self.what == "token":
            return len(self.token)
        return {"since": self.since, "threads": self.options.get("threads"), "what": self.what}
