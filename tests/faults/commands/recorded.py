"""The effects of `effects`, each recorded, and upserts by which items meet on the same rows."""

from __future__ import annotations

from tests.faults.commands.effects import Command as Effects
from tests.testapp.models import Party

PARTIES = 20


class Command(Effects):
    """Write the effects of so many items, and record that."""

    provenance = True

    async def parse_and_save(self, item: int, payload: int) -> None:
        self.db.upsert(Party(name=f"{self.label} {item % PARTIES}", founded=item), unique=["name"], update=["founded"])
        await super().parse_and_save(item, payload)
