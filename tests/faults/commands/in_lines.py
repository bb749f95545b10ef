"""Effects again, one after another: half of the items are in one long line, the others in five."""

from __future__ import annotations

from tests.faults.commands import effects


def line_of(item: int) -> int:
    return 0 if item % 2 else 1 + item % 5


class Command(effects.Command):
    """Write the effects of so many items, those of a line in the order of the source."""

    def order_key(self, item: int) -> int:
        return line_of(item)
