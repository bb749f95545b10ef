"""Effects again, from a source that is gone on with where it was left."""

from __future__ import annotations

import async_commander as ac
from tests.faults.commands import effects


class Command(effects.Command):
    """Write the effects of so many items, each of which the source yields with its number as the cursor."""

    async def iterate(self, after: int | None = None):
        begin = 0 if after is None else after + 1
        effects.tell(self.journal, "reads", begin)
        for number in range(begin, self.count):
            yield ac.At(number, number)
