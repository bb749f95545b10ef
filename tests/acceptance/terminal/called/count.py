"""Count in steps."""

from __future__ import annotations

import async_commander as ac


class Command(ac.AsyncCommand):
    until: int
    stride: int = 1

    async def handle(self) -> list[int]:
        if self.until < 0:
            raise ArithmeticError(f"until={self.until}: at least 0")
        numbers = [number * self.stride for number in range(self.until)]
        self.stdout.write(" ".join(map(str, numbers)))
        return numbers
